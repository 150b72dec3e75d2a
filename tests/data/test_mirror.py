"""Mirrored scenes: the geometry, and what stays as it is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from equipose.data.mirror import mirrored
from equipose.errors import UsageError
from equipose.modality import FOCAL_LENGTH, PRINCIPAL_POINT
from equipose.skeleton import H36M17
from equipose.types import Batch, Cloud, Dense, FrameMeta

SENSORS = ("rgb", "lidar", "depth", "wifi", "infra1")


def project(joints):
    return FOCAL_LENGTH * joints[..., :2] / joints[..., 2:] + torch.tensor(PRINCIPAL_POINT)


@pytest.fixture
def batch():
    """What ideal sensors see of six poses: pixels are projections, points lie on the joints, depth is x itself."""
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(6, 17, 3, generator=generator) * 0.3 + torch.tensor([0.2, 0.1, 3.0])
    window = target[:, None].expand(6, 3, 17, 3)
    pixels = Dense(project(window), torch.ones(6, 3, dtype=torch.bool))
    pixels.valid[0, 0] = False
    pixels.values[0, 0] = 0.0
    cloud = Cloud(torch.cat([target, torch.full((6, 17, 1), -0.1)], -1), torch.ones(6, 17, dtype=torch.bool))
    inputs = {
        "rgb": pixels,
        "lidar": cloud,
        "depth": Dense(torch.arange(8.0).expand(6, 1, 2, 8).clone(), torch.ones(6, 1, dtype=torch.bool)),
        "wifi": Dense(torch.randn(6, 1, 2, 3, 4, 2, generator=generator), torch.ones(6, 1, dtype=torch.bool)),
        "infra1": Dense(project(window), torch.ones(6, 3, dtype=torch.bool)),
    }
    index = torch.arange(6)
    return Batch(SENSORS, inputs, torch.ones(6, 5, dtype=torch.bool), target, FrameMeta(*[index] * 6))


CHOSEN = torch.tensor([True, False, True, False, True, False])


def test_a_mirrored_camera_sees_the_mirrored_person(batch):
    found = mirrored(batch, CHOSEN, H36M17.mirror)
    assert not torch.equal(found.target[0], batch.target[0])
    torch.testing.assert_close(found.inputs["rgb"].values[:, 1], project(found.target))
    nearest = torch.cdist(found.inputs["lidar"].points[..., :3], found.target).amin(-1)
    assert nearest.max() < 1e-6
    assert found.inputs["depth"].values[0, 0, 0].tolist() == list(range(7, -1, -1))


def test_the_right_hand_becomes_the_left(batch):
    found = mirrored(batch, CHOSEN, H36M17.mirror)
    right, left = H36M17.joints.index("right_wrist"), H36M17.joints.index("left_wrist")
    torch.testing.assert_close(found.target[0, left], batch.target[0, right] * torch.tensor([-1.0, 1.0, 1.0]))


def test_what_cannot_be_mirrored_is_absent_and_the_others_are_as_they_were(batch):
    found = mirrored(batch, CHOSEN, H36M17.mirror)
    assert found.present[CHOSEN].tolist() == [[True, True, True, False, False]] * 3
    assert found.present[~CHOSEN].all()
    for name in SENSORS:
        for field in vars(batch.inputs[name]):
            same = getattr(found.inputs[name], field)[~CHOSEN]
            assert torch.equal(same, getattr(batch.inputs[name], field)[~CHOSEN])
    assert torch.equal(found.target[~CHOSEN], batch.target[~CHOSEN])
    assert not found.inputs["rgb"].values[0, 0].any(), "an invalid frame stays zero"


def test_twice_is_never(batch):
    again = mirrored(mirrored(batch, CHOSEN, H36M17.mirror), CHOSEN, H36M17.mirror)
    torch.testing.assert_close(again.target, batch.target)
    torch.testing.assert_close(again.inputs["rgb"].values, batch.inputs["rgb"].values)
    assert torch.equal(again.inputs["lidar"].points, batch.inputs["lidar"].points)


def test_a_sample_that_would_lose_every_sensor_stays(batch):
    alone = replace(batch, present=torch.tensor([[False, False, False, True, False]] * 6))
    found = mirrored(alone, torch.ones(6, dtype=torch.bool), H36M17.mirror)
    assert torch.equal(found.present, alone.present) and torch.equal(found.target, alone.target)


def test_joints_of_another_skeleton_are_refused(batch):
    image = batch.inputs["rgb"]
    inputs = {**batch.inputs, "rgb": replace(image, values=image.values[:, :, :12])}
    with pytest.raises(UsageError, match=r"12 joints and the target 17.*data\.mirror=0"):
        mirrored(replace(batch, inputs=inputs), CHOSEN, H36M17.mirror)
