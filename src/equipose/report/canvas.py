"""Where charts are put: each chart gets its place on the page, and the page's script draws it there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from equipose.report.charts.base import Chart
from equipose.report.markup import Html, tag
from equipose.report.study import Series


class Canvas:
    """Collects the charts of a page and gives each its place."""

    def __init__(self) -> None:
        self.charts: list[Chart] = []

    def figure(self, title: object, chart: Chart | None, remark: object = "") -> Html:
        """A chart with its heading, or nothing."""
        if chart is None:
            return Html("")
        self.charts.append(chart)
        place = tag(
            "div",
            class_="plot",
            id=f"chart-{len(self.charts) - 1}",
            role="img",
            aria_label=chart.description,
            style=f"height:{chart.height}px",
        )
        below = tag("p", remark, class_="remark") if remark else ""
        return tag("figure", tag("figcaption", title), place, below)

    def payload(self) -> list[dict[str, Any]]:
        """The charts as JSON values."""
        return [{"data": chart.data, "layout": chart.layout} for chart in self.charts]


def section(id_: str, title: str, lead: object, *content: object) -> Html:
    """A section with its plain-language first sentence."""
    return tag("section", tag("h2", title), tag("p", lead, class_="lead") if lead else "", *content, id=id_)


def alike(series: Iterable[Series], key: Any) -> list[list[Series]]:
    """Runs in groups of equal ``key``, in first-seen order."""
    groups: dict[Any, list[Series]] = {}
    for each in series:
        groups.setdefault(key(each), []).append(each)
    return list(groups.values())
