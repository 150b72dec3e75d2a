from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from scipy.special import fresnel

from equipose.simulate import wifi, wifi_band, wifi_channel, wifi_paths, wifi_shadow
from equipose.simulate.body import RADII, capsule_ends, make_body
from equipose.simulate.geometry import SPEED_OF_LIGHT
from equipose.simulate.motion import perform
from equipose.simulate.presets import environment_of
from equipose.simulate.room import make_room

FREQUENCIES = wifi_band.CARRIER_HZ + wifi_band.SPACING_HZ * wifi_band.TONES


def far_away(count):
    return np.full((count, 17, 3), 2e4, np.float32) + np.random.default_rng(0).normal(0, 1, (17, 3)).astype(np.float32)


def bare(room):
    return replace(room, reflection=np.zeros(6), scatterer_strength=np.zeros(18))


def test_line_of_sight_alone_equals_the_closed_form(room):
    field = wifi_channel.channel(far_away(2), bare(room))
    assert field.shape == (2, 10, 3, 114)
    distance = np.linalg.norm(room.wifi_receivers - room.wifi_transmitter, axis=-1)
    pattern = wifi_paths.dipole(room.wifi_receivers - room.wifi_transmitter) ** 2
    expected = (pattern * wifi_band.WAVELENGTH / (4 * np.pi * distance))[:, None] * np.exp(
        -2j * np.pi * FREQUENCIES * distance[:, None] / SPEED_OF_LIGHT
    )
    assert np.abs(field - expected).max() < 2e-4 * np.abs(expected).max()


def test_wall_bounce_has_the_length_of_the_image_path(room):
    one_wall = replace(bare(room), reflection=np.array([0, 0, 0, 0, 0, -0.5]))
    field = wifi_paths.empty_channel(one_wall) - wifi_paths.empty_channel(bare(room))
    image = room.wifi_receivers.copy()
    image[:, 2] = 2 * room.high[2] - image[:, 2]
    distance = np.linalg.norm(image - room.wifi_transmitter, axis=-1)
    size = 0.5 * wifi_band.WAVELENGTH / (4 * np.pi * distance) * wifi_paths.dipole(image - room.wifi_transmitter) ** 2
    assert np.allclose(np.abs(field), size[:, None], rtol=1e-4)
    slope = np.unwrap(np.angle(field), axis=1)
    delay = (slope[:, 0] - slope[:, -1]) / (2 * np.pi * (FREQUENCIES[-1] - FREQUENCIES[0]))
    assert np.allclose(delay * SPEED_OF_LIGHT, distance, rtol=1e-3)


def test_bounces_are_mirror_reflections_on_the_walls(room):
    images = wifi_paths._IMAGES
    assert [sum(sum(map(abs, n)) == count for n in images) for count in (1, 2, 3)] == [6, 18, 38]
    receiver = room.wifi_receivers[0]
    for n in images:
        points = np.stack(wifi_paths._bounces(room, n, receiver))
        legs = np.diff(points, axis=0)
        length = np.linalg.norm(legs, axis=1)
        assert length.sum() == pytest.approx(np.linalg.norm(wifi_paths._image(room, n, receiver) - points[0]))
        assert (points > room.low - 1e-9).all() and (points < room.high + 1e-9).all()
        way = legs / length[:, None]
        factor = 1.0
        for before, after, point in zip(way[:-1], way[1:], points[1:-1], strict=True):
            (axis,) = np.flatnonzero(np.abs(after - before) > 1e-9)  # only the wall's normal component turns
            assert after[axis] == pytest.approx(-before[axis])
            at_low = abs(point[axis] - room.low[axis]) < 1e-9
            assert at_low or abs(point[axis] - room.high[axis]) < 1e-9
            factor *= room.reflection[2 * axis + (not at_low)]
        assert wifi_paths._reflection(room, n) == pytest.approx(factor)


def test_dipole_has_the_known_beamwidth_and_is_blind_upwards():
    def towards(degrees):
        return wifi_paths.dipole(np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees)), 0.0]))

    assert towards(0.0) == 1.0 and towards(90.0) < 1e-3
    assert towards(39.0) ** 2 == pytest.approx(0.5, abs=0.01)  # half power over 78 degrees


def test_sum_over_tones_equals_the_direct_sum(generator):
    path = generator.uniform(2, 8, (4, 3, 9)).astype(np.float32)
    strength = generator.random((4, 3, 9)).astype(np.float32)
    phase = -2j * np.pi * FREQUENCIES[:, None] * path[..., None, :].astype(float) / SPEED_OF_LIGHT
    direct = (strength[..., None, :] * np.exp(phase)).sum(-1)
    assert np.abs(wifi_band.sum_over_tones(strength, path) - direct).max() < 1e-4


