"""The section about strength: methods of one strategy that differ in one number, and learning against keeping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from equipose.benchmark.sections import boxed
from equipose.report.canvas import Canvas, section
from equipose.report.markup import Html, code, note, tag
from equipose.report.study import flatten
from equipose.stream_benchmark.page.charts import trade_chart
from equipose.stream_benchmark.page.choices import condition_select, controls, per_condition
from equipose.stream_benchmark.page.picks import method_of
from equipose.stream_benchmark.page.words import gap_cell, measure_cell
from equipose.stream_benchmark.study import Row, Study, Table

Settings = Mapping[str, Any]


def strength_section(study: Study, canvas: Canvas, labels: Sequence[str]) -> Html:
    """What more of a method does, per condition."""
    parts: dict[int, list[object]] = {}
    for i, table in enumerate(study.tables):
        found = sweeps(study, table)
        parts[i] = [
            canvas.figure(
                "Learning against keeping",
                trade_chart(table, [tuple(row for _, row in sweep) for _, sweep in found], labels),
                "Left: learns new experiences better; down: keeps old ones better."
                + (" Dotted lines join methods of one strategy that differ in one number." if found else ""),
            ),
            *(_sweep_table(table, names, sweep) for names, sweep in found),
            "" if found else note("No two methods differ in one number alone, so there is no sweep of strengths."),
        ]
    return section(
        "strength",
        "Learning against keeping, and strength",
        "Methods of one continual strategy whose settings differ in one number, such as a penalty's strength, a budget "
        "or a memory's capacity.",
        controls(condition_select(study)),
        *per_condition(study, parts),
    )


def sweeps(study: Study, table: Table) -> list[tuple[str, list[tuple[float, Row]]]]:
    """Name of the number, and rows by it: of one strategy and separation that differ in that alone."""
    groups: dict[tuple[Any, ...], list[tuple[dict[str, str], Row]]] = {}
    for row in table.finished:
        method = method_of(study.recipe, row)
        if method is None:
            continue
        apart = (row.strategy, str(method.separation), str(method.balance), str(method.recipe))
        groups.setdefault(apart, []).append((flatten(method.settings), row))
    found = []
    for (strategy, *_), members in groups.items():
        names = dict.fromkeys(name for settings, _ in members for name in settings)
        for name in names:
            for swept in _alike(members, name):
                found.append((f"{strategy}: {name}", swept))
    return found


def _alike(members: Sequence[tuple[dict[str, str], Row]], name: str) -> list[list[tuple[float, Row]]]:
    """Rows with another number for ``name`` and everything else the same."""
    others: dict[tuple[tuple[str, str], ...], dict[float, Row]] = {}
    for settings, row in members:
        number = _number(settings.get(name))
        rest = tuple(sorted((key, value) for key, value in settings.items() if key != name))
        if number is not None:
            others.setdefault(rest, {}).setdefault(number, row)
    return [sorted(rows.items(), key=lambda pair: pair[0]) for rows in others.values() if len(rows) > 1]


def _number(told: str | None) -> float | None:
    try:
        return float(told) if told is not None else None
    except ValueError:
        return None


def _sweep_table(table: Table, name: str, rows: Sequence[tuple[float, Row]]) -> Html:
    measures = ("final_mm", "learned_mm", "forgetting_mm")
    body = [
        tag(
            "tr",
            tag("th", f"{value:g}", tag("small", row.label), scope="row"),
            *(measure_cell(measure, row.values.get(measure)) for measure in measures),
            gap_cell(row.values.get("gap_closed")),
        )
        for value, row in rows
    ]
    head = (code(name), "error after the stream", "error when learned", "forgetting", "gap closed")
    return boxed(head, body, "")
