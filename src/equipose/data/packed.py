"""A packed data set: one memory-mapped ``.npy`` per array and ``meta.json``.

Random access to a frame costs microseconds instead of the opening of several files. The values are those of the source
files, in the sensor's own coordinates, with ``-inf`` decibels kept; cleaning and axis conversion happen when a batch is
made, so a packed folder stays valid when those change.

    meta.json            format, skeleton, modalities, one column per recording field
    target.npy           (N, joint, 3) float32 metres, camera frame; labelled.npy (N,) which of them are finite
    frame_number.npy     (N,) int32
    present_<m>.npy      (N,) bool: the frame existed and could be read
    <m>.npy              (N, *shape) for joints, WiFi (amplitude dB, phase rad) and depth (uint16 millimetres)
    <m>_points.npy       (P, channel) for clouds; frame i has the points offsets[i] to offsets[i + 1]
    <m>_offsets.npy      (N + 1,) int64
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipose.data.packed_format import FORMAT, VERSION
from equipose.data.packing import PackReport, pack
from equipose.data.splits import ACTION_NAMES
from equipose.data.store import RecordingTable, chosen_modalities, recording_table
from equipose.data.writer import PackedWriter
from equipose.errors import DataError
from equipose.modality import MODALITIES
from equipose.skeleton import SKELETONS, Skeleton

__all__ = ["PackReport", "PackedStore", "PackedWriter", "pack"]


_FIRST_AND_NEXT = np.array([0, 1])


class PackedStore:
    """Reads a packed folder; see ``FrameStore`` for its attributes.

    Opening reads ``meta.json`` only. Arrays are mapped on first use and dropped when the store is pickled, so a copy
    sent to another process maps them again.

    Args:
        path: the packed folder.
        modalities: the sensors wanted; all by default.

    Raises:
        DataError: if the folder is not a packed one, is incomplete, or was written by a newer version.
        UsageError: if a wanted sensor is not in it.
    """

    def __init__(self, path: Path | str, modalities: Sequence[str] | None = None) -> None:
        self.path = Path(path)
        meta = _read_meta(self.path)
        stored = tuple(name for name in MODALITIES if name in meta["modalities"])
        self.modalities: tuple[str, ...] = chosen_modalities(modalities, stored, self.path)
        self.skeleton: Skeleton = SKELETONS[meta["skeleton"]]
        self.simulated: frozenset[str] = frozenset(
            name for name in self.modalities if meta["modalities"][name]["simulated"]
        )
        self.frame_rate_hz: float = float(meta["frame_rate_hz"])
        names = meta.get("action_names")
        self.action_names: dict[int, str] = {int(k): v for k, v in names.items()} if names else ACTION_NAMES
        self.recordings: RecordingTable = recording_table(**meta["recordings"])
        self._maps: dict[str, NDArray[Any]] = {}
        for name in _array_names(self.modalities):
            if not (self.path / f"{name}.npy").is_file():
                raise DataError(f"{self.path} is incomplete: {name}.npy is missing. Pack the source folder again")

    def __getstate__(self) -> dict[str, Any]:
        lazy = ("frame_recording", "frame_number", "labelled", "present")
        return {key: value for key, value in self.__dict__.items() if key not in lazy} | {"_maps": {}}

    @cached_property
    def frame_recording(self) -> NDArray[np.int32]:
        """(N,) recording of each row."""
        return np.repeat(np.arange(len(self.recordings), dtype=np.int32), self.recordings.length)

    @cached_property
    def frame_number(self) -> NDArray[np.int32]:
        """(N,) number in the frame's file name."""
        return self._rows("frame_number").copy()

    @cached_property
    def labelled(self) -> NDArray[np.bool_]:
        """(N,) which rows have a finite target."""
        return self._rows("labelled").copy()

    @cached_property
    def present(self) -> dict[str, NDArray[np.bool_]]:
        """Modality -> (N,) which rows have a readable frame."""
        return {name: self._rows(f"present_{name}").copy() for name in self.modalities}

    def target(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """(n, joint, 3) metres, camera frame."""
        return self._rows("target")[rows]

    def dense(self, modality: str, rows: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Values (n, *shape) float32 and valid (n,); see ``FrameStore.dense``."""
        values = self._rows(modality)[rows]
        if values.dtype != np.float32:
            values = values.astype(np.float32)
        return values, self.present[modality][rows]

    def cloud(
        self, modality: str, rows: NDArray[Any]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_]]:
        """Points (P, channel) float32, counts (n,) and valid (n,); see ``FrameStore.cloud``."""
        offsets = self._maps.get(f"{modality}_offsets")
        if offsets is None:
            offsets = self._map(f"{modality}_offsets", self.recordings.num_frames + 1)
        points = self._maps.get(f"{modality}_points")
        if points is None:
            points = self._map(f"{modality}_points", int(offsets[-1]))
        if len(rows) == 1 and points.dtype == np.float32:  # the single look-up skips what only many rows need
            row = int(rows[0])
            first, last = int(offsets[row]), int(offsets[row + 1])
            return points[first:last].copy(), np.array([last - first]), self.present[modality][rows]
        bounds = offsets[np.asarray(rows)[:, None] + _FIRST_AND_NEXT]
        parts = [points[first:last] for first, last in bounds.tolist()]
        gathered = np.concatenate(parts) if parts else points[:0].copy()
        if gathered.dtype != np.float32:
            with np.errstate(over="ignore"):
                gathered = gathered.astype(np.float32)
        return gathered, bounds[:, 1] - bounds[:, 0], self.present[modality][rows]

    def _rows(self, name: str) -> NDArray[Any]:
        array = self._maps.get(name)
        return self._map(name, self.recordings.num_frames) if array is None else array

    def _map(self, name: str, items: int) -> NDArray[Any]:
        """A plain view of the mapped file (np.memmap itself makes slicing several times slower)."""
        path = self.path / f"{name}.npy"
        try:
            array = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"{path} is damaged: {error}. Pack the source folder again") from None
        if len(array) != items:
            raise DataError(
                f"{path} has {len(array)} rows, expected {items} by meta.json. Pack the source folder again"
            )
        self._maps[name] = array
        return array


def _array_names(modalities: tuple[str, ...]) -> list[str]:
    names = ["target", "frame_number", "labelled"]
    for name in modalities:
        cloud = MODALITIES[name].kind == "cloud"
        names += [f"present_{name}", *([f"{name}_points", f"{name}_offsets"] if cloud else [name])]
    return names


def _read_meta(path: Path) -> dict[str, Any]:
    file = path / "meta.json"
    try:
        meta = json.loads(file.read_text())
    except OSError as error:
        raise DataError(
            f"{path} is not a packed folder: {file.name}: {error.strerror}. "
            "Expected a folder made by `equipose data pack ROOT OUT`"
        ) from None
    except ValueError as error:
        raise DataError(f"{file} is not valid JSON ({error}). Pack the source folder again") from None
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        found = meta.get("format") if isinstance(meta, dict) else type(meta).__name__
        raise DataError(f"{file} has the format {found!r}, expected {FORMAT!r}: {path} is not a packed folder")
    if meta.get("version") != VERSION:
        raise DataError(
            f"{path} has format version {meta.get('version')!r}, this equipose reads {VERSION}. "
            "Update equipose, or pack the source folder again"
        )
    if meta.get("skeleton") not in SKELETONS:
        raise DataError(f"{file} names the skeleton {meta.get('skeleton')!r}; known: {', '.join(SKELETONS)}")
    return meta
