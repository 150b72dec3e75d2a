"""Intervals of mean errors by a bootstrap over subjects.

Frames of one person are nearly copies of each other, so resampling frames makes intervals far too narrow:
whole subjects are drawn with replacement, and a resample's mean is over all its frames. A paired difference
is the mean of the differences, frame by frame.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from equipose.errors import UsageError


def bootstrap_mean(
    values: Float[ndarray, " sample *column"],
    subject: Int[ndarray, " _"],
    resamples: int,
    generator: np.random.Generator,
    level: float = 0.95,
) -> Float[ndarray, " 2 *column"]:
    """Percentile interval of the mean over samples.

    Args:
        values: one value, or one row of values, per sample; any unit. All columns share each resample.
        subject: whose sample it is.
        resamples: how many resamples to draw.
        generator: source of the draws.
        level: probability inside the interval.

    Returns:
        lower and upper end; NaN where fewer than two subjects or no resamples leave nothing to resample.

    Raises:
        UsageError: if lengths differ, there is no sample, or the level is not between 0 and 1.
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) != len(subject) or len(values) == 0:
        raise UsageError(f"found {len(values)} values of {len(subject)} samples, expected one per sample, at least one")
    if not 0.0 < level < 1.0:
        raise UsageError(f"found level {level}, expected a probability between 0 and 1 such as 0.95")
    groups, index = np.unique(subject, return_inverse=True)
    if len(groups) < 2 or resamples < 1:
        return np.full((2, *values.shape[1:]), np.nan)
    flat = values.reshape(len(values), -1)
    sums = np.stack([np.bincount(index, column, len(groups)) for column in flat.T], axis=1)
    weights = resample_weights(len(groups), resamples, generator)
    means = (weights @ sums) / (weights @ np.bincount(index, minlength=len(groups)))[:, None]
    return percentile_interval(means, level).reshape(2, *values.shape[1:])


def bootstrap_difference(
    first: Float[ndarray, " sample"],
    second: Float[ndarray, " _"],
    subject: Int[ndarray, " _"],
    resamples: int,
    generator: np.random.Generator,
    level: float = 0.95,
) -> Float[ndarray, " 2"]:
    """Percentile interval of mean(first) - mean(second), paired sample by sample.

    Arguments as in ``bootstrap_mean``.

    Raises:
        UsageError: if the two do not describe the same samples.
    """
    if len(first) != len(second):
        raise UsageError(f"found {len(first)} and {len(second)} samples, expected the same samples in both")
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    return bootstrap_mean(difference, subject, resamples, generator, level)


def resample_weights(
    num_groups: int, resamples: int, generator: np.random.Generator
) -> Float[ndarray, "resample group"]:
    """How often each group is drawn in each resample of as many groups, with replacement; float64."""
    return generator.multinomial(num_groups, np.full(num_groups, 1.0 / num_groups), size=resamples).astype(np.float64)


def percentile_interval(
    estimates: Float[ndarray, " resample *rest"], level: float = 0.95
) -> Float[ndarray, " 2 *rest"]:
    """The central interval that holds ``level`` of the estimates; NaN estimates are left out."""
    tail = (1.0 - level) / 2.0
    if np.isnan(estimates).any():
        defined = ~np.isnan(estimates).all(0)
        result = np.full((2, *estimates.shape[1:]), np.nan)
        if defined.any():
            result[:, defined] = np.nanquantile(estimates[:, defined], [tail, 1.0 - tail], axis=0)
        return result
    return np.quantile(estimates, [tail, 1.0 - tail], axis=0)
