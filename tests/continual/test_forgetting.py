"""What strategies do to old samples, to outputs and to gradients."""

from functools import cache

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from continual.world import SENSORS, Run, samples, tiny_model
from equipose.continual.base import End
from equipose.continual.drift import ascended, budgets, modality_factors
from equipose.continual.projection import constrain, dual, gradients_on, inner, project
from equipose.continual.weights import flat, joints_at, joints_now, weights_of
from equipose.fisher_outputs import parameter_groups
from equipose.train.losses import mpjpe_loss

KEEPERS = {
    "online_ewc": {"strength": 3.0},
    "ewc": {"strength": 3.0},
    "kfac": {"strength": 3.0},
    "mas": {"strength": 3.0},
    "si": {"strength": 10.0},
    "rwalk": {"strength": 30.0},
    "adaptive_ewc": {"budget_mm": 30.0},
    "lwf": {},
    "feature_distillation": {"strength": 3.0, "freeze_shared": True},
    "er": {},
    "derpp": {},
    "gdumb": {},
    "agem": {"samples": 24},
    "gem": {"samples": 24},
    "adaptive_ewc_replay": {},
}


@cache
def trained(name, *settings):
    """Error in mm on the first room after it, and on both at the end."""
    run = Run(name, dict(settings) or KEEPERS.get(name, {}), passes=25, optimizer="adam")
    run.go(75)
    first = run.error(0)
    run.go()
    return first, run.error(0), run.error(1)


@pytest.mark.parametrize("name", list(KEEPERS))
def test_forgets_less_than_fine_tuning(name):
    first, old, _ = trained("fine_tune")
    assert old > 1.5 * first, "there is something to forget"
    assert trained(name)[1] < (0.97 if name == "agem" else 0.9) * old


@pytest.mark.parametrize("name", ["er", "derpp", "adaptive_ewc_replay"])
def test_replay_keeps_both_rooms(name):
    _, old, new = trained(name)
    _, forgotten, best = trained("fine_tune")
    assert old + new < 0.8 * (forgotten + best)


def test_distillation_pulls_to_the_old_outputs():
    distance = {}
    for name, settings in (
        ("fine_tune", {}),
        ("lwf", {"strength": 20.0}),
        ("feature_distillation", KEEPERS["feature_distillation"]),
    ):
        run = Run(name, settings, passes=20).go(60)
        before = [joints_now(run.model, b) for b in run.rooms[1]]
        run.go()
        after = [joints_now(run.model, b) for b in run.rooms[1]]
        distance[name] = float(
            torch.stack([(a - b).norm(dim=-1).mean() for a, b in zip(after, before, strict=True)]).mean()
        )
    assert distance["lwf"] < 0.35 * distance["fine_tune"]
    assert distance["feature_distillation"] < 0.8 * distance["fine_tune"]


def test_distillation_keeps_what_single_sensors_can_do():
    """The random subset is what protects a sensor alone."""
    moved = {}
    for subset in (0.0, 5.0):
        run = Run("lwf", {"strength": 5.0, "subset_strength": subset}, passes=20).go(60)
        only = torch.eye(4, dtype=torch.bool)

        def alone(run=run, only=only):
            run.model.eval()
            with torch.no_grad():
                batch = run.rooms[1][0]
                return run.model.decode_coalitions(run.model.encode(batch), only, torch.ones_like(batch.present))

        before = alone()
        run.go()
        moved[subset] = float((alone() - before).norm(dim=-1).mean())
    assert moved[5.0] < 0.7 * moved[0.0]


def test_freezing_the_shared_part_freezes_it():
    run = Run("feature_distillation", {"freeze_shared": True, "strength": 0.0}).go(6)
    shared = [p.detach().clone() for p in run.model.shared_parameters()]
    run.go()
    assert all(torch.equal(a, b) for a, b in zip(shared, run.model.shared_parameters(), strict=True))


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_the_budget_holds_the_drift_of_old_joints(optimizer):
    found = {}
    for budget in (10.0, 40.0, 1e6):
        run = Run("adaptive_ewc", {"budget_mm": budget, "ascent": 0.1}, passes=30, optimizer=optimizer).go(90)
        before = [joints_now(run.model, b) for b in run.rooms[0]]
        run.go()
        moves = [joints_now(run.model, b) - old for b, old in zip(run.rooms[0], before, strict=True)]
        found[budget] = 1000 * float(torch.cat(moves).square().sum(-1).mean().sqrt())
    assert found[10.0] < 15.0 and found[40.0] < 60.0
    assert found[10.0] < 0.6 * found[40.0] and found[40.0] < 0.6 * found[1e6]


def test_calibration_is_measured_over_predicted():
    run = Run("adaptive_ewc", {"calibrate_every": 1, "budget_mm": 10.0, "step": "loss"}, rooms=(0,)).go()
    batch = run.rooms[0][0]
    with torch.no_grad():
        for p in run.model.parameters():
            p.add_(0.02)
    anchor = run.strategy._anchor
    measured = (joints_now(run.model, batch) - joints_at(run.model, anchor, batch)).square().sum(-1).mean().sqrt()
    energies = [float(s.energy().detach()) for s in run.strategy._attached(run.model).values()]
    ratio = float(measured) / sum(energies) ** 0.5
    for _ in range(60):
        run.strategy._calibrate(run.model, batch)
    assert run.strategy._kappa == pytest.approx(min(max(ratio, 0.2), 10.0), rel=1e-3)


