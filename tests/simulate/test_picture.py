from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np

from equipose.simulate.picture import Light, appearance, picture_files
from equipose.simulate.rendering import View, body_depth

QUIET = Light(noise=0.0)


def pixels(data):
    """Half-size image of a file whose rows are filtered by sub and up in turn."""
    size = int.from_bytes(data[33:37], "big")
    lines = np.frombuffer(zlib.decompress(data[41 : 41 + size]), np.uint8).reshape(480, -1)
    assert set(lines[::2, 0]) == {1} and set(lines[1::2, 0]) == {2} and not lines[1::2, 1:].any()
    return np.cumsum(lines[::2, 1:].reshape(240, 640, 3), axis=1, dtype=np.uint8)[:, ::2]


def test_the_person_is_seen_before_the_room(person, room, generator):
    joints, girth = person
    look = (np.tile([0.9, 0.0, 0.0], (18, 1)), np.array([0.9, 0.0, 0.0]))
    (data,) = picture_files(joints[:1], room, generator, girth, look, QUIET)
    image = pixels(data).reshape(-1, 3)
    _, _, ray = body_depth(joints[0], girth, View(), View().rays())
    red = (image[:, 0] > 40) & (image[:, 1:] == 0).all(-1)
    assert np.array_equal(np.flatnonzero(red), ray)
    assert image[ray, 0].std() > 5  # shaded


def test_dim_rooms_give_dark_pictures(person, room):
    joints, girth = person
    look = appearance(np.random.default_rng(1))
    bright, dim = (
        pixels(picture_files(joints[:1], replace(room, dimness=d), np.random.default_rng(0), girth, look, QUIET)[0])
        for d in (1.0, 2.0)
    )
    assert abs(dim.mean() / bright.mean() - 0.5) < 0.02


def test_people_look_different_and_like_themselves():
    first, again, other = (appearance(np.random.default_rng(seed))[0] for seed in (0, 0, 1))
    assert np.array_equal(first, again) and np.abs(first - other).max() > 0.05
    assert first.shape == (18, 3) and first.min() >= 0 and first.max() <= 1


def test_equal_generators_give_equal_files(person, room):
    joints, girth = person
    one, two = (picture_files(joints[:2], room, np.random.default_rng(3), girth) for _ in range(2))
    assert one == two and one[0] != one[1]
