"""The other sections: models trained on fewer sensors, contributions, tuning, and where the numbers come from."""

from __future__ import annotations

import shlex
from collections import Counter

from equipose.benchmark.charts import share_chart
from equipose.benchmark.comparisons import best_own_pair, best_trained_pair, gaps
from equipose.benchmark.findings import NEAR, ignored
from equipose.benchmark.sections import boxed, title_of
from equipose.benchmark.study import Row, Study, Table
from equipose.benchmark.words import DASH, change_cell, estimate_cell, share_told, stacked
from equipose.config import dump_yaml
from equipose.report.canvas import Canvas, section
from equipose.report.markup import Html, bullets, code, details, duration, note, number, percent, table, tag
from equipose.report.study import mean_or_none, sensor, sensors


def references_section(study: Study) -> Html:
    """Methods beside the models trained on fewer sensors, and all sensors beside the best pair."""
    parts: list[object] = []
    for each in study.tables:
        parts += [title_of(study, each), _gap_table(each), _transfer_table(each)]
    return section(
        "fewer",
        "Against models trained on fewer sensors",
        "A method that is good with any subset needs one model where otherwise a model is trained for each subset.",
        *parts,
    )


def _gap_table(each: Table) -> Html:
    if not each.subsets:
        return note("No model was trained on fewer sensors; add `subsets: [singles]` to the recipe.")
    trained = [
        tag("tr", tag("th", "trained on just these"), *(estimate_cell(m.error(n)) for n, m in each.subsets.items()), "")
    ]
    body = []
    for row in each.finished:
        found = {gap.sensors: gap.part for gap in gaps(row.trained, each.subsets)}
        near = sum(part.value <= NEAR for part in found.values())
        cells = [change_cell(found.get(names), 1, "%") for names in each.subsets]
        body.append(tag("tr", tag("th", row.label), *cells, tag("td", f"{near} of {len(found)}", class_="n")))
    head = ("", *(stacked(names) for names in each.subsets), f"within {percent(NEAR)}")
    caption = (
        "First row: MPJPE in mm of models trained on just these sensors. Below: how much larger a method's error is "
        "with just these sensors, % (for one sensor: the unimodal gap), with 95 % intervals over people and seeds."
    )
    return boxed(head, [*trained, *body], caption, "bench heat")


def _transfer_table(each: Table) -> Html:
    body = []
    for row in each.finished:
        own, trained = best_own_pair(row.trained), best_trained_pair(row.trained, each.subsets)
        if own is None:
            continue
        body.append(
            tag(
                "tr",
                tag("th", row.label),
                tag("td", sensors(own.pair), class_="n"),
                change_cell(own.change),
                tag("td", sensors(trained.pair) if trained else DASH, class_="n"),
                change_cell(trained.change if trained else None),
            )
        )
    if not body:
        return Html("")
    many = len(each.sensors)
    head = ("method", "its best pair", f"{many} minus that pair", "best pair trained", f"{many} minus that model")
    caption = (
        "Negative transfer: all sensors against two, mm; above zero, more sensors are worse. A method's own best pair "
        "is picked on the test split, in the pair's favour; the trained one by validation error."
    )
    return boxed(head, body, caption)


def contributions_section(study: Study, canvas: Canvas, modalities: tuple[str, ...]) -> Html:
    """Shapley values, shares, entropy and collapse."""
    parts: list[object] = []
    for each in study.tables:
        chart = share_chart(each, modalities)
        parts += [title_of(study, each), canvas.figure("Share of each sensor", chart, "Dotted: even shares.")]
        names = each.sensors
        head = (
            "method",
            *(f"{sensor(name)}, value" for name in names),
            "entropy",
            *(f"{sensor(name)}, collapse" for name in names),
            "ignored",
        )
        body = [_contribution_row(row, names) for row in each.finished]
        profits = {row.trained.first.profit for row in each.finished}
        caption = (
            f"Means over the seeds on the test split; Shapley values under the profit {', '.join(sorted(profits))} and "
            "their shares; entropy 1: all contribute alike; collapse: how much the pose moves with that sensor alone, "
            "as a part of the truth (below 10 %: ignored)."
        )
        parts.append(boxed(head, body, caption))
    return section("contributions", "What each sensor contributes", "", *parts)


