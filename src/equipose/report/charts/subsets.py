"""Every subset of the sensors: a membership matrix beside one row of errors, with the harmful additions marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from equipose.report.charts.base import TRANSPARENT, Chart, axis, layout, legend_above, plain, vertical_line
from equipose.report.colours import modality_symbol
from equipose.report.markup import change, interval, number
from equipose.report.schema import Addition
from equipose.report.study import Series, Study, sensor, sensors

MOST_ROWS = 63
_BOX = 0.26
_ROW_HEIGHT = 29


def subset_rows(series: Sequence[Series]) -> list[tuple[str, ...]]:
    """The subsets with a sensor, small ones first, then by the first run's error.

    Where there are too many for one chart: the singles, all but one, and all.
    """
    metrics = series[0].run.metrics
    rows = [row for row in metrics.coalitions if row.modalities]
    if len(rows) > MOST_ROWS:
        many = len(metrics.modalities)
        rows = [row for row in rows if len(row.modalities) in (1, many - 1, many)]
    order = {name: i for i, name in enumerate(metrics.modalities)}
    rows.sort(key=lambda row: (len(row.modalities), row.mpjpe_mm if row.mpjpe_mm is not None else float("inf")))
    return [tuple(sorted(row.modalities, key=lambda name: order.get(name, 99))) for row in rows]


def harmful(series: Series) -> list[Addition]:
    """The additions that hurt: the change's whole interval is above zero; the worst first."""
    found = [addition for addition in series.run.metrics.hurts if addition.hurt]
    return sorted(found, key=lambda addition: -(addition.change_mm or 0.0))


def start_of(addition: Addition) -> tuple[str, ...]:
    """The modalities an addition starts from."""
    return () if addition.start in ("none", "") else tuple(addition.start.split("+"))


def subset_chart(study: Study, series: Sequence[Series]) -> Chart:
    """One row per subset; a dot per run; a red ring where adding a sensor to a smaller subset hurt."""
    rows = subset_rows(series)
    modalities = series[0].run.metrics.modalities
    # Methods side by side within a row, so that equal errors do not hide each other; seeds on one line.
    methods = list(dict.fromkeys(each.method for each in series))
    spacing = min(0.3, 0.6 / len(methods))
    shifts = [spacing * (methods.index(each.method) - (len(methods) - 1) / 2) for each in series]
    traces = [
        *_matrix(study, modalities, rows),
        *(_dots(each, rows, shift) for each, shift in zip(series, shifts, strict=True)),
    ]
    rings = [ring for each, shift in zip(series, shifts, strict=True) if (ring := _rings(each, rows, shift))]
    for ring in rings[1:]:
        ring["showlegend"] = False
    shapes = [
        {
            "type": "line",
            "xref": "paper",
            "x0": 0,
            "x1": 1,
            "y0": i - 0.5,
            "y1": i - 0.5,
            "line": {"color": "@line", "width": 1},
            "layer": "below",
        }
        for i in range(1, len(rows))
        if len(rows[i]) != len(rows[i - 1])
    ]
    mean_pose = series[0].run.metrics.mean_pose_mpjpe_mm
    annotations = []
    if mean_pose is not None:
        shapes.append({**vertical_line(mean_pose, "@muted", "dot"), "xref": "x2"})
        annotations.append(
            {
                "xref": "x2",
                "yref": "paper",
                "x": mean_pose,
                "y": 0,
                "yanchor": "bottom",
                "xanchor": "right",
                "text": f"mean pose {number(mean_pose)}",
                "showarrow": False,
                "xshift": -4,
                "font": {"color": "@muted", "size": 11},
                "bgcolor": "@card",
            }
        )
    errors = [row.mpjpe_mm for each in series for row in each.run.metrics.coalitions if row.mpjpe_mm is not None]
    top = 1.06 * max([*errors, mean_pose or 0.0], default=1.0)
    return Chart(
        [*traces, *rings],
        layout(
            175 + _ROW_HEIGHT * len(rows),
            xaxis=axis(
                domain=[0, _BOX],
                side="top",
                anchor="y",
                tickmode="array",
                tickvals=list(range(len(modalities))),
                ticktext=[plain(sensor(name)) for name in modalities],
                tickangle=-90,
                range=[-0.6, len(modalities) - 0.4],
                showgrid=False,
                zeroline=False,
            ),
            xaxis2=axis("MPJPE, mm", domain=[_BOX + 0.02, 1], anchor="y", range=[0, top], zeroline=True),
            yaxis={
                "range": [len(rows) - 0.5, -0.5],
                "showticklabels": False,
                "showgrid": False,
                "zeroline": False,
                "fixedrange": True,
            },
            shapes=shapes,
            annotations=annotations,
            showlegend=True,
            legend={**legend_above(), "yanchor": "top", "y": -52 / (_ROW_HEIGHT * len(rows))},
            margin={"l": 8, "r": 16, "t": 30, "b": 60},
        ),
        "Error of every subset of the sensors; a ring marks subsets that are worse than a smaller part of them.",
    )


