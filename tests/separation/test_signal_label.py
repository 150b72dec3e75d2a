"""Whether a label is a body, and whether 2D joints and points are where it is: exact in known geometry."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from equipose.data.corrupt.dataset import CorruptedDataset
from equipose.data.corrupt.plan import CorruptionPlan
from equipose.modality import FOCAL_LENGTH, PRINCIPAL_POINT
from equipose.separation.signal_label import (
    BODY_STATISTICS,
    CLOUD_STATISTICS,
    IMAGE_STATISTICS,
    LABEL,
    beside_cloud,
    beside_image,
    bone_lengths,
    collect_label_signal,
    distance_to_body,
    image_offset,
    image_offsets,
    label_statistics_of,
)
from equipose.skeleton import H36M17
from equipose.types import Cloud, Dense


def poses(size=5, joints=17, seed=0):
    """Bodies some three metres away, float32."""
    generator = torch.Generator().manual_seed(seed)
    return 0.4 * torch.randn(size, joints, 3, generator=generator) + torch.tensor([0.2, -0.1, 3.0])


def seen(pose):
    """Where a camera sees the joints, pixels."""
    pose = pose.double()
    return (pose[..., :2] / pose[..., 2:] * FOCAL_LENGTH + torch.tensor(PRINCIPAL_POINT)).float()


def window(pixels, time=5):
    """The own frame in the middle of frames that show something else."""
    values = torch.full((len(pixels), time, *pixels.shape[1:]), 77.0)
    values[:, time // 2] = pixels
    return Dense(values, torch.ones(len(pixels), time, dtype=torch.bool))


def cloud(points, seconds=0.0):
    """Points in the camera frame with a time."""
    points = torch.as_tensor(points).float()
    return Cloud(
        torch.cat([points, torch.full_like(points[..., :1], seconds)], -1),
        torch.ones(points.shape[:2], dtype=torch.bool),
    )


def test_a_projected_pose_is_where_it_is_seen():
    pose = poses()
    assert image_offset(seen(pose), pose).abs().max() < 1e-6
    assert beside_image(window(seen(pose)), pose).max() < 1e-6
    assert image_offset(seen(pose), 1.3 * pose).abs().max() < 1e-6  # further along the same rays


def test_a_pose_beside_it_is_as_many_metres_away_as_it_was_moved():
    pose = poses()
    step = torch.tensor([0.06, -0.08, 0.0])
    offset = image_offset(seen(pose), pose + step)
    torch.testing.assert_close(offset, -step[:2].double().expand_as(offset), atol=1e-6, rtol=0)
    torch.testing.assert_close(
        beside_image(window(seen(pose)), pose + step), torch.full((5, 2), 0.1).double(), atol=1e-6, rtol=0
    )
    one = pose.clone()
    one[:, 4] += 17 * step
    median, mean = beside_image(window(seen(pose)), one).T
    assert (median < 1e-6).all() and torch.allclose(mean, torch.tensor(0.1).double(), atol=1e-6)


def test_joints_that_were_not_found_do_not_count():
    pose, pixels = poses(), seen(poses())
    pixels[:, [2, 9, 16]] = 0.0
    pose[:, [2, 9, 16]] += 5.0
    assert beside_image(window(pixels), pose).max() < 1e-6
    assert image_offset(pixels, pose)[:, 9].isnan().all() and not image_offset(pixels, pose)[:, 8].isnan().any()
    assert beside_image(window(torch.zeros_like(pixels)), pose).isnan().all()


def test_frames_and_labels_that_are_not_there_give_nothing():
    pose = poses()
    frames = window(seen(pose))
    valid = frames.valid.clone()
    valid[1, 2], valid[2, 1] = False, False
    missing = pose.clone()
    missing[3] = torch.nan
    assert beside_image(replace(frames, valid=valid), missing).isnan().all(1).tolist() == [0, 1, 0, 1, 0]
    assert beside_cloud(cloud(pose), missing).isnan().all(1).tolist() == [0, 0, 0, 1, 0]
    assert bone_lengths(missing).isnan().all(1).tolist() == [0, 0, 0, 1, 0]


def test_points_on_the_joints_are_no_distance_away():
    pose = poses()
    assert beside_cloud(cloud(pose), pose).max() < 1e-6
    lone = torch.tensor([[[0.0, 0.0, 3.0]]])
    ten = lone.expand(1, 10, 3).clone()
    ten[0, :, 0] += 0.1 * torch.arange(10)  # distances 0, .1, .. .9, of which more than .6 count .6
    assert beside_cloud(cloud(ten), lone.expand(1, 17, 3))[0].tolist() == pytest.approx(
        [0.39, 0.0], abs=1e-6
    )  # .3 at most


def test_points_elsewhere_and_joints_without_points_are_told_apart():
    pose = torch.zeros(1, 17, 3)
    pose[0, :, 1] = torch.arange(17.0)
    pose[..., 2] = 30.0
    few = cloud(pose[:, :13])  # four joints have no point: 1, 2, 3 and 4 metres off, and the fifth none
    assert beside_cloud(few, pose)[0].tolist() == pytest.approx([0.0, 2.0], abs=1e-6)
    more = torch.cat([pose, pose[:, :3] + torch.tensor([0.7, 0.0, 0.0])], 1)  # three points of twenty
    away, lonely = beside_cloud(cloud(more), pose)[0].tolist()
    assert away == pytest.approx(0.6 * 3 / 20, abs=1e-6) and lonely == pytest.approx(0.0, abs=1e-6)


def test_padding_is_no_point_and_no_point_is_no_number():
    pose = poses()
    full = cloud(torch.cat([pose, pose + 9.0], 1))
    mask = full.mask.clone()
    mask[:, 17:] = False
    assert beside_cloud(replace(full, mask=mask), pose).max() < 1e-6
    mask[2] = False
    assert beside_cloud(replace(full, mask=mask), pose).isnan().all(1).tolist() == [0, 0, 1, 0, 0]
    bare = Cloud(torch.zeros(5, 0, 4), torch.zeros(5, 0, dtype=torch.bool))
    assert beside_cloud(bare, pose).isnan().all()


def test_bones_keep_their_length_when_the_body_moves_and_not_when_joints_change_places():
    pose = poses().double()
    turn, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    lengths = bone_lengths(pose)
    torch.testing.assert_close(bone_lengths(pose @ turn.T + torch.tensor([1.0, -2.0, 0.5]).double()), lengths)
    torch.testing.assert_close(bone_lengths(2 * pose), lengths + math.log(2))
    order = torch.arange(17)
    order[[3, 13]] = order[[13, 3]]
    changed = (bone_lengths(pose[:, order]) - lengths).abs() > 1e-9
    touching = [bool({3, 13} & {parent, child}) for parent, child in H36M17.bones]
    assert changed.all(0).tolist() == touching == changed.any(0).tolist()


def test_each_sensor_has_its_statistics():
    assert label_statistics_of(LABEL) == BODY_STATISTICS and len(BODY_STATISTICS) == len(H36M17.bones)
    assert label_statistics_of("infra2") == IMAGE_STATISTICS and label_statistics_of("lidar") == CLOUD_STATISTICS
    assert label_statistics_of("wifi") == label_statistics_of("mmwave") == label_statistics_of("depth") == ()
    assert distance_to_body("mmwave", cloud(poses()), poses()) is None


def test_other_skeletons_have_no_bones_here_and_other_joints_are_not_compared():
    other = poses(joints=25)
    assert bone_lengths(other).shape == (5, len(H36M17.bones)) and bone_lengths(other).isnan().all()
    assert distance_to_body("rgb", window(seen(poses())), other) is None
    assert distance_to_body("rgb", window(seen(other)), other).max() < 1e-6


def test_a_simulated_room_fits_its_labels(room):
    data, _ = room
    read = collect_label_signal(data, batch_size=64)
    assert read.modalities == (LABEL, "rgb", "lidar") and len(read) == len(data)
    assert all(values.shape[1] == len(read.tables[name]) for name, values in read.values.items())
    assert read.values["rgb"].nanmedian() < 0.03 and read.values["lidar"].nanmedian() < 0.25
    part = collect_label_signal(data, np.array([200, 7]), batch_size=1)
    for name in read.modalities:
        torch.testing.assert_close(part.values[name], read.values[name][[200, 7]], equal_nan=True)


def test_absent_sensors_and_other_kinds_have_no_offsets(room):
    data, _ = room
    gone = CorruptedDataset(data, CorruptionPlan(sensor_rate=0.3, sensors={"rgb": ("dead",)}, seed=1))
    batch = gone.batch(np.arange(len(gone)))
    absent = ~batch.present[:, 0]
    offset = image_offsets(gone, gone.modalities, batch_size=100)
    assert offset.shape == (len(gone), 3, 17, 2) and absent.any()
    assert offset[absent].isnan().all() and offset[:, 1:].isnan().all()
    assert offset[~absent, 0].norm(dim=-1).nanmedian() < 0.03
    assert collect_label_signal(gone).values["rgb"][absent].isnan().all()
