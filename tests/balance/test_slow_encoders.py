import pytest
import torch

from balance.short_training import loss, run, weights
from equipose.balance.slow_encoders import SlowEncoders, SlowEncodersSettings


def slow(**settings):
    return SlowEncoders(SlowEncodersSettings(**settings), ("rgb", "lidar", "wifi"))


@pytest.mark.parametrize("kind", ["adam", "adamw", "sgd"])
def test_it_is_a_lower_learning_rate_of_the_encoders(kind, make_model, make_batch):
    batches = [make_batch(16, seed) for seed in range(3)]
    model = make_model()
    optimizers = {
        "adam": lambda groups: torch.optim.Adam(groups, weight_decay=0.1),
        "adamw": lambda groups: torch.optim.AdamW(groups, weight_decay=0.1),
        "sgd": lambda groups: torch.optim.SGD(groups, lr=1.0, momentum=0.9, weight_decay=0.1),
    }
    results = []
    for own_rate in (True, False):
        model = make_model().eval()
        encoders = [p for m in model.modalities for p in model.parameters_of(m)]
        factor = 0.2 if own_rate else 1.0
        optim = optimizers[kind](
            [{"params": encoders, "lr": 0.01 * factor}, {"params": model.shared_parameters(), "lr": 0.01}]
        )
        strategy = slow(factor=1.0 if own_rate else 0.2, window=1.0)
        strategy._open = True
        for batch in batches:
            optim.zero_grad()
            output = model(batch)
            loss(output, batch).mean().backward()
            strategy.gradients(model, output, batch)
            optim.step()
            strategy.after_step(model)
        results.append(weights(model))
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-7)


def test_only_in_the_window(make_model, make_batch):
    batches = [make_batch(8, 0)]
    model = make_model()
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    strategy = run(model, slow(factor=0.0, window=0.5), batches, epochs=1)
    assert strategy.log() == {"window_open": False, "factor": dict.fromkeys(model.modalities, 1.0)}
    frozen = make_model()
    strategy = run(frozen, slow(factor=0.0, window=1.0), batches)
    assert strategy.log()["window_open"]
    for name, p in frozen.named_parameters():
        assert torch.equal(p, start[name]) == name.startswith("encoders")
    half = make_model()
    strategy = run(half, slow(factor=0.0, window=0.5), batches, epochs=2)
    assert not strategy.log()["window_open"]
    assert not torch.equal(half.encoders["rgb"].first.weight, start["encoders.rgb.first.weight"])


def test_adam_undoes_a_scaled_gradient_and_not_a_scaled_step(make_model, make_batch):
    batches = [make_batch(8, seed) for seed in range(3)]
    moved = {}
    for scale in ("step", "gradient"):
        model = make_model()
        start = torch.cat([p.detach().flatten() for p in model.parameters_of("rgb")])
        run(model, slow(factor=0.1, window=1.0, scale=scale), batches, epochs=1, train=False)
        moved[scale] = float((torch.cat([p.detach().flatten() for p in model.parameters_of("rgb")]) - start).norm())
    model = make_model()
    run(model, slow(factor=1.0), batches, epochs=1, train=False)
    free = float((torch.cat([p.detach().flatten() for p in model.parameters_of("rgb")]) - start).norm())
    assert moved["gradient"] == pytest.approx(free, rel=0.05)
    assert moved["step"] == pytest.approx(0.1 * free, rel=0.2)
