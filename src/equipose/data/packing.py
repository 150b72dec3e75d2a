"""MM-Fi folder -> packed folder, in parallel and in constant memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from equipose.data.mmfi import (
    FRAME_RATE_HZ,
    GROUND_TRUTH,
    Recording,
    frame_path,
    index,
    modalities_of,
    simulated_modalities,
)
from equipose.data.parallel import map_in_order
from equipose.data.readers import read_frame, read_ground_truth
from equipose.data.store import chosen_modalities
from equipose.data.writer import PackedWriter
from equipose.errors import DataError, UsageError
from equipose.modality import MODALITIES
from equipose.progress import progress
from equipose.skeleton import H36M17

CHUNK_BYTES = 32_000_000
"""Largest amount of sensor data one worker hands over at a time."""
_FRAME_BYTES = {"joints2d": 300, "cloud": 40_000, "csi": 56_000, "depth": 640_000}


@dataclass(frozen=True)
class PackReport:
    """What packing did.

    Attributes:
        out: the packed folder.
        recordings: number of recordings it holds.
        frames: number of frames.
        modalities: sensors it holds.
        missing: modality -> frames without a file.
        unreadable: modality -> frames whose file could not be read; they count as missing.
        examples: the first errors, one text each.
        skipped: recordings that were left out, with the reason.
    """

    out: Path
    recordings: int
    frames: int
    modalities: tuple[str, ...]
    missing: dict[str, int]
    unreadable: dict[str, int]
    examples: tuple[str, ...]
    skipped: tuple[str, ...]


@dataclass(frozen=True)
class _Task:
    """Frames ``first`` to ``last`` (exclusive, 0-based) of a recording."""

    recording: Recording
    modalities: tuple[str, ...]
    first: int
    last: int


@dataclass(frozen=True)
class _Chunk:
    target: NDArray[np.float32]
    frames: dict[str, list[NDArray[Any] | None]]
    errors: tuple[str, ...]


def pack(
    root: Path | str,
    out: Path | str,
    jobs: int = 2,
    dtype: Literal["float32", "source"] = "float32",
    modalities: Sequence[str] | None = None,
) -> PackReport:
    """Pack an MM-Fi folder.

    Interrupted at any point, the same call continues after the last complete recording. The result does not depend on
    ``jobs``. Uses processes started by ``spawn``: a script that calls this needs ``if __name__ == "__main__":``.

    Args:
        root: the MM-Fi folder; it is only read.
        out: the packed folder to make; must not exist.
        jobs: processes that read frames; 1 reads in this process.
        dtype: ``float32``, or ``source`` for arrays that are bit-equal to the files at twice the size.
        modalities: sensors to pack; by default all that are there except depth, which would make most of the size.

    Raises:
        DataError: if the folder holds no usable recording, or the disk is full.
        UsageError: if ``out`` exists or lies inside ``root``, or a sensor is not there.
    """
    root = Path(root)
    if Path(out).resolve().is_relative_to(root.resolve()):
        raise UsageError(f"{out} lies inside {root}, which is only read; name a folder beside it")
    recordings = index(root, modalities)
    available = modalities_of(recordings)
    if modalities is None:
        names = tuple(name for name in available if name != "depth")
    else:
        if not set(modalities) <= set(available):
            available = modalities_of(index(root))  # to tell what there is
        names = chosen_modalities(modalities, available, root)
    usable = [recording for recording in recordings if recording.frames]
    skipped = [recording.problem for recording in recordings if not recording.frames]
    if not usable:
        raise DataError(f"{root} has no recording with a usable {GROUND_TRUTH}: {skipped[0]}")
    writer = PackedWriter(
        out,
        skeleton=H36M17,
        modalities=names,
        dtype=dtype,
        simulated=simulated_modalities(root),
        frame_rate_hz=FRAME_RATE_HZ,
        source=_fingerprint(root, usable),
    )
    examples: list[str] = []
    with writer:
        todo = [r for r in usable if (r.environment, r.subject, r.action) not in writer.done]
        tasks = (task for recording in todo for task in _tasks(recording, names))
        with progress("packing", len(todo), "recordings") as advance:
            for task, chunk in map_in_order(_read, tasks, jobs):
                writer.append(
                    target=chunk.target,
                    frames=chunk.frames,
                    frame_number=np.array(task.recording.frames[task.first : task.last], np.int32),
                )
                examples += chunk.errors[: max(0, 20 - len(examples))]
                if task.last == len(task.recording.frames):
                    writer.commit(task.recording.environment, task.recording.subject, task.recording.action)
                    advance(1)
    frames = sum(len(recording.frames) for recording in usable)
    listed = {
        name: sum(
            int((recording.files[name] <= len(recording.frames)).sum())
            for recording in usable
            if name in recording.files
        )
        for name in names
    }
    read = {name: int(np.load(Path(out) / f"present_{name}.npy").sum()) for name in names}
    return PackReport(
        out=Path(out),
        recordings=len(usable),
        frames=frames,
        modalities=names,
        missing={name: frames - listed[name] for name in names},
        unreadable={name: listed[name] - read[name] for name in names},
        examples=tuple(examples),
        skipped=tuple(skipped),
    )


def _fingerprint(root: Path, recordings: Sequence[Recording]) -> dict[str, Any]:
    """What must be equal for an interrupted packing to continue; free of the folder's location."""
    table = [(r.environment, r.subject, r.action, len(r.frames)) for r in recordings]
    return {
        "name": root.name,
        "recordings": len(recordings),
        "frames": sum(len(recording.frames) for recording in recordings),
        "sha256": hashlib.sha256(np.array(table, "<i8").tobytes()).hexdigest()[:16],
    }


def _tasks(recording: Recording, modalities: tuple[str, ...]) -> Iterator[_Task]:
    per_frame = sum(_FRAME_BYTES[MODALITIES[name].kind] for name in modalities)
    step = max(1, CHUNK_BYTES // max(per_frame, 1))
    total = len(recording.frames)
    for first in range(0, total, step):
        yield _Task(recording, modalities, first, min(first + step, total))


def _read(task: _Task) -> _Chunk:
    """Every frame of a task; a frame that cannot be read becomes None and an error text."""
    folder = str(task.recording.path)
    target = read_ground_truth(f"{folder}/{GROUND_TRUTH}")[task.first : task.last]
    numbers = task.recording.frames[task.first : task.last]
    frames: dict[str, list[NDArray[Any] | None]] = {}
    errors: list[str] = []
    for name in task.modalities:
        existing = set(task.recording.files.get(name, np.empty(0, np.int32)).tolist())
        values: list[NDArray[Any] | None] = []
        for number in numbers:
            value = None
            if number in existing:
                try:
                    value = read_frame(name, frame_path(folder, name, number))
                except DataError as error:
                    errors.append(str(error))
            values.append(value)
        frames[name] = values
    return _Chunk(target.astype(np.float32, copy=False), frames, tuple(errors))
