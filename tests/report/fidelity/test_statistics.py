"""Each sensor's statistics recover what was put into made-up data."""

from __future__ import annotations

import numpy as np
import pytest

from equipose.data.mars import MarsRecording
from equipose.report.fidelity.lidar import Grid, drop_out, patch_noise
from equipose.report.fidelity.motion import bone_ratio, motion_of
from equipose.report.fidelity.packets import packet_statistics
from equipose.report.fidelity.radar import doppler_step, mars_clouds
from equipose.simulate.wifi import TONES

RNG_SEED = 5


def packets(count=400, carrier=0.2, slope=0.04, noise=0.0, gain=0.0):
    """Packets on three chains of a channel of two paths, 60 dB strong."""
    rng = np.random.default_rng(RNG_SEED)
    delay = np.array([20e-9, 90e-9])
    path = np.array([[1.0, 0.3j], [0.8, -0.4], [1.1j, 0.2]])
    channel = 1e3 * (path[:, :, None] * np.exp(-2j * np.pi * 312.5e3 * delay[:, None] * TONES)).sum(axis=1).T
    phase = np.cumsum(rng.normal(2.5, carrier, count))
    turn = np.exp(1j * (phase[:, None] + rng.normal(0, slope, count)[:, None] * TONES))
    csi = channel * turn[..., None] * 10 ** (rng.normal(0, gain, (count, 1, 3)) / 20)
    scale = np.sqrt(np.mean(np.abs(channel) ** 2) / 2) * noise
    white = rng.normal(0, 1, csi.shape) + 1j * rng.normal(0, 1, csi.shape)
    return packet_statistics(csi + scale * white, TONES, np.ones(count - 1, bool))


def test_carrier_steps_come_back_in_spite_of_large_changes_of_slope():
    found = packets(carrier=0.2, slope=0.04)
    assert np.std(found.carrier) == pytest.approx(0.2, rel=0.1)
    assert np.std(found.slope_step) == pytest.approx(0.04 * np.sqrt(2), rel=0.1)
    assert np.abs(found.chain_phase).max() < 0.05


def test_snr_is_that_of_the_added_noise():
    assert np.median(packets(noise=10 ** (-26 / 20)).snr) == pytest.approx(26.0, abs=1.0)
    assert np.median(packets().snr) > 45.0  # a smooth channel looks free of noise


def test_gain_steps_come_back():
    found = packets(gain=2.0)
    assert np.std(found.level) == pytest.approx(2.0, rel=0.1)
    assert found.gain_step.mean() == pytest.approx(2.0 * np.sqrt(2) * np.sqrt(2 / np.pi), rel=0.1)


def test_whole_numbers_zeros_and_full_scale_are_counted():
    csi = np.full((2, TONES.size, 1), 3.0 + 4.0j)
    csi[0, 0, 0], csi[0, 1, 0], csi[1, 5, 0] = 0.0, 511.0 + 2.0j, 3.25
    found = packet_statistics(csi, TONES, np.ones(1, bool))
    assert found.share("zeros") == found.share("railed") == pytest.approx(1 / csi.size)
    assert found.share("whole") == pytest.approx(1 - 1 / csi.size)


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


def test_doppler_step_ignores_speeds_that_do_not_occur():
    assert doppler_step(0.356 * np.array([-4, -2, -1, 0, 0, 1, 2, 7.0])) == pytest.approx(0.356, abs=1e-3)


def test_frames_that_mars_skips_are_empty_and_points_lie_around_the_pelvis():
    joints = np.zeros((3, 25, 3), np.float32)
    joints[..., 0], joints[..., 1], joints[..., 2] = 0.1, 0.2, 2.0  # x right, y down, z forward
    points = np.tile(np.array([[2.5, 0.4, 0.1, 20.0, 0.0]], np.float32), (4, 1))
    recording = MarsRecording(1, "test", 1, np.array([5, 6, 9]), joints, points, np.array([1, 2, 1]))
    found = mars_clouds([recording])
    assert found.frames == 5 and found.empty == pytest.approx(0.4)
    np.testing.assert_allclose(found.around, np.tile([0.5, 0.3, -0.1], (4, 1)), atol=1e-6)


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
