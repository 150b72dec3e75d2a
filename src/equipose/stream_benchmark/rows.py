"""One row of a table: runs of one method, with every measure and its interval.

Intervals are over people and runs, by ``benchmark.statistics``: people are drawn again with replacement, and so are
the runs; a run is one (order, seed), as another order changes as much by chance as another seed does. That holds for
orders that are a sample of all there are; with a few hand-picked ones the interval speaks of those. Runs of one seed
start from the same weights whatever the order, so that with many orders and few seeds intervals are a little too
narrow. A difference or ratio of two rows is paired: the same people and the same (order, seed) on both sides; an
orderless bound stands beside every order with the same run.

A person weighs as much as their share of the test samples of their experience, and experiences weigh as the measure
says. When ``forgetting`` looks for the best moment of an experience, it is the best of the run, not of the resample.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from equipose.benchmark.statistics import Estimate, mean, relative
from equipose.stream_benchmark import measures
from equipose.stream_benchmark.measures import Terms
from equipose.stream_benchmark.plan import Key
from equipose.stream_benchmark.results import StreamCellRecord, StreamResult
from equipose.train.stream_errors import StreamErrors

Sensors = tuple[str, ...]
LINEAR = {
    "final_mm": measures.final,
    "over_time_mm": measures.over_time,
    "learned_mm": measures.learned,
    "forgetting_mm": measures.forgetting,
    "bwt_mm": measures.bwt,
    "fwt_mm": measures.fwt,
}
"""Measures that need no other row."""


@dataclass(frozen=True, eq=False)
class Runs:
    """Finished runs of one row.

    Attributes:
        errors: (order, seed) -> raw errors.
        records: (order, seed) -> everything else that was kept; empty for rows made from those of others.
    """

    errors: dict[Key, StreamErrors]
    records: dict[Key, StreamCellRecord] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.errors)

    @property
    def keys(self) -> tuple[Key, ...]:
        """Which (order, seed) are finished."""
        return tuple(self.errors)

    @property
    def first(self) -> StreamErrors:
        """Of the first run."""
        return next(iter(self.errors.values()))

    @property
    def sequential(self) -> bool:
        """Whether there is a row of errors after every experience."""
        return len(self.first.trained) == len(self.first.names)

    @property
    def distinct(self) -> Runs:
        """Each run once, where an orderless one stands beside every order."""
        keys = {id(errors): key for key, errors in reversed(self.errors.items())}
        return self.of(tuple(key for key in self.errors if key in keys.values()))

    def of(self, keys: tuple[Key, ...]) -> Runs:
        """Only these."""
        return Runs({key: self.errors[key] for key in keys}, {k: r for k, r in self.records.items() if k in keys})

    def coalition(self, sensors: Sensors) -> int:
        """Row of ``types.all_coalitions``; all sensors where none is named."""
        names = self.first.modalities
        return sum(1 << names.index(name) for name in sensors) if sensors else 2 ** len(names) - 1

    def matrix(self, sensors: Sensors = (), order: int | None = None) -> Float[ndarray, "row experience"]:
        """Mean over seeds of E, mm, columns in the order of the stream; ``order`` None: over all orders by position."""
        column = self.coalition(sensors)
        return np.mean([e.matrix(column) for key, e in self.errors.items() if order in (None, key[0])], 0)

    def parts(
        self, measure: str, sensors: Sensors = (), aligned: bool = False
    ) -> tuple[Float[ndarray, "run subject"], Float[ndarray, "run subject"]]:
        """What every person adds to a measure of ``LINEAR`` in every run, and how much they weigh."""
        column = self.coalition(sensors)
        sums, counts = [], []
        for errors in self.errors.values():
            terms: Terms = LINEAR[measure](errors.matrix(column))
            _, value, weight = measures.per_subject(errors, terms, column, aligned)
            sums.append(value)
            counts.append(weight)
        return np.stack(sums), np.stack(counts)

    def estimate(self, measure: str, sensors: Sensors = (), aligned: bool = False) -> Estimate:
        """A measure of ``LINEAR``, mm."""
        return mean(*self.distinct.parts(measure, sensors, aligned))


def paired(first: Runs, second: Runs) -> tuple[Runs, Runs] | str:
    """Both with the runs that both have, or why they cannot be compared person by person."""
    keys = tuple(key for key in first.keys if key in second.errors)
    if not keys:
        return "no run is finished in both"
    ours, theirs = first.of(keys), second.of(keys)
    if len({_people(each) for each in (*ours.errors.values(), *theirs.errors.values())}) > 1:
        return "their test samples differ"
    return ours, theirs


def difference(first: Runs, second: Runs, measure: str, sensors: Sensors = ()) -> Estimate | None:
    """A measure of ``LINEAR`` of one row minus that of another, mm; None where they cannot be paired."""
    both = paired(first, second)
    if isinstance(both, str):
        return None
    (ours, weights), (theirs, _) = (each.parts(measure, sensors) for each in both)
    return mean(ours - theirs, weights)


def plasticity(row: Runs, fine_tuning: Runs, sensors: Sensors = ()) -> Estimate | None:
    """See ``measures.plasticity``."""
    both = paired(fine_tuning, row)
    if isinstance(both, str):
        return None
    (tuned, weights), (ours, _) = (each.parts("learned_mm", sensors) for each in both)
    return _plus_one(relative(tuned, ours, weights))


def intransigence(row: Runs, own: Runs, sensors: Sensors = ()) -> Estimate | None:
    """See ``measures.intransigence_mm``; ``own``: as ``experts`` makes it."""
    both = paired(row, own)
    if isinstance(both, str):
        return None
    (ours, weights), (theirs, _) = both[0].parts("learned_mm", sensors), both[1].parts("final_mm", sensors)
    return mean(ours - theirs, weights)


def gap_closed(row: Runs, fine_tuning: Runs, joint: Runs, sensors: Sensors = ()) -> Estimate | None:
    """See ``measures.gap_closed``.

    None where joint training is no better than fine-tuning, so that there is no gap; without an interval where the gap
    is not larger than zero beyond its own, as a part of it could be anything then.
    """
    keys = tuple(key for key in row.keys if key in fine_tuning.errors and key in joint.errors)
    three = [each.of(keys) for each in (row, fine_tuning, joint)]
    if not keys or len({_people(errors) for each in three for errors in each.errors.values()}) > 1:
        return None
    (ours, weights), (tuned, _), (bound, _) = (each.parts("final_mm", sensors) for each in three)
    if not tuned.sum() > bound.sum():
        return None
    part = _plus_one(relative(tuned - ours, tuned - bound, weights))
    return part if mean(tuned - bound, weights).above else Estimate(part.value, None, part.per_seed)


def stability_gap(row: Runs, steps: int | None = None) -> Estimate | None:
    """Mean over pairs of experiences, no interval: the looks are not kept per person; None where nobody looked."""
    found = [measures.stability_gaps_mm(errors.watched, steps) for errors in row.errors.values()]
    each = [float(gaps.mean()) for gaps in found if len(gaps)]
    return Estimate(float(np.mean(each)), None, tuple(each)) if each else None


def frozen(fine_tuning: Runs) -> Runs:
    """As if training had ended with the first experience: its row of errors again and again."""
    return Runs(
        {key: _constant(errors, errors.error_mm[:1], errors.pa_error_mm[:1]) for key, errors in _items(fine_tuning)}
    )


def still(fine_tuning: Runs) -> Runs:
    """Always the mean training pose of the first experience; aligned errors are not known and NaN."""
    made = {}
    for key, errors in _items(fine_tuning):
        value = np.broadcast_to(errors.mean_pose_mm, (1, *errors.error_mm.shape[1:]))
        made[key] = _constant(errors, value, np.full(value.shape, np.nan))
    return Runs(made)


def experts(single: Runs) -> Runs:
    """Each experience by the model that was trained on it alone: one row of errors."""
    made: dict[Key, StreamErrors] = {}
    known: dict[int, StreamErrors] = {}
    for key, errors in _items(single):
        place = errors.person[:, 0]
        columns = np.arange(len(place))
        own = [table[place, :, columns].T[None] for table in (errors.error_mm, errors.pa_error_mm)]
        alone = replace(errors, trained=errors.trained[-1:], error_mm=own[0], pa_error_mm=own[1])
        made[key] = known.setdefault(id(errors), alone)
    return Runs(made, single.records)


def collected(results: Mapping[Key, StreamResult]) -> Runs:
    """Runs of the finished cells of a row."""
    return Runs(
        {key: each.errors for key, each in results.items()}, {key: each.record for key, each in results.items()}
    )


def _constant(errors: StreamErrors, error: ndarray, aligned: ndarray) -> StreamErrors:
    rows = (len(errors.names), 1, 1)
    return replace(
        errors,
        trained=np.arange(len(errors.names)),
        error_mm=np.tile(error, rows),
        pa_error_mm=np.tile(aligned, rows),
        watched=errors.watched[:0],
    )


def _items(runs: Runs) -> list[tuple[Key, StreamErrors]]:
    return list(runs.errors.items())


def _people(errors: StreamErrors) -> tuple[tuple[str, int, float], ...]:
    """The same for runs that were measured on the same samples, whatever the order of the experiences."""
    return tuple(
        sorted(
            (errors.names[i], subject, samples)
            for (i, subject), samples in zip(errors.person.tolist(), errors.samples.tolist(), strict=True)
        )
    )


def _plus_one(part: Estimate) -> Estimate:
    ends = None if part.interval is None else (1.0 + part.interval[0], 1.0 + part.interval[1])
    return Estimate(1.0 + part.value, ends, tuple(1.0 + each for each in part.per_seed))
