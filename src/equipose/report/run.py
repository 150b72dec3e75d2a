"""One run folder as values, before anything is compared or drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from equipose.report.schema import EpochRecord, Metrics


@dataclass(frozen=True)
class Predictions:
    """Fused predictions on the test split.

    Attributes:
        joints: (frame, joint, 3) metres, camera frame.
        target: the same shape.
        keys: (frame, 5) int64 columns environment, subject, action, frame, recording.
    """

    joints: np.ndarray
    target: np.ndarray
    keys: np.ndarray

    @property
    def subject(self) -> np.ndarray:
        """(frame,) subject numbers."""
        return self.keys[:, 1]


@dataclass(frozen=True)
class Scene:
    """A clip for the 3D view; metres, camera frame.

    Attributes:
        name: what the clip shows.
        frames: (time,) frame numbers.
        target: (time, joint, 3).
        joints: (time, joint, 3) predicted.
        clouds: modality -> (point, 4): x, y, z, index into ``frames``.
    """

    name: str
    frames: np.ndarray
    target: np.ndarray
    joints: np.ndarray
    clouds: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Estimate:
    """A number with the interval it was measured with, if any."""

    value: float
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class FinalContributions:
    """Contributions of the trained model on the test split.

    Attributes:
        unit: unit of the Shapley values.
        baseline: what stood in for the feature of an absent sensor: ``zero`` or ``mean``.
        phi: modality -> Shapley value.
        share: modality -> part of the positive contributions, 0 to 1.
        interaction_index: which index, such as ``SII``.
        interactions: pair of modalities -> value: positive for synergy, negative for redundancy.
        phi_by_profit: profit -> modality -> Shapley value under that profit.
    """

    unit: str
    baseline: str
    phi: Mapping[str, Estimate]
    share: Mapping[str, Estimate]
    interaction_index: str = ""
    interactions: Mapping[tuple[str, str], float] = field(default_factory=dict)
    phi_by_profit: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """One run folder, read.

    Attributes:
        folder: where it is.
        config: content of ``config.yaml``.
        env: content of ``env.json``; empty when missing.
        status: content of ``status.json``; empty when missing.
        missing: sentences about what is not there and which command makes it.
    """

    folder: Path
    config: Mapping[str, Any]
    env: Mapping[str, Any]
    status: Mapping[str, Any]
    metrics: Metrics
    epochs: tuple[EpochRecord, ...]
    predictions: Predictions | None
    contributions: FinalContributions | None
    scenes: tuple[Scene, ...]
    missing: tuple[str, ...]

    @property
    def strategy(self) -> str:
        """Name of the balance strategy."""
        return str(_nested(self.config, "balance", "name", default="joint"))

    @property
    def seed(self) -> int | None:
        """Seed of the run."""
        seed = _nested(self.config, "train", "seed", default=None)
        return seed if isinstance(seed, int) else None


def _nested(values: Mapping[str, Any], *keys: str, default: Any) -> Any:
    found: Any = values
    for key in keys:
        if not isinstance(found, Mapping) or key not in found:
            return default
        found = found[key]
    return found