def _contribution_row(row: Row, names: tuple[str, ...]) -> Html:
    tests = row.trained.tests
    values = []
    for name in names:
        phi = mean_or_none(test.phi.get(name) for test in tests)
        share = mean_or_none(test.share.get(name) for test in tests)
        values.append(tag("td", number(phi, 2), tag("small", share_told(share)), class_="n"))
    collapse = [
        tag("td", share_told(mean_or_none(test.collapse.get(name) for test in tests)), class_="n") for name in names
    ]
    low = ignored(row)
    return tag(
        "tr",
        tag("th", row.label),
        *values,
        tag("td", number(mean_or_none(test.entropy for test in tests), 2), class_="n"),
        *collapse,
        tag("td", ", ".join(sensor(name) for name in low) or "none", class_="worse n" if low else "n"),
    )


def tuning_section(study: Study) -> Html:
    """What was tried for each method, and what was chosen."""
    tuning = study.recipe.tuning
    parts: list[object] = []
    for each in study.tables:
        rows = []
        for row in each.rows:
            for i, candidate in enumerate(row.candidates):
                told = ", ".join(f"{key} {value}" for key, value in candidate.settings.items()) or "defaults"
                error = number(candidate.validation_mpjpe_mm, 2) if len(row.candidates) > 1 else "not tuned"
                picked = "chosen" if i == row.chosen else ""
                rows.append(
                    (
                        row.label if i == 0 else "",
                        code(told),
                        f"failed: {candidate.failure}" if candidate.failure else error,
                        picked,
                    )
                )
        parts += [
            title_of(study, each),
            table(("method", "settings", "validation MPJPE, mm", ""), rows, numeric_from=9),
        ]
    epochs = "as many epochs as the final runs" if tuning.epochs is None else f"{tuning.epochs} epochs"
    return section(
        "tuning",
        "How settings were chosen",
        f"Up to {tuning.candidates} settings per method, seed {tuning.seed}, {epochs}; the lowest validation error is "
        "taken for all seeds. The test split has no part in it.",
        *parts,
    )


def provenance_section(study: Study, folder: str, data: str) -> Html:
    """Commands, versions, machines, runs, and what is missing."""
    finals = [cell for cell in study.cells if cell.test is not None]
    missing = {
        label: why
        for each in study.tables
        for part in (*(row.missing for row in each.rows), each.missing)
        for label, why in part.items()
    }
    made_of = Counter(environment(cell.versions, cell.machine) for cell in study.cells)
    seconds = sum(cell.training_seconds for cell in {cell.run: cell for cell in study.cells}.values())
    command = shlex.join(["equipose", "benchmark", f"{folder}/benchmark.yaml", data, "--out", folder])
    rows = [
        (
            code(cell.run),
            f"{number(cell.test.full.mpjpe_mm)} mm" if cell.test is not None else "validation only",
            f"{cell.best_epoch} of {cell.epochs}",
            duration(cell.training_seconds),
            cell.finished,
        )
        for cell in study.cells
    ]
    return section(
        "provenance",
        "Where the numbers come from",
        f"{len(finals)} final and {len(study.cells) - len(finals)} tuning cells; {duration(seconds)} of training.",
        tag("h3", "To repeat it"),
        tag("pre", command),
        tag("p", "One run alone: ", code("equipose train DATA --recipe RUN/config.yaml"), class_="remark"),
        tag("h3", "Missing cells") if missing else "",
        bullets(f"{label}: {why}" for label, why in missing.items()) if missing else "",
        tag("h3", "Versions and machines"),
        bullets(f"{count} cells: {told}" for told, count in made_of.items()),
        details("Recipe with all candidates", tag("pre", dump_yaml(study.recipe))),
        details(
            "Every cell", table(("run folder", "test", "best epoch", "training", "finished"), rows, numeric_from=9)
        ),
    )


def environment(versions: dict[str, str], machine: dict[str, object]) -> str:
    """Versions and the machine in one line."""
    shown = ", ".join(
        f"{name} {versions[name]}" for name in ("equipose", "python", "torch", "numpy") if name in versions
    )
    gpu = f", {machine['gpu']}" if machine.get("gpu") else ""
    return f"{shown}; {machine.get('processor', 'unknown processor')}, {machine.get('cores', '?')} cores{gpu}"