def test_outputs_at_other_weights_are_those_of_the_model_with_them():
    model, batch = tiny_model(seed=1), samples(4)
    anchor, expected = weights_of(model), joints_now(model, batch)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1.5)
    torch.testing.assert_close(joints_at(model, anchor, batch), expected)
    assert not torch.allclose(joints_now(model, batch), expected)


def test_a_worthless_or_broken_sensor_may_drift_further():
    end = End(0, tuple, contribution={"rgb": 8.0, "lidar": 4.0, "wifi": -1.0}, noise_rate={"lidar": 0.5, "rgb": 0.0})
    factors = modality_factors(SENSORS[:3], end, least=0.1)
    assert factors == pytest.approx({"rgb": 1.0, "lidar": 0.25, "wifi": 0.1, "shared": 1.0})
    fisher = {g: [torch.ones(3)] for g in factors} | {"mmwave": [torch.zeros(3)]}
    shares = budgets(fisher, {**factors, "mmwave": 1.0}, 0.02)
    assert sum(b**2 for b in shares.values()) == pytest.approx(0.02**2)
    assert shares["wifi"] / shares["rgb"] == pytest.approx(10**0.5)
    assert "mmwave" not in shares
    assert modality_factors(SENSORS, End(0, tuple), 0.1) == dict.fromkeys([*SENSORS, "shared"], 1.0)


def test_ascent_rises_above_the_budget_and_falls_below_it():
    assert ascended(1.0, 0.1, 2.0) > 1.0 > ascended(1.0, 0.1, 0.5)
    assert ascended(0.01, 0.1, 0.0) == 0.0
    assert ascended(1.0, 0.1, 1e9) == pytest.approx(1.4)


def with_gradients(room):
    model = tiny_model(seed=2)
    parameters = flat(parameter_groups(model))
    for p, g in zip(parameters, gradients_on(model, parameters, mpjpe_loss, samples(16, 1, room=room)), strict=True):
        p.grad = g
    return model, parameters


def test_a_projected_gradient_does_not_hurt_old_samples():
    changed = 0
    for seed in range(6):
        model, parameters = with_gradients(1)
        reference = gradients_on(model, parameters, mpjpe_loss, samples(16, seed, room=7 + seed))
        own = [p.grad.clone() for p in parameters]
        if seed % 2:
            reference = [r - 2.0 * g for r, g in zip(reference, own, strict=True)]
        before = float(inner(own, reference))
        did = project(parameters, reference)
        after = float(inner([p.grad for p in parameters], reference))
        size = float(inner(reference, reference))
        assert did is (before < 0)
        assert after >= -1e-5 * size
        if not did:
            assert all(torch.equal(a, p.grad) for a, p in zip(own, parameters, strict=True))
        changed += did
    assert 0 < changed < 6, "both cases are there"


def test_projection_by_groups_protects_every_encoder():
    model, parameters = with_gradients(1)
    own = [p.grad.clone() for p in parameters]
    run = Run("agem", {"projection": "groups", "samples": 24}, rooms=(0,)).go()
    run.strategy._experience = 1
    model = run.model
    groups = parameter_groups(model)
    for p, g in zip(flat(groups), own, strict=True):
        p.grad = g.clone()
    state = run.strategy.memory.state_dict()
    run.strategy.gradients(model)
    run.strategy.memory.load_state_dict(state)
    run.model.train()
    reference = iter(gradients_on(model, flat(groups), mpjpe_loss, run.strategy.draw(24, torch.device("cpu")).batch))
    for each in groups.values():
        part = [next(reference) for _ in each]
        # Dropout makes the reference another than the one projected on, but not by much.
        assert float(inner([p.grad for p in each], part)) >= -0.2 * float(inner(part, part))


def test_gem_finds_the_nearest_gradient_that_hurts_nobody():
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        parameters = [torch.nn.Parameter(torch.zeros(6)), torch.nn.Parameter(torch.zeros(2, 2))]
        references = [[torch.randn(p.shape, generator=generator) for p in parameters] for _ in range(3)]
        own = [-references[0][i] - 0.3 * references[1][i] for i in range(2)]
        for p, g in zip(parameters, own, strict=True):
            p.grad = g.clone()
        assert constrain(parameters, references, 0.0)
        new = [p.grad for p in parameters]
        for r in references:
            assert float(inner(new, r)) >= -0.02 * float(inner(r, r))
        g0 = torch.cat([g.flatten() for g in own]).double().numpy()
        rows = np.array([torch.cat([t.flatten() for t in r]).double().numpy() for r in references])
        best = minimize(
            lambda h, g0=g0: ((h - g0) ** 2).sum(),
            g0,
            constraints=[{"type": "ineq", "fun": lambda h, row=row: row @ h} for row in rows],
        )
        found = torch.cat([g.flatten() for g in new]).double().numpy()
        assert np.linalg.norm(found - g0) <= 1.02 * np.linalg.norm(best.x - g0) + 1e-6


def test_the_dual_respects_its_margin():
    gram = np.array([[2.0, 0.3], [0.3, 1.0]])
    found = dual(gram, np.array([5.0, -5.0]), 0.5)
    assert found[0] == pytest.approx(0.5) and found[1] > 0.5
    gradient = (gram + 1e-3 * np.eye(2)) @ found + np.array([5.0, -5.0])
    assert gradient[0] >= 0 and gradient[1] == pytest.approx(0.0, abs=1e-9)
