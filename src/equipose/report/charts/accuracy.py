"""Charts of the error with all sensors: per run, as paired differences, and while training."""

from __future__ import annotations

from typing import Literal

from equipose.report.charts.base import Chart, axis, error_bars, layout, legend_above, plain, rows_axis, vertical_line
from equipose.report.markup import change, interval, number
from equipose.report.pairing import Difference
from equipose.report.study import Study

_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")


def error_chart(study: Study, measure: Literal["MPJPE", "PA-MPJPE"]) -> Chart:
    """One row per run with its interval; below MPJPE the poses that use no sensor at all."""
    aligned = measure == "PA-MPJPE"
    rows: list[tuple[str, float | None, tuple[float, float] | None, str, str]] = []
    for series in study.series:
        row = series.full
        value, ends = (row.pa_mpjpe_mm, row.pa_interval) if aligned else (row.mpjpe_mm, row.interval)
        rows.append((series.label, value, ends, series.colour, "circle"))
    if not aligned:
        metrics = study.series[0].run.metrics
        for label, value in (
            ("mean pose of the room *", metrics.room_mean_mpjpe_mm),
            ("mean pose of the person *", metrics.subject_mean_mpjpe_mm),
            ("mean training pose", metrics.mean_pose_mpjpe_mm),
        ):
            if value is not None:
                rows.append((label, value, None, "@muted", "line-ns-open"))
    values = [value for _, value, _, _, _ in rows]
    top = max((max(v or 0.0, e[1] if e else 0.0) for _, v, e, _, _ in rows), default=1.0) or 1.0
    shown = [i for i, value in enumerate(values) if value is not None]
    traces = [
        {
            "type": "scatter",
            "mode": "markers+text",
            "x": [values[i]],
            "y": [i],
            "text": [number(values[i])],
            "textposition": "top center",
            "textfont": {"color": "@ink", "size": 12},
            "cliponaxis": False,
            "marker": {"color": rows[i][3], "symbol": rows[i][4], "size": 9, "line": {"width": 2, "color": rows[i][3]}},
            "error_x": error_bars([values[i]], [rows[i][2]], rows[i][3]),
            "hovertemplate": f"{plain(rows[i][0])}<br>{number(values[i], 2, 'mm')} "
            f"{interval(rows[i][2], 2)}<extra></extra>",
        }
        for i in shown
    ]
    return Chart(
        traces,
        layout(
            86 + 46 * len(rows),
            xaxis=axis(f"{measure}, mm", range=[0, 1.12 * top], zeroline=True),
            yaxis=rows_axis([label for label, *_ in rows]),
        ),
        f"{measure} in millimetres of each run with all its sensors; smaller is better.",
    )


def difference_chart(study: Study) -> Chart | None:
    """Paired differences to the reference with their intervals around zero."""
    assert study.reference is not None
    rows = [
        (f"{comparison.group.label}: {name}", each, comparison.group.colour, symbol)
        for comparison in study.comparisons
        for name, each, symbol in (
            ("MPJPE", comparison.mpjpe, "circle"),
            ("PA-MPJPE", comparison.pa_mpjpe, "diamond"),
        )
        if isinstance(each, Difference)
    ]
    if not rows:
        return None
    ends = [e for _, each, _, _ in rows for e in (each.change_mm, *(each.interval or ()))]
    reach = 1.15 * max(abs(e) for e in ends) or 1.0
    traces = [
        {
            "type": "scatter",
            "mode": "markers+text",
            "x": [each.change_mm],
            "y": [i],
            "text": [change(each.change_mm)],
            "textposition": "top center",
            "cliponaxis": False,
            "marker": {"color": colour, "symbol": symbol, "size": 11},
            "error_x": error_bars([each.change_mm], [each.interval], colour),
            "hovertemplate": f"{plain(label)}<br>{change(each.change_mm, 2, 'mm')} "
            f"{interval(each.interval, 2, True)}<extra></extra>",
        }
        for i, (label, each, colour, symbol) in enumerate(rows)
    ]
    return Chart(
        traces,
        layout(
            94 + 46 * len(rows),
            xaxis=axis("change in error, mm (left: better)", range=[-reach, reach], zeroline=False),
            yaxis=rows_axis([label for label, *_ in rows]),
            shapes=[vertical_line(0.0, "@ink", "solid")],
        ),
        f"Paired difference in error to {study.reference.label} with 95 percent intervals over subjects.",
    )


def training_chart(study: Study) -> Chart | None:
    """Validation error (line) and training error (thin, dotted) over the epochs."""
    traces = []
    for series in study.series:
        epochs = series.run.epochs
        for name, values, dash, width, opacity in (
            ("validation", [e.validation_mpjpe_mm for e in epochs], _DASHES[series.seed_rank % 5], 2.5, 1.0),
            ("training", [e.train_mpjpe_mm for e in epochs], "dot", 1.2, 0.75),
        ):
            if any(value is not None for value in values):
                traces.append(
                    {
                        "type": "scatter",
                        "mode": "lines+markers" if name == "validation" else "lines",
                        "x": [e.epoch + 1 for e in epochs],
                        "y": values,
                        "name": plain(f"{series.method}, {name}"),
                        "showlegend": series.seed_rank == 0,
                        "opacity": opacity,
                        "line": {"color": series.colour, "dash": dash, "width": width},
                        "marker": {"size": 5},
                        "hovertemplate": f"epoch %{{x}}: %{{y:.1f}} mm<extra>{plain(series.label)}, {name}</extra>",
                    }
                )
    if not traces:
        return None
    last = max(e.epoch for series in study.series for e in series.run.epochs) + 1
    return Chart(
        traces,
        layout(
            340,
            xaxis=axis("epoch", **epoch_ticks(last)),
            yaxis=axis("MPJPE, mm", rangemode="tozero"),
            showlegend=True,
            legend=legend_above(),
        ),
        "Validation and training error of each run over the epochs.",
    )


def epoch_ticks(last: int) -> dict[str, object]:
    """At most about ten ticks, all of them whole numbers."""
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10**9) if last / s <= 10)
    ticks = sorted({1, *range(step, last + 1, step)})
    return {"tickmode": "array", "tickvals": ticks, "range": [0.5, last + 0.5], "zeroline": False}
