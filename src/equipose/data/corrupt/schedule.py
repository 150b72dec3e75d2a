"""Which frame has which fault: a pure function of the plan, the recordings of a room, and the frame.

Each recording is cut into blocks of about ``burst_seconds`` (or of one frame); a block is corrupt throughout or clean.
In a room the blocks of each subject are put into a random order, subject after subject, and the k-th of the room's n
blocks gets the threshold ``(rank of frac(k * 0.618...) + u) / n``; those below the rate are corrupt. The golden ratio
spreads the thresholds evenly over any stretch of the order. So the rate is met within one block in every room and two
in every few subjects, not only on average, and a lower rate's corrupt frames are among a higher one's. What a block
suffers does not depend on the rate, and which blocks are hit does not depend on the severity.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, Int8, Int16, Int64, Integer
from numpy import ndarray

from equipose.data.corrupt.moves import Burst
from equipose.data.corrupt.plan import CorruptionPlan
from equipose.data.corrupt.table import KIND_NAMES, LABEL, SEVERITIES, Corruption, find_corruption
from equipose.data.store import FrameStore, RecordingTable
from equipose.errors import UsageError

_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True, eq=False)
class Schedule:
    """What is wrong with each row of a store, for one sensor or the label.

    Attributes:
        kind: index into ``KIND_NAMES``; -1 where nothing is planned, where a move ends at the frame itself, and where
            the frame or the one shown instead was not recorded.
        severity: 1 to 3, or 0.
        burst: first row of the burst.
        source: row whose frame is shown.
    """

    kind: Int16[ndarray, " row"]
    severity: Int8[ndarray, " row"]
    burst: Int64[ndarray, " row"]
    source: Int64[ndarray, " row"]


@dataclass(frozen=True, eq=False)
class _Blocks:
    recording: Int[ndarray, " block"]
    start: Int[ndarray, " block"]
    stop: Int[ndarray, " block"]
    threshold: ndarray
    which: ndarray
    strength: ndarray


def make_schedule(plan: CorruptionPlan, what: str, store: FrameStore, side: Integer[ndarray, " recording"]) -> Schedule:
    """The schedule of one sensor, or of the ``label``.

    Args:
        plan: what to do.
        what: a sensor of the store, or ``label``.
        store: the clean frames.
        side: (recording,) frames are exchanged between recordings of the same number only.

    Raises:
        UsageError: if a corruption that the plan names needs another recording or subject and there is none.
    """
    table = store.recordings
    rows = table.num_frames
    kind = np.full(rows, -1, np.int16)
    severity = np.zeros(rows, np.int8)
    burst = np.arange(rows)
    source = np.arange(rows)
    here = store.labelled if what == LABEL else store.present[what]
    faults = possible(plan, what, table) if plan.rate_of(what) > 0 else ()
    if faults:
        length = 1 if plan.timing == "frame" else max(1, round(plan.burst_seconds * store.frame_rate_hz))
        blocks = _blocks(table, length, plan.seed, what)
        occurrence = occurrences(table)
        for i in np.flatnonzero(blocks.threshold < plan.rate_of(what)).tolist():
            fault = faults[int(blocks.which[i] * len(faults))]
            degree = int(blocks.strength[i] * 3) + 1 if plan.severity == "mixed" else plan.severity
            span = slice(int(blocks.start[i]), int(blocks.stop[i]))
            kind[span] = KIND_NAMES.index(fault.name)
            severity[span] = degree
            burst[span] = span.start
            if fault.move is not None:
                key = fault_key(plan.seed, what, fault, table, occurrence, int(blocks.recording[i]), span.start)
                one = Burst(np.arange(span.start, span.stop), int(blocks.recording[i]), table, side)
                moved = fault.move(one, fault.level(degree), np.random.default_rng(key))
                source[span] = moved
                kind[span][moved == one.rows] = -1
    kind[~(here & here[source])] = -1
    clean = kind < 0
    severity[clean] = 0
    source[clean] = np.flatnonzero(clean)
    assert set(np.unique(severity)) <= {0, *SEVERITIES}
    return Schedule(kind, severity, burst, source)


def possible(plan: CorruptionPlan, what: str, table: RecordingTable) -> tuple[Corruption, ...]:
    """The planned corruptions that these recordings allow.

    Raises:
        UsageError: if one that is named needs another recording or subject and there is none.
    """
    lacking = set()
    if len(table) < 2:
        lacking.add("recording")
    if len(np.unique(table.subject)) < 2:
        lacking.add("subject")
    faults = [find_corruption(what, name) for name in plan.names_of(what)]
    there = tuple(fault for fault in faults if fault.partner not in lacking)
    for fault in faults:
        if fault not in there and (plan.names_a(what, fault.name) or not there):
            raise UsageError(
                f"{what}.{fault.name} shows another {fault.partner}, and the data has only one; leave it out, or add "
                "recordings"
            )
    return there


def occurrences(table: RecordingTable) -> Int64[ndarray, " recording"]:
    """How many recordings before this one have the same environment, subject and action; 0 in MM-Fi."""
    seen: dict[tuple[int, ...], int] = {}
    out = np.zeros(len(table), np.int64)
    for i, key in enumerate(map(tuple, table.keys.tolist())):
        out[i] = seen.get(key, 0)
        seen[key] = int(out[i]) + 1
    return out


def fault_key(
    seed: int,
    what: str,
    fault: Corruption,
    table: RecordingTable,
    occurrence: Int64[ndarray, " recording"],
    recording: int,
    row: int,
) -> tuple[int, ...]:
    """Seed of the numbers that one fault draws at one frame of one recording."""
    r = recording
    key = (table.environment[r], table.subject[r], table.action[r], occurrence[r], row - table.start[r])
    return (seed, _code(f"{what}.{fault.name}"), *(int(number) for number in key))


def touches(schedule: Schedule, window: Int64[ndarray, "sample time"]) -> Bool[ndarray, " sample"]:
    """Which windows hold a frame with a fault."""
    return np.asarray((schedule.kind[window] >= 0).any(axis=1))


def _code(text: str) -> int:
    return zlib.crc32(text.encode())


def _blocks(table: RecordingTable, length: int, seed: int, what: str) -> _Blocks:
    """All blocks with what is drawn for them."""
    count = np.maximum(1, np.round(table.length / length)).astype(np.int64)
    recording = np.repeat(np.arange(len(table)), count)
    index = np.arange(len(recording)) - np.repeat(np.cumsum(count) - count, count)
    share = np.stack((index, index + 1)) * table.length[recording] // count[recording]
    start, stop = table.start[recording] + share
    drawn = np.zeros((3, len(recording)))
    room = table.environment[recording]
    for environment in np.unique(room):
        generator = np.random.default_rng((seed, _code(what), int(environment)))
        mine = np.flatnonzero(room == environment)
        shift = generator.random(2)
        mixed = mine[np.lexsort((generator.random(len(mine)), table.subject[recording[mine]]))]
        rank = np.argsort(np.argsort((shift[0] + np.arange(len(mine)) * _GOLDEN) % 1.0))
        drawn[0, mixed] = (rank + shift[1]) / len(mine)
        drawn[1:, mine] = generator.random((2, len(mine)))
    return _Blocks(recording, start, stop, *drawn)
