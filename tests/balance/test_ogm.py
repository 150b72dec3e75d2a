import math

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from balance.short_training import loss, setup_of
from equipose.balance.base import Probe
from equipose.balance.ogm import Ogm, OgmGe, OgmGeSettings, OgmSettings, factors
from equipose.balance.scores import errors_alone

SCORES = st.floats(0.01, 1.0)


def published(a, v, alpha):
    """Equation 10 of the paper for two modalities."""
    rho = v / a
    if rho > 1:
        return 1.0, 1.0 - math.tanh(alpha * rho)
    return (1.0 - math.tanh(alpha / rho) if rho < 1 else 1.0), 1.0


@given(SCORES, SCORES, st.floats(0.0, 3.0))
def test_two_sensors_get_the_published_factors(a, v, alpha):
    if abs(a - v) < 1e-9:
        return
    k = factors({"a": a, "v": v}, alpha, False)
    assert (k["a"], k["v"]) == pytest.approx(published(a, v, alpha), abs=1e-6)


@given(st.dictionaries(st.sampled_from("abcdef"), SCORES, min_size=1), st.floats(0.0, 3.0), st.booleans())
@example(dict.fromkeys("abcd", 0.8249697975250283), 1.0, False)  # three times this, over three, is less than this
def test_some_sensor_is_always_free_and_no_factor_leaves_its_range(scores, alpha, continuous):
    k = factors(scores, alpha, continuous)
    assert k[min(scores, key=scores.get)] == 1.0
    assert all(0.0 <= value <= 1.0 for value in k.values())


def test_the_continuous_rule_starts_from_one():
    scores = {"a": 0.5 + 1e-7, "b": 0.5}
    assert factors(scores, 0.8, True)["a"] == pytest.approx(1.0, abs=1e-5)
    assert factors(scores, 0.8, False)["a"] == pytest.approx(1.0 - math.tanh(0.8), abs=1e-5)
    assert factors({"a": 0.6, "b": 0.3}, 0.8, True)["a"] == pytest.approx(1.0 - math.tanh(0.8))


def one_step(strategy, model, batch):
    """Up to the edited gradients; returns those from before."""
    strategy.setup(model, setup_of([batch]))
    strategy.begin_epoch(model, Probe(0, lambda: iter([batch]), loss, epochs=2))
    model.zero_grad()
    features = model.encode(batch)
    output = model.decode(features, batch.present)
    strategy.backward(strategy.objective(model, features, output, batch, loss(output, batch).mean()))
    before = {name: p.grad.clone() for name, p in model.named_parameters()}
    strategy.gradients(model, output, batch)
    return features, output, before


def test_the_factors_of_a_step_equal_the_equations(make_model, make_batch):
    model, batch = make_model().eval(), make_batch(16)
    strategy = Ogm(OgmSettings(alpha=0.4, scale="gradient"), model.modalities)
    features, output, before = one_step(strategy, model, batch)
    tau = float(loss(output, batch).mean().detach())
    score = {m: np.exp(-e.double().numpy() / tau).mean() for m, e in errors_alone(model, features, batch).items()}
    for m in model.modalities:
        rho = score[m] / np.mean([score[j] for j in model.modalities if j != m])
        k = 1 - math.tanh(0.4 * rho) if rho > 1 else 1.0
        assert strategy.log()["factor"][m] == pytest.approx(k, rel=1e-5)
        for name, p in model.named_parameters_of(m).items():
            torch.testing.assert_close(p.grad, before[name] * k, rtol=1e-4, atol=1e-9)
    for name, p in model.named_parameters():
        if not name.startswith("encoders"):
            assert torch.equal(p.grad, before[name])
    assert min(strategy.log()["factor"].values()) < 1.0


