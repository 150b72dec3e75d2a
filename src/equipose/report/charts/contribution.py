"""Charts of what each sensor contributes: over the epochs of one run, and at the end for all runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from equipose.report.charts.accuracy import epoch_ticks
from equipose.report.charts.base import Chart, axis, error_bars, layout, legend_above, plain, rows_axis
from equipose.report.colours import modality_symbol
from equipose.report.markup import interval, number, percent
from equipose.report.run import Estimate
from equipose.report.schema import EpochRecord
from equipose.report.study import Series, Study, sensor, shares

_DASHES = ("solid", "dash", "dashdot", "longdash", "dot")


def contribution_range(study: Study) -> tuple[float, float] | None:
    """One range for the runs' charts, so that they can be compared; None if nothing was measured."""
    values = [v for s in study.series for e in s.run.epochs for v in e.contribution.values() if v is not None]
    if not values:
        return None
    low, high = min(0.0, *values), max(0.0, *values)
    reach = (high - low) or 1.0
    return low - 0.04 * reach, high + 0.08 * reach


def epochs_chart(study: Study, series: Series, limits: tuple[float, float]) -> Chart | None:
    """Shapley value of each modality over the epochs; filled symbols superior, hollow inferior, window shaded."""
    epochs = [e for e in series.run.epochs if e.contribution]
    if not epochs:
        return None
    modalities = series.run.metrics.modalities
    traces: list[dict[str, Any]] = []
    for i, name in enumerate(modalities):
        symbol = modality_symbol(name, study.modalities)
        groups = [e.group(name) for e in epochs]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "x": [e.epoch + 1 for e in epochs],
                "y": [e.contribution.get(name) for e in epochs],
                "name": plain(sensor(name)),
                "line": {"color": study.colour(name), "width": 2, "dash": _DASHES[i % len(_DASHES)]},
                "marker": {
                    "size": 8,
                    "color": study.colour(name),
                    "symbol": [f"{symbol}-open" if group == "inferior" else symbol for group in groups],
                    "line": {"width": 1.5, "color": study.colour(name)},
                },
                "text": [f" ({group} group)" if group else "" for group in groups],
                "hovertemplate": "epoch %{x}: %{y:.2f}%{text}<extra>%{fullData.name}</extra>",
            }
        )
    windows = open_windows(series.run.epochs)
    return Chart(
        traces,
        layout(
            330,
            xaxis=axis("epoch", **epoch_ticks(max(e.epoch for e in epochs) + 1)),
            yaxis=axis("Shapley value", range=list(limits), zeroline=True),
            showlegend=True,
            legend=legend_above(),
            shapes=[
                {
                    "type": "rect",
                    "x0": first + 0.5,
                    "x1": last + 1.5,
                    "y0": 0,
                    "y1": 1,
                    "yref": "paper",
                    "fillcolor": "@shade",
                    "line": {"width": 0},
                    "layer": "below",
                }
                for first, last in windows
            ],
            annotations=[
                {
                    "x": first + 0.5,
                    "xanchor": "left",
                    "y": 1,
                    "yref": "paper",
                    "yanchor": "top",
                    "text": "constraint on",
                    "showarrow": False,
                    "font": {"size": 11, "color": "@muted"},
                }
                for first, _ in windows
            ],
        ),
        f"Contribution of each sensor over the epochs of {series.label}.",
    )


def open_windows(epochs: Sequence[EpochRecord]) -> list[tuple[int, int]]:
    """(first, last) epoch of each stretch in which the balance strategy's window was open."""
    windows: list[tuple[int, int]] = []
    for record in epochs:
        if record.window_open:
            if windows and windows[-1][1] == record.epoch - 1:
                windows[-1] = (windows[-1][0], record.epoch)
            else:
                windows.append((record.epoch, record.epoch))
    return windows


def share_chart(study: Study) -> Chart | None:
    """Share of each modality in the whole contribution, one dot per run, with intervals."""
    found = [(series, shares(series)[0]) for series in study.series]
    found = [(series, share) for series, share in found if share]
    if not found:
        return None
    rows = study.modalities
    step = 0.62 / max(1, len(found))
    traces = []
    for k, (series, share) in enumerate(found):
        points: list[tuple[int, Estimate]] = [(i, share[name]) for i, name in enumerate(rows) if name in share]
        values = [100.0 * estimate.value for _, estimate in points]
        intervals = [None if e.interval is None else (100.0 * e.interval[0], 100.0 * e.interval[1]) for _, e in points]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": values,
                "y": [i + step * (k - (len(found) - 1) / 2) for i, _ in points],
                "name": plain(series.method),
                "showlegend": series.seed_rank == 0,
                "marker": {
                    "color": series.colour,
                    "size": 10,
                    "symbol": "circle" if series.run.strategy == "joint" else "diamond",
                },
                "error_x": error_bars(values, intervals, series.colour),
                "text": [
                    f"{percent(e.value, 1)} {interval(ends)}" for (_, e), ends in zip(points, intervals, strict=True)
                ],
                "hovertemplate": f"%{{text}}<extra>{plain(series.label)}</extra>",
            }
        )
    high = max(max(v, i[1] if i else v) for t in traces for v, i in _ends(t))
    low = min(min(v, i[0] if i else v) for t in traces for v, i in _ends(t))
    even = 100.0 / len(rows)
    return Chart(
        traces,
        layout(
            120 + max(46, 22 * len(found)) * len(rows),
            xaxis=axis(
                "share of the contribution, %", range=[min(0.0, 1.1 * low), max(1.08 * high, 1.1 * even)], zeroline=True
            ),
            yaxis=rows_axis([sensor(name) for name in rows]),
            shapes=[
                {
                    "type": "line",
                    "x0": even,
                    "x1": even,
                    "y0": 0,
                    "y1": 1,
                    "yref": "paper",
                    "line": {"color": "@muted", "dash": "dot", "width": 1.5},
                    "layer": "below",
                }
            ],
            showlegend=True,
            legend=legend_above(),
        ),
        f"Share of each sensor in the contribution; the dotted line is an even share, {number(even, 0)} percent.",
    )


def _ends(trace: dict[str, Any]) -> list[tuple[float, tuple[float, float]]]:
    bars = trace["error_x"]
    return [(x, (x - down, x + up)) for x, up, down in zip(trace["x"], bars["array"], bars["arrayminus"], strict=True)]
