"""A statistic of simulated and of real data, its distance, its tolerance with the reason, and the verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from equipose.report.charts.base import Chart
from equipose.report.fidelity.distances import (
    Distance,
    absolute_difference,
    among,
    between,
    rms_difference,
    spread,
    wasserstein,
)
from equipose.report.markup import number

MEASURES: dict[str, Distance] = {
    "Wasserstein": wasserstein,
    "RMS difference": rms_difference,
    "difference": absolute_difference,
}
"""Name on the page -> distance of two parts."""


@dataclass(frozen=True)
class Parts:
    """The real data in parts that differ as the simulated data may differ from them.

    Attributes:
        names: what each part is.
        kind: all of them in words, such as ``MM-Fi rooms E01, E02 and E03``.
        values: a sample, curve or number per part.
    """

    names: tuple[str, ...]
    kind: str
    values: tuple[Any, ...]

    def of(self, values: Sequence[Any]) -> Parts:
        """The same parts with other values."""
        return Parts(self.names, self.kind, tuple(values))


@dataclass(frozen=True)
class Row:
    """One statistic, judged or shown as context.

    Attributes:
        key: name in the JSON file.
        name: what it is, for a reader.
        unit: of everything below; empty for a pure number.
        measure: a name of ``MEASURES``.
        summary: what ``simulated`` and ``real`` are, such as ``mean``.
        simulated: summary of the simulated data.
        real: summary of each real part.
        parts: what the real parts are.
        distance: mean distance of the simulated data from the real parts.
        tolerance: spread among the real parts, or the floor if that is larger.
        reason: where the tolerance comes from.
        caution: what makes the two differ without a fault of the simulator; empty if nothing.
        context: why the two cannot be held against each other, such as another setting of another instrument; the row
            is then shown and not judged. Empty for a judged row.
        digits: decimals shown.
    """

    key: str
    name: str
    unit: str
    measure: str
    summary: str
    simulated: float
    real: tuple[float, ...]
    parts: tuple[str, ...]
    distance: float
    tolerance: float
    reason: str
    caution: str = ""
    context: str = ""
    digits: int = 2

    @property
    def judged(self) -> bool:
        """Whether the two can be held against each other."""
        return not self.context

    @property
    def within(self) -> bool:
        """Whether the simulated data lie as near to the real parts as those to each other."""
        return self.distance <= self.tolerance

    @property
    def ratio(self) -> float:
        """Distance over tolerance; infinite where real parts do not differ at all and the simulated data do."""
        return self.distance / self.tolerance if self.tolerance > 0 else (0.0 if self.distance == 0 else float("inf"))


@dataclass(frozen=True)
class Figure:
    """A chart with its heading and a remark."""

    title: str
    chart: Chart
    remark: str = ""


@dataclass(frozen=True)
class Chapter:
    """What one sensor's comparison found.

    Attributes:
        key: anchor on the page.
        title: heading.
        lead: what is compared with what, and what cannot be.
        rows: judged statistics.
        figures: the distributions behind them.
    """

    key: str
    title: str
    lead: str
    rows: tuple[Row, ...]
    figures: tuple[Figure, ...] = field(default_factory=tuple)


def compare(
    key: str,
    name: str,
    unit: str,
    simulated: Sequence[Any],
    real: Parts,
    measure: str,
    *,
    summary: str = "mean",
    show: Callable[[Any], Any] = np.mean,
    floor: float = 0.0,
    floor_reason: str = "",
    caution: str = "",
    context: str = "",
    digits: int = 2,
) -> Row:
    """Judge one statistic by the rule that holds for all of them.

    Distance: mean over all pairs of a simulated and a real part. Tolerance: the 90th percentile of the distance over
    all pairs of real parts, and never less than ``floor``.

    Args:
        key: see ``Row``.
        name: see ``Row``.
        unit: see ``Row``.
        simulated: samples, curves or numbers; one for all simulated data or one per room or person.
        real: at least two parts.
        measure: a name of ``MEASURES``.
        summary: what ``show`` gives, in words.
        show: a part to one number for the table.
        floor: smallest difference that the real data can show at all, such as one event in their number.
        floor_reason: why.
        caution: see ``Row``.
        context: see ``Row``.
        digits: see ``Row``.
    """
    distance = MEASURES[measure]
    pairs = among(real.values, distance)
    own = spread(pairs)
    tolerance = max(own, floor)
    return Row(
        key=key,
        name=name,
        unit=unit,
        measure=measure,
        summary=summary,
        simulated=float(np.mean([show(part) for part in simulated])),
        real=tuple(float(show(part)) for part in real.values),
        parts=real.names,
        distance=between(simulated, real.values, distance),
        tolerance=tolerance,
        reason=_reason(pairs, own, real, unit, digits) if own >= floor else floor_reason,
        caution=caution,
        context=context,
        digits=digits,
    )


def _reason(pairs: Sequence[float], own: float, real: Parts, unit: str, digits: int) -> str:
    if not pairs[-1]:
        return f"{real.kind} agree exactly"
    if len(pairs) == 1:
        return f"distance between {real.kind}"
    low, high = number(pairs[0], digits), number(pairs[-1], digits, unit)
    return f"{real.kind} lie {low} to {high} apart ({len(pairs)} pairs); 90th percentile"
