"""A statistic of the same people doing the same movements, simulated and real."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any

import numpy as np

from equipose.report.fidelity.radar_people import Key
from equipose.report.fidelity.rows import MEASURES, Row
from equipose.report.markup import number


def paired(
    key: str,
    name: str,
    unit: str,
    simulated: Mapping[Key, Any],
    real: Mapping[Key, Any],
    measure: str,
    *,
    summary: str = "mean",
    show: Callable[[Any], Any] = np.mean,
    caution: str = "",
    digits: int = 2,
) -> Row:
    """Judge a statistic by pairs of the same movement.

    Distance: mean, over people and movements, of the distance of simulated and real data of the same person and
    movement. Tolerance: mean, over movements, of the distance between the real data of different people.

    Args:
        key: see ``Row``.
        name: see ``Row``.
        unit: see ``Row``.
        simulated: sample or number of each subject and movement.
        real: the same keys.
        measure: a name of ``MEASURES``.
        summary: what ``show`` gives, in words.
        show: a sample to one number for the table.
        caution: see ``Row``.
        digits: see ``Row``.
    """
    distance = MEASURES[measure]
    own = sorted(distance(real[a], real[b]) for a, b in combinations(sorted(real), 2) if a[1] == b[1] and a[0] != b[0])
    subjects = sorted({subject for subject, _ in real})
    low, high = number(own[0], digits), number(own[-1], digits, unit)
    return Row(
        key=key,
        name=name,
        unit=unit,
        measure=measure,
        summary=summary,
        simulated=float(np.mean([show(part) for part in simulated.values()])),
        real=tuple(float(np.mean([show(real[k]) for k in real if k[0] == subject])) for subject in subjects),
        parts=tuple(f"MARS subject {subject}" for subject in subjects),
        distance=float(np.mean([distance(simulated[k], real[k]) for k in real])),
        tolerance=float(np.mean(own)),
        reason=f"real people lie {low} to {high} apart in the same movement ({len(own)} pairs); mean",
        caution=caution,
        digits=digits,
    )
