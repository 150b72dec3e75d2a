"""The first sections: what was found, and the tables of methods by measures."""

from __future__ import annotations

from equipose.benchmark.sections import boxed
from equipose.benchmark.words import DASH, change_cell, estimate_cell, mark
from equipose.report.canvas import Canvas, section
from equipose.report.markup import Html, bullets, details, interval, join, number, sentence, tag
from equipose.report.tiles import Tile
from equipose.stream_benchmark import rows as of
from equipose.stream_benchmark.page.charts import difference_chart
from equipose.stream_benchmark.page.choices import condition_select, controls, order_name, per_condition
from equipose.stream_benchmark.page.findings import headline, limits, tiles
from equipose.stream_benchmark.page.picks import spoken_of
from equipose.stream_benchmark.page.words import MEASURES, gap_cell, measure_cell
from equipose.stream_benchmark.rows import Runs
from equipose.stream_benchmark.study import Row, Study, Table

_SEPARATION = {"off": "", "find": "noise kept out", "known": "oracle: told what is corrupt"}


def overview(study: Study) -> Html:
    """Headline, four tiles, what to be careful with, and all conditions side by side."""
    return section(
        "overview",
        "What was found",
        "",
        *(tag("p", told, class_="headline") for told in headline(study)),
        tag("div", *(_card(each) for each in tiles(study)), class_="tiles"),
        tag("h3", "Read with care"),
        bullets(limits(study), class_="limits"),
        _conditions(study) if len(study.tables) > 1 else "",
    )


def methods_section(study: Study, canvas: Canvas) -> Html:
    """Methods by measures, per condition and order."""
    parts: dict[int, list[object]] = {}
    for i, each in enumerate(study.tables):
        if not each.finished:
            parts[i] = [tag("p", "Nothing is finished here yet.", class_="note")]
            continue
        parts[i] = [
            _main_table(study, each),
            canvas.figure(
                f"Error after the stream, minus that of {each.reference.label}" if each.reference is not None else "",
                difference_chart(each),
                "The same people and runs on both sides; bars: 95 % interval over both; strokes: single runs. "
                "What does not learn, the frozen model and the mean pose, is in the table alone.",
            ),
            details("Every measure, with intervals", _all_measures(each)),
            details("Each order of the experiences", *_orders(study, each)) if len(study.recipe.orders) > 1 else "",
        ]
    return section(
        "methods",
        "Methods by measures",
        "Errors are MPJPE in mm on clean test samples of every experience; intervals: 95 %, over people and runs, "
        "where a run is an order and a seed. A triangle: the interval of the paired difference excludes zero.",
        controls(condition_select(study)),
        *per_condition(study, parts),
    )


def row_heading(row: Row, *more: str) -> Html:
    """Label of a row with what it is."""
    told = [_SEPARATION[row.separation], *more]
    told += [f"{len(row.runs.keys)} runs" if len(row.runs.keys) != 1 else "1 run"]
    return tag("th", row.label, tag("small", "; ".join(each for each in told if each)), scope="row")


def row_class(row: Row, subject: Row | None) -> str | None:
    """``subject`` for the row that the text speaks of, ``bound`` for what no stream allows."""
    if row is subject:
        return "subject"
    return "bound" if row.kind != "method" or row.separation == "known" else None


def _card(tile: Tile) -> Html:
    return tag(
        "a",
        tag("span", tile.question, class_="question"),
        tag("strong", tile.answer, class_="answer"),
        *(tag("span", sentence(line), class_="line") for line in tile.lines),
        class_=f"tile {tile.mood}",
        href=f"#{tile.target}",
    )


def _main_table(study: Study, each: Table) -> Html:
    subject, _ = spoken_of(study, each)
    name = each.reference.label if each.reference is not None else "the reference"
    head = (
        "method",
        "error at the end",
        f"minus {name}",
        "ahead in",
        "gap closed",
        "forgetting",
        f"minus {name}",
        "when learned",
        "stability gap",
    )
    body = []
    for row in each.finished:
        ours = row is each.reference
        final = row.differences.get("final_mm")
        body.append(
            tag(
                "tr",
                row_heading(row),
                estimate_cell(row.values.get("final_mm")),
                tag("td", "reference", class_="n") if ours else change_cell(final),
                tag("td", final.wins if final is not None else DASH, class_="n"),
                gap_cell(row.values.get("gap_closed")),
                estimate_cell(row.values.get("forgetting_mm")),
                tag("td", DASH, class_="n") if ours else change_cell(row.differences.get("forgetting_mm")),
                estimate_cell(row.values.get("learned_mm")),
                estimate_cell(row.values.get("stability_gap_mm")),
                class_=row_class(row, subject),
            )
        )
    unfinished = [row.label for row in each.rows if not row.runs]
    caption = (
        "; ".join(f"{MEASURES[m][0]}: {MEASURES[m][1]}" for m in ("forgetting_mm", "gap_closed", "stability_gap_mm"))
        + ". Italic: bounds and oracles, which no stream allows; "
        + ("marked: the row that the text above speaks of." if subject is not None else "")
        + (f" Not finished: {', '.join(unfinished)}." if unfinished else "")
    )
    return boxed(head, body, sentence(caption))


