"""The last sections: cost, and where the numbers come from."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path

from equipose.benchmark.appendix import environment
from equipose.benchmark.page import data_name
from equipose.benchmark.sections import boxed
from equipose.benchmark.words import DASH
from equipose.config import dump_yaml
from equipose.report.canvas import section
from equipose.report.markup import TIMES, Html, bullets, code, details, duration, number, table, tag
from equipose.stream_benchmark.page.choices import condition_select, controls, per_condition
from equipose.stream_benchmark.page.methods import row_class, row_heading
from equipose.stream_benchmark.page.picks import spoken_of
from equipose.stream_benchmark.page.words import told_memory
from equipose.stream_benchmark.study import Study, Table


def cost_section(study: Study) -> Html:
    """Time and memory, per condition."""
    parts = {i: [_cost_table(study, each)] for i, each in enumerate(study.tables) if each.finished}
    return section(
        "cost",
        "What it costs",
        "Step times hold everything: balance and continual strategy, replay, separation. Runs shared their machine "
        "with others, so ratios of a few per cent mean nothing.",
        controls(condition_select(study)),
        *per_condition(study, parts),
    )


def provenance_section(study: Study, out: Path) -> Html:
    """Commands, versions, machines, recipe, runs, and what is missing."""
    records = {name: result.record for name, result in study.results.items()}
    missing = {label: why for each in study.tables for row in each.rows for label, why in row.missing.items()}
    made_of = Counter(environment(record.versions, record.machine) for record in records.values())
    seconds = sum(record.training_seconds for record in records.values())
    folder = out.resolve().name
    command = shlex.join(["equipose", "continual", f"{folder}/continual.yaml", data_name(out), "--out", folder])
    runs = [
        (
            code(record.run),
            number(float(result.errors.matrix()[-1].mean()), 1, "mm"),
            record.steps,
            duration(record.training_seconds),
            record.finished,
        )
        for record, result in ((result.record, result) for result in study.results.values())
    ]
    return section(
        "provenance",
        "Where the numbers come from",
        f"{len(records)} of {study.total} runs are finished; {duration(seconds)} of training.",
        tag("h3", "To repeat it"),
        tag("pre", command),
        tag("p", "This page alone, from the results: ", code(f"equipose continual report {folder}"), class_="remark"),
        tag("h3", "Missing runs") if missing else "",
        bullets(f"{label}: {why}" for label, why in missing.items()) if missing else "",
        tag("h3", "Versions and machines"),
        bullets(f"{count} runs: {told}" for told, count in made_of.items()),
        details("Recipe", tag("pre", dump_yaml(study.recipe))),
        details(
            "Every run",
            table(("run folder", "error after it", "steps", "training", "finished"), runs, numeric_from=9),
        ),
    )


def _cost_table(study: Study, each: Table) -> Html:
    subject, _ = spoken_of(study, each)
    name = each.reference.label if each.reference is not None else "the reference"
    body = []
    for row in each.finished:
        if row.cost is None:
            continue
        cost = row.cost
        ratio = DASH if cost.step_ratio is None else f"{cost.step_ratio:.2f}{TIMES}"
        cells = (
            number(1000 * cost.step_seconds, 1),
            ratio,
            duration(cost.training_seconds),
            told_memory(cost.memory_bytes),
            number(cost.peak_memory_mb, 0),
            number(float(cost.parameters), 0),
        )
        body.append(
            tag(
                "tr", row_heading(row), *(tag("td", cell, class_="n") for cell in cells), class_=row_class(row, subject)
            )
        )
    head = ("method", "step, ms", f"step beside {name}", "training", "kept between experiences", "peak, MB", "weights")
    return boxed(head, body, "Means over runs; peak: the most memory of any of its processes.")
