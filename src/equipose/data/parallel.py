"""Work for several processes, with results in order and little of it in memory."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

from equipose.errors import DataError

T = TypeVar("T")
R = TypeVar("R")


def map_in_order(function: Callable[[T], R], tasks: Iterable[T], jobs: int) -> Iterator[tuple[T, R]]:
    """``(task, function(task))`` in task order, with at most ``2 * jobs`` tasks in flight.

    Processes are started by ``spawn``, so a script that gets here needs ``if __name__ == "__main__":``.

    Args:
        function: a module-level function.
        tasks: picklable values; taken lazily.
        jobs: processes; 1 works in this process.

    Raises:
        DataError: if a process was killed from outside.
    """
    if jobs <= 1:
        for task in tasks:
            yield task, function(task)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn"), _leave_interrupts_to_the_parent) as pool:
        waiting: deque[tuple[T, Future[R]]] = deque()
        try:
            for task in tasks:
                waiting.append((task, pool.submit(function, task)))
                if len(waiting) >= 2 * jobs:
                    head, future = waiting.popleft()
                    yield head, future.result()
            while waiting:
                head, future = waiting.popleft()
                yield head, future.result()
        except BrokenProcessPool:
            raise DataError(
                "a worker process was killed, most likely for want of memory. Repeat the command with --jobs 1"
            ) from None
        finally:
            for _, future in waiting:
                future.cancel()


def _leave_interrupts_to_the_parent() -> None:
    """Ctrl-C reaches every process of a terminal; one message is enough."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
