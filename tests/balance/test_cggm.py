from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from balance.short_training import loss, run, setup_of, weights
from equipose.balance.cggm import Cggm, CggmSettings, kappas
from equipose.types import PoseOutput

DROP = st.floats(-0.1, 0.1)


@given(st.floats(0.001, 0.1), st.floats(0.001, 0.1))
def test_two_sensors_get_the_published_kappas(a, b):
    """Heads that both improve: each is weighed by the share of the other."""
    kappa = kappas({"a": a, "b": b}, "published", 1.0)
    assert (kappa["a"], kappa["b"]) == pytest.approx((b / (a + b), a / (a + b)))


@given(st.dictionaries(st.sampled_from("abcdef"), DROP, min_size=2), st.sampled_from(["softmax", "published"]))
def test_kappas_are_bounded(drops, rule):
    kappa = kappas(drops, rule, 1.0)
    assert all(0.0 <= k <= max(2.0, len(drops) - 1) for k in kappa.values())


@given(st.dictionaries(st.sampled_from("abcdef"), DROP, min_size=2), st.floats(0.2, 5.0), st.floats(0.01, 100.0))
def test_the_softmax_sums_as_published_falls_with_improvement_and_knows_no_unit(drops, temperature, unit):
    kappa = kappas(drops, "softmax", temperature)
    assert sum(kappa.values()) == pytest.approx(len(drops) - 1)
    order = sorted(drops, key=drops.get)
    assert all(kappa[x] >= kappa[y] for x, y in pairwise(order))
    scaled = kappas({m: unit * d for m, d in drops.items()}, "softmax", temperature)
    assert scaled == pytest.approx(kappa, rel=1e-6)


def test_equal_improvement_gives_both_rules_the_same():
    drops = dict.fromkeys("abcd", 0.01)
    assert kappas(drops, "softmax", 1.0) == pytest.approx(kappas(drops, "published", 1.0))
    assert kappas(dict.fromkeys("abcd", 0.0), "published", 1.0) == dict.fromkeys("abcd", 0.75)
    assert kappas({"a": 0.1}, "softmax", 1.0) == {}


def test_nearly_cancelling_improvements_do_not_explode():
    drops = dict(zip("abcd", (0.01, -0.01, 0.02, -0.0199), strict=True))
    total = sum(drops.values())
    assert max(abs((total - d) / total) for d in drops.values()) > 190  # the published quotient
    for rule in ("softmax", "published"):
        assert max(kappas(drops, rule, 1.0).values()) <= 3.0


def cggm(model, batch, **settings):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        strategy = Cggm(CggmSettings(**settings), model.modalities)
        strategy.setup(model, setup_of([batch]))
    return strategy


def terms_of(strategy, model, batch):
    features = model.encode(batch)
    output = model.decode(features, batch.present)
    return strategy.objective(model, features, output, batch, loss(output, batch).mean()), features, output


def test_improvements_are_relative_and_smoothed(make_model, make_batch):
    model = make_model().eval()
    batches = [make_batch(16, seed) for seed in range(3)]
    strategy = cggm(model, batches[0], memory=0.8)
    running = {}
    for batch in batches:
        with torch.no_grad():
            poses = strategy.modules["heads"].poses(model, model.encode(batch))
        drops = {}
        for m, pose in poses.items():
            error = float((pose - batch.target).double().norm(dim=-1).mean())
            if m in running:
                now = 0.8 * running[m] + 0.2 * error
                drops[m] = (running[m] - now) / running[m]
                running[m] = now
            else:
                running[m] = error
        strategy._means.reset()
        terms_of(strategy, model, batch)
        expected = kappas(drops, "softmax", 1.0)
        assert strategy.log()["kappa"] == pytest.approx(expected, rel=1e-3)
        assert strategy.log()["factor"] == pytest.approx({m: 1.3 * k for m, k in expected.items()}, rel=1e-3)
    assert strategy.log()["head_mpjpe_mm"] == pytest.approx({m: 1000 * e for m, e in running.items()}, rel=1e-4)


def test_heads_watch_and_do_not_teach(make_model, make_batch):
    model, batch = make_model().eval(), make_batch(16)
    strategy = cggm(model, batch)
    terms, _, _ = terms_of(strategy, model, batch)
    terms.terms["heads"].backward()
    assert all(p.grad is None for p in model.parameters())
    assert all(p.grad.abs().sum() > 0 for p in strategy.modules.parameters())


def test_the_direction_term_equals_the_equation(make_model, make_batch):
    model, first, batch = make_model().eval(), make_batch(16, 0), make_batch(16, 1)
    batch.present[::4, 0] = False
    strategy = cggm(model, first, direction=0.3)
    terms_of(strategy, model, first)
    strategy._means.reset()
    terms, features, output = terms_of(strategy, model, batch)
    kappa = strategy.log()["kappa"]
    poses = strategy.modules["heads"].poses(model, features)

    def unit(joints):
        """The gradient of a length."""
        way = (joints - batch.target).detach().double()
        return (way / way.norm(dim=-1, keepdim=True)).flatten(1).numpy()

    fused, expected = unit(output.joints), 0.0
    for m, name in enumerate(model.modalities):
        own = unit(poses[name])
        cosine = (fused * own).sum(1) / (np.linalg.norm(fused, axis=1) * np.linalg.norm(own, axis=1))
        expected += kappa[name] * (1.0 - cosine[batch.present[:, m].numpy()]).mean()
    expected *= 0.3 * float(loss(output, batch).mean().detach()) / 3
    assert float(terms.terms["direction"].detach()) == pytest.approx(expected, rel=1e-4)


def test_following_the_direction_term_turns_the_fused_gradient_towards_the_heads(make_model, make_batch):
    """Its gradient reaches the fusion: a small step along it lowers the term."""
    model, first, batch = make_model().eval(), make_batch(16, 0), make_batch(16, 1)
    strategy = cggm(model, first, direction=1.0)
    terms_of(strategy, model, first)
    state = strategy.state_dict()
    terms, _, _ = terms_of(strategy, model, batch)
    before = terms.terms["direction"] / terms.terms["pose"].detach()
    shared = model.shared_parameters()
    gradients = torch.autograd.grad(before, shared)
    with torch.no_grad():
        for p, g in zip(shared, gradients, strict=True):
            p.sub_(0.01 * g)
    strategy.load_state_dict(state)
    terms, _, _ = terms_of(strategy, model, batch)
    assert float((terms.terms["direction"] / terms.terms["pose"]).detach()) < float(before.detach())


def test_a_perfect_fused_pose_has_no_direction_and_no_nan(make_model, make_batch):
    model, batch = make_model().eval(), make_batch(8)
    strategy = cggm(model, batch)
    terms_of(strategy, model, batch)
    features = model.encode(batch)
    joints = batch.target.clone().requires_grad_()
    output = PoseOutput(joints)
    terms = strategy.objective(model, features, output, batch, loss(output, batch).mean() + 1.0)
    terms.total.backward()
    assert joints.grad.isfinite().all()


def test_a_factor_above_one_lengthens_the_step(make_model, make_batch):
    batches = [make_batch(16, seed) for seed in range(2)]
    model = make_model()
    strategy = run(model, Cggm(CggmSettings(rho=4.0), model.modalities), batches, epochs=1, train=False)
    assert max(strategy.log()["factor"].values()) > 2.0
    assert weights(model).isfinite().all()
