"""What was done to frames, as arrays and as a file that any program reads."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int8, Int16
from numpy import ndarray

from equipose.data.corrupt.table import KIND_NAMES
from equipose.errors import DataError
from equipose.files import write_npz

FILE_NAME = "corruption.npz"


@dataclass(frozen=True, eq=False)
class FrameTruth:
    """What was done to each of n frames.

    Attributes:
        modalities: names of the sensor columns.
        sensor: True where the frame was changed, replaced or removed.
        kind: index into ``KIND_NAMES``; -1 where clean.
        severity: 1 to 3; 0 where clean.
        label: True where the label is wrong.
        label_kind: as ``kind``.
        label_severity: as ``severity``.
        target: the true labels, metres, camera frame.
    """

    modalities: tuple[str, ...]
    sensor: Bool[ndarray, "row modality"]
    kind: Int16[ndarray, "row modality"]
    severity: Int8[ndarray, "row modality"]
    label: Bool[ndarray, " row"]
    label_kind: Int16[ndarray, " row"]
    label_severity: Int8[ndarray, " row"]
    target: Float32[ndarray, "row joint 3"]


def write_truth(path: Path, truth: FrameTruth, **more: Any) -> None:
    """Write ``corruption.npz``: the fields of ``FrameTruth``, ``kind_names``, and ``more`` arrays."""
    arrays = {field.name: getattr(truth, field.name) for field in fields(truth)}
    write_npz(path, {**arrays, "modalities": np.array(truth.modalities), "kind_names": np.array(KIND_NAMES), **more})


def read_truth(folder: Path | str) -> FrameTruth:
    """The truth of a folder made by `equipose corrupt`, one entry per row of the packed data.

    ``read_truth(folder).sensor[dataset.rows]`` is the mask of a data set's samples.

    Raises:
        DataError: if the folder has no readable ``corruption.npz``.
    """
    path = Path(folder) / FILE_NAME
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            names = [str(name) for name in file["kind_names"]]
            values = {field.name: file[field.name] for field in fields(FrameTruth)}
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path} cannot be read ({error}); expected a folder made by `equipose corrupt DATA --out DIR`"
        ) from None
    known = {name: i for i, name in enumerate(KIND_NAMES)}
    table = np.array([known.get(name, -1) for name in names] + [-1], np.int16)  # -1, clean, takes the last
    values["modalities"] = tuple(str(name) for name in values["modalities"])
    values["kind"] = table[values["kind"]]
    values["label_kind"] = table[values["label_kind"]]
    return FrameTruth(**values)