def _matrix(study: Study, modalities: Sequence[str], rows: Sequence[tuple[str, ...]]) -> list[dict[str, Any]]:
    """Filled symbols for the members of each subset, faint dots for the others."""
    points = [(i, j) for j in range(len(rows)) for i in range(len(modalities))]
    absent = [(i, j) for i, j in points if modalities[i] not in rows[j]]
    traces: list[dict[str, Any]] = [_symbols(absent, "@grid", "circle", 7, ["not used"] * len(absent))]
    for i, name in enumerate(modalities):
        own = [(i, j) for j, row in enumerate(rows) if name in row]
        symbol = modality_symbol(name, study.modalities)
        traces.append(_symbols(own, study.colour(name), symbol, 11, [plain(sensor(name))] * len(own)))
    return traces


def _symbols(
    points: Sequence[tuple[int, int]], colour: str, symbol: str, size: int, words: Sequence[str]
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [i for i, _ in points],
        "y": [j for _, j in points],
        "marker": {"color": colour, "symbol": symbol, "size": size},
        "text": list(words),
        "hovertemplate": "%{text}<extra></extra>",
        "showlegend": False,
    }


def _dots(series: Series, rows: Sequence[tuple[str, ...]], shift: float) -> dict[str, Any]:
    found = [series.run.metrics.coalition(row) for row in rows]
    return {
        "type": "scatter",
        "mode": "markers",
        "xaxis": "x2",
        "x": [row.mpjpe_mm if row else None for row in found],
        "y": [i + shift for i in range(len(rows))],
        "name": plain(series.method),
        "showlegend": series.seed_rank == 0,
        "marker": {"color": series.colour, "size": 9, "symbol": _symbol(series)},
        "text": [
            f"{plain(sensors(names))}<br>{number(row.mpjpe_mm, 1, 'mm')} {interval(row.interval)}" if row else ""
            for names, row in zip(rows, found, strict=True)
        ],
        "hovertemplate": f"%{{text}}<extra>{plain(series.label)}</extra>",
    }


def _symbol(series: Series) -> str:
    """Joint training is a circle and others a diamond, so that a print without colour can be read."""
    return "circle" if series.run.strategy == "joint" else "diamond"


def _rings(series: Series, rows: Sequence[tuple[str, ...]], shift: float) -> dict[str, Any] | None:
    """Rings around the subsets that some addition made worse."""
    index = {frozenset(row): i for i, row in enumerate(rows)}
    words: dict[int, list[str]] = {}
    for addition in harmful(series):
        row = index.get(frozenset((*start_of(addition), addition.added)))
        if row is not None:
            words.setdefault(row, []).append(
                f"adding {plain(sensor(addition.added))} to {plain(sensors(start_of(addition)))}: "
                f"{change(addition.change_mm, 1, 'mm')} {interval(addition.interval, 1, True)}"
            )
    if not words:
        return None
    errors = [series.run.metrics.coalition(rows[i]) for i in words]
    return {
        "type": "scatter",
        "mode": "markers",
        "xaxis": "x2",
        "x": [row.mpjpe_mm if row else None for row in errors],
        "y": [i + shift for i in words],
        "name": "adding a sensor hurt",
        "marker": {"color": TRANSPARENT, "symbol": "circle", "size": 17, "line": {"color": "@bad", "width": 2.5}},
        "text": ["<br>".join(lines) for lines in words.values()],
        "hovertemplate": f"{plain(series.label)}<br>%{{text}}<extra></extra>",
    }
