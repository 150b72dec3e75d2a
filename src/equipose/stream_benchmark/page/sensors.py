"""The section about sensors: what every subset of them forgot."""

from __future__ import annotations

from equipose.benchmark.sections import boxed
from equipose.benchmark.words import DASH, stacked
from equipose.report.canvas import section
from equipose.report.markup import Html, change, details, interval, number, tag
from equipose.report.study import sensors
from equipose.stream_benchmark.page.choices import condition_select, controls, per_condition
from equipose.stream_benchmark.page.methods import row_class, row_heading
from equipose.stream_benchmark.page.picks import spoken_of
from equipose.stream_benchmark.page.words import MEASURES, shaded
from equipose.stream_benchmark.study import Row, Study, Table, subsets


def sensors_section(study: Study) -> Html:
    """Forgetting and error of every subset, per condition."""
    parts = {
        i: [
            _heat(study, table, "forgetting_mm"),
            details("Error after the stream with every subset", _heat(study, table, "final_mm")),
        ]
        for i, table in enumerate(study.tables)
        if table.finished
    }
    return section(
        "sensors",
        "What each sensor forgot",
        "Forgetting in mm when only these sensors are there at test time; the same model, trained on all. Shade: more "
        "forgotten. Gini: how unevenly the single sensors forgot, 0 where all forgot alike.",
        controls(condition_select(study)),
        *per_condition(study, parts),
    )


def _heat(study: Study, table: Table, measure: str) -> Html:
    subject, _ = spoken_of(study, table)
    columns = subsets(table.sensors)
    rows = [row for row in table.finished if any(measure in each for each in row.subsets.values())]
    if measure == "forgetting_mm":
        rows = [row for row in rows if row.kind != "derived"]  # what never learns forgets nothing
    if not rows:
        return tag("p", "A stream needs two experiences for that.", class_="note")
    trained = [row for row in rows if row.kind != "derived"] or rows
    values = [
        row.subsets[names][measure].value for row in trained for names in columns if measure in row.subsets[names]
    ]
    low = min(values) if measure == "final_mm" else 0.0
    reach = max(values) - low
    body = []
    for row in rows:
        cells = [_cell(row, names, measure, low, reach) for names in columns]
        if measure == "forgetting_mm":
            cells.append(tag("td", DASH if row.inequality is None else number(row.inequality, 2), class_="n"))
        body.append(tag("tr", row_heading(row), *cells, class_=row_class(row, subject)))
    head = ("method", *(stacked(names) for names in columns))
    if measure == "forgetting_mm":
        head = (*head, "Gini")
    return boxed(head, body, f"{MEASURES[measure][0].capitalize()}: {MEASURES[measure][1]}; mm.", "bench heat")


def _cell(row: Row, names: tuple[str, ...], measure: str, low: float, reach: float) -> Html:
    estimate = row.subsets.get(names, {}).get(measure)
    if estimate is None:
        return tag("td", DASH, class_="n")
    told = f"{sensors(names)}: {interval(estimate.interval)}"
    shown = change(estimate.value) if measure == "forgetting_mm" else number(estimate.value)
    strength = (estimate.value - low) / reach if reach > 0 else 0.0
    return shaded(estimate.value, strength, "bad" if measure == "forgetting_mm" else "accent", shown, told)
