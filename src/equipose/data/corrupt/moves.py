"""Faults that show another frame than the one that belongs there: which row of the store is read instead.

A move has the form ``move(burst, level, fault) -> rows``; ``level`` and ``fault`` are as in ``pixels``. A row that is
moved to itself is not corrupt.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, Integer
from numpy import ndarray
from numpy.random import Generator

from equipose.data.store import RecordingTable


@dataclass(frozen=True, eq=False)
class Burst:
    """Consecutive frames of one recording under one fault.

    Attributes:
        rows: their rows, ascending.
        recording: index of the recording.
        recordings: all there are.
        side: (recording,) a recording is exchanged only with one of the same number, so that a training frame never
            shows a test recording.
    """

    rows: Int[ndarray, " frame"]
    recording: int
    recordings: RecordingTable
    side: Integer[ndarray, " recording"]

    @property
    def first(self) -> int:
        """First row of the recording."""
        return int(self.recordings.start[self.recording])

    @property
    def length(self) -> int:
        """Frames of the recording."""
        return int(self.recordings.length[self.recording])


def stuck(burst: Burst, level: float, fault: Generator) -> Int[ndarray, " frame"]:
    """The last frame before the burst, held. A burst at the start of a recording holds its own first frame."""
    return np.full_like(burst.rows, max(burst.rows[0] - 1, burst.first))


def frozen(burst: Burst, level: float, fault: Generator) -> Int[ndarray, " frame"]:
    """A picture that comes once in ``level`` frames, and late: each frame is 1 to ``level`` frames old."""
    steps = (burst.rows - burst.rows[0]) // int(level) * int(level)
    return np.maximum(burst.rows[0] - 1 + steps, burst.first)


def late(burst: Burst, level: float, fault: Generator) -> Int[ndarray, " frame"]:
    """The frame ``level`` frames ago; the recording's first one where there is none."""
    return np.maximum(burst.rows - int(level), burst.first)


def other_moment(burst: Burst, level: float, fault: Generator) -> Int[ndarray, " frame"]:
    """The frame ``level`` frames before or after, the recording taken as a circle; the direction is the burst's.

    In a recording of one ``level`` or a fraction of it, half the recording away.
    """
    sign = 1 if fault.random() < 0.5 else -1
    step = int(level) % burst.length or burst.length // 2
    return burst.first + (burst.rows - burst.first + sign * step) % burst.length


def other_recording(burst: Burst, level: float, fault: Generator) -> Int[ndarray, " frame"]:
    """The frame of the same time in another recording, which is the burst's.

    ``level`` 1: the same room and action, another subject; 2: the same room, another action; 3: another room. Where
    there is no such recording, any other one.
    """
    table, here = burst.recordings, burst.recording
    room = table.environment == table.environment[here]
    action = table.action == table.action[here]
    subject = table.subject == table.subject[here]
    wanted = {1: room & action & ~subject, 2: room & ~action, 3: ~room}[int(level)]
    return _in_one_of(burst, fault, wanted, np.ones(len(table), bool))


def other_person_here(burst: Burst, level: float, fault: Generator) -> Int[ndarray, " frame"]:
    """The frame of the same time of another subject in the same room; any other subject where there is none."""
    table, here = burst.recordings, burst.recording
    others = table.subject != table.subject[here]
    return _in_one_of(burst, fault, others & (table.environment == table.environment[here]), others)


def other_person_same_action(burst: Burst, level: float, fault: Generator) -> Int[ndarray, " frame"]:
    """The frame of the same time of another subject doing the same, in the same room if possible."""
    table, here = burst.recordings, burst.recording
    others = table.subject != table.subject[here]
    same = others & (table.action == table.action[here])
    return _in_one_of(burst, fault, same & (table.environment == table.environment[here]), same, others)


def _in_one_of(burst: Burst, fault: Generator, *pools: Bool[ndarray, " recording"]) -> Int[ndarray, " frame"]:
    """Rows of a random recording of the first pool that has one on the same side; unmoved if none has."""
    allowed = burst.side == burst.side[burst.recording]
    allowed[burst.recording] = False
    for pool in pools:
        found = np.flatnonzero(pool & allowed)
        if len(found):
            chosen = found[fault.integers(len(found))]
            table = burst.recordings
            return table.start[chosen] + (burst.rows - burst.first) % table.length[chosen]
    return burst.rows
