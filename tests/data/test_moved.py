"""Scenes turned about the camera and changed in size: the geometry, and what stays as it is."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from equipose.config import DataSettings, MoveSettings
from equipose.data.mirror import mirrored
from equipose.data.moved import draw_moves, moved
from equipose.data.scene_change import changed, draw_change
from equipose.modality import FOCAL_LENGTH, PRINCIPAL_POINT
from equipose.skeleton import H36M17
from equipose.types import Batch, Cloud, Dense, FrameMeta

SENSORS = ("rgb", "lidar", "mmwave", "depth", "wifi", "infra1")
LARGE = MoveSettings(share=1.0, turn=30.0, tilt=20.0, roll=25.0, size=0.3)


def project(joints):
    return FOCAL_LENGTH * joints[..., :2] / joints[..., 2:] + torch.tensor(PRINCIPAL_POINT)


def ideal_batch(samples=6, seed=0):
    """What ideal sensors see: pixels are projections, LiDAR points lie on the joints, radar points move away."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randn(samples, 17, 3, generator=generator) * 0.3 + torch.tensor([0.2, 0.1, 3.0])
    velocity = torch.randn(samples, 17, 3, generator=generator)
    doppler = (velocity * target).sum(-1, keepdim=True) / target.norm(dim=-1, keepdim=True)
    snr, time = torch.full_like(doppler, 12.0), torch.full_like(doppler, -0.1)
    there = torch.ones(samples, 17, dtype=torch.bool)
    pixels = Dense(project(target[:, None].expand(-1, 3, -1, -1)).clone(), torch.ones(samples, 3, dtype=torch.bool))
    pixels.valid[0, 0] = False
    pixels.values[0, 0] = 0.0
    pixels.values[1, 1, 5] = 0.0  # not found
    inputs = {
        "rgb": pixels,
        "lidar": Cloud(torch.cat([target, time], -1), there),
        "mmwave": Cloud(torch.cat([target, snr, doppler, time], -1), there),
        "depth": Dense(torch.ones(samples, 1, 2, 8), torch.ones(samples, 1, dtype=torch.bool)),
        "wifi": Dense(torch.randn(samples, 1, 2, 3, 4, 2, generator=generator), torch.ones(samples, 1).bool()),
        "infra1": pixels,
    }
    present = torch.ones(samples, len(SENSORS), dtype=torch.bool)
    return Batch(SENSORS, inputs, present, target, FrameMeta(*[torch.arange(samples)] * 6)), velocity


def moves(samples, seed=0, move=LARGE):
    return draw_moves(move, torch.rand(samples, 4, generator=torch.Generator().manual_seed(seed)))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_a_moved_scene_is_one_that_the_sensors_could_have_seen(seed):
    batch, velocity = ideal_batch(seed=seed)
    rotation, size = moves(6, seed)
    found = moved(batch, torch.ones(6, dtype=torch.bool), rotation, size)
    assert (found.target[..., 2] > 0.3).all(), "the oracle needs the person before the camera"
    torch.testing.assert_close(found.inputs["rgb"].values[:, 2], project(found.target), rtol=0, atol=2e-2)
    torch.testing.assert_close(found.inputs["lidar"].points[..., :3], found.target)
    radar = found.inputs["mmwave"].points
    torch.testing.assert_close(radar[..., :3], found.target)
    moving = size[:, None, None] * velocity @ rotation.transpose(1, 2)
    doppler = (moving * found.target).sum(-1) / found.target.norm(dim=-1)
    torch.testing.assert_close(radar[..., 4], doppler, rtol=1e-4, atol=1e-4)
    assert torch.equal(radar[..., 3], batch.inputs["mmwave"].points[..., 3])
    assert torch.equal(radar[..., 5], batch.inputs["mmwave"].points[..., 5])


def test_bones_keep_their_proportions_and_distances_change_by_the_size():
    batch, _ = ideal_batch()
    rotation, size = moves(6)
    found = moved(batch, torch.ones(6, dtype=torch.bool), rotation, size)
    before, after = (torch.cdist(each, each) for each in (batch.target, found.target))
    torch.testing.assert_close(after, before * size[:, None, None], rtol=1e-4, atol=1e-5)


