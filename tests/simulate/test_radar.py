from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from equipose.simulate.body import CAPSULES
from equipose.simulate.radar import detect
from equipose.simulate.radar_cube import cube, range_window
from equipose.simulate.radar_detection import background, detect_points
from equipose.simulate.radar_echoes import (
    SURFACE,
    Scatterers,
    body_scatterers,
    floor_ghosts,
    reflectivity,
    through_antennas,
)
from equipose.simulate.radar_instrument import ANTENNAS, MARS, Radar

RADAR = Radar()


def scatterers(distance, speed, right, up, amplitude=1.0):
    arrays = np.broadcast_arrays(*(np.atleast_1d(np.asarray(x, float)) for x in (distance, speed, right, up)))
    return Scatterers(*(a[None] for a in arrays), amplitude * np.ones((1, arrays[0].size), np.complex64))


def full_chain(echoes, radar):
    """ADC samples of every chirp and antenna, then mean removal, windows and two FFTs: the textbook order."""
    n, m = np.arange(radar.num_samples), np.arange(radar.num_chirps)
    samples = np.zeros((n.size, m.size, len(ANTENNAS)), complex)
    for d, v, right, up, a in zip(*(x[0] for x in vars(echoes).values()), strict=True):
        doppler = v / (radar.doppler_step * radar.num_chirps)
        samples += (
            (a / d**2 * np.exp(4j * np.pi * d / radar.wavelength))
            * np.exp(2j * np.pi * (d / radar.range_step) * n / radar.range_length)[:, None, None]
            * np.exp(2j * np.pi * doppler * m)[:, None]
            * np.exp(
                2j * np.pi * doppler * ANTENNAS[:, 2] / 3 - 1j * np.pi * (right * ANTENNAS[:, 0] + up * ANTENNAS[:, 1])
            )
        )
    samples -= samples.mean(axis=1, keepdims=True)

    def hann(size):
        return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)

    window = range_window(n.size)
    spectrum = np.fft.fft(samples * window[:, None, None], radar.range_length, axis=0) / window.sum()
    spectrum = np.fft.fftshift(np.fft.fft(spectrum * hann(m.size)[:, None], axis=1), axes=1) / (m.size / 2)
    return spectrum[radar.first_bin : radar.first_bin + radar.num_bins]


@pytest.mark.parametrize("radar", [RADAR, MARS])
def test_factor_transform_equals_the_full_chain(person, room, radar):
    joints, girth = person
    velocity = np.random.default_rng(1).normal(0, 0.5, joints.shape)
    glints = reflectivity(1, np.random.default_rng(0))
    body = body_scatterers(joints[:1], velocity[:1], room.radar_position, glints, girth)
    direct = full_chain(body, radar)
    fast = cube(body, radar)[0]
    assert np.abs(fast - direct).max() < 3e-5 * np.abs(direct).max()


def test_factor_transform_at_whole_bins():
    whole = scatterers(RADAR.range_step * np.array([40.0, 60.0]), [0.24, -0.48], [0.0, 0.1], [0.0, 0.1])
    direct = full_chain(whole, RADAR)
    assert np.abs(cube(whole, RADAR)[0] - direct).max() < 3e-5 * np.abs(direct).max()


@pytest.mark.parametrize(
    ("distance", "speed", "right", "up"), [(2.5, 0.72, 0.25, 0.0), (3.3, -1.2, -0.25, 0.2), (3.9, 0.24, 0.0, -0.3)]
)
def test_a_moving_scatterer_appears_in_its_place(distance, speed, right, up, generator):
    echoes = cube(scatterers(distance, speed, right, up), RADAR)
    echoes += 1e-4 * generator.standard_normal((*echoes.shape, 2)).astype(np.float32).view(np.complex64)[..., 0]
    point = detect_points(echoes, RADAR)[0][0]
    forward = distance * np.sqrt(1 - right**2 - up**2)
    assert np.abs(point[:3] - [forward, distance * right, -distance * up]).max() < 0.08
    assert point[4] == pytest.approx(speed)
    assert point[3] > 20


def test_a_static_body_vanishes(generator):
    still = cube(scatterers([2.6, 3.1], [0.0, 0.0], [0.1, -0.2], [0.0, 0.1]), RADAR)
    assert np.abs(still).max() < 1e-6


def test_floor_ghost_is_farther_and_below_and_weak():
    body = scatterers([3.0] * 4, 0.5, 0.1, 0.1)
    ghosts = floor_ghosts(body, 0.8, RADAR)
    assert ghosts.distance.shape == (1, 2)
    bounced = np.sqrt(9.0 * (1 - 0.01) + (1.6 + 0.3) ** 2)
    assert np.allclose(ghosts.distance, (3.0 + bounced) / 2)
    assert np.allclose(ghosts.up, [[0.1, -1.9 / bounced]])
    assert np.abs(ghosts.amplitude).max() < 0.1 * np.abs(through_antennas(body, RADAR).amplitude).max()


