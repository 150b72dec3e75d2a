"""Words and cells that the sections share."""

from __future__ import annotations

from equipose.benchmark.statistics import Estimate
from equipose.benchmark.study import Row, Sensors
from equipose.report.markup import Html, change, interval, join, number, percent, tag
from equipose.report.study import sensor

DASH = "\N{EN DASH}"
BETTER, WORSE = "\N{BLACK DOWN-POINTING SMALL TRIANGLE}", "\N{BLACK UP-POINTING SMALL TRIANGLE}"


def estimate_cell(estimate: Estimate | None, digits: int = 1) -> Html:
    """A value over its interval."""
    if estimate is None:
        return tag("td", DASH, class_="n")
    return tag("td", number(estimate.value, digits), tag("small", interval(estimate.interval, digits)), class_="n")


def change_cell(estimate: Estimate | None, digits: int = 1, unit: str = "mm", title: str | None = None) -> Html:
    """A signed difference over its interval, coloured where the interval lies on one side of zero.

    Args:
        estimate: what to show; parts where ``unit`` is ``%``.
        digits: after the point.
        unit: ``mm`` or ``%``.
        title: what a pointer resting on it reads.
    """
    if estimate is None:
        return tag("td", DASH, class_="n", title=title)
    factor = 100.0 if unit == "%" else 1.0
    ends = None if estimate.interval is None else (factor * estimate.interval[0], factor * estimate.interval[1])
    return tag(
        "td",
        change(factor * estimate.value, digits) + mark(estimate),
        tag("small", interval(ends, digits, signed=True)),
        class_=f"n {verdict(estimate)}".strip(),
        title=title,
    )


def verdict(estimate: Estimate) -> str:
    """``better``, ``worse``, or nothing while zero is inside the interval."""
    return "better" if estimate.below else "worse" if estimate.above else ""


def mark(estimate: Estimate) -> str:
    """The same as a sign that needs no colour."""
    return f"\N{THIN SPACE}{BETTER}" if estimate.below else f"\N{THIN SPACE}{WORSE}" if estimate.above else ""


def heat_cell(value: float, estimate: Estimate | None, base: float, title: str) -> Html:
    """An error shaded by how far it is from the reference's, full shade at 15 %."""
    if estimate is None:
        return tag("td", number(value), class_="n", title=title)
    strength = min(1.0, abs(estimate.value) / (0.15 * base)) if base else 0.0
    colour = "good" if estimate.value < 0 else "bad"
    return tag(
        "td",
        number(value) + mark(estimate),
        class_="n",
        title=title,
        style=f"background:color-mix(in srgb,var(--{colour}) {45 * strength:.0f}%,transparent)",
    )


def stacked(names: Sensors) -> Html:
    """Sensors one below the other, for narrow columns."""
    return join([sensor(name) for name in names], Html("<br>"))


def signed(estimate: Estimate, unit: str = "mm") -> str:
    """``-2.1 mm [-3.0, -1.2]``."""
    return f"{change(estimate.value, 1, unit)} {interval(estimate.interval, 1, True)}".strip()


def signed_part(estimate: Estimate) -> str:
    """``+12 % [+8, +15]``."""
    ends = None if estimate.interval is None else (100 * estimate.interval[0], 100 * estimate.interval[1])
    return f"{change(100 * estimate.value, 1, '%')} {interval(ends, 1, True)}".strip()


def seeds_told(row: Row) -> str:
    """``seeds 0, 1, 2``."""
    seeds = row.trained.seeds
    return f"seed{'s' if len(seeds) != 1 else ''} {', '.join(map(str, seeds))}"


def share_told(value: float | None) -> str:
    """A share as a percentage."""
    return percent(value) if value is not None else DASH
