"""The fingerprint trap: a room's static channel must not tell who was in it.

If it did, a network could look up where each known subject uses to stand and would seem to see people through WiFi.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from equipose.simulate import wifi, wifi_channel
from equipose.simulate.presets import environment_of
from equipose.simulate.randomness import generator_for
from equipose.simulate.room import make_room, standing_place

SUBJECTS = tuple(range(1, 21))
ACTIONS = (2, 5, 12, 13, 18, 27)
FRAMES = 4


def features(amplitude, phase):
    """Amplitude against the antenna's mean and antenna-to-antenna phase, averaged over packets and frames."""
    level = np.where(np.isfinite(amplitude), amplitude, 0.0).mean(axis=(0, 3))
    turn = np.exp(1j * (phase - phase[:, [1, 2, 0]])).mean(axis=(0, 3))
    return np.concatenate([(level - level.mean(axis=1, keepdims=True)) / 5, turn.real, turn.imag]).ravel()


def empty_recordings(drift):
    """CSI of rooms with nobody in them, and where each recording's person would have stood.

    Args:
        drift: metres by which every subject finds the furniture moved.
    """
    rows, places, keys = [], [], []
    for subject in SUBJECTS:
        room = make_room(0, environment_of(subject))
        moved = generator_for(0, "drift", subject).normal(0, 1, room.scatterers.shape)
        field = wifi_channel.empty_channel(replace(room, scatterers=room.scatterers + drift * moved))
        for action in ACTIONS:
            generator = generator_for(0, "wifi", room.environment, subject, action)
            packets = np.broadcast_to(field, (FRAMES, wifi_channel.PACKETS, *field.shape))
            rows.append(features(*wifi.to_files(*wifi.receive(packets, room, generator))))
            places.append(standing_place(0, room, subject, action))
            keys.append((room.environment, subject, action))
    return np.stack(rows), np.stack(places), np.array(keys)


def errors(rows, places, keys, strength):
    """Held-out actions of known subjects: mean error of ridge regression, of rooms' means, of subjects' means."""
    test = keys[:, 2] >= 18
    train = ~test
    centre, mean = rows[train].mean(axis=0), places[train].mean(axis=0)
    gram = (rows[train] - centre) @ (rows[train] - centre).T
    dual = np.linalg.solve(gram + strength * np.eye(train.sum()), places[train] - mean)
    ridge = mean + (rows[test] - centre) @ (rows[train] - centre).T @ dual

    def oracle(column):
        return np.stack([places[train & (keys[:, column] == key)].mean(axis=0) for key in keys[test, column]])

    return tuple(np.linalg.norm(p - places[test], axis=-1).mean() for p in (ridge, oracle(0), oracle(1)))


@pytest.mark.parametrize("strength", [0.1, 1.0, 10.0, 100.0])
def test_an_empty_room_is_no_better_than_its_mean(strength):
    ridge, room_mean, subject_mean = errors(*empty_recordings(drift=0.0), strength)
    assert subject_mean < 0.8 * room_mean  # there is something to gain from knowing the subject
    assert ridge > 0.98 * room_mean


def test_four_millimetres_of_drift_would_be_noticed():
    ridge, room_mean, _ = errors(*empty_recordings(drift=0.004), 1.0)
    assert ridge < 0.9 * room_mean
