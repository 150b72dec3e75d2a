"""Distances between two samples or two curves, and the spread among several of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Float

Distance = Callable[[Any, Any], float]

SPREAD_QUANTILE = 0.9
"""The tolerance is this quantile over all pairs of real parts; with one or two pairs it is close to the largest."""


def wasserstein(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " m"]) -> float:
    """How far, on average, the values of one sample must be moved to become the other; in the samples' unit.

    The area between the two distribution functions (Wasserstein distance of order 1, one dimension).

    Args:
        first: any order, at least one value, all finite.
        second: the same.
    """
    low, high = np.sort(first), np.sort(second)
    places = np.sort(np.concatenate([low, high]))
    below_first = np.searchsorted(low, places[:-1], side="right") / low.size
    below_second = np.searchsorted(high, places[:-1], side="right") / high.size
    return float(np.abs(below_first - below_second) @ np.diff(places))


def rms_difference(first: Float[np.ndarray, "*s"], second: Float[np.ndarray, "*s"]) -> float:
    """Root mean square of the difference of two curves over the same places."""
    return float(np.sqrt(np.mean(np.square(np.asarray(first) - np.asarray(second)))))


def absolute_difference(first: float, second: float) -> float:
    """Distance of two numbers."""
    return abs(float(first) - float(second))


def between(simulated: Sequence[Any], real: Sequence[Any], distance: Distance) -> float:
    """Mean distance over all pairs of a simulated and a real part."""
    return float(np.mean([distance(s, r) for s in simulated for r in real]))


def among(real: Sequence[Any], distance: Distance) -> list[float]:
    """Distance of every pair of real parts, ascending."""
    return sorted(distance(a, b) for a, b in combinations(real, 2))


def spread(pairs: Sequence[float]) -> float:
    """Nine of ten pairs of real parts lie no farther apart than this."""
    return float(np.quantile(pairs, SPREAD_QUANTILE))
