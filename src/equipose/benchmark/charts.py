"""The page's charts: differences to the reference, and the sensors' shares."""

from __future__ import annotations

from equipose.benchmark.study import Table
from equipose.benchmark.words import signed
from equipose.report.charts.base import Chart, axis, error_bars, layout, legend_above, plain, rows_axis, vertical_line
from equipose.report.markup import percent
from equipose.report.study import mean_or_none, sensor

_ROW = 34
_SIGNS = {"better": ("@good", "circle"), "worse": ("@bad", "x"), "level": ("@muted", "circle-open")}


def difference_chart(table: Table) -> Chart | None:
    """One row per method: the difference to the reference with its interval, and every seed's as a small mark."""
    rows = [(row, row.difference) for row in table.rows if row.difference is not None]
    if not rows or table.reference is None:
        return None
    rows.sort(key=lambda pair: pair[1].value)
    reach = 1.15 * max(abs(value) for _, each in rows for value in (each.value, *(each.interval or ()), *each.per_seed))
    seeds = {
        "type": "scatter",
        "mode": "markers",
        "x": [value for _, each in rows for value in each.per_seed],
        "y": [i + 0.22 for i, (_, each) in enumerate(rows) for _ in each.per_seed],
        "name": "one seed",
        "marker": {"color": "@muted", "symbol": "line-ns-open", "size": 8, "line": {"width": 1.5, "color": "@muted"}},
        "hovertemplate": "one seed: %{x:+.1f} mm<extra></extra>",
    }
    traces = [seeds]
    words = {"better": "better", "worse": "worse", "level": "not to be told apart"}
    for kind, (colour, symbol) in _SIGNS.items():
        mine = [
            (i, row, each)
            for i, (row, each) in enumerate(rows)
            if kind == ("better" if each.below else "worse" if each.above else "level")
        ]
        if not mine:
            continue
        values = [each.value for _, _, each in mine]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": values,
                "y": [i for i, _, _ in mine],
                "name": words[kind],
                "marker": {"color": colour, "symbol": symbol, "size": 10, "line": {"width": 2, "color": colour}},
                "error_x": error_bars(values, [each.interval for _, _, each in mine], colour),
                "text": [f"{plain(row.label)}<br>{signed(each)}" for _, row, each in mine],
                "hovertemplate": "%{text}<extra></extra>",
            }
        )
    return Chart(
        traces,
        layout(
            120 + _ROW * len(rows),
            xaxis=axis(
                f"MPJPE minus that of {plain(table.reference.label)}, mm (left is better)", range=[-reach, reach]
            ),
            yaxis=rows_axis([row.label for row, _ in rows]),
            shapes=[vertical_line(0.0)],
            showlegend=True,
            legend=legend_above(),
            margin={"l": 12, "r": 16, "t": 44, "b": 44},
        ),
        f"Difference of each method's error to that of {table.reference.label}, with 95 % intervals.",
    )


def share_chart(table: Table, modalities: tuple[str, ...]) -> Chart | None:
    """One bar per method, cut into the sensors' shares of the contribution."""
    rows = [row for row in table.finished if any(test.share for test in row.trained.tests)]
    if not rows:
        return None
    traces = []
    for i, name in enumerate(modalities):
        values = [100.0 * (mean_or_none(test.share.get(name) for test in row.trained.tests) or 0.0) for row in rows]
        traces.append(
            {
                "type": "bar",
                "orientation": "h",
                "x": values,
                "y": list(range(len(rows))),
                "name": plain(sensor(name)),
                "marker": {"color": f"@m{i}", "line": {"color": "@card", "width": 1}},
                "text": [percent(value / 100) if value >= 8 else "" for value in values],
                "textposition": "inside",
                "insidetextanchor": "middle",
                "textangle": 0,
                "textfont": {"color": "@card"},
                "hovertemplate": f"{plain(sensor(name))}: %{{x:.1f}} %<extra></extra>",
            }
        )
    return Chart(
        traces,
        layout(
            120 + _ROW * len(rows),
            barmode="stack",
            bargap=0.3,
            xaxis=axis("share of the contribution, %", range=[0, 100]),
            yaxis=rows_axis([row.label for row in rows]),
            shapes=[
                {**vertical_line(100.0 * k / len(table.sensors), "@ink", "dot"), "layer": "above"}
                for k in range(1, len(table.sensors))
            ],
            showlegend=True,
            legend={**legend_above(), "traceorder": "normal"},
            margin={"l": 12, "r": 16, "t": 44, "b": 44},
        ),
        "Share of each sensor in each method's contribution, mean over the seeds.",
    )
