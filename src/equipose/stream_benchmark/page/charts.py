"""Charts of differences, of the trade between learning and keeping, and of errors along the stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from equipose.benchmark.words import signed
from equipose.report.charts.base import Chart, axis, error_bars, layout, legend_above, plain, rows_axis, vertical_line
from equipose.report.markup import number
from equipose.stream_benchmark.study import Row, Table

ROW = 32
_SIGNS = {"better": ("@good", "circle"), "worse": ("@bad", "x"), "level": ("@muted", "circle-open")}
_WORDS = {"better": "better", "worse": "worse", "level": "not to be told apart"}
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "hexagon", "triangle-down", "bowtie")
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
SHOWN = 5
"""Methods whose lines are there at first; the others wait in the legend."""


def difference_chart(table: Table) -> Chart | None:
    """One row per method: final error minus the reference's with its interval, and every run's as a small stroke."""
    shown = [row for row in table.finished if row.kind != "derived" and "final_mm" in row.differences]
    rows = [(row, row.differences["final_mm"]) for row in shown]
    if not rows or table.reference is None:
        return None
    rows.sort(key=lambda pair: pair[1].value)
    ends = [abs(end) for _, each in rows for end in (each.value, *(each.interval or ()), *each.per_seed)]
    strokes = {
        "type": "scatter",
        "mode": "markers",
        "x": [_short(value) for _, each in rows for value in each.per_seed],
        "y": [i + 0.25 for i, (_, each) in enumerate(rows) for _ in each.per_seed],
        "name": "one run",
        "marker": {"color": "@muted", "symbol": "line-ns-open", "size": 7, "line": {"width": 1.2, "color": "@muted"}},
        "hovertemplate": "one run: %{x:+.1f} mm<extra></extra>",
    }
    traces = [strokes]
    for kind, (colour, symbol) in _SIGNS.items():
        mine = [(i, row, each) for i, (row, each) in enumerate(rows) if _kind(each.below, each.above) == kind]
        if not mine:
            continue
        values = [each.value for _, _, each in mine]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": values,
                "y": [i for i, _, _ in mine],
                "name": _WORDS[kind],
                "marker": {"color": colour, "symbol": symbol, "size": 10, "line": {"width": 2, "color": colour}},
                "error_x": error_bars(values, [each.interval for _, _, each in mine], colour),
                "text": [f"{plain(row.label)}<br>{signed(each)}" for _, row, each in mine],
                "hovertemplate": "%{text}<extra></extra>",
            }
        )
    reach = 1.1 * max(ends)
    return Chart(
        traces,
        layout(
            120 + ROW * len(rows),
            xaxis=axis(f"mm, minus {plain(table.reference.label)} (left is better)", range=[-reach, reach]),
            yaxis=rows_axis([row.label for row, _ in rows]),
            shapes=[vertical_line(0.0)],
            showlegend=True,
            legend=legend_above(),
            margin={"l": 12, "r": 16, "t": 44, "b": 44},
        ),
        f"Difference of each method's error after the stream to that of {table.reference.label}, 95 % intervals.",
    )


def trade_chart(table: Table, lines: Sequence[tuple[Row, ...]], labels: Sequence[str]) -> Chart | None:
    """Error when learned against forgetting; ``lines`` joins rows that differ in their strength alone.

    ``labels``: of all rows of the page; they give the colours.
    """
    rows = [row for row in table.finished if "learned_mm" in row.values and row.kind != "derived"]
    if len(rows) < 2:
        return None
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [_short(row.values["learned_mm"].value) for row in line],
            "y": [_short(row.values["forgetting_mm"].value) for row in line],
            "line": {"color": "@line", "width": 2, "dash": "dot"},
            "hoverinfo": "skip",
            "showlegend": False,
        }
        for line in lines
    ]
    for row in rows:
        i = labels.index(row.label)
        learned, forgotten = row.values["learned_mm"], row.values["forgetting_mm"]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [_short(learned.value)],
                "y": [_short(forgotten.value)],
                "name": plain(row.label),
                "marker": {**_marker(i), "size": 11},
                "text": [f"{plain(row.label)}<br>final {number(row.values['final_mm'].value, 1, 'mm')}"],
                "hovertemplate": "%{text}<br>learned at %{x:.1f} mm, forgets %{y:.1f} mm<extra></extra>",
            }
        )
    legend_rows = -(-len(rows) // 5)
    return Chart(
        traces,
        layout(
            400 + 22 * legend_rows,
            xaxis=axis("error when learned, mm (left: learns better)"),
            yaxis=axis("forgetting, mm (down: keeps more)", zeroline=True),
            showlegend=True,
            legend=legend_above(),
            margin={"l": 12, "r": 16, "t": 30 + 22 * legend_rows, "b": 44},
        ),
        "Each method's error right after learning against what it forgets.",
    )


@dataclass(frozen=True, eq=False)
class Curve:
    """Errors of one row along a stream.

    Attributes:
        row: whose.
        matrix: errors in mm after every experience on every one, both in the order of the stream.
        looks: place in the stream, experience looked at, MPJPE in mm, experience in training.
    """

    row: Row
    matrix: Float[ndarray, "row experience"]
    looks: Float[ndarray, "look 4"]


def stream_chart(
    labels: Sequence[str],
    names: Sequence[str],
    curves: Sequence[Curve],
    lead: Sequence[Row],
) -> Chart | None:
    """One panel per experience: its error after every experience, and the looks at it in between.

    Args:
        labels: of all rows of the page; they give the colours.
        names: experiences in the order of the stream.
        curves: one per row.
        lead: rows that are shown at first.
    """
    if not curves:
        return None
    count = len(names)
    span = _span(curves)
    traces: list[dict[str, Any]] = []
    axes: dict[str, Any] = {}
    for j, name in enumerate(names):
        end = "" if j == 0 else str(j + 1)
        low, high = 1 - (j + 1) / count, 1 - j / count
        axes[f"yaxis{end}"] = axis(
            f"{plain(name)}, mm",
            domain=[low + 0.045 * (j < count - 1), high - 0.01],
            anchor=f"x{end}",
            nticks=5,
            range=span,
        )
        axes[f"xaxis{end}"] = axis(
            "experience just trained" if j == count - 1 else "",
            anchor=f"y{end}",
            range=[min(0.9, count - 0.5), count + 0.1],
            tickmode="array",
            tickvals=[i + 1 for i in range(count)],
            ticktext=[plain(each) for each in names],
            showticklabels=j == count - 1,
            showgrid=True,
            gridcolor="@line",
            zeroline=False,
        )
        for each in curves:
            traces += _lines(labels.index(each.row.label), each, j, end, each.row in lead)
    legend_rows = -(-len(curves) // 5)
    return Chart(
        traces,
        layout(
            150 * count + 70 + 22 * legend_rows,
            **axes,
            showlegend=True,
            legend=legend_above(),
            margin={"l": 12, "r": 16, "t": 30 + 22 * legend_rows, "b": 44},
        ),
        "Error on every experience along the stream, by method.",
    )


def _span(curves: Sequence[Curve]) -> list[float]:
    """One range for all panels: what is learned already, and the looks; what is still to come is worse by far."""
    learned = [each.matrix[np.tri(*each.matrix.shape) > 0] for each in curves]
    values = np.concatenate([*learned, *(each.looks[:, 2] for each in curves)])
    low, high = float(values.min()), float(values.max())
    edge = 0.06 * max(high - low, 1.0)
    return [_short(low - edge), _short(high + edge)]


def _lines(i: int, curve: Curve, panel: int, end: str, shown: bool) -> list[dict[str, Any]]:
    """One row in one panel; ``i`` gives the colour, ``end`` the axes."""
    row, errors = curve.row, curve.matrix[:, panel]
    looks = curve.looks[curve.looks[:, 1] == panel]
    common: dict[str, Any] = {
        "type": "scatter",
        "xaxis": f"x{end}",
        "yaxis": f"y{end}",
        "legendgroup": str(i),
        "visible": True if shown else "legendonly",
    }
    marker = _marker(i)
    after: dict[str, Any] = {
        **common,
        "mode": "lines+markers",
        "x": list(range(1, len(errors) + 1)),
        "y": [_short(value) for value in errors],
        "name": plain(row.label),
        "showlegend": panel == 0,
        "line": {"color": marker["color"], "width": 2, "dash": _DASHES[(i // 6) % len(_DASHES)]},
        "marker": {**marker, "size": 8},
        "hovertemplate": "%{fullData.name}: %{y:.1f} mm<extra></extra>",
    }
    found = [after]
    if len(looks):
        xs: list[float | None] = []
        ys: list[float | None] = []
        for training in np.unique(looks[:, 3]):
            mine = looks[looks[:, 3] == training]
            xs += [*(_short(x) for x in mine[:, 0]), None]
            ys += [*(_short(y) for y in mine[:, 2]), None]
        found.append(
            {
                **common,
                "mode": "lines",
                "x": xs,
                "y": ys,
                "name": plain(row.label),
                "showlegend": False,
                "line": {"color": marker["color"], "width": 1.2, "dash": "dot"},
                "hovertemplate": "%{fullData.name}, within: %{y:.1f} mm<extra></extra>",
            }
        )
    return found


def _marker(i: int) -> dict[str, Any]:
    return {"color": f"@s{i}", "symbol": _SYMBOLS[i % len(_SYMBOLS)], "line": {"width": 1, "color": "@card"}}


def _kind(below: bool, above: bool) -> str:
    return "better" if below else "worse" if above else "level"


def _short(value: float) -> float:
    return round(float(value), 2)
