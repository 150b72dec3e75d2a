"""The files of finished cells, ``DIR/cells/<name>.json``; written whole, read with every field checked.

All errors are millimetres. ``test`` is missing from tuning cells, which never look at the test split::

    {"format": "equipose-benchmark-cell-1", "kind": "final", "run": "runs/<training>", "recipe": {...},
     "teachers": {"rgb": "<training>"}, "validation_mpjpe_mm": .., "best_epoch": .., "epochs": .., "steps": ..,
     "step_seconds": .., "training_seconds": .., "peak_memory_mb": .., "peak_gpu_memory_mb": null,
     "parameters": {"rgb": n, "shared": n}, "versions": {..}, "machine": {..}, "finished": "2026-01-31 12:00:00",
     "test": {"sensors": [..], "simulated": [..], "samples": n, "baselines": {"mean_pose_mpjpe_mm": ..},
              "subsets": [{"name": "rgb", "sensors": ["rgb"], "mpjpe_mm": .., "pa_mpjpe_mm": ..}, ..2^M - 1],
              "recordings": {"environment": [..], "subject": [..], "action": [..], "samples": [..],
                             "mpjpe_mm": [[per recording] per subset], "pa_mpjpe_mm": [[..]]},
              "profit": "pearson", "phi": {..}, "share": {..}, "entropy": .., "collapse": {..}, "alarms": [..]}}
"""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from equipose.errors import DataError

FORMAT = "equipose-benchmark-cell-1"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class SubsetError(_Record):
    """Error of one subset of a model's sensors, mean over the test samples."""

    name: str
    sensors: tuple[str, ...]
    mpjpe_mm: float
    pa_mpjpe_mm: float


class Recordings(_Record):
    """Error of every subset on every test recording."""

    environment: tuple[int, ...]
    subject: tuple[int, ...]
    action: tuple[int, ...]
    samples: tuple[int, ...]
    mpjpe_mm: tuple[tuple[float, ...], ...]
    pa_mpjpe_mm: tuple[tuple[float, ...], ...]

    @property
    def key(self) -> tuple[tuple[int, ...], ...]:
        """The same for cells that were measured on the same samples."""
        return self.environment, self.subject, self.action, self.samples


class TestErrors(_Record):
    """What a final cell says about the test split."""

    __test__ = False  # no test class, whatever its name looks like to pytest

    sensors: tuple[str, ...]
    simulated: tuple[str, ...] = ()
    samples: int
    baselines: dict[str, float | None] = {}
    subsets: tuple[SubsetError, ...] = Field(min_length=1)
    recordings: Recordings
    profit: str = ""
    phi: dict[str, float | None] = {}
    share: dict[str, float | None] = {}
    entropy: float | None = None
    collapse: dict[str, float | None] = {}
    alarms: tuple[str, ...] = ()

    @property
    def full(self) -> SubsetError:
        """The error with all sensors."""
        return next(row for row in self.subsets if set(row.sensors) == set(self.sensors))

    def row(self, sensors: tuple[str, ...]) -> int:
        """Position of a subset, whatever the order it is named in."""
        return next(i for i, row in enumerate(self.subsets) if set(row.sensors) == set(sensors))

    @cached_property
    def subjects(self) -> ndarray:
        """(subject,) the people of the test split, ascending."""
        return np.unique(np.array(self.recordings.subject))

    @cached_property
    def counts(self) -> Float[ndarray, " subject"]:
        """Test samples of each person."""
        index = np.searchsorted(self.subjects, self.recordings.subject)
        return np.bincount(index, self.recordings.samples, len(self.subjects)).astype(np.float64)

    def sums(self, sensors: tuple[str, ...], aligned: bool = False) -> Float[ndarray, " subject"]:
        """Sum over each person's samples of the error of one subset, mm; ``aligned``: PA-MPJPE."""
        errors = (self.recordings.pa_mpjpe_mm if aligned else self.recordings.mpjpe_mm)[self.row(sensors)]
        index = np.searchsorted(self.subjects, self.recordings.subject)
        return np.bincount(index, np.array(errors) * self.recordings.samples, len(self.subjects))


class CellResult(_Record):
    """One finished cell."""

    format: Literal["equipose-benchmark-cell-1"]
    kind: Literal["tuning", "final"]
    run: str
    recipe: dict[str, Any]
    teachers: dict[str, str] = {}
    validation_mpjpe_mm: float
    best_epoch: int
    epochs: int
    steps: int
    step_seconds: float
    training_seconds: float
    peak_memory_mb: float | None = None
    peak_gpu_memory_mb: float | None = None
    parameters: dict[str, int] = {}
    versions: dict[str, str] = {}
    machine: dict[str, Any] = {}
    finished: str = ""
    test: TestErrors | None = None

    @property
    def told(self) -> str:
        """A few words, for the line that says that it is done."""
        test = f"test {self.test.full.mpjpe_mm:.1f} mm, " if self.test is not None else ""
        return f"{test}validation {self.validation_mpjpe_mm:.1f} mm"


def cell_path(out: Path, name: str) -> Path:
    """File of a finished cell."""
    return out / "cells" / f"{name}.json"


def failure_path(out: Path, name: str) -> Path:
    """File that says why a cell failed; its first line is the message."""
    return out / "failed" / f"{name}.txt"


def read_cell(out: Path, name: str) -> CellResult | None:
    """A finished cell, or None if it is not finished.

    Raises:
        DataError: the file is there and is damaged.
    """
    path = cell_path(out, name)
    if not path.is_file():
        return None
    try:
        return CellResult.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, UnicodeDecodeError, ValidationError) as error:
        told = str(error).splitlines()[0]
        raise DataError(
            f"{path} is damaged ({told}); expected a cell in the format {FORMAT}. Remove it and repeat the benchmark: "
            "the run folder is kept, so only the measurement is done again"
        ) from None


def read_failure(out: Path, name: str) -> str | None:
    """Why a cell failed the last time, in one line; None if it did not."""
    path = failure_path(out, name)
    if not path.is_file():
        return None
    return next(iter(path.read_text(encoding="utf-8", errors="replace").splitlines()), "no reason was given")
