"""A few clips of the test split for the report's 3D view: the best, the median and the worst recording."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from equipose.data.dataset import PoseDataset
from equipose.files import write_npz
from equipose.types import Cloud

_FRAMES = 48
_NOW_SECONDS = 0.05


def write_scenes(
    path: Path,
    dataset: PoseDataset,
    joints: Float[ndarray, "sample joint 3"],
    error_mm: Float[ndarray, " sample"],
) -> None:
    """Write ``scenes.npz``.

    Keys, for clip i: ``scene<i>_name`` (text), ``_frames`` (time,), ``_target`` and ``_joints`` (time, joint, 3), and
    for each cloud sensor ``_<modality>`` (point, 4): x, y, z and the index of the frame. Metres, camera frame.

    Args:
        path: file to write.
        dataset: the split the predictions belong to.
        joints: predictions of all sensors together, metres, camera frame.
        error_mm: their MPJPE.
    """
    recording = dataset.recording
    ids = np.unique(recording)
    mean = np.array([error_mm[recording == r].mean() for r in ids])
    order = np.argsort(mean)
    chosen = {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]}
    arrays: dict[str, Any] = {}
    for i, (label, index) in enumerate(chosen.items()):
        rows = np.flatnonzero(recording == ids[index])[:_FRAMES]
        first = rows[0]
        where = f"E{dataset.environment[first]:02d} S{dataset.subject[first]:02d} A{dataset.action[first]:02d}"
        arrays[f"scene{i}_name"] = np.array(f"{label} recording: {where}, {mean[index]:.0f} mm")
        arrays[f"scene{i}_frames"] = dataset.frame[rows]
        arrays[f"scene{i}_target"] = dataset.store.target(dataset.rows[rows])
        arrays[f"scene{i}_joints"] = joints[rows]
        for modality, value in dataset.batch(rows, None).inputs.items():
            if isinstance(value, Cloud):
                arrays[f"scene{i}_{modality}"] = _points(value)
    write_npz(path, arrays)


def _points(cloud: Cloud) -> Float[ndarray, "point 4"]:
    """The points of each sample's own frame as x, y, z, index of the frame."""
    points, mask = cloud.points.numpy(), cloud.mask.numpy()
    now = mask & (np.abs(points[..., -1]) < _NOW_SECONDS)
    frame, _ = np.nonzero(now)
    return np.concatenate([points[now][:, :3], frame[:, None]], 1).astype(np.float32)
