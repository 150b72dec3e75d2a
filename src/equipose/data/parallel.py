"""Work for several processes, with results in order and little of it in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def map_in_order(function: Callable[[T], R], tasks: Iterable[T], jobs: int) -> Iterator[tuple[T, R]]:
    """``(task, function(task))`` in task order, with at most ``2 * jobs`` tasks in flight.

    Processes are started by ``spawn``, so a script that gets here needs ``if __name__ == "__main__":``.

    Args:
        function: a module-level function.
        tasks: picklable values; taken lazily.
        jobs: processes; 1 works in this process.
    """
    if jobs <= 1:
        for task in tasks:
            yield task, function(task)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
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
        finally:
            for _, future in waiting:
                future.cancel()
