"""The numbers of a run on one split: errors of every subset with intervals over subjects, oracles, parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from equipose.data.dataset import PoseDataset
from equipose.metrics.baselines import group_mean_error
from equipose.metrics.bootstrap import bootstrap_mean
from equipose.metrics.pose import joint_errors
from equipose.types import coalition_name

Interval = Callable[[ndarray, ndarray | None], list[float] | None]
"""(values, mask) -> 95 % bootstrap interval over subjects of the mean of values[mask]; None with a single subject."""


@dataclass(frozen=True)
class SplitPredictions:
    """What a model says about every sample of a split.

    Attributes:
        joints: (sample, joint, 3) float32, all sensors together, metres, camera frame.
        target: (sample, joint, 3) float32, metres, camera frame.
        error_mm: (coalition, sample) float64, MPJPE of every subset, rows as ``types.all_coalitions``.
        pa_error_mm: (coalition, sample) float64, after Procrustes alignment.
        meta: field of ``types.FrameMeta`` -> (sample,) int64.
    """

    joints: Float[ndarray, "sample joint 3"]
    target: Float[ndarray, "sample joint 3"]
    error_mm: Float[ndarray, "coalition sample"]
    pa_error_mm: Float[ndarray, "coalition sample"]
    meta: dict[str, ndarray]


def summarise(
    found: SplitPredictions,
    modalities: tuple[str, ...],
    splits: dict[str, PoseDataset],
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Everything ``metrics.json`` says about errors; all errors are millimetres.

    Args:
        found: predictions on the test split.
        modalities: the sensors, in the order of the coalition bits.
        splits: the test split, and the training split for the mean poses.
        resamples: bootstrap resamples of the subjects.
        seed: of the bootstrap.
    """
    subject, test = found.meta["subject"], splits["test"]

    def interval(values: ndarray, mask: ndarray | None) -> list[float] | None:
        rows = slice(None) if mask is None else mask
        low, high = bootstrap_mean(values[rows], subject[rows], resamples, np.random.default_rng([seed, 6]))
        return [float(low), float(high)] if np.isfinite(low) else None

    joint_mm = joint_errors(torch.from_numpy(found.joints), torch.from_numpy(found.target)).numpy()
    full = found.error_mm[-1]
    return {
        "samples": len(test),
        "subjects": np.unique(subject).tolist(),
        "modalities": list(modalities),
        "joints": list(test.skeleton.joints),
        "skeleton": test.skeleton.name,
        "simulated": sorted(test.store.simulated),
        **_oracles(found, splits["train"]),
        "coalitions": [_coalition(found, row, modalities, interval) for row in range(len(found.error_mm))],
        "hurts": _pairs(found.error_mm, modalities, interval),
        "per_joint_mm": joint_mm.mean(0).tolist(),
        "per_action": [
            {**part, "name": test.store.action_names.get(part["action"], f"A{part['action']:02d}")}
            for part in _parts("action", full, found.meta, interval)
        ],
        "per_environment": _parts("environment", full, found.meta, interval),
        "per_subject": [{"subject": int(s), "mpjpe_mm": float(full[subject == s].mean())} for s in np.unique(subject)],
    }


def _oracles(found: SplitPredictions, train: PoseDataset) -> dict[str, float | None]:
    """Errors of answers that look at no sensor: what a figure must beat to mean something."""
    target = train.store.target(train.rows)
    subject = found.meta["subject"]
    known = np.isin(found.meta["environment"], train.environment)
    return {
        "mean_pose_mpjpe_mm": group_mean_error(target, None, found.target, None),
        "room_mean_mpjpe_mm": (
            group_mean_error(target, train.environment, found.target, found.meta["environment"])
            if known.all()
            else None
        ),
        "subject_mean_mpjpe_mm": group_mean_error(found.target, subject, found.target, subject),
    }


def _coalition(found: SplitPredictions, row: int, modalities: tuple[str, ...], interval: Interval) -> dict[str, Any]:
    return {
        "name": coalition_name(row, modalities),
        "modalities": [m for i, m in enumerate(modalities) if row >> i & 1],
        "mpjpe_mm": float(found.error_mm[row].mean()),
        "interval": interval(found.error_mm[row], None),
        "pa_mpjpe_mm": float(found.pa_error_mm[row].mean()),
        "pa_interval": interval(found.pa_error_mm[row], None),
    }


def _pairs(error_mm: ndarray, modalities: tuple[str, ...], interval: Interval) -> list[dict[str, Any]]:
    """Every (subset, subset plus one sensor) with the paired change of the error; it hurts if all of it is above 0."""
    pairs = []
    for row in range(1, len(error_mm)):
        for i, modality in enumerate(modalities):
            if row >> i & 1:
                continue
            change = error_mm[row | 1 << i] - error_mm[row]
            ends = interval(change, None)
            pairs.append(
                {
                    "from": coalition_name(row, modalities),
                    "added": modality,
                    "change_mm": float(change.mean()),
                    "interval": ends,
                    "hurts": ends is not None and ends[0] > 0,
                }
            )
    return pairs


def _parts(field: str, full: ndarray, meta: dict[str, ndarray], interval: Interval) -> list[dict[str, Any]]:
    """Error for each value of a meta field."""
    parts = []
    for value in np.unique(meta[field]):
        mask = meta[field] == value
        parts.append({field: int(value), "mpjpe_mm": float(full[mask].mean()), "interval": interval(full, mask)})
    return parts