def test_a_factor_shortens_the_step_of_adam(make_model, make_batch):
    models = [make_model().eval(), make_model().eval()]
    batch = make_batch(16)
    moves = []
    for model, alpha in zip(models, (0.0, 0.4), strict=True):
        optim = torch.optim.Adam(model.parameters(), lr=0.01)
        strategy = Ogm(OgmSettings(alpha=alpha), model.modalities)
        start = {m: torch.cat([p.detach().flatten() for p in model.parameters_of(m)]) for m in model.modalities}
        one_step(strategy, model, batch)
        optim.step()
        strategy.after_step(model)
        moves.append(
            {m: torch.cat([p.detach().flatten() for p in model.parameters_of(m)]) - start[m] for m in model.modalities}
        )
    for m, k in strategy.log()["factor"].items():
        torch.testing.assert_close(moves[1][m], k * moves[0][m], rtol=1e-3, atol=1e-7)


def test_nothing_after_the_window(make_model, make_batch):
    model, batch = make_model(), make_batch(8)
    strategy = OgmGe(OgmGeSettings(alpha=1.0), model.modalities)
    strategy.setup(model, setup_of([batch], epochs=2))
    opened = []
    for epoch in range(2):
        strategy.begin_epoch(model, Probe(epoch, lambda: iter([batch]), loss, epochs=2))
        opened.append(strategy.log()["window_open"])
    assert opened == [True, False]
    output = model(batch)
    loss(output, batch).mean().backward()
    before = [p.grad.clone() for p in model.parameters()]
    strategy.objective(model, model.encode(batch), output, batch, torch.tensor(0.0))
    strategy.gradients(model, output, batch)
    assert all(torch.equal(a, p.grad) for a, p in zip(before, model.parameters(), strict=True))


def noise_of(seed, step, make_model, make_batch, alpha=2.0):
    """(noise of the step, gradient before, factor) by tensor of the first encoder."""
    model, batch = make_model().eval(), make_batch(16)
    strategy = OgmGe(OgmGeSettings(alpha=alpha, scale="gradient"), model.modalities)
    strategy._step = step
    strategy.setup = lambda m, s: OgmGe.setup(strategy, m, s.__class__(**{**vars(s), "seed": seed}))
    _, _, before = one_step(strategy, model, batch)
    k = strategy.log()["factor"]
    return {
        name: (p.grad - before[name] * k[m], before[name])
        for m in model.modalities
        for name, p in model.named_parameters_of(m).items()
    }


def test_noise_has_the_size_of_the_unscaled_gradient(make_model, make_batch):
    ratios = []
    for step in range(200):
        for noise, gradient in noise_of(0, step, make_model, make_batch).values():
            if gradient.ndim >= 2:
                ratios.append(noise.flatten() / gradient.std())
            else:
                assert noise.abs().max() < 1e-6
    ratios = torch.cat(ratios)
    assert ratios.std() == pytest.approx(1.0, abs=0.02)
    assert ratios.mean() == pytest.approx(0.0, abs=0.02)


def test_noise_is_a_function_of_seed_and_step(make_model, make_batch):
    name = "encoders.rgb.first.weight"
    first, again, other_step, other_seed = (
        noise_of(seed, step, make_model, make_batch)[name][0] for seed, step in ((1, 2), (1, 2), (1, 3), (2, 2))
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, other_step) and not torch.allclose(first, other_seed)


def test_every_step_has_its_own_noise_also_after_a_resume(make_model, make_batch):
    model, batch = make_model().eval(), make_batch(16)
    strategy = OgmGe(OgmGeSettings(alpha=0.0), model.modalities)
    noise = []
    for _ in range(2):
        _, _, before = one_step(strategy, model, batch)
        name, p = next(iter(model.named_parameters_of("rgb").items()))
        noise.append(p.grad - before[name])
    assert not torch.allclose(noise[0], noise[1])
    again = OgmGe(OgmGeSettings(alpha=0.0), model.modalities)
    again.load_state_dict({**strategy.state_dict(), "step": 1})
    _, _, before = one_step(again, model, batch)
    assert torch.equal(p.grad - before[name], noise[1])
    assert strategy.state_dict()["step"] == 2
