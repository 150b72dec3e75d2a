"""The fingerprint trap: a room's static channel must not tell who was in it.

If it did, a network could look up where each known subject uses to stand and would seem to see people through WiFi.
"""

from __future__ import annotations

import numpy as np
import pytest

from equipose.simulate import wifi, wifi_band, wifi_channel, wifi_paths
from equipose.simulate.body import make_body
from equipose.simulate.motion import perform
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
        field = wifi_paths.empty_channel(wifi_channel.room_drift(room, generator_for(0, "drift", subject), drift))
        for action in ACTIONS:
            generator = generator_for(0, "wifi", room.environment, subject, action)
            packets = np.broadcast_to(field, (FRAMES, wifi_band.PACKETS, *field.shape))
            rows.append(features(*wifi.to_files(*wifi.receive(packets, room, generator))))
            places.append(standing_place(0, room, subject, action))
            keys.append((room.environment, subject, action))
    return np.stack(rows), np.stack(places), np.array(keys)


def watched_recordings():
    """CSI of the same recordings with their persons, by the same features, which leave out the level."""
    rows, places, keys = [], [], []
    for subject in SUBJECTS:
        room, body = make_room(0, environment_of(subject)), make_body(0, subject)
        for action in ACTIONS:
            place = standing_place(0, room, subject, action)
            joints = perform(body, action, FRAMES, 0, place, room.camera_height)
            generator = generator_for(0, "wifi", room.environment, subject, action)
            rows.append(features(*wifi.observe(joints, room, generator, body.girth)))
            places.append(place)
            keys.append((room.environment, subject, action))
    return np.stack(rows), np.stack(places), np.array(keys)


def named_by_its_neighbour(rows, keys):
    """Share of held-out recordings whose nearest recording of the same room is of the same subject."""
    test = keys[:, 2] >= 18
    distance = np.linalg.norm(rows[test][:, None] - rows[~test], axis=-1)
    distance[keys[test, 0][:, None] != keys[~test, 0]] = np.inf
    return (keys[~test][distance.argmin(axis=1), 1] == keys[test, 1]).mean()


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


def test_an_empty_room_names_nobody():
    rows, _, keys = empty_recordings(drift=0.0)
    assert named_by_its_neighbour(rows, keys) < 0.25  # ten subjects in a room: 0.1, and three standard errors
    rows, _, keys = empty_recordings(drift=0.004)
    assert named_by_its_neighbour(rows, keys) > 0.5  # the same test sees the trap


def test_the_shape_of_the_spectrum_tells_where_somebody_stands():
    """Gain control takes the level, and leaves the shape."""
    ridge, room_mean, _ = errors(*watched_recordings(), 100.0)
    assert ridge < 0.9 * room_mean


def test_four_millimetres_of_drift_would_be_noticed():
    ridge, room_mean, _ = errors(*empty_recordings(drift=0.004), 1.0)
    assert ridge < 0.9 * room_mean
