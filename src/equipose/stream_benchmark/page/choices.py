"""Parts of the page of which a select shows one; without JavaScript all are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from equipose.report.markup import Html, tag
from equipose.stream_benchmark.study import Study, Table

CONDITION, ORDER = "condition", "order"


def select(name: str, label: str, options: Sequence[object]) -> Html:
    """A select whose values are 0, 1, ..; nothing where there is nothing to choose."""
    if len(options) < 2:
        return Html("")
    entries = [tag("option", option, value=i) for i, option in enumerate(options)]
    return tag("label", label, tag("select", *entries, data_choice=name, autocomplete="off"))


def controls(*selects: Html) -> Html:
    """A row of selects."""
    return tag("div", *selects, class_="controls") if any(selects) else Html("")


def shown_when(chosen: Mapping[str, int], *content: object) -> Html:
    """Content that is shown while the selects of these names have these values."""
    return tag("div", *content, data_when=" ".join(f"{name}={value}" for name, value in chosen.items()))


def condition_select(study: Study) -> Html:
    """Noise conditions."""
    return select(CONDITION, "Noise", [table.noise.label for table in study.tables])


def order_select(study: Study) -> Html:
    """Orders of the experiences."""
    return select(ORDER, "Order", [order_name(study, i) for i in range(len(study.recipe.orders))])


def per_condition(study: Study, parts: Mapping[int, Sequence[object]]) -> list[Html]:
    """A block per table, with its name as a heading where there are several."""
    return [shown_when({CONDITION: i}, title(study, study.tables[i]), *content) for i, content in parts.items()]


def title(study: Study, table: Table) -> Html:
    """Name of a condition, where there are several."""
    return tag("h3", f"Noise: {table.noise.label}") if len(study.tables) > 1 else Html("")


def order_name(study: Study, index: int) -> str:
    """``E01 → E02 → ..``."""
    names = study.recipe.orders[index]
    if not names:
        row = next((row for table in study.tables for row in table.finished if row.runs.sequential), None)
        names = row.runs.first.names if row is not None else ()
    return " \N{RIGHTWARDS ARROW} ".join(names) or "natural order"
