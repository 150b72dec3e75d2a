"""What all charts share: axes with units, margins that grow with their labels, colours by role."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

FONT = 12
TRANSPARENT = "rgba(0,0,0,0)"


@dataclass(frozen=True)
class Chart:
    """A plotly figure and what a screen reader says of it.

    Attributes:
        data: traces.
        layout: layout; colours may be roles such as ``@ink``.
        description: one sentence in plain language.
        narrow: layout changes for a chart narrower than ``narrow_below`` pixels.
    """

    data: list[dict[str, Any]]
    layout: dict[str, Any]
    description: str
    narrow: dict[str, Any] = field(default_factory=dict)

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.layout["height"])


def plain(value: object) -> str:
    """Text from a file for a chart: plotly reads HTML-like tags, so they are escaped."""
    return html.escape(str(value), quote=False)


def axis(title: str = "", **options: Any) -> dict[str, Any]:
    """An axis in the theme's colours with a title that holds the unit."""
    return {
        "title": {"text": title, "standoff": 10, "font": {"size": FONT, "color": "@muted"}},
        "automargin": True,
        "gridcolor": "@grid",
        "zerolinecolor": "@line",
        "linecolor": "@line",
        "tickfont": {"size": FONT, "color": "@ink"},
        "fixedrange": True,
        **options,
    }


def rows_axis(labels: Sequence[str], **options: Any) -> dict[str, Any]:
    """A vertical axis of named rows, the first on top."""
    return axis(
        tickmode="array",
        tickvals=list(range(len(labels))),
        ticktext=[plain(label) for label in labels],
        range=[len(labels) - 0.5, -0.5],
        showgrid=False,
        zeroline=False,
        **options,
    )


def layout(height: int, **options: Any) -> dict[str, Any]:
    """A layout that fits its box and follows the theme."""
    return {
        "height": height,
        "autosize": True,
        "paper_bgcolor": TRANSPARENT,
        "plot_bgcolor": TRANSPARENT,
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', sans-serif", "size": FONT, "color": "@ink"},
        "margin": {"l": 12, "r": 16, "t": 30, "b": 44},
        "modebar": {"bgcolor": TRANSPARENT, "color": "@muted", "activecolor": "@ink"},
        "hoverlabel": {"bgcolor": "@card", "bordercolor": "@line", "font": {"color": "@ink", "size": FONT}},
        "hovermode": "closest",
        "showlegend": False,
        "dragmode": False,
        **options,
    }


def legend_above() -> dict[str, Any]:
    """A horizontal legend over the plot."""
    return {
        "orientation": "h",
        "x": 0,
        "xanchor": "left",
        "y": 1.02,
        "yanchor": "bottom",
        "font": {"size": FONT, "color": "@ink"},
        "bgcolor": TRANSPARENT,
    }


def error_bars(
    values: Sequence[float | None], intervals: Sequence[tuple[float, float] | None], colour: str
) -> dict[str, Any]:
    """Interval ends as plotly's distances from the value."""
    pairs = [
        (max(0.0, end[1] - value), max(0.0, value - end[0])) if value is not None and end is not None else (0.0, 0.0)
        for value, end in zip(values, intervals, strict=True)
    ]
    return {
        "type": "data",
        "symmetric": False,
        "array": [up for up, _ in pairs],
        "arrayminus": [down for _, down in pairs],
        "color": colour,
        "thickness": 2,
        "width": 5,
    }


def vertical_line(x: float, colour: str = "@line", dash: str = "dash") -> dict[str, Any]:
    """A line over the whole height at ``x``."""
    return {
        "type": "line",
        "x0": x,
        "x1": x,
        "y0": 0,
        "y1": 1,
        "yref": "paper",
        "line": {"color": colour, "dash": dash, "width": 1.5},
        "layer": "below",
    }
