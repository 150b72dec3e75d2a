"""Gain control: one level whatever comes in, with errors as real receivers show them."""

from __future__ import annotations

import numpy as np
import pytest

from equipose.simulate import wifi, wifi_channel
from equipose.simulate.body import make_body
from equipose.simulate.motion import perform
from equipose.simulate.room import make_room
from equipose.simulate.wifi_gain import GainControl, set_gain

PACKETS = 40_000


def left_over(generator, level=0.0, **settings):
    """What remains of the level after gain control, around each chain's target, and the phase's turn."""
    control = GainControl(**settings)
    received = np.broadcast_to(level, (PACKETS, 3))
    gain, turn = set_gain(received, control, generator)
    return received + gain - control.target_db - control.chain_db, turn


def test_errors_have_the_stated_size_and_lean_to_low_levels(generator):
    error, _ = left_over(generator)
    size = GainControl().error_db
    assert np.allclose(error.std(axis=0), np.hypot(size, 0.5 / np.sqrt(12)), rtol=0.03)
    assert np.abs(error.mean(axis=0)).max() < 0.05
    skewness = (error**3).mean(axis=0) / error.std(axis=0) ** 3
    assert skewness[0] == pytest.approx(-2 * GainControl().tail ** 3, abs=0.2)
    step = error[1:] * error[:-1]
    assert np.abs(step.mean(axis=0) / error.var(axis=0)).max() < 0.03  # each packet anew
    assert abs(np.corrcoef(error.T)[0, 1]) < 0.03  # each chain by itself


def test_slow_changes_of_level_are_taken_out(generator):
    shadow = -10 - 8 * np.sin(np.linspace(0, 60, PACKETS))[:, None]
    error, _ = left_over(generator, shadow)
    assert np.abs(np.corrcoef(np.c_[shadow, error].T)[0, 1:]).max() < 0.02


def test_gains_are_multiples_of_the_step(generator):
    gain, _ = set_gain(generator.normal(0, 5, (100, 3)), GainControl(step_db=0.5), generator)
    assert np.array_equal(2 * gain, np.rint(2 * gain))


def test_the_phase_turns_with_gains_far_below_the_usual(generator):
    error, turn = left_over(generator, error_db=(2.9, 2.9, 2.9), step_db=0.0)
    assert 0.03 < (turn != 0).mean() < 0.08  # as in the real capture, where the error is that large
    assert error[turn != 0].max() < -4.9 and error[turn == 0].min() > -5.1
    assert (left_over(generator)[1] != 0).mean() < 0.015  # the narrower errors of MM-Fi


@pytest.mark.parametrize("factor", [1e-4, 1.0, 1e3])
def test_files_do_not_depend_on_the_strength_of_the_link(person, room, factor):
    field = wifi_channel.channel(person[0][:2], room)
    reference, scaled = (
        np.stack(wifi.receive(np.complex64(f) * field, room, np.random.default_rng(1))) for f in (1.0, factor)
    )
    assert np.abs(reference - scaled).max() <= 1


def test_noise_follows_the_packets_level(person, room):
    field = wifi_channel.channel(person[0], room)
    exact = wifi.GainControl(error_db=(0.0, 0.0, 0.0), step_db=0.0)
    noisy, clean = (
        np.stack(wifi.receive(field, room, np.random.default_rng(2), wifi.Receiver(exact, snr_db=ratio))).astype(float)
        for ratio in (20.0, 200.0)
    )
    noise = ((noisy - clean) ** 2).sum(axis=(0, 3)).reshape(-1)
    power = (clean**2).sum(axis=(0, 3)).reshape(-1)
    assert 10 * np.log10(power / noise).mean() == pytest.approx(20.0, abs=0.5)


@pytest.mark.parametrize("environment", [1, 2, 3, 4])
def test_no_entry_reaches_the_rail(environment):
    room = make_room(0, environment)
    joints = perform(make_body(0, 10 * environment), 12, 24, 0, room.spot, room.camera_height)
    i, q = wifi.receive(wifi_channel.channel(joints, room), room, np.random.default_rng(0))
    assert max(np.abs(i).max(), np.abs(q).max()) < 500
