"""Intervals over people and seeds, and paired differences between trainings.

The people of the test split are the same for every seed, so (person, seed) pairs are not independent of each other:
people are drawn again with replacement, seeds are drawn again with replacement, and a resample takes every drawn
person from every drawn seed (the pigeonhole bootstrap: Owen, *The pigeonhole bootstrap*, Annals of Applied Statistics
1(2), 2007; slightly too wide rather than too narrow). With one seed this is ``metrics.bootstrap``'s draw over people.

Differences are paired: both sides are averaged over the same draw of people and of seeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from equipose.metrics.bootstrap import percentile_interval, resample_weights

RESAMPLES = 2000
Ends = tuple[float, float]


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval.

    Attributes:
        value: mean over all samples and seeds, or what is made of such means.
        interval: None where there are fewer than two people.
        per_seed: the same number of every seed alone.
    """

    value: float
    interval: Ends | None
    per_seed: tuple[float, ...]

    @property
    def wins(self) -> str:
        """Seeds in which a difference is below zero, such as ``4 of 5``."""
        return f"{sum(value < 0 for value in self.per_seed)} of {len(self.per_seed)}"

    @property
    def above(self) -> bool:
        """The whole interval lies above zero."""
        return self.interval is not None and self.interval[0] > 0

    @property
    def below(self) -> bool:
        """The whole interval lies below zero."""
        return self.interval is not None and self.interval[1] < 0


def mean(sums: Float[ndarray, "seed subject"], counts: Float[ndarray, "*seed subject"]) -> Estimate:
    """Mean over all samples of all people and seeds.

    Args:
        sums: sum of a value over each person's samples, per seed; a difference of two such sums is a paired one.
        counts: samples of each person, or any other weights; a row per seed where they are not the same for all.
    """
    per_seed = sums.sum(1) / counts.sum(-1)
    draws = _draws(sums, counts)
    return Estimate(float(per_seed.mean()), _ends(draws), tuple(per_seed.tolist()))


def relative(
    first: Float[ndarray, "seed subject"],
    second: Float[ndarray, "seed subject"],
    counts: Float[ndarray, "*seed subject"],
) -> Estimate:
    """How much larger the mean of ``first`` is than that of ``second``, as a part of it; the seeds are paired."""
    per_seed = first.sum(1) / second.sum(1) - 1.0
    above, below = _draws(first, counts), _draws(second, counts)
    draws = None if above is None or below is None else above / below - 1.0
    return Estimate(float(first.sum() / second.sum() - 1.0), _ends(draws), tuple(per_seed.tolist()))


def _draws(
    sums: Float[ndarray, "seed subject"], counts: Float[ndarray, "*seed subject"]
) -> Float[ndarray, " resample"] | None:
    """The mean in every resample; the draws depend on the numbers of people and seeds alone.

    People who never count are not drawn; a resample in which nobody counts is NaN.
    """
    known = counts.reshape(-1, counts.shape[-1]).any(0)
    sums, counts = sums[:, known], counts[..., known]
    seeds, people = sums.shape
    if people < 2:
        return None
    weights, shares = _weights(seeds, people)
    total = weights @ counts if counts.ndim == 1 else np.einsum("rp,rp->r", shares @ counts, weights)
    found = np.einsum("rp,rp->r", shares @ sums, weights)
    return np.divide(found, total, out=np.full_like(found, np.nan), where=total > 0)


@lru_cache(maxsize=16)
def _weights(seeds: int, people: int) -> tuple[Float[ndarray, "resample subject"], Float[ndarray, "resample seed"]]:
    """How often each person, and which part of the time each seed, is drawn."""
    generator = np.random.default_rng(0)
    return resample_weights(people, RESAMPLES, generator), resample_weights(seeds, RESAMPLES, generator) / seeds


def _ends(draws: Float[ndarray, " resample"] | None) -> Ends | None:
    if draws is None:
        return None
    low, high = percentile_interval(draws[~np.isnan(draws)])
    return float(low), float(high)
