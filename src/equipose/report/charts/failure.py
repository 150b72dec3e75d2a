"""Charts of where the error sits: heat maps over joints and actions, and the body itself."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from equipose.report.charts.base import TRANSPARENT, Chart, axis, layout, plain, rows_axis
from equipose.report.markup import number
from equipose.report.study import Series, joint_label
from equipose.skeleton import SKELETONS

_SCALE = "Cividis"


def heat_map(
    rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float | None]], description: str
) -> Chart:
    """Errors in millimetres with the number in each cell.

    Args:
        rows: names from top to bottom.
        columns: names from left to right.
        values: one row of numbers per name in ``rows``.
        description: for a screen reader.
    """
    known = [value for row in values for value in row if value is not None]
    flat = len(columns) <= 2
    return Chart(
        [
            {
                "type": "heatmap",
                "z": [list(row) for row in values],
                "x": list(range(len(columns))),
                "y": list(range(len(rows))),
                "text": [[number(value) for value in row] for row in values],
                "texttemplate": "%{text}",
                "textfont": {"size": 12},
                "colorscale": _SCALE,
                "zmin": min(known, default=0.0),
                "zmax": max(known, default=1.0),
                "showscale": False,
                "xgap": 2,
                "ygap": 2,
                "customdata": [[f"{plain(row)}<br>{plain(column)}" for column in columns] for row in rows],
                "hovertemplate": "%{customdata}: %{text} mm<extra></extra>",
            }
        ],
        layout(
            (92 if flat else 160) + 25 * len(rows),
            xaxis=axis(
                side="top",
                tickmode="array",
                tickvals=list(range(len(columns))),
                ticktext=[_wrapped(column) if flat else plain(textwrap.shorten(column, 30)) for column in columns],
                tickangle=0 if flat else -90,
                showgrid=False,
                zeroline=False,
            ),
            yaxis=rows_axis(rows),
            margin={"l": 12, "r": 8, "t": 30, "b": 8},
        ),
        description,
    )


def joints_heat_map(series: Sequence[Series]) -> Chart | None:
    """Error per joint and run, for runs with the same joints."""
    joints = series[0].run.metrics.joints
    columns = [each for each in series if len(each.run.metrics.per_joint_mm) == len(joints)]
    if not joints or not columns:
        return None
    values = [[each.run.metrics.per_joint_mm[j] for each in columns] for j in range(len(joints))]
    return heat_map(
        [joint_label(name) for name in joints],
        [each.label for each in columns],
        values,
        "Error in millimetres of each joint and run.",
    )


def actions_heat_map(series: Sequence[Series]) -> Chart | None:
    """Error per action and run, for all actions that any run was tested on."""
    names = {item.number: item.name for each in series for item in each.run.metrics.per_action}
    if not names:
        return None
    order = sorted(names, key=lambda n: (isinstance(n, str), n))
    tables = [{item.number: item.mpjpe_mm for item in each.run.metrics.per_action} for each in series]
    return heat_map(
        [_action(n, names[n]) for n in order],
        [each.label for each in series],
        [[table.get(n) for table in tables] for n in order],
        "Error in millimetres of each action and run.",
    )


def body_chart(series: Series) -> Chart | None:
    """The mean true pose seen from the camera, each joint coloured by its error."""
    run = series.run
    predictions, errors = run.predictions, run.metrics.per_joint_mm
    if predictions is None or len(predictions.target) == 0 or len(errors) != predictions.target.shape[1]:
        return None
    # Mean pose about its own centre, so that where people stand does not blur it; x to the right, y down.
    target = predictions.target.astype(np.float64)
    pose = (target - target.mean(1, keepdims=True)).mean(0)
    skeleton = SKELETONS.get(run.metrics.skeleton)
    traces: list[dict[str, Any]] = []
    if skeleton is not None and len(skeleton) == len(errors):
        lines: dict[str, list[float | None]] = {"x": [], "y": []}
        for parent, child in skeleton.bones:
            lines["x"] += [float(pose[parent, 0]), float(pose[child, 0]), None]
            lines["y"] += [float(pose[parent, 1]), float(pose[child, 1]), None]
        traces.append(
            {"type": "scatter", "mode": "lines", **lines, "line": {"color": "@line", "width": 6}, "hoverinfo": "skip"}
        )
    names = run.metrics.joints if len(run.metrics.joints) == len(errors) else [str(j) for j in range(len(errors))]
    traces.append(
        {
            "type": "scatter",
            "mode": "markers",
            "x": [round(float(x), 4) for x in pose[:, 0]],
            "y": [round(float(y), 4) for y in pose[:, 1]],
            "text": [f"{plain(joint_label(n))}: {number(e, 1, 'mm')}" for n, e in zip(names, errors, strict=True)],
            "hovertemplate": "%{text}<extra></extra>",
            "marker": {
                "size": 19,
                "color": list(errors),
                "colorscale": _SCALE,
                "showscale": True,
                "line": {"color": "@card", "width": 2},
                "colorbar": {
                    "title": {"text": "mm", "font": {"color": "@ink"}},
                    "thickness": 12,
                    "outlinewidth": 0,
                    "tickfont": {"color": "@ink"},
                },
            },
        }
    )
    hidden = {"visible": False, "fixedrange": True}
    return Chart(
        traces,
        layout(
            500,
            xaxis=hidden,
            yaxis={**hidden, "autorange": "reversed", "scaleanchor": "x", "scaleratio": 1},
            margin={"l": 8, "r": 8, "t": 34, "b": 8},
            plot_bgcolor=TRANSPARENT,
        ),
        f"Mean pose with each joint coloured by its error in {series.label}.",
    )


def _action(number_: int | str, name: str) -> str:
    short = textwrap.shorten(name.replace("_", " "), 26, placeholder="\N{HORIZONTAL ELLIPSIS}") if name else ""
    return f"A{number_:02d} {short}".strip() if isinstance(number_, int) else f"{number_} {short}".strip()


def _wrapped(label: str) -> str:
    """A column heading on several short lines."""
    return "<br>".join(
        plain(line) for line in textwrap.wrap(label, 14, max_lines=3, placeholder="\N{HORIZONTAL ELLIPSIS}")
    )