def _all_measures(each: Table) -> Html:
    present = [name for name in MEASURES if any(name in row.values for row in each.finished)]
    head = ("method", *(MEASURES[name][0] for name in present))
    body = [
        tag("tr", row_heading(row), *(measure_cell(name, row.values.get(name)) for name in present))
        for row in each.finished
    ]
    compared = [name for name in present if any(name in row.differences for row in each.rows)]
    differences = [
        tag("tr", tag("th", row.label, scope="row"), *(change_cell(row.differences.get(name)) for name in compared))
        for row in each.finished
        if row.differences
    ]
    return join(
        (
            boxed(head, body, "; ".join(f"{MEASURES[name][0]}: {MEASURES[name][1]}" for name in present) + "."),
            boxed(
                ("method", *(MEASURES[name][0] for name in compared)),
                differences,
                f"The same minus {each.reference.label}, paired, mm; for forward transfer more is better."
                if each.reference is not None
                else "",
            )
            if differences
            else "",
        )
    )


def _orders(study: Study, each: Table) -> list[Html]:
    """A table per order: what the mean over orders hides."""
    found = []
    for index in range(len(study.recipe.orders)):
        reference = _in_order(each.reference, index)
        joint = _in_order(each.joint, index)
        body = []
        for row in each.finished:
            runs = _in_order(row, index)
            if not runs:
                continue
            pair = of.difference(runs, reference, "final_mm") if reference and row is not each.reference else None
            closed = of.gap_closed(runs, reference, joint) if reference and joint else None
            forgotten = runs.estimate("forgetting_mm") if runs.sequential else None
            body.append(
                tag(
                    "tr",
                    tag("th", row.label, scope="row"),
                    estimate_cell(runs.estimate("final_mm")),
                    tag("td", "reference", class_="n") if row is each.reference else change_cell(pair),
                    gap_cell(closed),
                    estimate_cell(forgotten),
                )
            )
        if body:
            head = ("method", "error after the stream", "minus reference", "gap closed", "forgetting")
            found += [tag("h3", order_name(study, index)), boxed(head, body, "")]
    return found


def _in_order(row: Row | None, index: int) -> Runs:
    if row is None:
        return Runs({})
    return row.runs.of(tuple(key for key in row.runs.keys if key[0] == index))


def _conditions(study: Study) -> Html:
    """The error of every method in every condition."""
    recipe = study.recipe
    known = [each.name for each in (*recipe.methods, *recipe.bounds)]
    labels = dict.fromkeys([*known, *(row.label for table in study.tables for row in table.rows)])
    body = []
    for label in labels:
        rows = [next((row for row in table.finished if row.label == label), None) for table in study.tables]
        if not any(rows):
            continue
        cells = []
        for row in rows:
            if row is None:
                cells.append(tag("td", DASH, class_="n"))
                continue
            change = row.differences.get("final_mm")
            sign = mark(change) if change is not None else ""
            side = "" if change is None else " better" if change.below else " worse" if change.above else ""
            final = row.values["final_mm"]
            cells.append(
                tag("td", number(final.value) + sign, tag("small", interval(final.interval)), class_=f"n{side}")
            )
        first = next(row for row in rows if row is not None)
        body.append(tag("tr", tag("th", label, scope="row"), *cells, class_=row_class(first, None)))
    caption = (
        "MPJPE in mm after the stream, mean over all experiences, with 95 % intervals. Triangle: better (down) or "
        "worse (up) than the reference of the same column beyond the interval of the paired difference."
    )
    head = ("method", *(table.noise.label for table in study.tables))
    return join((tag("h3", "Error under every noise"), boxed(head, body, caption)))
