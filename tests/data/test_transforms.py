"""Axes by hand, crops, thinning and WiFi cleaning."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equipose.config import DataSettings
from equipose.data.transforms import clean_csi, clean_dense, cloud_channels, inside, thin, to_camera
from equipose.errors import UsageError


def f32(values):
    return np.array(values, np.float32)


def test_lidar_axes_by_hand():
    # 3 m ahead, 1 m to the left, 0.5 m up: in the camera frame that is x = -1, y = -0.5, z = 3.
    assert to_camera("lidar", f32([[3, 1, 0.5]])).tolist() == [[-1.0, -0.5, 3.0]]
    # The LiDAR sits 0.2 m above and 0.1 m in front of the camera.
    moved = to_camera("lidar", f32([[3, 1, 0.5]]), (0.0, -0.2, 0.1))
    assert np.allclose(moved, [[-1.0, -0.7, 3.1]])


def test_radar_axes_by_hand():
    # 3 m ahead, 1 m to the right, 0.5 m down.
    assert to_camera("mmwave", f32([[3, 1, 0.5, 20, -1]])).tolist() == [[1.0, 0.5, 3.0]]


@pytest.mark.parametrize("modality", ["lidar", "mmwave"])
def test_axes_are_rigid(modality):
    points = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    moved = to_camera(modality, points, (1.0, 2.0, 3.0))
    before = np.linalg.norm(points[:, None] - points, axis=2)
    assert np.allclose(np.linalg.norm(moved[:, None] - moved, axis=2), before, atol=1e-5)
    basis = to_camera(modality, np.eye(3, dtype=np.float32))
    # Forward, left, up is right-handed and so is right, down, forward; forward, right, down is right-handed, too.
    assert np.linalg.det(basis) == pytest.approx(1.0)


def test_radar_columns():
    assert cloud_channels("mmwave", DataSettings()) == (3, 4)
    assert cloud_channels("mmwave", DataSettings(radar_columns=("doppler", "snr"))) == (4, 3)
    assert cloud_channels("lidar", DataSettings()) == ()
    with pytest.raises(UsageError, match=r"\[snr,doppler\]"):
        cloud_channels("mmwave", DataSettings(radar_columns=("snr", "snr")))


def test_inside_includes_borders_and_excludes_nan():
    box = (-1.0, 1.0, -2.0, 2.0, 0.0, 3.0)
    points = f32([[0, 0, 1], [1, 2, 3], [-1, -2, 0], [1.01, 0, 1], [0, -2.1, 1], [0, 0, 3.1], [np.nan, 0, 1]])
    assert inside(points, box).tolist() == [True, True, True, False, False, False, False]
    assert not inside(f32([[0, 0, np.inf], [0, np.nan, 1]]), box).any()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=8), st.integers(1, 12), st.booleans())
def test_thin_keeps_distinct_points_of_the_right_sample(counts, size, random):
    counts = np.array(counts)
    index, mask = thin(counts, size, np.random.default_rng(0) if random else None)
    starts = np.cumsum(counts) - counts
    for i, n in enumerate(counts):
        kept = index[i, mask[i]]
        assert len(set(kept.tolist())) == len(kept) == min(n, size)
        assert ((kept >= starts[i]) & (kept < starts[i] + n)).all()
        if n <= size:
            assert kept.tolist() == list(range(starts[i], starts[i] + n))


def test_thin_without_generator_is_evenly_spaced():
    index, _ = thin(np.array([10, 9]), 4, None)
    assert index.tolist() == [[0, 2, 5, 7], [10, 12, 14, 16]]


def test_thin_at_random_is_uniform():
    generator = np.random.default_rng(0)
    hits = np.zeros(20)
    for _ in range(400):
        index, _ = thin(np.array([20]), 5, generator)
        hits[index[0]] += 1
    assert np.abs(hits / 400 - 0.25).max() < 0.08  # four standard errors


def csi(frames=1):
    rng = np.random.default_rng(0)
    values = rng.uniform(30, 50, (frames, 2, 3, 114, 10)).astype(np.float32)
    values[:, 1] = rng.uniform(-3, 3, (frames, 3, 114, 10))
    return values


def test_clean_csi_leaves_good_frames_alone():
    values = csi(3)
    cleaned, valid = clean_csi(values.copy())
    assert valid.all() and np.array_equal(cleaned, values)


def test_clean_csi_zero_tone():
    values = csi()
    values[0, 0, 1, 50, 4] = -np.inf
    values[0, 1, 1, 50, 4] = 2.0
    cleaned, valid = clean_csi(values.copy())
    assert valid.all()
    assert cleaned[0, :, 1, 50, 4].tolist() == [0.0, 0.0]
    values[0, :, 1, 50, 4] = 0.0
    assert np.array_equal(cleaned, values)  # nothing else changed


@pytest.mark.parametrize("dead, replaced_by", [((0,), (1,)), ((9,), (8,)), ((4,), (3,)), ((3, 4, 5), (2, 2, 6))])
@pytest.mark.parametrize("value", [-np.inf, np.nan])
def test_clean_csi_dead_packet_takes_the_nearest(dead, replaced_by, value):
    values = csi()
    original = values.copy()
    values[0, 0, :, :, list(dead)] = value
    cleaned, valid = clean_csi(values)
    assert valid.all()
    for packet, source in zip(dead, replaced_by, strict=True):
        assert np.array_equal(cleaned[0, :, :, :, packet], original[0, :, :, :, source])
    others = [p for p in range(10) if p not in dead]
    assert np.array_equal(cleaned[0][..., others], original[0][..., others])


def test_clean_csi_invalid_frames_become_zero_and_spare_the_others():
    values = csi(5)
    original = values.copy()
    values[0, 0] = -np.inf  # no good packet
    values[1, 0, 0, 0, 0] = np.nan  # NaN inside a good packet
    values[2, 1, 0, 0, 0] = np.nan
    values[3, 0, 0, 0, 0] = np.inf
    cleaned, valid = clean_csi(values)
    assert valid.tolist() == [False, False, False, False, True]
    assert not cleaned[:4].any()
    assert np.array_equal(cleaned[4], original[4])


def test_clean_csi_sees_infinities_that_cancel():
    values = csi()
    values[0, 0, 0, 0, 0], values[0, 0, 0, 0, 1] = np.inf, -np.inf
    _, valid = clean_csi(values)
    assert not valid.any()


def test_clean_dense():
    values = np.ones((3, 17, 2), np.float32)
    values[1, 3, 0] = np.nan
    cleaned, valid = clean_dense(values)
    assert valid.tolist() == [True, False, True]
    assert np.isfinite(cleaned).all() and not cleaned[1].any()
