"""Chart of what training costs: seconds per epoch, and what part measuring and balancing took."""

from __future__ import annotations

from dataclasses import dataclass

from equipose.report.charts.base import Chart, axis, layout, legend_above, rows_axis
from equipose.report.markup import number, percent
from equipose.report.study import Series, Study, mean_or_none


@dataclass(frozen=True)
class Cost:
    """Mean seconds per epoch of one run.

    Attributes:
        epoch: the whole epoch, what follows included.
        contribution: measuring what each sensor contributes.
        balance: what the balance strategy did between epochs, Fisher information for example.
    """

    epoch: float
    contribution: float
    balance: float


def cost_of(series: Series) -> Cost | None:
    """Mean cost over a run's epochs; None without timings."""
    epochs = series.run.epochs
    seconds = mean_or_none(e.seconds for e in epochs)
    if seconds is None:
        return None
    return Cost(
        epoch=seconds,
        contribution=mean_or_none(e.contribution_seconds for e in epochs) or 0.0,
        balance=mean_or_none(e.balance_seconds for e in epochs) or 0.0,
    )


def cost_chart(study: Study) -> Chart | None:
    """Stacked bars of seconds per epoch."""
    costs = [(series, cost) for series in study.series if (cost := cost_of(series)) is not None]
    if not costs:
        return None
    parts = (
        ("optimisation", [max(0.0, c.epoch - c.contribution - c.balance) for _, c in costs], "@line", ""),
        ("measuring contribution", [c.contribution for _, c in costs], "@accent", "/"),
        ("balancing", [c.balance for _, c in costs], "@warn", "x"),
    )
    totals = [cost.epoch for _, cost in costs]
    return Chart(
        [
            {
                "type": "bar",
                "orientation": "h",
                "x": values,
                "y": list(range(len(costs))),
                "name": name,
                "width": 0.55,
                "marker": {
                    "color": colour,
                    "line": {"width": 0},
                    "pattern": {
                        "shape": pattern,
                        "fgcolor": "@card",
                        "fillmode": "overlay",
                        "size": 6,
                        "solidity": 0.25,
                    },
                },
                "text": [
                    f"{number(v, 2, 's')}, {percent(v / total if total else None, 1)}"
                    for v, total in zip(values, totals, strict=True)
                ],
                "textposition": "none",
                "hovertemplate": f"{name}: %{{text}}<extra></extra>",
            }
            for name, values, colour, pattern in parts
        ],
        layout(
            110 + 40 * len(costs),
            barmode="stack",
            xaxis=axis("seconds per epoch", rangemode="tozero"),
            yaxis=rows_axis([series.label for series, _ in costs]),
            showlegend=True,
            legend={**legend_above(), "traceorder": "normal"},
        ),
        "Seconds per epoch of each run, split into optimisation, measuring contribution and balancing.",
    )
