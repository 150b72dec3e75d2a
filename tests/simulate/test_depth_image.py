from __future__ import annotations

import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest

from equipose.data.png import decode_gray16
from equipose.data.readers import read_depth
from equipose.simulate.body import RADII, capsule_ends
from equipose.simulate.depth_image import StereoCamera, depth_files, exact_depth, measure
from equipose.simulate.geometry import capsule_distance
from equipose.simulate.pngfile import doubled_gray16, doubled_rgb8
from equipose.simulate.rendering import View, body_depth

QUIET = StereoCamera(subpixel=0.0, step=1e-4, holes=0.0)


def doubled(image):
    return image.repeat(2, axis=0).repeat(2, axis=1)


def decode_rgb8(data):
    """Row filters none, sub and up, byte by byte, from the PNG specification."""
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    assert (depth, colour) == (8, 2)
    size = struct.unpack(">I", data[33:37])[0]
    assert data[37:41] == b"IDAT" and zlib.crc32(data[37 : 41 + size]) == struct.unpack(">I", data[41 + size :][:4])[0]
    lines = np.frombuffer(zlib.decompress(data[41 : 41 + size]), np.uint8).reshape(height, 1 + 3 * width)
    image = np.zeros((height, 3 * width), np.uint8)
    for row, line in enumerate(lines):
        for i, value in enumerate(line[1:].tolist()):
            left = int(image[row, i - 3]) if i >= 3 else 0
            up = int(image[row - 1, i]) if row else 0
            image[row, i] = (value + (0, left, up)[line[0]]) % 256
    return image.reshape(height, width, 3)


@pytest.fixture(scope="module")
def bare(room):
    return replace(room, boxes=np.zeros((0, 2, 3)))


def test_png_files_hold_the_doubled_image():
    random = np.random.default_rng(0)
    grey = random.integers(0, 65536, (6, 9), dtype=np.uint16)
    assert np.array_equal(decode_gray16(doubled_gray16(grey)), doubled(grey))
    colour = random.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    assert np.array_equal(decode_rgb8(doubled_rgb8(colour)), doubled(colour))


def test_wall_and_floor_are_where_they_are(person, bare):
    away = person[0] + np.float32([50.0, 0.0, 0.0])
    (depth,) = exact_depth(away[:1], bare)
    assert depth.shape == (240, 320)
    assert np.isclose(depth[120, 160], bare.high[2])
    row = 239
    floor = 615 * bare.camera_height / (2 * row + 0.5 - 240)
    assert floor < bare.high[2] and np.isclose(depth[row, 160], floor)


def test_body_pixels_agree_with_every_ray_against_every_capsule(person):
    joints, girth = person
    view = View()
    rays = view.rays()
    for frame in joints[[0, 6]]:
        start, end = (ends.astype(float) for ends in capsule_ends(frame))
        each = capsule_distance(np.zeros(3), rays[:, None], start, end, RADII * girth)
        nearest, which = each.min(1), each.argmin(1)
        distance, capsule, ray = body_depth(frame, girth, view, rays)
        assert np.array_equal(ray, np.flatnonzero(np.isfinite(nearest)))
        assert np.allclose(distance, nearest[ray]) and (capsule == which[ray]).mean() > 0.999
        assert len(ray) > 2000


def test_a_body_beside_behind_or_half_in_the_image(person, bare):
    joints, girth = person
    for shift in ([50.0, 0, 0], [0, 0, -9.0], [1.9, 0, 0], [0, -1.2, -0.9]):
        (depth,) = exact_depth(joints[:1] + np.float32(shift), bare, girth)
        assert np.isfinite(depth).all() and depth.min() > 0


@pytest.mark.parametrize("z", [1.5, 3.0, 6.0])
def test_error_grows_with_the_square_of_the_distance(z):
    camera = StereoCamera(holes=0.0)
    flat = np.full((240, 320), z)
    values = measure(flat, np.random.default_rng(0), camera=camera)
    expected = 1000 * z**2 * np.hypot(0.08, 1 / 32 / np.sqrt(12)) / (385 * 0.05)
    good = values[values > 0].astype(float)
    assert len(good) == flat.size
    assert abs(good.std() / expected - 1) < 0.15 and abs(np.median(good) - 1000 * z) < 12 * z
    steps = 385 * 0.05 / (np.unique(good) / 1000) * 32
    assert np.abs(steps - np.rint(steps)).max() < 32 * 385 * 0.05 / z**2 * 0.001  # rounding to millimetres


def test_the_band_left_of_an_object_has_no_depth():
    depth = np.full((240, 320), 5.0)
    depth[:, 150:200] = 2.0
    values = measure(depth, np.random.default_rng(0), camera=QUIET)
    band = 307.5 * 0.05 * (1 / 2 - 1 / 5)  # half pixels
    assert np.array_equal(np.flatnonzero(values[100] == 0), np.arange(150 - int(band), 150))
    assert set(np.unique(values)) == {0, 2000, 5000}


def test_too_near_and_too_far_is_zero():
    depth = np.full((240, 320), 3.0)
    depth[:50], depth[50:100] = 0.1, 12.0
    values = measure(depth, np.random.default_rng(0), camera=QUIET)
    assert not values[:100].any() and (values[100:] == 3000).all()


def test_files_are_depth_frames_of_mmfi(person, room, tmp_path):
    joints, girth = person
    first, _ = files = depth_files(joints[:2], room, np.random.default_rng(0), girth)
    (tmp_path / "frame001.png").write_bytes(first)
    image = read_depth(tmp_path / "frame001.png")
    assert image.shape == (480, 640) and image.dtype == np.uint16
    (exact,) = exact_depth(joints[:1], room, girth)
    good = image > 0
    assert 0.9 < good.mean() < 0.999
    assert np.median(np.abs(image[good] / 1000 - doubled(exact)[good])) < 0.1
    assert files == depth_files(joints[:2], room, np.random.default_rng(0), girth)
