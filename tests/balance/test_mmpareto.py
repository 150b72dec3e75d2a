import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from balance.steps import exact, in_two_processes, mpjpe, started, step, without
from equipose.balance.base import Setup
from equipose.balance.mmpareto import MmPareto, MmParetoSettings, combine
from equipose.types import PoseOutput

TWO, THREE = ("rgb", "lidar"), ("rgb", "lidar", "wifi")
VECTORS = arrays(np.float64, 5, elements=st.floats(-10, 10).map(lambda x: round(x, 3)))


def mmpareto(modalities=THREE, **settings):
    return MmPareto(MmParetoSettings(**settings), modalities)


def started64(strategy, model):
    started(strategy, model)
    strategy.modules.double()
    return strategy


def published(a, b):
    """The paper's rule for one encoder with nonzero gradients, factor 1.5; the least norm by search, not by formula."""
    if a @ b > 0:
        h = a + b
    else:
        low, high = 0.0, 1.0
        for _ in range(200):  # the norm is convex in the weight
            left, right = low + (high - low) / 3, high - (high - low) / 3
            if np.linalg.norm(left * a + (1 - left) * b) < np.linalg.norm(right * a + (1 - right) * b):
                high = right
            else:
                low = left
        h = 2 * (low * a + (1 - low) * b)
    return 1.5 * h * max(1.0, np.linalg.norm(a + b) / np.linalg.norm(h))


@given(VECTORS, VECTORS)
def test_the_combination_is_the_published_one(a, b):
    cosine = a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-300)
    if min(np.linalg.norm(a), np.linalg.norm(b)) < 1e-3 or cosine < -0.999:
        return
    _, _, found = combine(torch.from_numpy(a), torch.from_numpy(b), 1.5)
    expected = published(a, b)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4 * np.linalg.norm(expected) + 1e-9)


@given(VECTORS, VECTORS)
def test_the_combination_lowers_both_losses_and_is_long_enough(a, b):
    _, weight, found = combine(torch.from_numpy(a), torch.from_numpy(b), 1.5)
    found = found.numpy()
    assert np.isfinite(found).all()
    assert 0 <= float(weight) <= 1
    if a @ b <= 0:  # where they agree the plain sum is taken, which may not suit the shorter one
        scale = np.linalg.norm(found)
        assert found @ a >= -1e-9 * scale * np.linalg.norm(a)
        assert found @ b >= -1e-9 * scale * np.linalg.norm(b)
    if scale := np.linalg.norm(found):
        assert scale >= 1.5 * np.linalg.norm(a + b) * (1 - 1e-9)


def test_no_gradient_and_opposite_gradients_give_numbers():
    a, nothing = torch.tensor([1.0, -2.0]), torch.zeros(2)
    assert torch.equal(combine(a, nothing, 1.5)[2], 1.5 * a)
    assert torch.equal(combine(nothing, a, 1.0)[2], a)
    assert torch.equal(combine(nothing, nothing, 1.5)[2], nothing)
    assert torch.equal(combine(a, -a, 1.5)[2], nothing)


@pytest.mark.parametrize("modalities", [TWO, THREE], ids=len)
@pytest.mark.parametrize("strength", [1.0, 0.3])
def test_gradients_are_those_of_one_backward_per_loss(make_model, make_batch, modalities, strength):
    model, batch = make_model(modalities=modalities).eval().double(), exact(make_batch(8, modalities=modalities))
    strategy = started64(mmpareto(modalities, strength=strength), model)
    _, found = step(strategy, model, batch)
    features = model.encode(batch)
    poses = strategy.modules["heads"].poses(model, features)
    joint = mpjpe(model.decode(features, batch.present), batch).mean()
    own = {m: strength * mpjpe(PoseOutput(pose), batch).mean() for m, pose in poses.items()}

    def gradient(loss, parameters):
        grads = torch.autograd.grad(loss, parameters, retain_graph=True)
        return torch.cat([g.flatten() for g in grads]).numpy()

    def flat(prefix):
        return torch.cat([g.flatten() for name, g in found.items() if name.startswith(prefix)]).numpy()

    for m in modalities:
        expected = published(gradient(joint, model.parameters_of(m)), gradient(own[m], model.parameters_of(m)))
        np.testing.assert_allclose(flat(f"encoders.{m}."), expected, atol=1e-5 * np.abs(expected).max())
        head = list(strategy.modules["heads"][m].parameters())
        np.testing.assert_allclose(flat(f"heads.{m}."), gradient(own[m], head), atol=1e-12)
    np.testing.assert_allclose(flat("fusion."), gradient(joint, model.shared_parameters()), atol=1e-12)


def test_processes_average_before_they_combine(make_model, make_batch):
    batch = without(exact(make_batch(8)), "lidar", [0, 1, 6])
    strategies = [started64(mmpareto(), make_model()) for _ in range(3)]  # here: threads share the random state
    models = [make_model().eval().double() for _ in range(3)]

    def part(which, rows, mean):
        started_with(strategies[which], models[which], mean)
        return step(strategies[which], models[which], batch.select(rows))[1]

    whole = part(2, torch.arange(8), lambda tensor: tensor)
    first, second = in_two_processes(lambda rank, mean: part(rank, torch.arange(8)[4 * rank : 4 * rank + 4], mean))
    for name in whole:
        if name.startswith("encoders"):
            assert torch.equal(first[name], second[name])
        torch.testing.assert_close((first[name] + second[name]) / 2, whole[name], rtol=1e-6, atol=1e-9)


def started_with(strategy, model, mean):
    """Started again for other processes, with the heads it has."""
    heads = strategy.modules["heads"]
    strategy.setup(model, Setup(loss=mpjpe, mean=mean))
    strategy.modules["heads"] = heads


def test_a_missing_sensor_leaves_its_encoder_alone(make_model, make_batch):
    model = make_model().eval()
    strategy = started(mmpareto(), model)
    _, found = step(strategy, model, without(make_batch(8), "wifi", slice(None)))
    assert all(g.isfinite().all() for g in found.values())
    assert not any(g.any() for name, g in found.items() if name.startswith("encoders.wifi"))
    assert strategy.log()["heads"]["wifi"] is None


def test_the_log_tells_how_often_they_conflict(make_model, make_batch):
    model = make_model().eval()
    strategy = started(mmpareto(), model)
    step(strategy, model, make_batch(8))
    log = strategy.log()
    for m in THREE:
        assert -1 <= log["cosine"][m] <= 1
        assert (log["joint_weight"][m] == 0.5) or log["cosine"][m] <= 0
