"""From frame rows to a Batch: windows, one gather per modality, padding and presence."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int

from equipose.config import DataSettings
from equipose.data.store import FrameStore
from equipose.data.transforms import clean_csi, clean_dense, cloud_channels, inside, thin, to_camera
from equipose.modality import MODALITIES
from equipose.types import Cloud, Dense

Array = np.ndarray


def window_rows(store: FrameStore, rows: Int[Array, " batch"], length: int) -> Int[Array, "batch time"]:
    """Rows of a window around each row, in time order.

    The sample's own frame is at index ``length // 2``. Beyond the ends of its recording the first or last frame is
    repeated.
    """
    recordings = store.recordings
    recording = store.frame_recording[rows]
    first = recordings.start[recording]
    last = first + recordings.length[recording] - 1
    offsets = np.arange(length) - length // 2
    return np.clip(rows[:, None] + offsets, first[:, None], last[:, None])


def dense_input(
    store: FrameStore, modality: str, rows: Int[Array, " batch"], settings: DataSettings
) -> tuple[Dense, Array]:
    """A window of joints, WiFi or depth frames, and which samples have at least one valid frame.

    Args:
        store: where frames come from.
        modality: a sensor of fixed frame shape.
        rows: the samples' own frames.
        settings: ``windows``.
    """
    window = window_rows(store, rows, settings.windows.get(modality, 1))
    values, recorded = store.dense(modality, window.ravel())
    kind = MODALITIES[modality].kind
    values, finite = clean_csi(values) if kind == "csi" else clean_dense(values)
    if kind == "depth":
        values *= np.float32(0.001)  # millimetres to metres
    valid = recorded & finite
    if not valid.all():
        values[~valid] = 0.0
    valid = valid.reshape(window.shape)
    shaped = values.reshape(*window.shape, *values.shape[1:])
    return Dense(torch.from_numpy(shaped), torch.from_numpy(valid)), valid.any(axis=1)


def cloud_input(
    store: FrameStore,
    modality: str,
    rows: Int[Array, " batch"],
    settings: DataSettings,
    generator: np.random.Generator | None,
) -> tuple[Cloud, Array]:
    """Points of a window in the camera frame, and which samples have at least one point.

    Args:
        store: where frames come from.
        modality: a sensor that gives point clouds.
        rows: the samples' own frames.
        settings: ``windows``, ``points``, ``crop``, ``extrinsics``, ``radar_columns``.
        generator: picks points at random; evenly spaced without.
    """
    window = window_rows(store, rows, settings.windows.get(modality, 1))
    once = np.ones(window.shape, bool)
    once[:, 1:] = window[:, 1:] != window[:, :-1]  # a repeated border frame would only double its points
    sample, _ = np.nonzero(once)
    frames = window[once]
    raw, counts, _ = store.cloud(modality, frames)
    offset = settings.extrinsics[modality].offset if modality in settings.extrinsics else (0.0, 0.0, 0.0)
    xyz = to_camera(modality, raw, offset)
    keep = inside(xyz, settings.crop[modality]) if modality in settings.crop else np.isfinite(xyz).all(axis=1)
    finite = _finite_frames(raw, counts)
    frame_of = np.repeat(np.arange(len(frames)), counts)
    if not finite.all():
        keep &= finite[frame_of]
    kept = np.flatnonzero(keep)
    extra = cloud_channels(modality, settings)
    seconds = (store.frame_number[frames] - store.frame_number[rows[sample]]) / store.frame_rate_hz
    per_sample = np.bincount(sample[frame_of[kept]], minlength=len(rows))
    slot, mask = thin(per_sample, settings.points.get(modality, 256), generator)
    points = np.zeros((*mask.shape, 4 + len(extra)), np.float32)
    if len(kept):
        source = kept[slot]
        points[..., :3] = xyz[source]
        for i, column in enumerate(extra):
            points[..., 3 + i] = raw[source, column]
        points[..., -1] = seconds.astype(np.float32)[frame_of[source]]
        points[~mask] = 0.0
    return Cloud(torch.from_numpy(points), torch.from_numpy(mask)), np.asarray(mask.any(axis=1))


def _finite_frames(raw: Array, counts: Array) -> Array:
    """Which frames hold finite values only."""
    if np.isfinite(raw).all():
        return np.ones(len(counts), bool)
    bad = ~np.isfinite(raw).all(axis=1)
    frame_of = np.repeat(np.arange(len(counts)), counts)
    return np.bincount(frame_of[bad], minlength=len(counts)) == 0
