"""Run cells until none is left: start them as soon as they can, go on after failures, stop on Ctrl-C."""

from __future__ import annotations

import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Generic, TypeVar

from equipose.benchmark.executors import Executor
from equipose.benchmark.jobs import AnyJob, Message
from equipose.benchmark.live import AnyCell, AnyResult, Tally, View

_POLL_SECONDS = 0.5
C = TypeVar("C", bound=AnyCell)
R = TypeVar("R", bound=AnyResult)


@dataclass
class Outcome(Generic[R]):
    """What is known about the cells.

    Attributes:
        done: name -> result.
        failed: name -> why.
        stopped: whether the work was interrupted.
    """

    done: dict[str, R] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    stopped: bool = False

    def ended(self, name: str) -> bool:
        """Whether there is nothing left to do about a cell."""
        return name in self.done or name in self.failed


class Grid(ABC, Generic[C, R]):
    """Which cells there are, and how one is run and read."""

    @abstractmethod
    def cells(self, state: Outcome[R]) -> Sequence[C]:
        """All cells that are known so far, in the order in which they should run."""

    @abstractmethod
    def job(self, cell: C) -> AnyJob:
        """What a process needs to run it."""

    @abstractmethod
    def read(self, cell: C) -> R | None:
        """Its result, if it is finished."""

    def unknown(self, state: Outcome[R]) -> int:
        """How many more there will be."""
        return 0

    def possible(self, cell: C, state: Outcome[R]) -> bool:
        """Whether what a cell waits for is there; may note in ``state.failed`` that it never will be."""
        return True


def run_cells(grid: Grid[C, R], state: Outcome[R], executor: Executor, view: View) -> None:
    """Run every cell that is neither done nor failed; ``state`` is brought up to date.

    Args:
        grid: the cells.
        state: what is known before; it ends as what is known after.
        executor: where cells run.
        view: where the progress is shown.
    """
    tally = Tally(slots=executor.slots)
    names: dict[str, C] = {}
    try:
        while True:
            cells = grid.cells(state)
            names.update((cell.name, cell) for cell in cells)
            _count(tally, grid, cells, state)
            failures = len(state.failed)
            for cell in cells:
                if len(tally.running) >= executor.slots:
                    break
                if _free(cell, state, tally) and grid.possible(cell, state):
                    executor.start(grid.job(cell))
                    tally.running[cell.name] = (cell, time.monotonic(), None)
                    view.started(cell, tally)
            if len(state.failed) > failures:
                continue  # what waited for those is known now
            if not tally.running:
                return
            ended = False
            while not ended:
                for message in executor.poll(_POLL_SECONDS):
                    ended |= _note(message, grid, names, state, tally, view)
                view.tick(tally)
    except KeyboardInterrupt:
        state.stopped = True
        for message in executor.stop():
            _note(message, grid, names, state, tally, view)


def _free(cell: AnyCell, state: Outcome[R], tally: Tally) -> bool:
    """Whether a cell is neither done nor running, and its run folder is not in use."""
    if state.ended(cell.name) or cell.name in tally.running:
        return False
    return all(cell.training != other.training for other, _, _ in tally.running.values())


def _count(tally: Tally, grid: Grid[C, R], cells: Sequence[C], state: Outcome[R]) -> None:
    unknown = grid.unknown(state)
    tally.total = len(cells) + unknown
    tally.done = len(state.done)
    tally.failed = len(state.failed)
    average = sum(cell.weight for cell in cells) / max(len(cells), 1)
    tally.left = sum(cell.weight for cell in cells if not state.ended(cell.name)) + unknown * average


def _note(message: Message, grid: Grid[C, R], names: dict[str, C], state: Outcome[R], tally: Tally, view: View) -> bool:
    """Take in what a cell told; True if it ended."""
    if message.name not in tally.running:
        return False
    cell, (_, since, _) = names[message.name], tally.running[message.name]
    if state.stopped and message.state == "failed":  # it was not far enough to have anything to save
        message = Message(message.name, "stopped")
    if message.state == "running":
        tally.running[message.name] = (cell, since, message)
        return False
    del tally.running[message.name]
    result = None
    if message.state == "done":
        result = grid.read(cell)
        assert result is not None, "a cell that is done has its file"
        state.done[cell.name] = result
        tally.work += cell.weight
        tally.done += 1
        tally.left -= cell.weight
    elif message.state == "failed":
        state.failed[cell.name] = message.text
        tally.failed += 1
        tally.left -= cell.weight
    elif not state.stopped:  # somebody stopped this one process
        state.failed[cell.name] = "its process was asked to stop; repeat the same command to continue it"
        tally.failed += 1
    view.ended(cell, message, result, time.monotonic() - since, tally)
    return True


@contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM ends the work as Ctrl-C does: running cells save and stop."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
