"""Each sensor's statistics recover what was put into made-up data."""

from __future__ import annotations

import numpy as np
import pytest

from equipose.data.mars import MarsRecording
from equipose.report.fidelity.packets import packet_statistics
from equipose.report.fidelity.radar import doppler_step
from equipose.report.fidelity.radar_pairs import paired
from equipose.report.fidelity.radar_people import by_movement, every_frame, real_clouds, same_people
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


def test_doppler_step_ignores_speeds_that_do_not_occur():
    assert doppler_step(0.356 * np.array([-4, -2, -1, 0, 0, 1, 2, 7.0])) == pytest.approx(0.356, abs=1e-3)


def test_frames_that_mars_skips_are_empty_and_points_lie_around_the_pelvis():
    joints = np.zeros((3, 25, 3), np.float32)
    joints[..., 0], joints[..., 1], joints[..., 2] = 0.1, 0.2, 2.0  # x right, y down, z forward
    points = np.tile(np.array([[2.5, 0.4, 0.1, 20.0, 0.0]], np.float32), (4, 1))
    recording = MarsRecording(1, "test", 1, np.array([5, 6, 9]), joints, points, np.array([1, 2, 1]))
    found = real_clouds([recording])
    assert found.frames == 5 and found.empty == pytest.approx(0.4)
    np.testing.assert_allclose(found.around, np.tile([0.5, 0.3, -0.1], (4, 1)), atol=1e-6)
    np.testing.assert_allclose(found.strength, 40.0)  # a magnitude: 20 log10


def standing(frames, movement=1, subject=1, sway=0.0):
    """A Kinect skeleton, two metres ahead, that sways forward at 0.5 Hz; one point per frame."""
    rng = np.random.default_rng(RNG_SEED)
    joints = rng.normal(0, 0.1, (1, 25, 3)).repeat(len(frames), axis=0) + np.array([0.0, 0.0, 2.0])
    joints[..., 2] += sway * np.sin(np.pi * (np.array(frames) - frames[0]) / 10)[:, None]
    points = np.tile(np.array([[2.0, 0.0, 0.0, 20.0, 0.0]], np.float32), (len(frames), 1))
    counts = np.ones(len(frames), int)
    return MarsRecording(subject, "test", movement, np.array(frames), joints.astype(np.float32), points, counts)


def test_skipped_frames_are_filled_and_speed_is_that_of_the_motion():
    recording = standing([3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14], sway=0.1)
    joints, speed = every_frame(recording)
    assert joints.shape == speed.shape == (12, 17, 3)
    truth = 0.1 * np.pi / 10 * 10 * np.cos(np.pi * np.arange(12) / 10)
    assert np.abs(speed[2:-2, :, 2] - truth[2:-2, None]).max() < 0.03  # of 0.31, the filter's length
    assert np.abs(speed[..., :2]).max() < 1e-6


def test_the_simulated_radar_sees_mars_people_where_they_are_and_only_when_they_move():
    frames = list(range(10, 40))
    groups = by_movement([standing(frames, 1, sway=0.1), standing(frames, 2)])
    found = same_people(groups)
    assert set(found) == {(1, 1), (1, 2)} and all(clouds.frames == 30 for clouds in found.values())
    moving, still = found[1, 1], found[1, 2]
    assert moving.counts.mean() > 5 > 0.2 * still.counts.sum() / 30
    assert np.abs(np.median(moving.around, axis=0)).max() < 0.4
    again = same_people(groups)[1, 1]
    np.testing.assert_array_equal(again.around, moving.around)


def test_pairs_compare_equal_movements_alone():
    real = {(1, 1): 1.0, (1, 2): 10.0, (3, 1): 2.0, (3, 2): 13.0}
    row = paired("key", "name", "m", {k: v + 1.5 for k, v in real.items()}, real, "difference")
    assert row.tolerance == pytest.approx(2.0) and row.distance == pytest.approx(1.5) and row.within
    assert row.real == (5.5, 7.5) and row.parts == ("MARS subject 1", "MARS subject 3")
