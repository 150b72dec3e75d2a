"""Frames straight from an MM-Fi folder, without packing.

Slower than a packed folder, but it needs no disk and starts at once. Indexing lists folders; a frame's file is opened
when a batch asks for it. A file that is missing or damaged makes that frame invalid, never an exception.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipose.data.mmfi import (
    FRAME_RATE_HZ,
    GROUND_TRUTH,
    frame_path,
    index,
    modalities_of,
    simulated_modalities,
)
from equipose.data.readers import read_frame, read_ground_truth
from equipose.data.splits import ACTION_NAMES
from equipose.data.store import RecordingTable, chosen_modalities, recording_table
from equipose.errors import DataError
from equipose.modality import MODALITIES
from equipose.skeleton import H36M17, Skeleton


class RawStore:
    """Reads an MM-Fi folder frame by frame; see ``FrameStore`` for its attributes.

    Ground truth is read once per recording and kept (204 bytes per frame).

    Args:
        path: the MM-Fi root.
        modalities: the sensors wanted; all there are except depth by default.

    Raises:
        DataError: if the folder holds no recording with ground truth.
        UsageError: if a wanted sensor is not in it.
    """

    def __init__(self, path: Path | str, modalities: Sequence[str] | None = None) -> None:
        self.path = Path(path)
        recordings = index(self.path, modalities)
        usable = [recording for recording in recordings if recording.frames]
        if not usable:
            raise DataError(f"{path} has no recording with a usable {GROUND_TRUTH}: {recordings[0].problem}")
        available = modalities_of(usable)
        if modalities is None:
            available = tuple(name for name in available if name != "depth")
        elif not set(modalities) <= set(available):
            available = modalities_of(index(self.path))  # to tell what there is
        self.modalities: tuple[str, ...] = chosen_modalities(modalities, available, self.path)
        self.skeleton: Skeleton = H36M17
        self.simulated: frozenset[str] = simulated_modalities(self.path) & frozenset(self.modalities)
        self.frame_rate_hz: float = FRAME_RATE_HZ
        self.action_names: dict[int, str] = ACTION_NAMES
        self.recordings: RecordingTable = recording_table(
            [recording.environment for recording in usable],
            [recording.subject for recording in usable],
            [recording.action for recording in usable],
            [len(recording.frames) for recording in usable],
        )
        self.frame_number: NDArray[np.int32] = np.concatenate(
            [np.array(recording.frames, np.int32) for recording in usable]
        )
        self.frame_recording: NDArray[np.int32] = np.repeat(
            np.arange(len(usable), dtype=np.int32), self.recordings.length
        )
        self.present: dict[str, NDArray[np.bool_]] = {}
        for name in self.modalities:
            present = np.zeros(self.recordings.num_frames, bool)
            for recording, start in zip(usable, self.recordings.start, strict=True):
                numbers = recording.files.get(name, np.empty(0, np.int32))
                present[start + numbers[numbers <= len(recording.frames)] - 1] = True
            self.present[name] = present
        self._folders = [str(recording.path) for recording in usable]
        self._targets: dict[int, NDArray[np.float32]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "labelled"} | {"_targets": {}}

    @cached_property
    def labelled(self) -> NDArray[np.bool_]:
        """(N,) which rows have a finite target; reads all ground truth on first use."""
        return np.concatenate([np.isfinite(self._target_of(i)).all(axis=(1, 2)) for i in range(len(self.recordings))])

    def target(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """(n, joint, 3) metres, camera frame."""
        rows = np.asarray(rows, np.int64)
        out = np.empty((len(rows), len(self.skeleton), 3), np.float32)
        recording = self.frame_recording[rows]
        local = rows - self.recordings.start[recording]
        for i, (r, k) in enumerate(zip(recording.tolist(), local.tolist(), strict=True)):
            out[i] = self._target_of(r)[k]
        return out

    def dense(self, modality: str, rows: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Values (n, *shape) float32 and valid (n,); see ``FrameStore.dense``."""
        unique, inverse = np.unique(np.asarray(rows, np.int64), return_inverse=True)
        shape = MODALITIES[modality].shape
        assert shape is not None, modality
        values = np.zeros((len(unique), *shape), np.float32)
        valid = np.zeros(len(unique), bool)
        for i, row in enumerate(unique.tolist()):
            frame = self._frame(modality, row)
            if frame is not None:
                values[i] = frame
                valid[i] = True
        return values[inverse], valid[inverse]

    def cloud(
        self, modality: str, rows: NDArray[Any]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_]]:
        """Points (P, channel) float32, counts (n,) and valid (n,); see ``FrameStore.cloud``."""
        empty = np.zeros((0, len(MODALITIES[modality].channels)), np.float32)
        unique, inverse = np.unique(np.asarray(rows, np.int64), return_inverse=True)
        frames = [self._frame(modality, row) for row in unique.tolist()]
        valid = np.array([frame is not None for frame in frames], bool)
        with np.errstate(over="ignore"):
            clouds = [empty if frame is None else frame.astype(np.float32) for frame in frames]
        parts = [clouds[i] for i in inverse.tolist()]
        counts = np.array([len(part) for part in parts], np.int64)
        return np.concatenate([empty, *parts]), counts, valid[inverse]

    def _frame(self, modality: str, row: int) -> NDArray[Any] | None:
        if not self.present[modality][row]:
            return None
        folder = self._folders[self.frame_recording[row]]
        try:
            return read_frame(modality, frame_path(folder, modality, int(self.frame_number[row])))
        except DataError:  # `equipose data check` names these files
            return None

    def _target_of(self, recording: int) -> NDArray[np.float32]:
        if recording not in self._targets:
            poses = read_ground_truth(f"{self._folders[recording]}/{GROUND_TRUTH}")
            self._targets[recording] = poses.astype(np.float32, copy=False)
        return self._targets[recording]
