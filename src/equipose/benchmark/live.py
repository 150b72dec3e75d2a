"""What is shown while a benchmark runs: a live table on a terminal, plain lines otherwise; on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from equipose.benchmark.jobs import Message

_PLAIN_SECONDS = 30.0


@runtime_checkable
class AnyCell(Protocol):
    """What is shown of a cell, whatever it trains."""

    @property
    def name(self) -> str:
        """Name of its result file."""

    @property
    def training(self) -> str:
        """Name of its run folder; cells that share it do not run at the same time."""

    @property
    def label(self) -> str:
        """What it is called while it runs."""

    @property
    def weight(self) -> float:
        """A rough measure of its work, for the time left."""


@runtime_checkable
class AnyResult(Protocol):
    """What is shown of a finished cell."""

    @property
    def told(self) -> str:
        """Its errors in a few words."""


@dataclass
class Tally:
    """How far a benchmark has come.

    Attributes:
        total: cells in all, those included that were finished before.
        done: finished cells.
        failed: cells that ended in an error.
        running: name -> (cell, when it started, last message).
        work: sum of the weights of cells finished in this call.
        left: sum of the weights of cells that are neither finished nor failed.
        slots: cells at a time.
        started: when the call began, on the monotonic clock.
    """

    total: int = 0
    done: int = 0
    failed: int = 0
    running: dict[str, tuple[AnyCell, float, Message | None]] = field(default_factory=dict)
    work: float = 0.0
    left: float = 0.0
    slots: int = 1
    started: float = field(default_factory=time.monotonic)

    def part(self, name: str) -> float:
        """Part of a running cell that is done, 0 to 1."""
        message = self.running[name][2]
        return message.steps / message.total if message is not None and message.total else 0.0

    def seconds_left(self) -> float | None:
        """From the work done in this call; None before there is any."""
        under_way = sum(cell.weight * self.part(name) for name, (cell, _, _) in self.running.items())
        work = self.work + under_way
        elapsed = time.monotonic() - self.started
        return (self.left - under_way) * elapsed / work if work > 0 and elapsed > 1.0 else None

    def line(self) -> str:
        """``12 of 84 cells, 1 failed, 1 h 20 min left``."""
        words = [f"{self.done} of {self.total} cells"]
        if self.failed:
            words.append(f"{self.failed} failed")
        left = self.seconds_left()
        if left is not None and self.left:
            words.append(f"{clock(left)} left")
        return ", ".join(words)


@runtime_checkable
class View(Protocol):
    """Something that shows the progress."""

    def started(self, cell: AnyCell, tally: Tally) -> None:
        """A cell has started."""

    def ended(self, cell: AnyCell, message: Message, result: AnyResult | None, seconds: float, tally: Tally) -> None:
        """A cell has ended."""

    def tick(self, tally: Tally) -> None:
        """Called often while cells run."""


@contextmanager
def view() -> Iterator[View]:
    """The view that suits stderr."""
    if not sys.stderr.isatty():
        yield PlainView()
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:
        yield LiveView(live)


class PlainView:
    """A line when a cell starts and ends, and one about the running cells now and then."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def started(self, cell: AnyCell, tally: Tally) -> None:
        """A cell has started."""
        _say(f"start: {cell.label}")

    def ended(self, cell: AnyCell, message: Message, result: AnyResult | None, seconds: float, tally: Tally) -> None:
        """A cell has ended."""
        _say(f"{told(cell, message, result, seconds)}. {tally.line()}")

    def tick(self, tally: Tally) -> None:
        """A line every half minute."""
        now = time.monotonic()
        if tally.running and now - self._last >= _PLAIN_SECONDS:
            self._last = now
            parts = [f"{cell.label} {tally.part(name):.0%}" for name, (cell, _, _) in tally.running.items()]
            _say(f"running: {'; '.join(parts)}. {tally.line()}")


class LiveView:
    """A table of the running cells under the lines of those that ended."""

    def __init__(self, live: Any) -> None:
        self._live = live

    def started(self, cell: AnyCell, tally: Tally) -> None:
        """A cell has started."""
        self.tick(tally)

    def ended(self, cell: AnyCell, message: Message, result: AnyResult | None, seconds: float, tally: Tally) -> None:
        """A cell has ended."""
        self._live.console.print(told(cell, message, result, seconds), markup=False, highlight=False)
        self.tick(tally)

    def tick(self, tally: Tally) -> None:
        """Draw the table again."""
        from rich.table import Table

        table = Table(title=tally.line(), title_justify="left", expand=False)
        for name in ("cell", "steps", "done", "time"):
            table.add_column(name, justify="left" if name == "cell" else "right")
        for name, (cell, since, message) in tally.running.items():
            steps = f"{message.steps}/{message.total}" if message is not None else "starting"
            table.add_row(cell.label, steps, f"{tally.part(name):.0%}", clock(time.monotonic() - since))
        self._live.update(table, refresh=True)


def told(cell: AnyCell, message: Message, result: AnyResult | None, seconds: float) -> str:
    """One line about a cell that ended."""
    if message.state == "failed":
        return f"failed: {cell.label}: {message.text}"
    if message.state == "stopped" or result is None:
        return f"stopped: {cell.label}; its run is saved"
    return f"done: {cell.label}: {result.told}, {clock(seconds)}"


def clock(seconds: float) -> str:
    """``42 s``, ``3 min 20 s`` or ``2 h 05 min``."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
