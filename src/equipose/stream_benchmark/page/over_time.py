"""The section about time: errors on every experience after every experience, and what happens in between."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from equipose.report.canvas import Canvas, section
from equipose.report.markup import Html, number, tag
from equipose.stream_benchmark.page.charts import SHOWN, Curve, stream_chart
from equipose.stream_benchmark.page.choices import (
    CONDITION,
    ORDER,
    condition_select,
    controls,
    order_name,
    order_select,
    shown_when,
)
from equipose.stream_benchmark.page.picks import spoken_of
from equipose.stream_benchmark.page.words import shaded
from equipose.stream_benchmark.study import Row, Study, Table

MOST_LOOKS = 40
"""Per method and experience; more would make the page heavy and say no more."""


def stream_section(study: Study, canvas: Canvas, labels: Sequence[str]) -> Html:
    """Matrices of errors and curves, per condition and order."""
    blocks = []
    for i, table in enumerate(study.tables):
        for order in range(len(study.recipe.orders)):
            names = names_in(table, order)
            told = [table.noise.label] if len(study.tables) > 1 else []
            told += [order_name(study, order)] if len(study.recipe.orders) > 1 else []
            content = [
                tag("h3", ", ".join(told)) if told else "",
                _matrices(study, table, order, names),
                canvas.figure(
                    "Error on each experience along the stream",
                    stream_chart(labels, names, _curves(study, table, order, names), _lead(study, table)),
                    "Solid: all test samples after each experience, mean over seeds; vertical lines are the borders. "
                    "Dotted, for the methods shown at first: looks at validation samples within an experience, spread "
                    "evenly over it; other people, so they need not meet the solid line. Lines come from above where "
                    "an experience was not learned yet. Click a name in the legend to show or hide it.",
                ),
            ]
            if not names:
                content = [tag("p", "Nothing is finished here yet.", class_="note")]
            blocks.append(shown_when({CONDITION: i, ORDER: order}, *content))
    return section(
        "stream",
        "Along the stream",
        "MPJPE in mm, mean over seeds. Row: after training on that experience; column: on the test samples of that "
        "one. Below the diagonal is what was learned before, above it what is still to come.",
        controls(condition_select(study), order_select(study)),
        *blocks,
    )


def names_in(table: Table, order: int) -> tuple[str, ...]:
    """Experiences in an order; empty where nothing sequential is finished."""
    for row in table.finished:
        for key, errors in row.runs.errors.items():
            if key[0] == order and row.runs.sequential:
                return errors.names
    return ()


def matrix_in(row: Row, order: int, names: Sequence[str]) -> Float[ndarray, "row experience"] | None:
    """Mean over seeds of E with the columns in the order of ``names``; None where the row has no run of that order."""
    mine = [errors for key, errors in row.runs.errors.items() if key[0] == order]
    if not mine or sorted(mine[0].names) != sorted(names):
        return None
    return row.runs.matrix(order=order)[:, [mine[0].names.index(name) for name in names]]


def _matrices(study: Study, table: Table, order: int, names: Sequence[str]) -> Html:
    subject, _ = spoken_of(study, table)
    rows = [row for row in table.finished if row.kind != "derived"]
    found = [(row, matrix) for row in rows if (matrix := matrix_in(row, order, names)) is not None]
    if not found:
        return Html("")
    found.sort(key=lambda pair: (pair[0] is not subject, pair[0].kind != "method"))
    everything = np.concatenate([matrix.ravel() for _, matrix in found])
    low, high = float(everything.min()), float(everything.max())
    return tag("div", *(_matrix(row, matrix, names, low, high) for row, matrix in found), class_="matrices")


def _matrix(row: Row, matrix: Float[ndarray, "row experience"], names: Sequence[str], low: float, high: float) -> Html:
    square = len(matrix) == len(names)
    body = []
    for i, errors in enumerate(matrix):
        after = f"after {names[i]}" if square else "own models" if row.strategy == "single" else "in the end"
        cells = [
            shaded(
                float(error),
                (float(error) - low) / (high - low) if high > low else 0.0,
                "accent",
                number(float(error)),
                class_="trained" if square and i == j else "",
            )
            for j, error in enumerate(errors)
        ]
        body.append(tag("tr", tag("th", after, scope="row"), *cells))
    head = tag("tr", tag("td"), *(tag("th", name, scope="col") for name in names))
    final = number(float(matrix[-1].mean()), 1, "mm")
    return tag(
        "div",
        tag("strong", row.label),
        tag("span", f"in the end {final} on average"),
        tag("table", tag("thead", head), tag("tbody", *body)),
        class_="matrix",
        tabindex=0,
    )


def _curves(study: Study, table: Table, order: int, names: Sequence[str]) -> list[Curve]:
    lead, found = _lead(study, table), []
    for row in table.finished:
        matrix = matrix_in(row, order, names)
        if matrix is not None and row.runs.sequential and row.kind != "derived":
            found.append(Curve(row, matrix, looks_in(row, order) if row in lead else np.zeros((0, 4))))
    return found


def looks_in(row: Row, order: int) -> Float[ndarray, "look 4"]:
    """Mean over seeds of the looks: place in the stream, experience looked at, MPJPE in mm, experience in training.

    The place counts experiences; the last look within one lies one look before its end, at most.
    """
    watched = [errors.watched for key, errors in row.runs.errors.items() if key[0] == order and len(errors.watched)]
    if not watched:
        return np.zeros((0, 4))
    stacked = np.concatenate(watched)
    keys, index, counts = np.unique(stacked[:, :3], axis=0, return_inverse=True, return_counts=True)
    error = np.bincount(index.reshape(-1), stacked[:, 3]) / counts
    keys, error = keys[counts == len(watched)], error[counts == len(watched)]
    found = []
    for training in np.unique(keys[:, 0]):
        mine = keys[:, 0] == training
        steps = np.unique(keys[mine, 1])
        whole = steps[-1] + (np.diff(steps).min() if len(steps) > 1 else steps[-1] or 1.0)
        place = training + keys[mine, 1] / whole
        kept = np.isin(keys[mine, 1], steps[:: -(-len(steps) // MOST_LOOKS)])
        found.append(np.stack([place, keys[mine, 2], error[mine], keys[mine, 0]], 1)[kept])
    return np.concatenate(found) if found else np.zeros((0, 4))


def _lead(study: Study, table: Table) -> list[Row]:
    """Rows whose curves are shown at first: the one spoken of, the reference, then the best others."""
    subject, _ = spoken_of(study, table)
    first = [row for row in (subject, table.reference) if row is not None]
    others = [row for row in table.finished if row.kind == "method" and all(row is not each for each in first)]
    others.sort(key=lambda row: row.values["final_mm"].value)
    return [*first, *others][:SHOWN]
