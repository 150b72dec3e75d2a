"""What executors know of a cell: a job with a name that tells how it goes, whatever it trains."""

from __future__ import annotations

import resource
import sys
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from equipose.benchmark.results import failure_path
from equipose.errors import EquiposeError
from equipose.files import write_text


@dataclass(frozen=True)
class Message:
    """What a cell tells while it runs and when it ends.

    Attributes:
        name: of the cell.
        state: ``running``, ``done``, ``stopped`` (everything is saved) or ``failed``.
        steps: optimizer steps done, while running.
        total: of how many.
        text: of a failure.
    """

    name: str
    state: Literal["running", "done", "stopped", "failed"]
    steps: int = 0
    total: int = 0
    text: str = ""


Tell = Callable[[Message], None]


@runtime_checkable
class AnyJob(Protocol):
    """Plain values, so that it can be sent to another process or machine, and what to do there."""

    @property
    def name(self) -> str:
        """Of the cell."""

    @property
    def training(self) -> str:
        """Name of the run folder, of its log and of its lock."""

    @property
    def out(self) -> str:
        """The benchmark's folder."""

    def run(self, tell: Tell) -> Message:
        """Do all of the cell's work that is not done yet; never raises an ordinary exception."""


def logged(job: AnyJob, work: Callable[[], bool]) -> Message:
    """Do the work with everything it prints in ``DIR/logs`` and a failure in ``DIR/failed``, with its traceback.

    Args:
        job: the cell.
        work: True when the cell is done, False when it was asked to stop.
    """
    out = Path(job.out)
    log = out / "logs" / f"{job.training}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    failure = failure_path(out, job.name)
    with log.open("a", encoding="utf-8") as stream, redirect_stdout(stream), redirect_stderr(stream):
        try:
            if not work():
                return Message(job.name, "stopped")
            failure.unlink(missing_ok=True)
        except Exception as error:
            ours = isinstance(error, EquiposeError)
            told = str(error) if ours else f"{type(error).__name__}: {error}"
            told = " ".join(told.split()) or type(error).__name__
            failure.parent.mkdir(parents=True, exist_ok=True)
            write_text(failure, f"{told}\n\n{traceback.format_exc()}")
            return Message(job.name, "failed", text=told)
    return Message(job.name, "done")


def peak_memory() -> dict[str, float | None]:
    """Largest memory of this process so far, MB."""
    import torch

    unit = 1e6 if sys.platform == "darwin" else 1e3  # getrusage counts bytes there and kilobytes on Linux
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    gpu = torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else None
    return {"peak_memory_mb": round(resident, 1), "peak_gpu_memory_mb": None if gpu is None else round(gpu, 1)}


def finite(value: Any) -> Any:
    """NaN and infinity as None, which JSON has no word for."""
    if isinstance(value, float):
        return value if value - value == 0.0 else None
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return value