def test_the_floor_reflects_as_fresnel_says():
    # Straight down: (2 - 1) / (2 + 1) for a permittivity of 4. Brewster: the tangent of incidence is 2.
    field = SURFACE.floor_field(np.array([1.0, np.sin(np.arctan(0.5)), 0.0]))
    assert field == pytest.approx([1 / 3, 0.0, -1.0], abs=1e-12)


def test_antennas_have_the_widths_given():
    def decibels(right, up):
        return float(20 * np.log10(RADAR.gain(np.array([np.radians(right)]), np.array([np.radians(up)]))[0]))

    assert decibels(0.0, 0.0) == 0.0
    assert decibels(28.0, 0.0) == pytest.approx(-3.0) and decibels(50.0, 0.0) == pytest.approx(-6.0, abs=0.1)
    assert decibels(0.0, -14.0) == pytest.approx(-3.0) and decibels(0.0, 20.0) == pytest.approx(-6.0, abs=0.2)
    assert decibels(50.0, 50.0) == pytest.approx(RADAR.back_db)


def test_the_torso_outshines_the_limbs_unless_turned_away_and_limbs_vanish_end_on(person, room):
    joints = np.array(person[0][:1], float)
    names = [name for name, *_ in CAPSULES]

    def power(pose):
        ones = np.ones((1, 8 * len(names)), np.complex64)
        body = body_scatterers(pose, np.zeros_like(pose), room.radar_position, ones)
        return dict(zip(names, np.square(np.abs(body.amplitude)).reshape(len(names), -1).sum(axis=1), strict=True))

    def turned(angle):
        turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
        return (joints - joints[:, :1]) @ turn.T + joints[:, :1]

    across = joints[0, 4] - joints[0, 1]
    front = power(turned(np.arctan2(across[2], across[0])))
    assert front["chest"] > 3 * front["left_upper_arm"]
    assert power(turned(np.arctan2(across[2], across[0]) + np.pi / 2))["abdomen"] < 0.6 * front["abdomen"]
    pointing = joints.copy()
    elbow = pointing[0, 12]
    sight = (elbow - room.radar_position) / np.linalg.norm(elbow - room.radar_position)
    pointing[0, 13] = elbow - 0.25 * sight
    hanging = joints.copy()
    hanging[0, 13] = elbow + np.array([0.0, 0.25, 0.0])
    assert power(pointing)["left_forearm"] < 0.1 * power(hanging)["left_forearm"]


def test_the_detector_takes_the_quieter_side():
    level = np.zeros((1, RADAR.num_bins, 1), np.float32)
    level[0, 40:] = 30.0
    quiet = background(level, RADAR)
    assert quiet[0, 40, 0] == 0.0 and quiet[0, 30, 0] == 0.0
    assert quiet[0, 52, 0] == 30.0  # both sides loud
    assert np.isfinite(quiet).all()


def test_the_list_of_the_older_radar_is_cut_in_doppler_order(person, room, generator):
    joints, girth = person
    clouds = detect(joints, room, generator, girth, radar=replace(MARS, num_bins=128, max_points=20))
    full = [cloud for cloud in clouds if len(cloud) == 20]
    assert full
    for cloud in full:
        rows = np.rint(cloud[:, 4] / MARS.doppler_step) % MARS.num_chirps
        assert (np.diff(rows) >= 0).all()


def test_clouds_have_the_layout_of_mmfi(person, room, generator):
    joints, girth = person
    long = np.concatenate([joints] * 4)
    clouds = detect(long, room, generator, girth)
    assert len(clouds) == 48
    points = np.concatenate(clouds)
    assert points.dtype == np.float64 and points.shape[1] == 5
    assert max(len(c) for c in clouds) <= 64
    steps = points[:, 4] / RADAR.doppler_step
    assert np.abs(steps - np.rint(steps)).max() < 1e-9
    assert points[:, 3].min() > 8 and points[:, 3].max() < 70
    body = joints.mean(axis=(0, 1))
    assert np.abs(np.median(points[:, :3], axis=0) - [body[2], body[0], body[1]]).max() < 0.5


def test_lost_frames_are_empty(person, room, generator):
    joints, girth = person
    clouds = detect(joints, room, generator, girth, radar=replace(RADAR, frame_loss=1.0))
    assert all(cloud.shape == (0, 5) for cloud in clouds)
    silent = detect(joints, room, generator, girth, radar=replace(RADAR, frame_loss=0.0, threshold_db=200.0))
    assert all(cloud.shape == (0, 5) for cloud in silent)  # no detection anywhere: no transform of nothing
