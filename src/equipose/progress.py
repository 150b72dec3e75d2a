"""One progress bar for every long step: a live bar on a terminal, a plain line now and then otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def progress(description: str, total: int, unit: str = "items") -> Iterator[Callable[[int], None]]:
    """A bar to be moved by hand: inside the context, call the yielded function with the number of steps done.

    Writes to stderr. Without a terminal it prints a line at the start, at most one every five seconds, and one at
    the end.
    """
    if sys.stderr.isatty():
        with _live(description, total, unit) as advance:
            yield advance
    else:
        with _plain(description, total, unit) as advance:
            yield advance


def track(iterable: Iterable[T], description: str, total: int | None = None, unit: str = "items") -> Iterator[T]:
    """Iterate with a progress bar.

    Args:
        iterable: what to go through.
        description: what is being done, as a present participle.
        total: its length, where ``len`` does not tell.
        unit: what one step is.
    """
    if total is None:
        total = len(iterable)  # type: ignore[arg-type]  # callers without a length pass total
    with progress(description, total, unit) as advance:
        for item in iterable:
            yield item
            advance(1)


@contextmanager
def _live(description: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{unit} {{task.fields[rate]}}"),
        TimeRemainingColumn(),
    )
    start = time.monotonic()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(description, total=total, rate="")
        done = 0

        def advance(n: int) -> None:
            nonlocal done
            done += n
            bar.update(task, advance=n, rate=f"{done / max(time.monotonic() - start, 1e-9):.4g}/s")

        yield advance


@contextmanager
def _plain(description: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    start = last = time.monotonic()
    done = 0
    print(f"{description}: {total} {unit}", file=sys.stderr, flush=True)

    def advance(n: int) -> None:
        nonlocal done, last
        done += n
        now = time.monotonic()
        if now - last >= 5.0:
            last = now
            rate = done / (now - start)
            left = f", {(total - done) / rate:.0f} s left" if rate else ""
            print(
                f"{description}: {done}/{total} {unit}, {rate:.4g}/s{left}",
                file=sys.stderr,
                flush=True,
            )

    yield advance
    print(f"{description}: {done} {unit} in {time.monotonic() - start:.1f} s", file=sys.stderr, flush=True)
