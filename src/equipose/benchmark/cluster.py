"""Cells on a cluster, through Ray (``pip install 'equipose[cluster]'``).

Every machine must see the data folder and the benchmark's folder under the same paths. Times are those of the
machine a cell ran on; its file names it.
"""

from __future__ import annotations

from typing import Any

from equipose.benchmark.jobs import AnyJob, Message
from equipose.errors import UsageError


def _silent(message: Message) -> None:
    """Progress stays where it is made; only the end of a cell travels."""


def _remote(job: AnyJob) -> Message:
    import torch

    torch.set_num_threads(1)
    return job.run(_silent)


class RayExecutor:
    """One Ray task per cell, in a process of its own; stopping cancels the tasks, which resume from checkpoints."""

    def __init__(self, slots: int, gpus: float = 0.0) -> None:
        try:
            import ray  # type: ignore[import-not-found]  # an extra that need not be installed
        except ImportError:
            raise UsageError(
                "--cluster needs Ray, which is not installed. Type: pip install 'equipose[cluster]', or leave "
                "--cluster out to run on this machine with --jobs processes"
            ) from None
        self._ray: Any = ray
        if not ray.is_initialized():
            ray.init(address="auto", logging_level="ERROR")
        self.slots = slots
        self._task = ray.remote(num_cpus=1, num_gpus=gpus, max_calls=1)(_remote)
        self._running: dict[Any, str] = {}

    def start(self, job: AnyJob) -> None:
        """Hand a cell to the cluster."""
        self._running[self._task.remote(job)] = job.name

    def poll(self, seconds: float) -> list[Message]:
        """Cells that ended; a machine that was lost is a failure of its cell."""
        if not self._running:
            return []
        ended, _ = self._ray.wait(list(self._running), num_returns=1, timeout=seconds)
        found = []
        for reference in ended:
            name = self._running.pop(reference)
            try:
                found.append(self._ray.get(reference))
            except Exception as error:  # whatever Ray calls a lost task
                found.append(Message(name, "failed", text=f"{type(error).__name__}: {str(error).splitlines()[0]}"))
        return found

    def stop(self) -> list[Message]:
        """Cancel what runs; the next call continues it from its last checkpoint."""
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        names = list(self._running.values())
        self._running = {}
        return [Message(name, "stopped") for name in names]
