"""Charts that lay simulated over real: one colour each, dashes tell the parts of one kind apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from equipose.report.charts.base import Chart, axis, layout, legend_above, plain, rows_axis, vertical_line
from equipose.report.fidelity.rows import Row
from equipose.report.markup import number

REAL, SIMULATED = "@m1", "@m0"
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down")
_BINS = 60
_RATIO_ENDS = (0.03, 100.0)


def distribution(
    title: str,
    simulated: np.ndarray,
    real: Mapping[str, np.ndarray],
    *,
    bins: np.ndarray | None = None,
    ends: tuple[float, float] = (0.3, 99.7),
    log: bool = False,
) -> Chart:
    """Share of values per bin, as steps.

    Args:
        title: of the horizontal axis, with unit.
        simulated: sample.
        real: name of the part -> sample.
        bins: edges; by default 60 equal bins between the percentiles ``ends`` of everything.
        ends: percentiles.
        log: shares on a logarithmic axis, for samples with a peak and a long tail.
    """
    samples = [np.asarray(sample, np.float64) for sample in (*real.values(), simulated)]
    if bins is None:
        low = min(float(np.percentile(sample, ends[0])) for sample in samples)
        high = max(float(np.percentile(sample, ends[1])) for sample in samples)
        bins = np.linspace(low, high if high > low else low + 1.0, _BINS + 1)
    shares = [100.0 * np.histogram(sample, bins)[0] / sample.size for sample in samples]
    names = [f"real: {name}" for name in real] + ["simulated"]
    data: list[dict[str, Any]] = []
    for i, (name, share) in enumerate(zip(names, shares, strict=True)):
        mine = name == "simulated"
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": plain(name),
                "x": np.round(np.repeat(bins, 2), 6).tolist(),
                "y": [value if value or not log else None for value in [0.0, *_steps(share), 0.0]],
                "line": _line(mine, 0 if mine else i),
                "hovertemplate": f"{plain(name)}: %{{y:.2f}} % at %{{x:.3g}}<extra></extra>",
            }
        )
    chart_layout = _layout(title, "share of values per bin (%)", len(names))
    if log:
        chart_layout["yaxis"] |= {"type": "log", "dtick": 1, "rangemode": "normal"}
    return Chart(
        data,
        chart_layout,
        f"Distribution of {title}, simulated over real; the table gives the distance.",
    )


def curves(
    x_title: str,
    y_title: str,
    simulated: Mapping[str, tuple[np.ndarray, np.ndarray]],
    real: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    markers: bool = False,
    **axis_options: Any,
) -> Chart:
    """Lines over common places; a part is x and y."""
    data = []
    for mine, parts in ((False, real), (True, simulated)):
        for i, (name, (x, y)) in enumerate(parts.items()):
            label = plain(f"{'simulated' if mine else 'real'}{': ' + name if name else ''}")
            data.append(
                {
                    "type": "scatter",
                    "mode": "lines+markers" if markers else "lines",
                    "name": label,
                    "x": np.round(x, 4).tolist(),
                    "y": np.round(y, 4).tolist(),
                    "line": _line(mine, i),
                    "marker": {"symbol": _SYMBOLS[i % len(_SYMBOLS)], "size": 7},
                    "hovertemplate": f"{label}: %{{y:.3g}} at %{{x:.3g}}<extra></extra>",
                }
            )
    chart_layout = _layout(x_title, y_title, len(data))
    chart_layout["xaxis"] |= axis_options
    return Chart(data, chart_layout, f"{y_title} over {x_title}, simulated and real.")


def persons(
    names: Sequence[str], title: str, simulated: np.ndarray, real: Mapping[str, np.ndarray], digits: int
) -> Chart:
    """One row per name: the range of all simulated persons as a bar, each real person as a symbol.

    Args:
        names: of the rows.
        title: of the horizontal axis, with unit.
        simulated: (person, row).
        real: person -> (row,).
        digits: decimals in the hover text.
    """
    low, middle, high = (np.quantile(simulated, share, axis=0) for share in (0.0, 0.5, 1.0))
    rows = list(range(len(names)))
    data: list[dict[str, Any]] = [
        {
            "type": "bar",
            "orientation": "h",
            "name": f"simulated: all {len(simulated)} persons",
            "base": np.round(low, 5).tolist(),
            "x": np.round(high - low, 5).tolist(),
            "y": rows,
            "width": 0.5,
            "marker": {"color": SIMULATED, "opacity": 0.45, "line": {"color": SIMULATED, "width": 1}},
            "text": [
                f"{number(a, digits)} to {number(c, digits)}, median {number(b, digits)}"
                for a, b, c in zip(low, middle, high, strict=True)
            ],
            "textposition": "none",
            "hovertemplate": "simulated: %{text}<extra></extra>",
        }
    ]
    for i, (name, values) in enumerate(real.items()):
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": plain(f"real: {name}"),
                "x": np.round(values, 5).tolist(),
                "y": rows,
                "marker": {"symbol": _SYMBOLS[i % len(_SYMBOLS)], "size": 10, "color": REAL},
                "hovertemplate": f"{plain(name)}: %{{x:.{digits}f}}<extra></extra>",
            }
        )
    return Chart(
        data,
        layout(
            200 + 28 * len(names),
            xaxis=axis(title, zeroline=False),
            yaxis=rows_axis(names),
            showlegend=True,
            legend=legend_above(),
            margin={"l": 12, "r": 16, "t": 138, "b": 44},
        ),
        f"{title}: the range of the simulated persons and each real person.",
    )


def ratios(rows: Sequence[Row], labels: Sequence[str]) -> Chart:
    """Distance over tolerance of every row on a logarithmic axis; right of 1 is outside."""
    low, high = _RATIO_ENDS
    shown = [float(np.clip(row.ratio, low, high)) for row in rows]
    data = []
    for inside, name, symbol, colour in (
        (True, "within the tolerance", "circle", "@good"),
        (False, "outside", "x", "@bad"),
    ):
        mine = [i for i, row in enumerate(rows) if row.within is inside]
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": [shown[i] for i in mine],
                "y": mine,
                "marker": {"symbol": symbol, "size": 10, "color": colour},
                "text": [f"{plain(labels[i])}: {ratio_text(rows[i].ratio)} times the tolerance" for i in mine],
                "hovertemplate": "%{text}<extra></extra>",
            }
        )
    ticks = [0.03, 0.1, 0.3, 1, 3, 10, 30, 100]
    return Chart(
        data,
        layout(
            110 + 22 * len(rows),
            xaxis=axis(
                "distance over tolerance (logarithmic; 1 is the spread of the real data)",
                type="log",
                range=[np.log10(low) - 0.08, np.log10(high) + 0.08],
                tickmode="array",
                tickvals=ticks,
                ticktext=["\N{LESS-THAN OR EQUAL TO}0.03", *map(str, ticks[1:-1]), "\N{GREATER-THAN OR EQUAL TO}100"],
            ),
            yaxis=rows_axis(labels),
            shapes=[vertical_line(1.0, "@ink")],
            showlegend=True,
            legend=legend_above(),
        ),
        "Distance over tolerance of every statistic; values above 1 lie outside the spread of the real data.",
    )


def ratio_text(ratio: float) -> str:
    """``0.42``, ``3.1``, ``more than 100``."""
    return "more than 100" if ratio > 100 else number(ratio, 2 if ratio < 10 else 1)


def _steps(shares: np.ndarray) -> list[float]:
    return np.round(np.repeat(shares, 2), 4).tolist()


def _line(simulated: bool, i: int) -> dict[str, Any]:
    return {
        "color": SIMULATED if simulated else REAL,
        "dash": _DASHES[i % len(_DASHES)],
        "width": 2.5 if simulated and i == 0 else 1.8,
    }


def _layout(x_title: str, y_title: str, parts: int) -> dict[str, Any]:
    return layout(
        330,
        xaxis=axis(x_title),
        yaxis=axis(y_title, rangemode="tozero" if "share" in y_title else "normal"),
        showlegend=True,
        legend=legend_above(),
        margin={"l": 12, "r": 16, "t": 36 if parts <= 3 else 64, "b": 44},
    )
