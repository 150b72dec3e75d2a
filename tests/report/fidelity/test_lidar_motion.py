"""LiDAR and motion statistics recover what was put into made-up data."""

from __future__ import annotations

import numpy as np
import pytest

from equipose.report.fidelity.lidar_sweep import (
    Grid,
    drop_out,
    expected_returns,
    lost_by_signal,
    patch_noise,
    replayed_noise,
)
from equipose.report.fidelity.motion_statistics import bone_ratio, limb_bones, motion_of, period_of
from equipose.simulate.lidar_returns import PERFECT, Receiver

RNG_SEED = 5


def wall(noise, lost=0.0, sweeps=3):
    """A plane 4 m ahead seen by 12 rings."""
    rng = np.random.default_rng(RNG_SEED)
    azimuth = np.radians(np.arange(-30, 30, 0.35))
    elevation = np.radians(np.linspace(-10, 10, 12))
    distance = 4.0 / (np.cos(elevation)[:, None] * np.cos(azimuth))
    distance = distance + rng.normal(0, noise, (sweeps, *distance.shape))
    distance[rng.random(distance.shape) < lost] = np.nan
    return Grid(distance, np.degrees(elevation), 0.35, np.isfinite(distance))


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.03])
def test_noise_on_a_wall_is_range_noise_alone(noise):
    found = patch_noise(wall(noise))
    # The smoothest quarter of windows of nine degrees of freedom lies a quarter to a third below the true value.
    assert 0.6 * noise <= np.median(found) <= 0.85 * noise + 1e-4


def test_lost_returns_are_counted_between_neighbours_of_one_surface():
    lost, expected = drop_out([wall(0.0, lost=0.05, sweeps=20)], 0.0, 10.0)
    assert lost / expected == pytest.approx(0.05, abs=0.005)
    assert drop_out([wall(0.0)], 0.0, 10.0)[0] == 0
    assert drop_out([wall(0.0)], 20.0, 30.0) == (0, 0)


def test_the_simulated_receiver_replays_noise_and_loss_before_given_surfaces():
    dim = wall(0.0)
    grid = Grid(dim.distance, dim.rings, dim.azimuth_step, dim.complete, np.full(dim.distance.shape, 0.16))
    constant = Receiver(noise=0.02, noise_power=0.0)
    assert 0.6 * 0.02 <= np.median(replayed_noise([grid], constant)) <= 0.85 * 0.02
    assert np.median(replayed_noise([grid], PERFECT)) < 1e-6
    returns = expected_returns([grid], 0.0, 10.0)
    assert returns.signal.max() == pytest.approx(0.16 / 4.0**2, rel=0.01) and not returns.lost.any()
    share = lost_by_signal(returns, np.full(len(returns.signal), 0.03))
    assert np.nanmean(share) == pytest.approx(3.0) and np.isnan(share[0])


def test_speed_is_relative_to_the_pelvis_and_bones_are_measured():
    rng = np.random.default_rng(RNG_SEED)
    rest = rng.normal(size=(17, 3))
    time = np.arange(20.0)[:, None, None] / 10
    clip = rest + time * np.array([1.0, 0.0, 0.0])  # everybody drifts at 1 m/s
    clip[:, 16] = clip[:, 0] + np.array([0.0, 0.3, 0.0]) + time[:, 0] * np.array([0.0, 0.0, 2.0])
    found = motion_of([clip])
    assert found.speed.max() == pytest.approx(2.0) and np.median(found.speed) == pytest.approx(0.0, abs=1e-9)
    assert found.wrists.mean() == pytest.approx(1.0)  # one of the two
    assert found.acceleration.max() == pytest.approx(0.0, abs=1e-6)
    assert found.stretch > 0.1  # the wrist leaves the elbow
    assert motion_of([np.tile(rest, (5, 1, 1))]).stretch == pytest.approx(0.0, abs=1e-12)


def test_bone_ratios_average_both_sides():
    bones = np.ones(16)
    bones[[1, 4]] = 1.0, 3.0  # right and left thigh
    assert bone_ratio(bones, "thigh / shin") == pytest.approx(2.0)
    assert bone_ratio(bones, "upper arm / forearm") == pytest.approx(1.0)


def test_the_period_is_that_of_the_movement():
    time = np.arange(200.0)
    clip = np.random.default_rng(RNG_SEED).normal(size=(17, 3)) + np.zeros((200, 17, 3))
    clip[:, 16, 1] += np.sin(2 * np.pi * time / 23)
    assert period_of(clip) == pytest.approx(23, abs=1)
    assert period_of(clip[:6]) is None
    assert len(limb_bones()) == 8 and len(limb_bones(("knee", "ankle"))) == 4


def test_smoothing_takes_jitter_out_and_leaves_slow_motion():
    rng = np.random.default_rng(RNG_SEED)
    slow = np.zeros((200, 17, 3))
    slow[:, 16, 1] = np.sin(2 * np.pi * np.arange(200) / 40)
    noisy = slow + rng.normal(0, 0.005, slow.shape)
    assert motion_of([noisy], smooth=True).acceleration.mean() < 0.4 * motion_of([noisy]).acceleration.mean()
    assert motion_of([slow], smooth=True).wrists.mean() == pytest.approx(motion_of([slow]).wrists.mean(), rel=0.03)
    assert motion_of([slow]).abruptness == pytest.approx(2 * np.pi / 4, rel=0.05)
