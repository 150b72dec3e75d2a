"""The sections about errors: the main table, every subset of the sensors, what adding a sensor does."""

from __future__ import annotations

from statistics import fmean

from equipose.benchmark.charts import difference_chart
from equipose.benchmark.comparisons import Addition, additions, proper_subsets
from equipose.benchmark.findings import findings, headline, limits, step_ratio
from equipose.benchmark.statistics import mean
from equipose.benchmark.study import Row, Study, Table, paired
from equipose.benchmark.words import DASH, change_cell, estimate_cell, heat_cell, mark, seeds_told, signed, stacked
from equipose.report.canvas import Canvas, section
from equipose.report.markup import TIMES, Html, bullets, details, join, number, table, tag
from equipose.report.study import mean_or_none, sensor, sensors

_HEAD = ("MPJPE", "PA-MPJPE", "difference", "PA difference", "wins", "hurts", "validation", "step time", "memory, MB")


def overview(study: Study, canvas: Canvas) -> Html:
    """Findings in words, the main table and the differences as a chart."""
    parts: list[object] = []
    single = len(study.tables) == 1
    care = bullets(limits(study), class_="limits")
    for each in study.tables:
        parts += [
            title_of(study, each),
            tag("p", headline(each), class_="headline"),
            bullets(findings(each), class_="findings"),
            care if single else "",
            main_table(each),
            canvas.figure(
                "Difference to the reference",
                difference_chart(each),
                "The same people and seeds on both sides; bars: 95 % interval over both; strokes: single seeds.",
            ),
        ]
    lead = f"Compared on {study.tables[0].condition.label}." if single else ""
    return section("overview", "What was found", lead, "" if single else care, *parts)


def main_table(each: Table) -> Html:
    """A row per method."""
    reference = each.reference
    name = reference.label if reference is not None else "the reference"
    body = [_main_row(each, row, row is reference) for row in each.finished]
    unfinished = [row.label for row in each.rows if not row.trained.cells]
    caption = (
        f"Errors in mm with 95 % intervals over people and seeds; difference: paired, to {name}; wins: seeds with a "
        "smaller error; hurts: additions of a sensor that raise the error beyond the interval; validation: what tuning "
        "and the epoch are chosen by; step time against the reference."
        + (f" Not finished: {', '.join(unfinished)}." if unfinished else "")
    )
    return boxed(("method", *_HEAD), body, caption)


def _main_row(each: Table, row: Row, reference: bool) -> Html:
    cells = row.trained.cells.values()
    ratio = step_ratio(row, each.reference)
    own = row.trained.first.sensors
    pairs = additions(row.trained)
    hurts = sum(pair.change.above for pair in pairs)
    memory = mean_or_none(cell.peak_memory_mb for cell in cells)
    fewer = f"; {sensors(own)}" if set(own) != set(each.sensors) else ""
    return tag(
        "tr",
        tag("th", row.label, tag("small", seeds_told(row) + fewer + (f"; {row.unpaired}" if row.unpaired else ""))),
        estimate_cell(row.trained.error(own)),
        estimate_cell(row.trained.error(own, aligned=True)),
        tag("td", "reference", class_="n") if reference else change_cell(row.difference),
        tag("td", DASH, class_="n") if reference else change_cell(row.aligned_difference),
        tag("td", row.difference.wins if row.difference is not None else DASH, class_="n"),
        tag("td", f"{hurts} of {len(pairs)}" if pairs else DASH, class_="n"),
        tag("td", number(fmean(cell.validation_mpjpe_mm for cell in cells)), class_="n"),
        tag("td", DASH if ratio is None else f"{ratio:.2f}{TIMES}", class_="n"),
        tag("td", number(memory, 0), class_="n"),
        class_="reference" if reference else None,
    )


