"""The ensemble: every sensor answers by itself, and the prediction is the mean of the answers that are there."""

from __future__ import annotations

import pytest
import torch

from equipose.config import ModelSettings
from equipose.nn.model import build_model
from equipose.types import Batch, all_coalitions

FOUR = ("rgb", "lidar", "mmwave", "wifi")


@pytest.fixture(scope="module")
def model():
    mean_pose = torch.arange(51.0).reshape(17, 3) / 100
    return build_model(ModelSettings(width=16, fusion="ensemble"), FOUR, 17, 0, mean_pose).eval()


def answers(model, batch):
    """Each sensor's head on its own feature, without the fusion."""
    features = model.encode(batch)
    return torch.stack([model.fusion.heads[m](features[m]).reshape(-1, 17, 3) for m in FOUR])


def test_every_coalition_is_the_mean_of_its_members(model, random_batch):
    batch = random_batch(batch=4)
    own = answers(model, batch)
    for coalition in all_coalitions(4)[1:]:
        expected = model.mean_pose + own[coalition].mean(0)
        torch.testing.assert_close(model(batch, coalition.expand(4, -1)).joints, expected)


def test_samples_with_different_sensors_are_averaged_each_over_its_own(model, random_batch):
    batch = random_batch(batch=15)
    own, present = answers(model, batch), all_coalitions(4)[1:]
    batch = Batch(FOUR, batch.inputs, present, batch.target, batch.meta)
    weight = present.T[:, :, None, None].float()
    expected = model.mean_pose + (own * weight).sum(0) / weight.sum(0)
    torch.testing.assert_close(model(batch).joints, expected)


def test_without_any_sensor_it_is_the_mean_pose(model, random_batch):
    nothing = torch.zeros(3, 4, dtype=torch.bool)
    assert torch.equal(model(random_batch(), nothing).joints, model.mean_pose.expand(3, -1, -1))


def test_what_stands_in_for_a_missing_sensor_does_not_matter(model, random_batch):
    batch = random_batch()
    features = model.encode(batch)
    coalition = torch.tensor([[True, False, True, False]]).expand(3, -1)
    baseline = {m: torch.full((16,), 7.0) for m in FOUR}
    assert torch.equal(model.decode(features, coalition).joints, model.decode(features, coalition, baseline).joints)


def test_a_sensor_alone_trains_its_own_encoder_and_head_only(model, random_batch):
    batch = random_batch()
    only = torch.tensor([[False, True, False, False]]).expand(3, -1)
    model.zero_grad(set_to_none=True)
    (model(batch, only).joints - batch.target).norm(dim=-1).mean().backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    model.zero_grad(set_to_none=True)
    assert moved
    assert all(name.startswith(("encoders.lidar.", "fusion.heads.lidar.")) for name in moved)


def test_sensors_that_agree_are_not_outvoted_by_their_number(model, random_batch):
    """Duplicated answers change nothing: the mean of equal answers is that answer."""
    parts = [model.fusion.part("rgb", torch.randn(5, 16))] * 4
    torch.testing.assert_close(model.fusion.combine(parts), parts[0][:, :-1])