def test_drawn_moves_are_rotations_within_their_limits():
    rotation, size = moves(2000, move=MoveSettings(turn=8.0, tilt=0.0, roll=0.0, size=0.1))
    eye = torch.eye(3).expand(2000, 3, 3)
    torch.testing.assert_close(rotation @ rotation.transpose(1, 2), eye, rtol=0, atol=1e-5)
    angle = torch.rad2deg(torch.atan2(rotation[:, 0, 2], rotation[:, 2, 2]))
    assert angle.abs().max() <= 8.0 + 1e-3 and angle.std() == pytest.approx(8.0 / math.sqrt(3), rel=0.1)
    floor = torch.tensor([0.0, 1.0, 0.0]).expand(2000, 3)
    torch.testing.assert_close(rotation[:, 1], floor)
    assert size.min() >= 1 / 1.1 - 1e-4 and size.max() <= 1.1 + 1e-4
    assert size.log().mean().abs() < 0.01


def test_nothing_drawn_is_nothing_done():
    batch, _ = ideal_batch()
    rotation, size = moves(6, move=MoveSettings(turn=0.0))
    found = moved(batch, torch.ones(6, dtype=torch.bool), rotation, size)
    torch.testing.assert_close(found.target, batch.target)
    torch.testing.assert_close(found.inputs["rgb"].values, batch.inputs["rgb"].values, rtol=0, atol=1e-3)


def test_what_cannot_be_moved_is_absent_and_the_others_are_as_they_were():
    batch, _ = ideal_batch()
    chosen = torch.tensor([True, True, False, True, False, False])
    found = moved(batch, chosen, *moves(6))
    assert found.present[chosen].tolist() == [[True, True, True, False, False, False]] * 3
    assert found.present[~chosen].all()
    for name in SENSORS:
        for field in vars(batch.inputs[name]):
            same = getattr(found.inputs[name], field)[~chosen]
            assert torch.equal(same, getattr(batch.inputs[name], field)[~chosen])
    assert torch.equal(found.target[~chosen], batch.target[~chosen])
    assert not found.inputs["rgb"].values[0, 0].any(), "an invalid frame stays zero"
    assert not found.inputs["rgb"].values[1, 1, 5].any(), "a joint that was not found stays so"
    assert found.inputs["rgb"].values[1, 1, 6].any()


def test_a_sample_that_would_lose_every_sensor_stays():
    batch, _ = ideal_batch()
    alone = replace(batch, present=torch.tensor([[False, False, False, True, True, False]] * 6))
    found = moved(alone, torch.ones(6, dtype=torch.bool), *moves(6))
    assert torch.equal(found.present, alone.present) and torch.equal(found.target, alone.target)


def test_one_lot_decides_who_is_mirrored_and_who_is_moved():
    """So that the larger share alone is without WiFi, and a batch is a function of its generator."""
    batch, _ = ideal_batch(400)
    wifi = SENSORS.index("wifi")

    def made(mirror, share):
        told = DataSettings(mirror=mirror, move=MoveSettings(share=share))
        change = draw_change(told, 400, H36M17.mirror, np.random.default_rng(5))
        return batch if change is None else changed(batch, change)

    both, again = made(0.25, 0.4), made(0.25, 0.4)
    assert torch.equal(both.target, again.target)
    without = ~both.present[:, wifi]
    assert float(without.float().mean()) == pytest.approx(0.4, abs=0.06)
    only_mirrored = made(0.25, 0.0)
    assert torch.equal(without | ~only_mirrored.present[:, wifi], without)
    lot = torch.from_numpy(np.random.default_rng(5).random(400))
    assert torch.equal(only_mirrored.target, mirrored(batch, lot < 0.25, H36M17.mirror).target), "as without moves"
    assert made(0.0, 0.0) is batch


def test_samples_added_after_the_change_was_drawn_stay_as_they_are():
    """Replayed samples come after the new ones."""
    batch, _ = ideal_batch(6)
    told = DataSettings(mirror=1.0, move=MoveSettings(share=1.0))
    change = draw_change(told, 4, H36M17.mirror, np.random.default_rng(0))
    found = changed(batch, change)
    assert torch.equal(found.target[4:], batch.target[4:]) and found.present[4:].all()
    assert not torch.equal(found.target[:4], batch.target[:4])
    assert not change.untouched.any()
