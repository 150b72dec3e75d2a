"""Subsets of a method's sensors against each other, and against models that were trained on just those sensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from equipose.benchmark.statistics import Estimate, mean, relative
from equipose.benchmark.study import Sensors, Trained, paired


@dataclass(frozen=True)
class Addition:
    """What adding a sensor to others does to a method's error, mm; positive is worse."""

    start: Sensors
    added: str
    change: Estimate


@dataclass(frozen=True)
class Gap:
    """A method's error from some of its sensors beside the model trained on just those, as a part of the latter's."""

    sensors: Sensors
    part: Estimate


def proper_subsets(sensors: Sensors) -> tuple[Sensors, ...]:
    """All subsets with at least one sensor, small ones first, in the order of the sensors; the last is all."""
    return tuple(subset for size in range(1, len(sensors) + 1) for subset in combinations(sensors, size))


def additions(trained: Trained) -> tuple[Addition, ...]:
    """Every (subset, subset plus one sensor) of a method, paired sample by sample within each seed."""
    test = trained.first
    sums = {frozenset(subset): trained.sums(subset) for subset in proper_subsets(test.sensors)}
    return tuple(
        Addition(subset, added, mean(sums[frozenset((*subset, added))] - sums[frozenset(subset)], test.counts))
        for subset in proper_subsets(test.sensors)
        for added in test.sensors
        if added not in subset
    )


def gaps(trained: Trained, subsets: Mapping[Sensors, Trained]) -> tuple[Gap, ...]:
    """A method beside the models trained on fewer sensors, where there are such with a seed in common."""
    found = []
    for sensors, specialist in subsets.items():
        if not set(sensors) <= set(trained.first.sensors):
            continue
        pair = paired(trained, specialist)
        if not isinstance(pair, str):
            ours, theirs = pair
            part = relative(ours.sums(sensors), theirs.sums(sensors), ours.first.counts)
            found.append(Gap(sensors, part))
    return tuple(found)


@dataclass(frozen=True)
class Transfer:
    """All sensors against a pair of them, mm; positive: more sensors are worse.

    Attributes:
        pair: the two sensors.
        change: error from all sensors minus error from the pair.
    """

    pair: Sensors
    change: Estimate


def best_own_pair(trained: Trained) -> Transfer | None:
    """All sensors against the best pair of the same model; the pair is picked on the test split, in its favour."""
    sensors = trained.first.sensors
    if len(sensors) < 3:
        return None
    pair = min(combinations(sensors, 2), key=lambda names: trained.error(names).value)
    return Transfer(pair, mean(trained.sums(sensors) - trained.sums(pair), trained.first.counts))


def best_trained_pair(trained: Trained, subsets: Mapping[Sensors, Trained]) -> Transfer | None:
    """All sensors against the model trained on two that has the lowest validation error."""
    pairs = {names: model for names, model in subsets.items() if len(names) == 2}
    if len(trained.first.sensors) < 3 or not pairs:
        return None
    best = min(pairs, key=lambda names: float(np.mean([c.validation_mpjpe_mm for c in pairs[names].cells.values()])))
    pair = paired(trained, pairs[best])
    if isinstance(pair, str):
        return None
    ours, theirs = pair
    return Transfer(best, mean(ours.sums(ours.first.sensors) - theirs.sums(best), ours.first.counts))
