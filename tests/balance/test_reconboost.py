import numpy as np
import pytest
import torch

from balance.steps import exact, squared, started, step, without
from equipose.balance.reconboost import ReconBoost, ReconBoostSettings, stage_pose
from equipose.nn.decision_fusion import EnsembleFusion
from equipose.nn.fusion import MlpFusion

TWO, THREE = ("rgb", "lidar"), ("rgb", "lidar", "wifi")


def boost(modalities=THREE, **settings):
    return ReconBoost(ReconBoostSettings(**settings), modalities)


@pytest.fixture(params=["concat", "ensemble"])
def model(request, make_model):
    return with_fusion(make_model, request.param)


def with_fusion(make_model, name, modalities=THREE):
    model = make_model(modalities=modalities).eval().double()
    torch.manual_seed(3)
    if name == "ensemble":
        model.fusion = EnsembleFusion(modalities, model.width, 9).double()
    return model


def parts(model, batch):
    """What each sensor adds to the pose, and what is there without any sensor: by the definition of each fusion."""
    features = model.encode(batch)
    base = model.mean_pose
    if isinstance(model.fusion, EnsembleFusion):
        count = batch.present.sum(1).double()[:, None, None]
        own = {m: model.fusion.heads[m](f).reshape(-1, 3, 3) / count for m, f in features.items()}
    else:
        base = base + model.fusion.bias.reshape(3, 3)
        own = {m: model.fusion.weights[m](f).reshape(-1, 3, 3) for m, f in features.items()}
    return base, {m: f * batch.present[:, i, None, None] for i, (m, f) in enumerate(own.items())}


@pytest.mark.parametrize("nu", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("missing", [False, True])
def test_the_stage_pose_is_what_is_left_of_the_others_and_the_scaled_own(model, make_batch, nu, missing):
    batch = exact(make_batch(8))
    if missing:
        batch = without(without(batch, "rgb", [0, 1, 4]), "lidar", [1, 2, 4])
    features = model.encode(batch)
    output = model.decode(features, batch.present)
    base, own = parts(model, batch)
    count = batch.present.sum(1).double()[:, None, None]
    for i, m in enumerate(THREE):
        others = sum(own[j] for j in THREE if j != m)
        expected = base + nu * others + (count - nu * (count - 1)) * own[m]
        found = stage_pose(model, features, output, batch, m, nu)
        inside = batch.present[:, i]
        torch.testing.assert_close(found[inside], expected[inside])


def test_the_plain_residual_is_the_joint_prediction(model, make_batch):
    batch = exact(make_batch(8))
    features = model.encode(batch)
    output = model.decode(features, batch.present)
    for m in THREE:
        torch.testing.assert_close(stage_pose(model, features, output, batch, m, 1.0), output.joints)


@pytest.mark.parametrize("nu", [0.0, 0.3, 1.0])
def test_equal_sensors_that_are_right_together_satisfy_every_stage(make_model, make_batch, nu):
    """s keeps the stages and the joint stage from pulling in different directions."""
    model = with_fusion(make_model, "concat")
    batch = exact(make_batch(8))
    feature = torch.randn(8, model.width, dtype=torch.float64)
    with torch.no_grad():
        for m in THREE:
            model.fusion.weights[m].weight.copy_(model.fusion.weights["rgb"].weight)
        model.fusion.bias.zero_()
    features = dict.fromkeys(THREE, feature)
    output = model.decode(features, batch.present)
    torch.testing.assert_close(stage_pose(model, features, output, batch, "lidar", nu), output.joints)


def test_with_two_sensors_it_fits_the_residual_of_the_other(make_model, make_batch):
    """Least squares against y - nu * f_other with s * f_own, both independent of our code, at M = 2."""
    model = with_fusion(make_model, "concat", TWO)
    batch = exact(make_batch(16, modalities=TWO))
    nu = 0.2
    strategy = started(boost(TWO, nu=nu, stage=1.0), model, squared, steps_per_epoch=1)
    assert strategy.turn() == "rgb"
    terms, found = step(strategy, model, batch, squared)
    base, own = parts(model, batch)
    residual = batch.target - base.detach() - nu * own["lidar"].detach()
    loss = (residual - (2 - nu) * own["rgb"]).square().sum(-1).mean(-1).mean()
    assert float(terms["stage"].detach()) == pytest.approx(float(loss.detach()))
    expected = torch.autograd.grad(loss, model.parameters_of("rgb"))
    for (name, _), gradient in zip(model.named_parameters_of("rgb").items(), expected, strict=True):
        torch.testing.assert_close(found[name], gradient)


def test_a_stage_moves_its_own_sensor_only(model, make_batch):
    strategy = started(boost(stage=1.0), model, steps_per_epoch=1)
    batch = exact(make_batch(8))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(8):  # long enough that Adam remembers gradients of every sensor
        turn = strategy.turn()
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        step(strategy, model, batch)
        optimizer.step()
        strategy.after_step(model)
        moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
        sensors = {m for m in THREE for name in moved if f".{m}." in name}
        assert sensors == ({turn} if turn else set(THREE))
        assert {name.split(".")[0] for name in moved} == {"encoders", "fusion"}


def turns_of(strategy, model, steps, steps_per_epoch):
    started(strategy, model, steps_per_epoch=steps_per_epoch)
    turns = []
    for _ in range(steps):
        turns.append(strategy.turn())
        strategy.after_step(model)
    return turns


def test_sensors_take_turns_with_joint_stages_between(make_model):
    turns = turns_of(boost(stage=0.2, refit=0.3), make_model(), 20, 10)
    cycle = [m for name in THREE for m in (name, name, None, None, None)]
    assert turns == (cycle + cycle)[:20]


def test_stages_are_never_shorter_than_a_step_and_may_do_without_joint_ones(make_model):
    assert turns_of(boost(stage=0.01, refit=0.0), make_model(), 4, 3) == ["rgb", "lidar", "wifi", "rgb"]


def test_a_batch_without_the_sensor_moves_nothing(model, make_batch):
    strategy = started(boost(), model, steps_per_epoch=4)
    terms, found = step(strategy, model, without(exact(make_batch(8)), "rgb", slice(None)))
    assert float(terms["stage"].detach()) == 0.0
    assert not any(g is not None and g.any() for g in found.values())
    assert np.isfinite(float(terms["pose"]))


def test_a_note_where_the_fusion_does_not_add(make_model, model):
    assert started(boost(), model).notes() == []
    other = make_model()
    other.fusion = MlpFusion(THREE, other.width, 9)
    assert "MlpFusion" in started(boost(), other).notes()[0]
