"""Runs of consecutive numbers, for messages that name many frames or subjects."""

from __future__ import annotations

from collections.abc import Iterable


def stretches(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """First and last of every run of consecutive numbers, ascending: 3, 5, 6, 7 -> (3, 3), (5, 7)."""
    runs: list[tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs
