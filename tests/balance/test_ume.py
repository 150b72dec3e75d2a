import pytest
import torch

from balance.steps import mpjpe, started, step, without
from equipose.balance.joint import Joint
from equipose.balance.ume import Ume, UmeSettings
from equipose.config import Settings
from equipose.nn.decision_fusion import EnsembleFusion
from equipose.nn.model import PoseModel
from equipose.types import Batch

THREE = ("rgb", "lidar", "wifi")


def ume(modalities=THREE, **settings):
    return Ume(UmeSettings(**settings), modalities)


@pytest.fixture
def ensemble(make_model):
    def make():
        model = make_model().eval()
        torch.manual_seed(5)
        model.fusion = EnsembleFusion(THREE, model.width, 9)
        return model

    return make


def specialist(model, name):
    """A model of one sensor with the same weights."""
    alone = PoseModel(
        (name,), {name: model.encoders[name]}, EnsembleFusion((name,), model.width, 9), model.mean_pose, model.width
    )
    alone.fusion.heads[name].load_state_dict(model.fusion.heads[name].state_dict())
    return alone.eval()


def of_one(batch, name):
    i = batch.modalities.index(name)
    return Batch((name,), {name: batch.inputs[name]}, batch.present[:, i : i + 1], batch.target, batch.meta)


def train(strategy, model, batches):
    started(strategy, model)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for batch in batches:
        step(strategy, model, batch)
        optimizer.step()
    return model


def test_with_the_ensemble_it_trains_separate_models(ensemble, make_batch):
    batches = [make_batch(8, seed) for seed in range(6)]
    together = train(ume(), ensemble(), batches)
    for name in THREE:
        alone = train(Joint(Settings(), (name,)), specialist(ensemble(), name), [of_one(b, name) for b in batches])
        torch.testing.assert_close(
            dict(alone.encoders[name].named_parameters()), dict(together.encoders[name].named_parameters())
        )
        torch.testing.assert_close(
            dict(alone.fusion.heads[name].named_parameters()), dict(together.fusion.heads[name].named_parameters())
        )
        answer = alone(of_one(batches[0], name)).joints
        only = torch.zeros_like(batches[0].present)
        only[:, THREE.index(name)] = True
        torch.testing.assert_close(together(batches[0], only).joints, answer)


def test_the_joint_loss_is_recorded_and_not_trained(ensemble, make_batch):
    model, batch = ensemble(), make_batch(8)
    terms, found = step(started(ume(), model), model, batch)
    assert torch.equal(terms["pose"], mpjpe(model(batch), batch).mean())
    assert not terms["pose"].requires_grad
    _, mixed = step(started(ume(joint=0.5), model), model, batch)
    _, joint = step(started(Joint(Settings(), THREE), model), model, batch)
    for name in found:
        torch.testing.assert_close(mixed[name], found[name] + 0.5 * joint[name])


def test_a_missing_sensor_is_not_trained(ensemble, make_batch):
    model = ensemble()
    _, found = step(started(ume(), model), model, without(make_batch(8), "lidar", slice(None)))
    assert not any(g.any() for name, g in found.items() if "lidar" in name)
    assert all(g.isfinite().all() for g in found.values())


def test_a_note_with_a_fusion_it_was_not_made_for(ensemble, make_model):
    assert started(ume(), ensemble()).notes() == []
    assert "model.fusion=ensemble" in started(ume(), make_model()).notes()[0]
    assert started(ume(("rgb",)), make_model(modalities=("rgb",))).notes() == []


def test_there_is_no_strength_zero():
    assert Ume.strength_zero() is None
