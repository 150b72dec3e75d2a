"""Where cells run: processes of this machine, one thread each."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Protocol, runtime_checkable

from equipose.benchmark.jobs import AnyJob, Message
from equipose.threads import one_thread

_PATIENCE = 120.0


@runtime_checkable
class Executor(Protocol):
    """Runs cells somewhere."""

    slots: int
    """How many cells run at a time."""

    def start(self, job: AnyJob) -> None:
        """Start a cell; called only while fewer than ``slots`` run."""

    def poll(self, seconds: float) -> list[Message]:
        """What the cells told since the last call; waits at most that long for the first word."""

    def stop(self) -> list[Message]:
        """Ask the running cells to save and to end, wait for them, and return what they told last."""


@dataclass(frozen=True)
class _Running:
    process: SpawnProcess
    told: Connection


class LocalExecutor:
    """A fresh process per cell, so that nothing of one is left in the next and its memory is its own."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._running: dict[str, _Running] = {}

    def start(self, job: AnyJob) -> None:
        """Start a cell in a process of its own."""
        context = multiprocessing.get_context("spawn")
        mine, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_child, args=(job, theirs, os.getpid()), name=job.name, daemon=True)
        with one_thread():
            process.start()
        theirs.close()
        self._running[job.name] = _Running(process, mine)

    def poll(self, seconds: float) -> list[Message]:
        """Messages of all cells; a process that ended without a word counts as failed."""
        if not self._running:
            return []
        wait([each.told for each in self._running.values()], seconds)
        found: list[Message] = []
        for name, each in list(self._running.items()):
            last = None
            try:
                while each.told.poll():
                    last = each.told.recv()
                    found.append(last)
            except EOFError:
                each.process.join()
                if last is None or last.state == "running":
                    found.append(Message(name, "failed", text=_ending(each.process.exitcode)))
            if found and found[-1].name == name and found[-1].state != "running":
                each.process.join()
                each.told.close()
                del self._running[name]
        return found

    def stop(self) -> list[Message]:
        """Cells in training save and stop; those that are just starting or measuring end at once and lose nothing."""
        for each in self._running.values():
            if each.process.pid is not None and each.process.is_alive():
                os.kill(each.process.pid, signal.SIGTERM)
        found: list[Message] = []
        until = time.monotonic() + _PATIENCE
        while self._running and time.monotonic() < until:
            found += self.poll(1.0)
        for each in self._running.values():
            each.process.kill()
        return found


def _child(job: AnyJob, told: Connection, parent: int) -> None:
    """Entry of a cell's process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent passes a SIGTERM on

    def tell(message: Message) -> None:
        if os.getppid() != parent:  # the benchmark was killed: save and stop, or a second one would write beside us
            os.kill(os.getpid(), signal.SIGTERM)
            return
        try:
            told.send(message)
        except OSError:
            os.kill(os.getpid(), signal.SIGTERM)

    import torch

    torch.set_num_threads(1)
    with _alone(job):
        ended = job.run(tell)
    with suppress(OSError):
        told.send(ended)
    told.close()


@contextmanager
def _alone(job: AnyJob) -> Iterator[None]:
    """Waits for a process of a killed benchmark that is still saving the same run."""
    import fcntl

    folder = Path(job.out) / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{job.training}.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        if name == "SIGTERM":
            return "its process was stopped (SIGTERM)"
        return f"its process was killed ({name}); the machine may be out of memory: try fewer --jobs"
    return f"its process ended with code {code} and without a word"