def subsets_section(study: Study) -> Html:
    """Every subset of every method, shaded by the difference to the reference."""
    return section(
        "subsets",
        "Every subset of the sensors",
        "MPJPE in mm, mean over the seeds, when only these sensors are there. Shade: better (green) or worse (red) "
        "than the reference with the same sensors, full at 15 %; a triangle where the paired interval excludes zero.",
        *(part for each in study.tables for part in (title_of(study, each), _heat(each))),
    )


def _heat(each: Table) -> Html:
    columns = proper_subsets(each.sensors)
    reference = each.reference
    body = []
    for row in each.finished:
        cells = []
        for names in columns:
            if not set(names) <= set(row.trained.first.sensors):
                cells.append(tag("td", DASH, class_="n"))
                continue
            error = row.trained.error(names)
            pair = paired(row.trained, reference.trained) if reference is not None and row is not reference else ""
            change, base = None, 0.0
            if not isinstance(pair, str):
                ours, theirs = pair
                change = mean(ours.sums(names) - theirs.sums(names), ours.first.counts)
                base = theirs.error(names).value
            told = f"{sensors(names)}: {signed(change)}" if change is not None else sensors(names)
            cells.append(heat_cell(error.value, change, base, told))
        body.append(tag("tr", tag("th", row.label, scope="row"), *cells))
    return boxed(("method", *(stacked(names) for names in columns)), body, "", "bench heat")


def additions_section(study: Study) -> Html:
    """What adding a sensor does, every pair of every method."""
    parts: list[object] = []
    for each in study.tables:
        found = {row.label: additions(row.trained) for row in each.finished}
        if not any(found.values()):
            continue
        parts += [title_of(study, each), _hurt_table(found), _matrix(each, found)]
    return section(
        "additions",
        "Adding a sensor",
        "The error with one sensor more minus the error without it, mm, paired sample by sample within each seed. It "
        "hurts where the whole interval lies above zero.",
        *parts,
    )


def _hurt_table(found: dict[str, tuple[Addition, ...]]) -> Html:
    rows = []
    for label, pairs in found.items():
        hurts = [pair for pair in pairs if pair.change.above]
        helps = sum(pair.change.below for pair in pairs)
        worst = max(pairs, key=lambda pair: pair.change.value, default=None)
        told = DASH
        if worst is not None:
            told = f"{sensor(worst.added)} to {sensors(worst.start)}: {signed(worst.change)}{mark(worst.change)}"
        total = len(pairs)
        rows.append((label, f"{len(hurts)} of {total}", f"{helps} of {total}", total - len(hurts) - helps, told))
    return tag("div", table(("method", "hurts", "helps", "open", "largest rise"), rows), class_="bench")


def _matrix(each: Table, found: dict[str, tuple[Addition, ...]]) -> Html:
    """Pairs by methods, changes without intervals."""
    keys = [(pair.start, pair.added) for pair in max(found.values(), key=len)]
    body = []
    for start, added in keys:
        cells = []
        for pairs in found.values():
            pair = next((p for p in pairs if set(p.start) == set(start) and p.added == added), None)
            cells.append(change_cell(None if pair is None else pair.change))
        body.append(tag("tr", tag("th", f"{sensors(start)}, add {sensor(added)}", scope="row"), *cells))
    return details("Every pair of every method, with intervals", boxed(("sensors", *found), body, "Changes in mm."))


def title_of(study: Study, each: Table) -> Html:
    """Name of the condition, where there are several."""
    return tag("h3", each.condition.label) if len(study.tables) > 1 else Html("")


def boxed(head: tuple[object, ...], body: list[Html], caption: str, class_: str = "bench") -> Html:
    """A table whose rows are made already."""
    header = tag("tr", *(tag("th", cell, scope="col", class_="n" if i else None) for i, cell in enumerate(head)))
    return join(
        (
            tag("p", caption, class_="remark") if caption else "",
            tag(
                "div",
                tag("table", tag("thead", header), tag("tbody", *body)),
                class_=f"scroll {class_}",
                tabindex=0,
            ),
        )
    )