def test_fresnel_integral_against_scipy():
    x = np.linspace(-8, 8, 2001)
    sine, cosine = fresnel(x)
    assert np.abs(wifi_shadow.fresnel(x) - (cosine + 1j * sine)).max() < 2.5e-3


def strip(offset, radius, length=400.0, place=0.5):
    """Transmission of a 4 m leg along x past one long upright limb."""
    middle = np.array([4 * place, 0.0, offset])
    half = np.array([0.0, length / 2, 0.0])
    through = wifi_shadow.transmission(
        np.zeros((1, 3)),
        np.array([[4.0, 0, 0]]),
        (middle - half)[None, None],
        (middle + half)[None, None],
        np.array([radius]),
    )
    return complex(through[0, 0])


@pytest.mark.parametrize(("offset", "radius"), [(0.0, 0.05), (0.0, 0.2), (0.1, 0.13), (-0.4, 0.13), (3.0, 0.1)])
def test_shadow_of_a_long_limb_equals_the_kirchhoff_integral(offset, radius):
    scale = np.sqrt(2 * 4 / (wifi_band.WAVELENGTH * 2 * 2))
    s1, c1 = fresnel((offset - radius) * scale)
    s2, c2 = fresnel((offset + radius) * scale)
    expected = 1 - (1 - 1j) / 2 * ((c2 - c1) + 1j * (s2 - s1))
    assert abs(strip(offset, radius) - expected) < 6e-3


def test_half_plane_takes_six_decibels():
    # A strip whose one edge is on the line and whose other edge is eight Fresnel zones away.
    assert abs(strip(1.0, 1.0)) == pytest.approx(0.5, abs=0.03)


def test_limbs_beyond_the_ends_do_not_block():
    assert strip(0.0, 0.1, length=0.5, place=1.5) == pytest.approx(1.0)
    assert strip(0.0, 0.1, length=0.5, place=-0.5) == pytest.approx(1.0)


def test_the_torso_screens_like_any_limb(generator):
    point, antenna = generator.normal(0, 1, (4, 5, 3)), np.array([3.0, 0.2, 0.5])
    start, end = generator.normal(1, 0.5, (4, 2, 3)), generator.normal(1, 0.5, (4, 2, 3))
    radius = np.array([0.1, 0.13])
    found = wifi_shadow.screened(point, antenna, start, end, radius)
    for time in range(4):
        legs = point[time], np.repeat(antenna[None], 5, axis=0)
        expected = wifi_shadow.transmission(*legs, start[time : time + 1], end[time : time + 1], radius)
        assert np.abs(found[time] - expected[0]).max() < 1e-4


def test_the_torso_hides_an_arm_from_the_far_antenna(room):
    """An arm held out towards either antenna: the antenna behind the torso hears less of it than the near one."""
    joints = perform(make_body(0, 4), 13, 1, 0, room.spot, room.camera_height)
    start, end = (ends[:, wifi_channel._LIMBS] for ends in capsule_ends(joints))
    torso = wifi_channel._TORSO
    middle = 0.5 * (start + end)[:, torso].mean(axis=1)
    antenna = room.wifi_transmitter
    away = middle - antenna
    away /= np.linalg.norm(away)
    arms = np.stack([middle - 0.3 * away, middle + 0.3 * away], axis=1)
    radius = RADII[wifi_channel._LIMBS][torso]
    near, far = np.abs(wifi_shadow.screened(arms, antenna, start[:, torso], end[:, torso], radius))[0]
    assert near == pytest.approx(1.0, abs=0.05) and far < 0.6


def test_far_paths_of_several_bounces_may_be_left_out_of_the_shadows(room, monkeypatch):
    joints = perform(make_body(0, 4), 12, 4, 0, room.spot, room.camera_height)
    near = wifi_channel.channel(joints, room)
    monkeypatch.setattr(wifi_channel, "_MARGIN", 100.0)
    full = wifi_channel.channel(joints, room)
    assert 0 < np.linalg.norm(near - full) < 0.05 * np.linalg.norm(full)


@pytest.mark.parametrize("environment", [1, 2, 3, 4])
def test_no_path_has_a_leg_too_short_for_its_shadow(environment):
    for seed in range(20):
        paths = wifi_paths.static_paths(make_room(seed, environment))
        assert np.linalg.norm(paths.leg_end - paths.leg_start, axis=-1).min() > 0.04
        assert np.isfinite(paths.response).all() and paths.legs.max() == len(paths.leg_start)


@pytest.mark.parametrize("environment", [1, 2, 3, 4])
def test_a_standing_person_shadows_the_crossing_link(environment):
    room = make_room(0, environment)
    joints = perform(make_body(0, 4), 13, 20, 0, room.spot, room.camera_height)
    start, end = capsule_ends(joints)
    tx = np.repeat(room.wifi_transmitter[None], 3, axis=0)
    through = np.abs(wifi_shadow.transmission(tx, room.wifi_receivers, start, end, RADII))
    assert through.mean() < 0.5


