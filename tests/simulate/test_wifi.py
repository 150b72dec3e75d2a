from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import fresnel

from equipose.simulate import wifi, wifi_channel
from equipose.simulate.body import RADII, capsule_ends, make_body
from equipose.simulate.geometry import SPEED_OF_LIGHT
from equipose.simulate.motion import perform
from equipose.simulate.presets import environment_of
from equipose.simulate.room import make_room

FREQUENCIES = wifi_channel.CARRIER_HZ + wifi_channel.SPACING_HZ * wifi_channel.TONES


def far_away(count):
    return np.full((count, 17, 3), 2e4, np.float32) + np.random.default_rng(0).normal(0, 1, (17, 3)).astype(np.float32)


def bare(room):
    return replace(room, reflection=np.zeros(6), scatterer_strength=np.zeros(18))


def test_line_of_sight_alone_equals_the_closed_form(room):
    field = wifi_channel.channel(far_away(2), bare(room))
    assert field.shape == (2, 10, 3, 114)
    distance = np.linalg.norm(room.wifi_receivers - room.wifi_transmitter, axis=-1)
    expected = (wifi_channel.WAVELENGTH / (4 * np.pi * distance))[:, None] * np.exp(
        -2j * np.pi * FREQUENCIES * distance[:, None] / SPEED_OF_LIGHT
    )
    assert np.abs(field - expected).max() < 2e-4 * np.abs(expected).max()


def test_wall_bounce_has_the_length_of_the_image_path(room):
    one_wall = replace(bare(room), reflection=np.array([0, 0, 0, 0, 0, -0.5]))
    field = wifi_channel.empty_channel(one_wall) - wifi_channel.empty_channel(bare(room))
    image = room.wifi_receivers.copy()
    image[:, 2] = 2 * room.high[2] - image[:, 2]
    distance = np.linalg.norm(image - room.wifi_transmitter, axis=-1)
    assert np.allclose(np.abs(field), 0.5 * wifi_channel.WAVELENGTH / (4 * np.pi * distance)[:, None], rtol=1e-4)
    slope = np.unwrap(np.angle(field), axis=1)
    delay = (slope[:, 0] - slope[:, -1]) / (2 * np.pi * (FREQUENCIES[-1] - FREQUENCIES[0]))
    assert np.allclose(delay * SPEED_OF_LIGHT, distance, rtol=1e-3)


def test_sum_over_tones_equals_the_direct_sum(generator):
    path = generator.uniform(2, 8, (4, 3, 9)).astype(np.float32)
    strength = generator.random((4, 3, 9)).astype(np.float32)
    phase = -2j * np.pi * FREQUENCIES[:, None] * path[..., None, :].astype(float) / SPEED_OF_LIGHT
    direct = (strength[..., None, :] * np.exp(phase)).sum(-1)
    assert np.abs(wifi_channel._sum_over_tones(strength, path) - direct).max() < 1e-4


def test_fresnel_integral_against_scipy():
    x = np.linspace(-8, 8, 2001)
    sine, cosine = fresnel(x)
    assert np.abs(wifi_channel._fresnel(x) - (cosine + 1j * sine)).max() < 2.5e-3


def strip(offset, radius, length=400.0, place=0.5):
    """Transmission of a 4 m leg along x past one long upright limb."""
    middle = np.array([4 * place, 0.0, offset])
    half = np.array([0.0, length / 2, 0.0])
    through = wifi_channel.transmission(
        np.zeros((1, 3)),
        np.array([[4.0, 0, 0]]),
        (middle - half)[None, None],
        (middle + half)[None, None],
        np.array([radius]),
    )
    return complex(through[0, 0])


@pytest.mark.parametrize(("offset", "radius"), [(0.0, 0.05), (0.0, 0.2), (0.1, 0.13), (-0.4, 0.13), (3.0, 0.1)])
def test_shadow_of_a_long_limb_equals_the_kirchhoff_integral(offset, radius):
    scale = np.sqrt(2 * 4 / (wifi_channel.WAVELENGTH * 2 * 2))
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


@pytest.mark.parametrize("environment", [1, 2, 3, 4])
def test_a_standing_person_shadows_the_crossing_link(environment):
    room = make_room(0, environment)
    joints = perform(make_body(0, 4), 13, 20, 0, room.spot, room.camera_height)
    start, end = capsule_ends(joints)
    tx = np.repeat(room.wifi_transmitter[None], 3, axis=0)
    through = np.abs(wifi_channel.transmission(tx, room.wifi_receivers, start, end, RADII))
    assert through.mean() < 0.5


def test_static_channel_is_the_same_for_all_subjects_of_a_room(generator):
    rooms = [make_room(0, environment_of(subject)) for subject in (1, 6, 10)]
    channels = [wifi_channel.empty_channel(room) for room in rooms]
    assert all(np.array_equal(channels[0], c) for c in channels)
    assert not np.allclose(channels[0], wifi_channel.empty_channel(make_room(0, environment_of(11))))


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
    assert rate == pytest.approx(-(towards @ velocity) / wifi_channel.WAVELENGTH, rel=0.1)


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
    quiet = wifi.Receiver(noise_db=-60.0, phase_jitter=0.0, gain_steps_db=(0.0, 0.0, 0.0), session_db=0.0)
    i, q = wifi.receive(field, room, generator, quiet)
    seen = (i + 1j * q.astype(float)).transpose(0, 3, 1, 2)
    turn = np.angle(seen * np.conj(field))
    size = np.abs(seen)
    strong = (size.min(axis=2) > 80) & (size.max(axis=2) < 500)  # neither coarse nor clipped
    difference = np.angle(np.exp(1j * (turn[:, :, 0] - turn[:, :, 1])))[strong]
    assert np.abs(difference).max() < 0.03  # common phase and slope cancel between antennas
    assert turn[:, :, 0, 50].std() > 1.0  # and are random by themselves
