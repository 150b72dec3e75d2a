"""Trust is learned on held-out samples alone and moves nothing else."""

from __future__ import annotations

import pytest
import torch

from equipose.balance.base import Probe, Setup
from equipose.balance.every_subset import EverySubset, EverySubsetSettings
from equipose.balance.held_out_trust import fit_trust
from equipose.nn.experts_fusion import ExpertsFusion
from equipose.types import all_coalitions


def per_sample(output, batch):
    return torch.linalg.vector_norm(output.joints - batch.target, dim=-1).mean(-1)


def alone(tensor):
    return tensor


@pytest.fixture
def flattered(make_model, make_batch):
    """rgb's expert is right, wifi's a metre off, and both are equally sure; the correction is a random one."""
    model, batch = make_model().eval(), make_batch(64)
    torch.manual_seed(0)
    model.fusion = ExpertsFusion(model.modalities, model.width, 3 * model.num_joints).eval()
    torch.nn.init.normal_(model.fusion.out.weight, std=0.02)
    goal = (batch.target - model.mean_pose).flatten(1).mean(0)
    with torch.no_grad():
        for name, offset in (("rgb", 0.0), ("lidar", 0.1), ("wifi", 1.0)):
            model.fusion.heads[name][-1].weight.zero_()
            model.fusion.heads[name][-1].bias.copy_(goal + offset)
    return model, batch


def errors(model, batch):
    with torch.no_grad():
        poses = model.decode_coalitions(model.encode(batch), all_coalitions(3), batch.present)
    return torch.linalg.vector_norm(poses - batch.target, dim=-1).mean((1, 2))


def test_a_sensor_that_misleads_is_trusted_less(flattered):
    model, batch = flattered
    before = errors(model, batch)
    first = fit_trust(model, [batch], per_sample, 1, 0.05, 0.0, alone)
    torch.testing.assert_close(first, before[[3, 5, 6, 7]].mean())  # what is minimised: coalitions of two or more
    fit_trust(model, [batch], per_sample, 100, 0.05, 0.0, alone)
    after = errors(model, batch)
    wifi, others = model.modalities.index("wifi"), model.modalities.index("rgb")
    assert (model.fusion.offset[[5, 7], wifi] < -1.0).all()
    assert (model.fusion.offset[[5, 7], others] > 0.0).all()
    assert (after[[3, 5, 6, 7]] < before[[3, 5, 6, 7]]).all()
    assert torch.equal(after[[0, 1, 2, 4]], before[[0, 1, 2, 4]])  # single sensors know no trust
    assert after[5] < after[1] + 0.2 * (before[5] - before[1])


def test_decay_pulls_back_to_the_training(flattered):
    model, batch = flattered
    fit_trust(model, [batch], per_sample, 200, 0.05, 100.0, alone)
    assert model.fusion.offset.abs().max() < 0.05
    assert (model.fusion.gate - 1).abs().max() < 0.05


def test_nothing_else_moves(flattered):
    model, batch = flattered
    weights = {name: value.clone() for name, value in model.named_parameters()}
    features = model.encode(batch)
    model.train()
    in_training = model.decode(features, batch.present).joints
    state = torch.get_rng_state()
    fit_trust(model, [batch], per_sample, 5, 0.05, 0.0, alone)
    assert model.training and model.fusion.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, weights[name]) and value.grad is None for name, value in model.named_parameters())
    assert torch.equal(model.decode(features, batch.present).joints, in_training)
    assert not model.fusion.offset.requires_grad and not model.fusion.gate.requires_grad
    assert "fusion.offset" in model.state_dict()


@pytest.mark.parametrize("nothing", ["steps", "batches"])
def test_without_steps_or_samples_it_stays(flattered, nothing):
    model, batch = flattered
    fit_trust(model, [] if nothing == "batches" else [batch], per_sample, int(nothing == "batches"), 1.0, 0.0, alone)
    assert not model.fusion.offset.any() and (model.fusion.gate == 1).all()


def test_the_strategy_looks_at_validation_people_only(flattered):
    model, batch = flattered
    strategy = EverySubset(EverySubsetSettings(trust_steps=3), model.modalities)
    strategy.setup(model, Setup(loss=per_sample))
    asked = []

    def validation():
        asked.append("validation")
        return [batch]

    def training():
        raise AssertionError("the training split was read")

    strategy.before_validation(model, Probe(epoch=0, batches=training, validation=validation, loss=per_sample))
    assert asked == ["validation"]
    assert model.fusion.offset.any()
