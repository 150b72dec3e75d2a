import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from balance.short_training import loss, setup_of
from equipose.balance.agm import Agm, AgmSettings, coefficients, with_scaled_gradient
from equipose.nn.fusion import MlpFusion

COST = st.floats(0.0, 5.0)


@given(COST, COST, COST, COST, st.floats(0.0, 3.0))
def test_two_sensors_get_the_published_coefficients(a, v, mean_a, mean_v, alpha):
    """r_a = exp(c_v - c_a), r_v = exp(c_a - c_v), against the same of the running means."""
    kappa = coefficients({"a": a, "v": v}, {"a": mean_a, "v": mean_v}, alpha, 1e300)
    expected_a = math.exp(alpha * min(math.exp(mean_v - mean_a) - math.exp(v - a), 7.0))
    expected_v = math.exp(alpha * min(math.exp(mean_a - mean_v) - math.exp(a - v), 7.0))
    assert (kappa["a"], kappa["v"]) == pytest.approx((expected_a, expected_v), rel=1e-6)


def test_four_sensors_against_measured_values():
    """A sensor that is ahead is slowed, one that is behind hurried."""
    costs, flat = dict(zip("abcd", (0.5, 1.5, 1.0, 1.0), strict=True)), dict.fromkeys("abcd", 1.0)
    kappa = coefficients(costs, flat, 1.0, 10.0)
    expected = [math.exp(1.0 - math.exp((1.0 - c) * 4 / 3)) for c in costs.values()]
    assert list(kappa.values()) == pytest.approx(expected)
    assert list(kappa.values()) == pytest.approx([0.39, 1.63, 1.0, 1.0], abs=0.01)


def test_extreme_costs_stay_finite_and_bounded():
    kappa = coefficients({"a": 1e4, "b": 0.0}, {"a": 0.0, "b": 1e4}, 2.5, 3.0)
    assert all(0.0 <= k <= 3.0 for k in kappa.values())
    assert coefficients({"a": 7.0}, {"a": 1.0}, 1.0, 3.0) == {"a": 1.0}


def poses_of(model, features, batch):
    """Coalitions none, a, v, av."""
    from equipose.types import all_coalitions

    return model.decode_coalitions(features, all_coalitions(2), batch.present)


@pytest.fixture
def pair(make_model, make_batch):
    """A model of two sensors whose fusion is not additive, in evaluation mode, and a batch."""
    model = make_model(modalities=("rgb", "wifi"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model.fusion = MlpFusion(model.modalities, model.width, 3 * model.num_joints)
    return model.eval(), make_batch(16, modalities=("rgb", "wifi"))


def test_the_gradient_through_the_shares_is_the_published_one(pair):
    """theta_a: kappa_a / 2 (df(av) + df(a)) + kappa_v / 2 (df(av) - df(a)); f(v) does not know theta_a."""
    model, batch = pair
    ka, kv = 0.3, 1.7
    joints = with_scaled_gradient(poses_of(model, model.encode(batch), batch), torch.tensor([ka, kv]))
    upstream = torch.randn(joints.shape, generator=torch.Generator().manual_seed(0))
    theta = model.parameters_of("rgb")
    found = torch.autograd.grad((joints * upstream).sum(), theta)
    poses = poses_of(model, model.encode(batch), batch)
    d_a = torch.autograd.grad((poses[1] * upstream).sum(), theta, retain_graph=True)
    d_av = torch.autograd.grad((poses[3] * upstream).sum(), theta)
    for g, a, av in zip(found, d_a, d_av, strict=True):
        torch.testing.assert_close(g, ka / 2 * (av + a) + kv / 2 * (av - a), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(joints, poses[3], rtol=1e-5, atol=1e-6)


def step(strategy, model, batch, optim=None):
    model.zero_grad()
    features = model.encode(batch)
    output = model.decode(features, batch.present)
    strategy.backward(strategy.objective(model, features, output, batch, loss(output, batch).mean()))
    strategy.gradients(model, output, batch)
    if optim:
        optim.step()
        strategy.after_step(model)
    return {name: p.grad.clone() for name, p in model.named_parameters()}


def agm(model, batch, **settings):
    strategy = Agm(AgmSettings(**settings), model.modalities)
    strategy.setup(model, setup_of([batch]))
    return strategy


def test_costs_of_a_step_equal_the_equations(pair):
    model, batch = pair
    strategy = agm(model, batch)
    step(strategy, model, batch)
    with torch.no_grad():
        none, a, v, both = poses_of(model, model.encode(batch), batch).double().numpy()
    target = batch.target.double().numpy()
    sigma = np.linalg.norm(both - target, axis=-1).mean()
    for name, phi in (("rgb", (both - v + a - none) / 2), ("wifi", (both - a + v - none) / 2)):
        error = np.linalg.norm(none + phi - target, axis=-1).mean()
        assert strategy.log()["cost"][name] == pytest.approx(error / sigma, rel=1e-4)


def test_the_first_step_is_free_and_later_ones_refer_to_the_mean_of_those_before(pair, make_batch):
    model, batch = pair
    other = make_batch(16, 5, ("rgb", "wifi"))
    strategy = agm(model, batch)
    step(strategy, model, batch)
    assert strategy.log()["factor"] == {"rgb": 1.0, "wifi": 1.0}
    first = strategy.log()["cost"]
    step(strategy, model, other)
    second = {m: 2 * cost - first[m] for m, cost in strategy.log()["cost"].items()}
    expected = coefficients(second, first, 1.0, 3.0)
    for m, mean in strategy.log()["factor"].items():
        assert mean == pytest.approx((1.0 + expected[m]) / 2, rel=1e-6)


@pytest.mark.parametrize("missing", [False, True])
def test_an_additive_fusion_makes_both_ways_the_same_for_the_encoders(missing, make_model, make_batch):
    """Scaling the step of SGD by kappa equals scaling the gradient through the share."""
    moved = []
    for scale in ("gradient", "step"):
        model = make_model().eval()
        for p in model.shared_parameters():
            p.requires_grad_(False)
        strategy = agm(model, make_batch(16), alpha=2.5, scale=scale)
        optim = torch.optim.SGD([p for m in model.modalities for p in model.parameters_of(m)], lr=0.1)
        for seed in range(3):
            batch = make_batch(16, seed)
            if missing:
                batch.present[::2, 0] = False
            features = model.encode(batch)
            output = model.decode(features, batch.present)
            optim.zero_grad()
            strategy.backward(strategy.objective(model, features, output, batch, loss(output, batch).mean()))
            strategy.gradients(model, output, batch)
            optim.step()
            strategy.after_step(model)
        assert any(abs(k - 1.0) > 0.01 for k in strategy.log()["factor"].values())
        moved.append(torch.cat([p.detach().flatten() for m in model.modalities for p in model.parameters_of(m)]))
    torch.testing.assert_close(moved[0], moved[1], rtol=1e-4, atol=1e-6)
