import numpy as np
import pytest
import torch

from equipose.config import ModelSettings
from equipose.errors import UsageError
from equipose.fisher import diagonal_fisher
from equipose.nn.model import build_model
from equipose.types import Batch, Cloud, Dense, FrameMeta

MODALITIES = ("rgb", "mmwave")


def loss(output, batch):
    return torch.linalg.vector_norm(output.joints - batch.target, dim=-1).mean(-1)


def make_batch(size, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    points = torch.cat([0.3 * normal(size, 24, 3) + torch.tensor([0.0, 0.0, 3.0]), normal(size, 24, 3)], -1)
    mask = torch.rand(size, 24, generator=generator) < 0.7
    mask[0] = False
    number = torch.arange(size)
    return Batch(
        MODALITIES,
        {
            "rgb": Dense(320 + 40 * normal(size, 9, 17, 2), torch.ones(size, 9, dtype=torch.bool)),
            "mmwave": Cloud(points * mask[..., None], mask),
        },
        torch.stack([torch.ones(size, dtype=torch.bool), mask.any(1)], 1),
        0.2 * normal(size, 17, 3) + torch.tensor([0.0, 0.0, 3.0]),
        FrameMeta(number, number, number, number, number, number),
    )


@pytest.fixture(params=["concat", "attention"])
def model(request):
    return build_model(ModelSettings(fusion=request.param, width=16), MODALITIES, 17, 0)


def by_hand(model, batches):
    """Mean of squared gradients, one sample at a time, in float64 numpy."""
    model.eval()
    squares, losses = {}, []
    for batch in batches:
        for i in range(len(batch)):
            model.zero_grad()
            one = batch.select(torch.tensor([i]))
            value = loss(model(one), one)[0]
            value.backward()
            losses.append(float(value.detach()))
            for name, p in model.named_parameters():
                gradient = np.zeros(p.shape) if p.grad is None else p.grad.double().numpy()
                squares.setdefault(name, []).append(gradient**2)
    model.zero_grad()
    return {name: np.mean(g, 0) for name, g in squares.items()}, np.mean(losses)


@pytest.mark.parametrize("method", ["per_sample", "loop"])
def test_equals_a_loop_over_samples(model, method):
    batches = [make_batch(9, 1), make_batch(4, 2)]
    expected, mean_loss = by_hand(model, batches)
    found = diagonal_fisher(model, MODALITIES, batches, loss, method, chunk=4)
    assert found.samples == 13
    assert float(found.loss) == pytest.approx(mean_loss, rel=1e-5)
    for m in MODALITIES:
        assert set(found.diagonal[m]) == set(model.named_parameters_of(m))
        largest = max(expected[name].max() for name in found.diagonal[m])
        for name, tensor in found.diagonal[m].items():
            np.testing.assert_allclose(tensor.numpy(), expected[name], rtol=2e-3, atol=1e-6 * largest, err_msg=name)
        trace = sum(expected[name].sum() for name in found.diagonal[m])
        assert float(found.trace(m)) == pytest.approx(trace, rel=1e-4)


def test_chunks_and_batches_do_not_matter(model):
    batch = make_batch(12)
    whole = diagonal_fisher(model, MODALITIES, [batch], loss, chunk=12)
    halves = [batch.select(torch.arange(5)), batch.select(torch.arange(5, 12))]
    for other in (
        diagonal_fisher(model, MODALITIES, [batch], loss, chunk=5),
        diagonal_fisher(model, MODALITIES, halves, loss),
    ):
        for m in MODALITIES:
            assert float(other.trace(m)) == pytest.approx(float(whole.trace(m)), rel=1e-5)


def test_batch_gradients_are_smaller_and_equal_for_single_samples(model):
    batch = make_batch(16)
    exact = diagonal_fisher(model, MODALITIES, [batch], loss)
    together = diagonal_fisher(model, MODALITIES, [batch], loss, "batch")
    singles = [batch.select(torch.tensor([i])) for i in range(16)]
    alone = diagonal_fisher(model, MODALITIES, singles, loss, "batch")
    for m in MODALITIES:
        assert float(exact.trace(m)) / 16 * 0.999 <= float(together.trace(m)) < float(exact.trace(m))
        assert float(alone.trace(m)) == pytest.approx(float(exact.trace(m)), rel=1e-4)


@pytest.mark.parametrize("method", ["per_sample", "loop", "batch"])
def test_leaves_no_trace(model, method):
    model.train()
    model.encoders["mmwave"].eval()
    flags = [m.training for m in model.modules()]
    state = {k: v.clone() for k, v in model.state_dict().items()}
    kept = next(model.parameters())
    kept.grad = torch.ones_like(kept)
    random = torch.get_rng_state()
    diagonal_fisher(model, MODALITIES, [make_batch(4)], loss, method)
    assert [m.training for m in model.modules()] == flags
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert torch.equal(kept.grad, torch.ones_like(kept))
    assert all(p.grad is None for p in model.parameters() if p is not kept)
    assert all(p.requires_grad for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), random)


def test_some_modalities_and_frozen_parameters(model):
    for p in model.encoders["rgb"].parameters():
        p.requires_grad_(False)
    found = diagonal_fisher(model, ("mmwave",), [make_batch(4)], loss)
    assert list(found.diagonal) == ["mmwave"]
    both = diagonal_fisher(model, MODALITIES, [make_batch(4)], loss)
    assert both.diagonal["rgb"] == {}
    torch.testing.assert_close(both.trace("mmwave"), found.trace("mmwave"))


def test_an_absent_sensor_has_none(model):
    batch = make_batch(6)
    batch.present[:, 1] = False
    found = diagonal_fisher(model, MODALITIES, [batch], loss)
    # Attention looks at the stand-in's token, which no encoder made.
    assert float(found.trace("mmwave")) == 0.0
    assert float(found.trace("rgb")) > 0.0


def test_the_unit_enters_squared(model):
    batch = make_batch(6)
    metres = diagonal_fisher(model, MODALITIES, [batch], loss)
    millimetres = diagonal_fisher(model, MODALITIES, [batch], lambda o, b: 1000.0 * loss(o, b))
    assert float(millimetres.trace("rgb")) == pytest.approx(1e6 * float(metres.trace("rgb")), rel=1e-4)


def test_no_samples_is_told(model):
    with pytest.raises(UsageError, match="probe_samples"):
        diagonal_fisher(model, MODALITIES, [], loss)


def test_a_model_that_cannot_be_vectorised_is_told_and_the_loop_takes_it(model):
    def awkward(output, batch):
        value = loss(output, batch)
        return value * (2.0 if float(value.detach()[0]) > 1e9 else 1.0)

    batch = make_batch(3)
    with pytest.raises(UsageError, match="fisher: loop"):
        diagonal_fisher(model, MODALITIES, [batch], awkward)
    found = diagonal_fisher(model, MODALITIES, [batch], awkward, "loop")
    assert float(found.trace("rgb")) > 0.0
