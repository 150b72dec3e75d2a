"""The main tables as Markdown, to be pasted into a report: ``continual.md``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from equipose.benchmark.markdown import table
from equipose.benchmark.statistics import Estimate
from equipose.benchmark.words import DASH, signed
from equipose.files import write_text
from equipose.report.markup import TIMES, interval, number
from equipose.report.study import sensor
from equipose.stream_benchmark.found import Found
from equipose.stream_benchmark.study import Row, Study, Table

_HEADS = {
    "final_mm": "error at the end, mm",
    "gap_closed": "gap to joint closed",
    "forgetting_mm": "forgetting, mm",
    "bwt_mm": "BWT, mm (+ forgot)",
    "fwt_mm": "FWT, mm (+ good)",
    "intransigence_mm": "intransigence, mm",
    "plasticity": "plasticity",
    "stability_gap_mm": "stability gap, mm",
    "over_time_mm": "error over time, mm",
}


def write_markdown(path: Path, study: Study) -> Path:
    """Write every condition's tables."""
    parts = [f"# {study.recipe.title}", _told(study)]
    for each in study.tables:
        if each.finished:
            parts += _condition(each)
    write_text(path, "\n\n".join(parts) + "\n")
    return path


def _told(study: Study) -> str:
    recipe = study.recipe
    orders = "; ".join("-".join(order) or "natural" for order in recipe.orders)
    words = (
        f"{len(study.results)} of {study.total} runs. Orders: {orders}. Seeds: {', '.join(map(str, recipe.seeds))}. "
        "MPJPE in mm with 95 % intervals over people and runs, a run being one order and seed; differences are paired."
    )
    if study.simulated:
        words += f" Simulated sensors: {', '.join(sensor(name) for name in study.simulated)}."
    return words


def _condition(each: Table) -> Iterable[str]:
    yield f"## {each.noise.label}"
    yield _main(each)
    yield _by_sensor(each, "forgetting_mm", "Forgetting, mm")
    yield _by_sensor(each, "final_mm", "Error at the end, mm")
    found = [row for row in each.finished if row.found is not None and (row.found.judged or row.found.memory)]
    if found:
        yield _noise(found)


def _main(each: Table) -> str:
    measures = [name for name in _HEADS if any(name in row.values for row in each.finished)]
    head = ("row", "runs", *(_HEADS[name] for name in measures), "minus reference, mm", "step time", "memory, MB")
    return table(head, [_line(each, row, measures) for row in each.finished])


def _line(each: Table, row: Row, measures: list[str]) -> tuple[str, ...]:
    cost = row.cost
    gap = row.differences.get("final_mm")
    ratio = DASH if cost is None or cost.step_ratio is None else f"{cost.step_ratio:.2f}{TIMES}"
    return (
        row.label,
        str(len(row.runs.distinct.keys)),
        *(_estimate(row.values.get(name), name) for name in measures),
        "reference" if row is each.reference else DASH if gap is None else signed(gap),
        ratio,
        DASH if cost is None else f"{cost.memory_bytes / 1e6:.1f}",
    )


def _by_sensor(each: Table, measure: str, title: str) -> str:
    rows = [
        (
            row.label,
            *(_estimate(row.subsets[(name,)].get(measure), measure) for name in each.sensors),
            DASH if row.inequality is None or measure != "forgetting_mm" else f"{row.inequality:.2f}",
        )
        for row in each.finished
        if any(measure in row.subsets[(name,)] for name in each.sensors)
    ]
    head = (f"{title}, from one sensor", *(sensor(name) for name in each.sensors), "inequality")
    if measure != "forgetting_mm":
        head, rows = head[:-1], [row[:-1] for row in rows]
    return table(head, rows)


def _noise(rows: list[Row]) -> str:
    head = ("noise found", "of", "corrupt", "precision", "recall", "F1", "AUROC", "false alarms", "memory clean")
    lines = []
    for row in rows:
        assert row.found is not None, "asked before"
        groups = row.found.groups if row.found.judged else {"all sensors": {}, "label": {}}
        for name, numbers in groups.items():
            told = [
                _share(numbers.get(key)) for key in ("corrupt", "precision", "recall", "f1", "auroc", "false_alarms")
            ]
            lines.append((row.label, name, *told, _pure(row.found, name)))
    return table(head, lines)


def _pure(found: Found, name: str) -> str:
    if not found.memory:
        return DASH
    return _share(found.memory.get("labels" if name == "label" else "cells"))


def _share(value: float | None) -> str:
    return DASH if value is None else f"{value:.3f}"


def _estimate(estimate: Estimate | None, measure: str) -> str:
    if estimate is None:
        return DASH
    digits = 1 if measure.endswith("_mm") else 2
    return f"{number(estimate.value, digits)} {interval(estimate.interval, digits)}".strip()
