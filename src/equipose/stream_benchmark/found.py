"""What separation found against the truth, and what a run costs: means over the runs of a row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from equipose.stream_benchmark.results import Numbers
from equipose.stream_benchmark.rows import Runs

Means = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Found:
    """Means over trainings and runs; a number that none of them has is left out.

    Attributes:
        judged: whether anything looked for noise, or knew it; otherwise nothing is flagged.
        groups: sensor, ``all sensors`` or ``label`` -> name of a number of ``separation.quality.Quality`` -> mean.
        kinds: such as ``rgb.swap`` -> the same, of this kind of corruption against what is clean.
        memory: ``cells``, ``samples``, ``labels``: clean share of the replay memory; ``entries``. Empty without one.
        events: such as ``modality shift of wifi`` -> trainings in which it was reported.
    """

    judged: bool
    groups: Means
    kinds: Means
    memory: dict[str, float]
    events: dict[str, int]


@dataclass(frozen=True)
class Cost:
    """Means over runs.

    Attributes:
        step_seconds: median over epochs of the mean step, balance and continual strategies and separation included.
        step_ratio: step time beside that of the reference, the mean over runs that both have; None without one.
        training_seconds: of all experiences.
        memory_bytes: what the continual strategy keeps between experiences.
        peak_memory_mb: of the process.
        parameters: of the network.
    """

    step_seconds: float
    step_ratio: float | None
    training_seconds: float
    memory_bytes: float
    peak_memory_mb: float | None
    parameters: int


def found_in(runs: Runs) -> Found | None:
    """What all trainings of a row found; None where no noise was planned and none was looked for."""
    each = [noise for record in runs.records.values() for noise in record.noise]
    if not each:
        return None
    events: dict[str, int] = {}
    for noise in each:
        for event in noise.events:
            name = f"{event.get('kind')} of {event.get('subject')}"
            events[name] = events.get(name, 0) + 1
    return Found(
        any(noise.judged for noise in each),
        _nested(noise.groups for noise in each),
        _nested(noise.kinds for noise in each),
        _means(noise.memory for noise in each),
        events,
    )


def cost_of(runs: Runs, reference: Runs) -> Cost | None:
    """What a row costs; None where it was not trained."""
    if not runs.records:
        return None
    records = list(runs.records.values())
    both = [key for key in runs.records if key in reference.records]
    ratios = [runs.records[key].step_seconds / reference.records[key].step_seconds for key in both]
    peaks = [each.peak_memory_mb for each in records if each.peak_memory_mb is not None]
    return Cost(
        float(np.mean([each.step_seconds for each in records])),
        float(np.mean(ratios)) if ratios else None,
        float(np.mean([each.training_seconds for each in records])),
        float(np.mean([each.memory_bytes for each in records])),
        max(peaks) if peaks else None,
        records[0].parameters,
    )


def _nested(each: Iterable[Mapping[str, Numbers]]) -> Means:
    found: dict[str, list[Numbers]] = {}
    for groups in each:
        for name, numbers in groups.items():
            found.setdefault(name, []).append(numbers)
    return {name: _means(numbers) for name, numbers in found.items()}


def _means(each: Iterable[Numbers]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for numbers in each:
        for name, value in numbers.items():
            if value is not None:
                found.setdefault(name, []).append(value)
    return {name: float(np.mean(values)) for name, values in found.items()}
