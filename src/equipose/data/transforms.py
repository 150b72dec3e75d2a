"""From sensor values to what a network is given: axes, crop, thinning, cleaning. Pure numpy, no state."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from equipose.config import DataSettings
from equipose.errors import UsageError

Array = np.ndarray

# Row i of a matrix makes camera coordinate i (x right, y down, z forward) from the sensor's own coordinates.
LIDAR_TO_CAMERA = ((0.0, -1.0, 0.0), (0.0, 0.0, -1.0), (1.0, 0.0, 0.0))
"""LiDAR x forward, y left, z up."""
RADAR_TO_CAMERA = ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0))
"""Radar forward, right, down."""
TO_CAMERA = {"lidar": LIDAR_TO_CAMERA, "mmwave": RADAR_TO_CAMERA}


def to_camera(
    modality: str, points: Float[Array, "point channel"], offset: Sequence[float] = (0.0, 0.0, 0.0)
) -> Float[Array, "point 3"]:
    """Coordinates of sensor points in the camera frame.

    Args:
        modality: ``lidar`` or ``mmwave``.
        points: sensor coordinates in the first three channels, metres.
        offset: position of the sensor in the camera frame, metres.

    Returns:
        (point, 3) metres: x right, y down, z forward.
    """
    axes = TO_CAMERA[modality]
    out = np.empty((len(points), 3), points.dtype)
    for i, row in enumerate(axes):  # the matrices are signed permutations: copy columns, no matrix product
        j = next(k for k, value in enumerate(row) if value)
        if row[j] < 0:
            np.subtract(offset[i], points[:, j], out=out[:, i])
        else:
            np.add(points[:, j], offset[i], out=out[:, i])
    return out


def cloud_channels(modality: str, settings: DataSettings) -> tuple[int, ...]:
    """Source columns that follow x, y, z in a batch: none for LiDAR, SNR and Doppler for radar.

    Raises:
        UsageError: if ``radar_columns`` is not an order of snr and doppler.
    """
    if modality != "mmwave":
        return ()
    if sorted(settings.radar_columns) != ["doppler", "snr"]:
        raise UsageError(
            f"data.radar_columns is {list(settings.radar_columns)}, expected [snr,doppler] or [doppler,snr]"
        )
    return 3 + settings.radar_columns.index("snr"), 3 + settings.radar_columns.index("doppler")


def inside(xyz: Float[Array, "point 3"], box: Sequence[float]) -> Bool[Array, " point"]:
    """Which points lie in a box (x min, x max, y min, y max, z min, z max); NaN lies outside."""
    keep = (xyz[:, 0] >= box[0]) & (xyz[:, 0] <= box[1])
    for axis in (1, 2):
        keep &= xyz[:, axis] >= box[2 * axis]
        keep &= xyz[:, axis] <= box[2 * axis + 1]
    return keep


def thin(
    counts: Int[Array, " batch"], size: int, generator: np.random.Generator | None
) -> tuple[Int[Array, "batch size"], Bool[Array, "batch size"]]:
    """Which ``size`` points to keep of each sample's consecutive points.

    A sample with at most ``size`` points keeps all. Of more, a uniformly random subset without repetition is kept, or
    evenly spaced ones without a generator.

    Args:
        counts: points of each sample; sample i's points start after those of the samples before.
        size: points to keep.
        generator: randomness.

    Returns:
        index (batch, size) into all points, and mask (batch, size) of real ones; the index of padding is 0.
    """
    counts = np.asarray(counts, np.int64)
    slots = np.arange(size)
    local = np.broadcast_to(slots, (len(counts), size)).copy()
    over = np.flatnonzero(counts > size)
    if len(over):
        n = counts[over]
        if generator is None:
            local[over] = slots * n[:, None] // size
        else:
            keys = generator.random((len(over), int(n.max())), np.float32)
            keys[np.arange(keys.shape[1]) >= n[:, None]] = 2.0
            local[over] = np.argpartition(keys, size - 1, axis=1)[:, :size]
    mask = slots < counts[:, None]
    index = np.where(mask, local + (np.cumsum(counts) - counts)[:, None], 0)
    return index, mask


def clean_csi(
    values: Float[Array, "frame 2 receiver tone packet"],
) -> tuple[Float[Array, "frame 2 receiver tone packet"], Bool[Array, " frame"]]:
    """Finite WiFi frames.

    A tone with I = Q = 0 (``-inf`` dB) becomes 0 dB with phase 0. A packet in which every tone is ``-inf`` or NaN is
    replaced by the nearest good packet of its frame (the earlier one of two). A frame without a good packet, or with
    any other value that is not finite, is invalid and becomes zero.

    Args:
        values: amplitude in dB and phase in radians; changed in place where a frame needs it.

    Returns:
        the values, and which frames are valid.
    """
    valid = np.ones(len(values), bool)
    flat = values.reshape(len(values), -1)
    # A sum is finite only if all terms are (float32 dB and radians cannot overflow), and costs a third of isfinite.
    with np.errstate(invalid="ignore"):
        suspects = np.flatnonzero(~np.isfinite(flat.sum(axis=1)))
    for i in suspects:
        amplitude, phase = values[i]
        zero = amplitude == -np.inf
        dead = (zero | np.isnan(amplitude)).all(axis=(0, 1))
        good = np.flatnonzero(~dead)
        amplitude[zero] = 0.0
        phase[zero] = 0.0
        if len(good):
            nearest = good[np.argmin(abs(np.arange(len(dead))[:, None] - good), axis=1)]
            values[i] = values[i][:, :, :, nearest]
        valid[i] = len(good) > 0 and bool(np.isfinite(values[i]).all())
        if not valid[i]:
            values[i] = 0.0
    return values, valid


def clean_dense(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], Bool[Array, " frame"]]:
    """Frames with a value that is not finite become zero and invalid.

    Args:
        values: (frame, ...); changed in place.

    Returns:
        the values, and which frames are valid.
    """
    valid = np.asarray(np.isfinite(values.reshape(len(values), -1)).all(axis=1))
    values[~valid] = 0.0
    return values, valid
