"""A corrupt copy of a data set as a packed folder, with the truth beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipose.data.corrupt.plan import CorruptionPlan
from equipose.data.corrupt.store import CorruptedStore, split_clouds
from equipose.data.corrupt.truth import FILE_NAME, FrameTruth, write_truth
from equipose.data.splits import S2_TEST_SUBJECTS
from equipose.data.store import RecordingTable, open_store
from equipose.data.writer import PackedWriter
from equipose.errors import UsageError
from equipose.modality import MODALITIES
from equipose.progress import progress


@dataclass(frozen=True, eq=False)
class CorruptReport:
    """What was written.

    Attributes:
        out: the folder.
        truth: what was done to each of its frames.
        recorded: (row, modality) which frames the clean data has.
    """

    out: Path
    truth: FrameTruth
    recorded: NDArray[np.bool_]


def corrupt_folder(
    data: Path | str,
    out: Path | str,
    plan: CorruptionPlan,
    modalities: Sequence[str] | None = None,
    test_subjects: Sequence[int] = S2_TEST_SUBJECTS,
) -> CorruptReport:
    """Write a corrupt copy of a data set: a packed folder and ``corruption.npz`` in it.

    Interrupted, the same call continues after the last complete recording.

    Args:
        data: a packed folder or an MM-Fi folder; only read.
        out: the packed folder to make; must not exist.
        plan: what to do.
        modalities: sensors; all by default (of an MM-Fi folder all except depth).
        test_subjects: frames are exchanged only among these subjects and only among the others, so that no training
            frame shows a test subject; where the data has its own split, within each of its sides.

    Raises:
        DataError: if ``data`` is no data set or the disk is full.
        UsageError: if ``out`` exists or a sensor is not there.
    """
    source = Path(data)
    if Path(out).resolve().is_relative_to(source.resolve()):
        raise UsageError(f"{out} lies inside {data}, which is only read; name a folder beside it")
    clean = open_store(source, modalities)
    store = CorruptedStore(clean, plan, _sides(clean.recordings, test_subjects))
    table = store.recordings
    plain = plan.model_dump(mode="json")
    origin = {
        "name": source.name,
        "frames": table.num_frames,
        "test_subjects": list(test_subjects),
        "corruption": plain,
    }
    writer = PackedWriter(
        out,
        skeleton=store.skeleton,
        modalities=store.modalities,
        simulated=store.simulated,
        frame_rate_hz=store.frame_rate_hz,
        action_names=store.action_names,
        source=origin,
    )
    with writer:
        with progress("corrupting", len(table) - writer.num_done, "recordings") as advance:
            for recording in range(writer.num_done, len(table)):
                _write_recording(writer, store, recording)
                advance(1)
        rows = np.arange(table.num_frames)
        truth = store.truth(rows)
        write_truth(
            writer.partial / FILE_NAME,
            truth,
            environment=table.environment[store.frame_recording],
            subject=table.subject[store.frame_recording],
            action=table.action[store.frame_recording],
            frame=store.frame_number,
            plan=np.array(json.dumps(plain)),
        )
    recorded = np.stack([clean.present[name] for name in store.modalities], axis=1)
    return CorruptReport(Path(out), truth, recorded)


def _sides(table: RecordingTable, test_subjects: Sequence[int]) -> NDArray[np.int64]:
    if table.split:
        return np.array([("train", "validation", "test").index(side) for side in table.split], np.int64)
    return np.isin(table.subject, test_subjects).astype(np.int64)


def _write_recording(writer: PackedWriter, store: CorruptedStore, recording: int) -> None:
    table = store.recordings
    rows = table.start[recording] + np.arange(table.length[recording])
    frames: dict[str, list[NDArray[Any] | None]] = {}
    for name in store.modalities:
        if MODALITIES[name].kind == "cloud":
            points, counts, valid = store.cloud(name, rows)
            values: Sequence[NDArray[Any]] = split_clouds(points, counts)
        else:
            values, valid = store.dense(name, rows)  # type: ignore[assignment]  # rows of an array are arrays
        frames[name] = [value if ok else None for value, ok in zip(values, valid, strict=True)]
    writer.add(
        int(table.environment[recording]),
        int(table.subject[recording]),
        int(table.action[recording]),
        target=store.target(rows),
        frames=frames,
        frame_number=store.frame_number[rows],
        split=table.split[recording] if table.split else None,
    )
