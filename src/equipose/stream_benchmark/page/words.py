"""Words and cells of this page."""

from __future__ import annotations

from equipose.benchmark.statistics import Estimate
from equipose.benchmark.words import BETTER, DASH, WORSE
from equipose.report.markup import Html, interval, number, percent, tag
from equipose.stream_benchmark.study import UNITS

MEASURES: dict[str, tuple[str, str]] = {
    "final_mm": ("error after the stream", "mean over all experiences, when the last one is done"),
    "over_time_mm": ("error over time", "after every experience, the mean over those seen so far; then the mean"),
    "learned_mm": ("error when learned", "of every experience right after it was trained"),
    "forgetting_mm": ("forgetting", "of earlier experiences, at the end minus at their best"),
    "bwt_mm": ("backward transfer", "of earlier experiences, at the end minus right after training; + is forgetting"),
    "fwt_mm": ("forward transfer", "mean pose minus error on an experience before it is trained; + is good"),
    "intransigence_mm": ("intransigence", "error when learned minus that of a model of that experience alone"),
    "plasticity": ("plasticity", "fine-tuning's error when learned over this one's; below 1 learns worse"),
    "gap_closed": ("gap closed", "part of the way from fine-tuning (0) to joint training (100 %)"),
    "stability_gap_mm": (
        "stability gap",
        "worst rise of an earlier experience while a later one is trained; no interval",
    ),
    "pa_final_mm": ("PA-MPJPE", "error after the stream, after the best rotation, scale and shift"),
}
"""Measure -> name and what it is; in the order of the study's."""


def measure_cell(measure: str, estimate: Estimate | None) -> Html:
    """A value over its interval; shares as per cent."""
    if estimate is None:
        return tag("td", DASH, class_="n")
    if measure == "gap_closed":
        return tag("td", percent(estimate.value), tag("small", interval(_hundred(estimate), 0)), class_="n")
    digits = 1 if UNITS[measure] == "mm" else 2
    return tag("td", number(estimate.value, digits), tag("small", interval(estimate.interval, digits)), class_="n")


def gap_cell(estimate: Estimate | None) -> Html:
    """The gap closed, coloured by the side of zero, which is the reference, on which the interval lies."""
    if estimate is None:
        return tag("td", DASH, class_="n")
    side = "better" if estimate.above else "worse" if estimate.below else ""
    mark = {"better": f"\N{THIN SPACE}{WORSE}", "worse": f"\N{THIN SPACE}{BETTER}", "": ""}[side]
    ends = interval(_hundred(estimate), 0)
    return tag("td", percent(estimate.value) + mark, tag("small", ends), class_=f"n {side}".strip())


def shaded(value: float | None, strength: float, colour: str, shown: str, title: str = "", class_: str = "n") -> Html:
    """A cell with a colour behind the number.

    Args:
        value: None for a dash.
        strength: of the colour, 0 to 1.
        colour: ``accent``, ``good`` or ``bad``.
        shown: the number as text.
        title: what a pointer resting on it reads.
        class_: of the cell.
    """
    if value is None:
        return tag("td", DASH, class_=class_, title=title or None)
    part_ = f"--s:{45 * min(1.0, max(0.0, strength)):.0f}%"
    return tag("td", shown, class_=f"{class_} on-{colour}".strip(), title=title or None, style=part_)


def size(estimate: Estimate) -> str:
    """``61.2 mm [58.0, 64.9]``."""
    return f"{number(estimate.value, 1, 'mm')} {interval(estimate.interval)}".strip()


def part(estimate: Estimate) -> str:
    """``72 % [60, 81]``."""
    return f"{percent(estimate.value)} {interval(_hundred(estimate), 0)}".strip()


def told_memory(size_bytes: float) -> str:
    """``1.4 MB``; ``nothing`` for none."""
    for unit, scale in (("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= scale:
            return number(size_bytes / scale, 1, unit)
    return number(size_bytes, 0, "bytes") if size_bytes else "nothing"


def _hundred(estimate: Estimate) -> tuple[float, float] | None:
    return None if estimate.interval is None else (100 * estimate.interval[0], 100 * estimate.interval[1])
