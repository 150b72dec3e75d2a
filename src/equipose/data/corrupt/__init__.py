"""Corruption of samples and labels with a known mask: coherent in time, nested in severity, the same at every reading.

``CorruptedDataset`` and ``Truth`` are for training; ``CorruptedStore`` and the functions on arrays need no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from equipose.data.corrupt.arrays import (
    corrupt_csi,
    corrupt_joints2d,
    corrupt_labels,
    corrupt_lidar,
    corrupt_radar,
)
from equipose.data.corrupt.plan import CorruptionPlan
from equipose.data.corrupt.store import CorruptedStore
from equipose.data.corrupt.table import KIND_NAMES, Corruption, corruptions_of, find_corruption
from equipose.data.corrupt.truth import FrameTruth, read_truth

if TYPE_CHECKING:
    from equipose.data.corrupt.dataset import CorruptedDataset, Truth

__all__ = [
    "KIND_NAMES",
    "CorruptedDataset",
    "CorruptedStore",
    "Corruption",
    "CorruptionPlan",
    "FrameTruth",
    "Truth",
    "corrupt_csi",
    "corrupt_joints2d",
    "corrupt_labels",
    "corrupt_lidar",
    "corrupt_radar",
    "corruptions_of",
    "find_corruption",
    "read_truth",
]


def __getattr__(name: str) -> Any:
    """``CorruptedDataset`` and ``Truth`` import torch, so only when they are asked for."""
    if name in ("CorruptedDataset", "Truth"):
        from equipose.data.corrupt import dataset

        return getattr(dataset, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