def test_static_channel_is_the_same_for_all_subjects_of_a_room(generator):
    rooms = [make_room(0, environment_of(subject)) for subject in (1, 6, 10)]
    channels = [wifi_paths.empty_channel(room) for room in rooms]
    assert all(np.array_equal(channels[0], c) for c in channels)
    assert not np.allclose(channels[0], wifi_paths.empty_channel(make_room(0, environment_of(11))))


def test_an_empty_room_does_not_tell_who_is_missing(room):
    nobody = far_away(2)
    thin, thick = wifi_channel.channel(nobody, room, 0.8), wifi_channel.channel(nobody + np.float32(5.0), room, 1.2)
    # Nothing is left of a body 20 km away: its echo lies 100 dB below the room's.
    assert np.abs(thin - thick).max() < 1e-5 * np.abs(thin).max()


def test_a_moving_body_turns_the_phase_at_the_doppler_rate(room):
    joints = far_away(4) * 0
    base = np.random.default_rng(0).normal(0, 0.02, (17, 3)).astype(np.float32)
    centre = np.array([room.spot[0], 0.0, room.spot[1] + 6.0], np.float32)
    velocity = np.array([0.0, 0.0, 0.4], np.float32)
    joints = base + centre + velocity * (np.arange(4, dtype=np.float32) / 10)[:, None, None]
    echo = wifi_channel.channel(joints, bare(room)) - wifi_channel.channel(far_away(4), bare(room))
    series = echo[:, :, 1, 57].reshape(-1).astype(complex)
    rate = np.angle((series[6:-5] * np.conj(series[5:-6])).sum()) / (2 * np.pi * 0.01)
    middle = joints.mean(axis=(0, 1)).astype(float)
    towards = sum(
        (middle - end) / np.linalg.norm(middle - end) for end in (room.wifi_transmitter, room.wifi_receivers[1])
    )
    assert rate == pytest.approx(-(towards @ velocity) / wifi_band.WAVELENGTH, rel=0.1)


def test_files_hold_ten_bit_integers(person, room, generator):
    joints, girth = person
    amplitude, phase = wifi.observe(joints, room, generator, girth)
    assert amplitude.shape == phase.shape == (12, 3, 114, 10)
    assert amplitude.dtype == phase.dtype == np.float64
    value = 10 ** (amplitude / 20) * np.exp(1j * phase)
    for part in (value.real, value.imag):
        assert np.abs(part - np.rint(part)).max() < 1e-9
        assert np.abs(np.rint(part)).max() <= 512
    assert np.abs(phase).max() <= np.pi
    finite = amplitude[np.isfinite(amplitude)]
    assert 35 < finite.mean() < 48
    assert finite.max() <= 57.196


def test_zero_becomes_minus_infinity():
    i, q = np.array([[0, 3]], np.int16), np.array([[0, -4]], np.int16)
    amplitude, phase = wifi.to_files(i, q)
    assert amplitude[0, 0] == -np.inf and phase[0, 0] == 0.0
    assert amplitude[0, 1] == pytest.approx(20 * np.log10(5))


def test_receivers_share_clock_errors(person, room, generator):
    joints, girth = person
    field = wifi_channel.channel(joints, room, girth)
    quiet = wifi.Receiver(wifi.GainControl(error_db=(0.0, 0.0, 0.0)), snr_db=90.0, phase_jitter=0.0)
    i, q = wifi.receive(field, room, generator, quiet)
    seen = (i + 1j * q.astype(float)).transpose(0, 3, 1, 2)
    turn = np.angle(seen * np.conj(field))
    strong = np.abs(seen).min(axis=2) > 50  # not coarse
    difference = np.angle(np.exp(1j * (turn[:, :, 0] - turn[:, :, 1])))[strong]
    assert strong.mean() > 0.3 and np.abs(difference).max() < 0.03  # common phase and slope cancel between antennas
    assert turn[:, :, 0, 50].std() > 1.0  # and are random by themselves


def test_drift_moves_the_furniture_and_nothing_else(person, room):
    joints, girth = person
    moved = wifi_channel.room_drift(room, np.random.default_rng(0), 0.004)
    others = [f.name for f in fields(room) if f.name != "scatterers"]
    assert all(np.array_equal(getattr(moved, name), getattr(room, name)) for name in others)
    step = moved.scatterers - room.scatterers
    assert 0.002 < step.std() < 0.006
    plain, same = (wifi.observe(joints[:2], room, np.random.default_rng(3), girth, **k) for k in ({}, {"drift": 0.0}))
    assert np.array_equal(plain[0], same[0])
    assert not np.array_equal(plain[0], wifi.observe(joints[:2], room, np.random.default_rng(3), girth, drift=0.004)[0])
