"""The files of finished cells: ``DIR/cells/<name>.json``, and beside it ``<name>.npz`` with the raw errors.

::

    {"format": "equipose-stream-cell-1", "run": "runs/<name>", "recipe": {...}, "experiences": ["E01", ..],
     "step_seconds": .., "training_seconds": .., "steps": n, "memory_bytes": n, "peak_memory_mb": .., "parameters": n,
     "simulated": [..], "noise": [<one per experience, see below>], "versions": {..}, "machine": {..}, "finished": ".."}

``noise`` has an entry per training (one for joint training)::

    {"experience": "E02", "judged": true, "events": [..],
     "groups": {"rgb": {"count": n, "corrupt": .., "flagged": .., "precision": .., "recall": .., "f1": ..,
                        "false_alarms": .., "purity": .., "auroc": .., "aupr": ..}, ..,
                "all sensors": {..}, "label": {..}},
     "kinds": {"rgb.swap": {.. of this kind against what is clean ..}, ..},
     "memory": {"entries": n, "cells": .., "samples": .., "labels": ..}}

Shares; None where there is nothing to count. ``memory``: what of the replayed cells, of the samples, of the labels in
the replay memory is truly clean.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from equipose.benchmark.results import cell_path
from equipose.errors import DataError
from equipose.train.stream_errors import StreamErrors, read_errors

FORMAT = "equipose-stream-cell-1"
Numbers = dict[str, float | None]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class NoiseFound(_Record):
    """What separation found in one training, against the truth."""

    experience: str
    judged: bool
    groups: dict[str, Numbers] = {}
    kinds: dict[str, Numbers] = {}
    memory: Numbers = {}
    events: tuple[dict[str, Any], ...] = ()


class StreamCellRecord(_Record):
    """The JSON file of a finished cell."""

    format: Literal["equipose-stream-cell-1"]
    run: str
    recipe: dict[str, Any]
    experiences: tuple[str, ...]
    steps: int
    step_seconds: float
    training_seconds: float
    memory_bytes: int = 0
    peak_memory_mb: float | None = None
    parameters: int = 0
    simulated: tuple[str, ...] = ()
    noise: tuple[NoiseFound, ...] = ()
    versions: dict[str, str] = {}
    machine: dict[str, Any] = {}
    finished: str = ""


@dataclass(frozen=True, eq=False)
class StreamResult:
    """A finished cell.

    Attributes:
        record: its JSON file.
        errors: raw errors after every experience.
    """

    record: StreamCellRecord
    errors: StreamErrors

    @property
    def told(self) -> str:
        """A few words, for the line that says that it is done."""
        return f"final {float(self.errors.matrix()[-1].mean()):.1f} mm"


def errors_path(out: Path, name: str) -> Path:
    """Raw errors of a finished cell."""
    return out / "cells" / f"{name}.npz"


def read_result(out: Path, name: str) -> StreamResult | None:
    """A finished cell, or None if it is not finished.

    Raises:
        DataError: a file is there and is damaged.
    """
    path = cell_path(out, name)
    if not path.is_file():
        return None
    try:
        record = StreamCellRecord.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, UnicodeDecodeError, ValidationError) as error:
        told = str(error).splitlines()[0]
        raise DataError(
            f"{path} is damaged ({told}); expected a cell in the format {FORMAT}. Remove it and repeat the benchmark: "
            "the run folder is kept, so nothing is trained again"
        ) from None
    return StreamResult(record, read_errors(errors_path(out, name)))
