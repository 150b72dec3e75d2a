"""The section about noise: what it costs, what separation found of it, and how clean the memory stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from equipose.benchmark.sections import boxed
from equipose.benchmark.words import DASH, change_cell, estimate_cell
from equipose.report.canvas import section
from equipose.report.markup import Html, bullets, details, note, number, percent, tag
from equipose.report.study import sensor
from equipose.stream_benchmark.page.choices import controls, select, shown_when, title
from equipose.stream_benchmark.page.picks import cases, noisy_tables
from equipose.stream_benchmark.page.words import gap_cell, shaded
from equipose.stream_benchmark.study import Row, Study, Table

_SELECT = "corruption"
_NOTHING = "No noise was planned here, and nothing looked for any."
_NUMBERS = {
    "corrupt": ("corrupt", "share that is corrupt"),
    "flagged": ("set aside", "share that was set aside"),
    "precision": ("precision", "truly corrupt among what was set aside"),
    "recall": ("recall", "set aside among what is corrupt"),
    "f1": ("F1", "harmonic mean of the two"),
    "auroc": ("AUROC", "chance that a corrupt one is more suspicious than a clean one; 0.5 is guessing"),
    "false_alarms": ("false alarms", "set aside among what is clean"),
}


def noise_section(study: Study) -> Html:
    """Costs of noise, and quality of separation."""
    blocks: list[Html] = []
    tables = sorted(study.tables, key=lambda table: not table.noise.corruption)  # those with noise first
    for i, table in enumerate(tables):
        content = [_costs(study, table), _found(table), _kinds(table), _memory(table), _events(table)]
        shown = [each for each in content if each] or [note(_NOTHING)]
        blocks.append(shown_when({_SELECT: i}, title(study, table), *shown))
    return section(
        "noise",
        "What noise does, and what was found of it",
        "Corruption of training samples is planned, so it is known which sensor cells (one sensor in one sample) and "
        "which labels are wrong. Tests are on clean samples."
        if noisy_tables(study)
        else "No condition adds noise; what separation sets aside here are false alarms.",
        controls(select(_SELECT, "Noise", [table.noise.label for table in tables])),
        *blocks,
    )


def _costs(study: Study, table: Table) -> Html:
    found = cases(study, table) if table.noise.corruption else ()
    if not found:
        return Html("")
    head = (
        "method",
        "clean stream",
        "all kept",
        "separated",
        "oracle",
        "noise costs",
        "above oracle",
        "separation",
        "repaired",
    )
    body = []
    for case in found:
        errors = [
            estimate_cell(row.values["final_mm"]) if row is not None else tag("td", DASH, class_="n")
            for row in (case.clean, case.off, case.find, case.known)
        ]
        told = tag("small", case.find.label) if case.find is not None and case.find.label != case.name else ""
        changes = [change_cell(estimate) for estimate in (case.cost, case.excess, case.gain)]
        body.append(tag("tr", tag("th", case.name, told, scope="row"), *errors, *changes, gap_cell(case.repaired)))
    caption = (
        "Error after the stream, mm: without noise; with it, everything kept for training, what separation found kept "
        "out, or what is truly corrupt (oracle). Then paired differences: what noise costs and how much is above the "
        "oracle, both with separation where there is such a run; what separation changes; and which part of the way "
        "from everything kept to the oracle it goes. A dash: no run, or none in common."
    )
    return boxed(head, body, caption)


def _found(table: Table) -> Html:
    """Quality per sensor and label of every row that judged."""
    body = []
    for row in _judging(table):
        assert row.found is not None
        names = _ordered(row.found.groups, table.sensors)
        for i, name in enumerate(names):
            cells = [_quality_cell(row.found.groups[name], number_) for number_ in _NUMBERS]
            body.append(
                tag(
                    "tr",
                    tag("th", row.label if i == 0 else "", scope="row"),
                    tag("td", _group(name), class_="n"),
                    *cells,
                )
            )
    if not body:
        return Html("")
    head = ("method", "of", *(name for name, _ in _NUMBERS.values()))
    caption = (
        "What was set aside in the last scoring of each experience, against the truth; means over experiences and "
        "runs. " + "; ".join(f"{name}: {told}" for name, told in _NUMBERS.values()) + "."
    )
    return boxed(head, body, caption)


def _quality_cell(numbers: Mapping[str, float], name: str) -> Html:
    value = numbers.get(name)
    if name == "auroc":
        strength = 0.0 if value is None else 2 * (value - 0.5)
        return shaded(value, strength, "good", number(value, 2), "")
    good = name in ("precision", "recall", "f1")
    colour, strength = ("good", value or 0.0) if good else ("bad", 5 * (value or 0.0))
    if name in ("corrupt", "flagged"):
        return tag("td", percent(value), class_="n")
    return shaded(value, strength, colour, percent(value) if good else percent(value, 1), "")


def _kinds(table: Table) -> Html:
    """Recall of every kind of corruption."""
    rows = [row for row in _judging(table) if row.found is not None and row.found.kinds and row.separation == "find"]
    if not rows:
        return Html("")
    kinds = dict.fromkeys(kind for row in rows if row.found is not None for kind in row.found.kinds)
    ordered = sorted(kinds, key=lambda kind: _rank(kind.split(".")[0], table.sensors))
    body = []
    for kind in ordered:
        cells = []
        for row in rows:
            value = row.found.kinds.get(kind, {}).get("recall") if row.found is not None else None
            cells.append(shaded(value, value or 0.0, "good", percent(value), f"{row.label}, {kind}"))
        what, _, name = kind.partition(".")
        body.append(tag("tr", tag("th", f"{_group(what)}: {name.replace('_', ' ')}", scope="row"), *cells))
    caption = "Recall: which part of the cells or labels with this corruption was set aside."
    return details("Every kind of corruption", boxed(("corruption", *(row.label for row in rows)), body, caption))


def _memory(table: Table) -> Html:
    rows = [row for row in table.finished if row.found is not None and row.found.memory]
    if not rows:
        return Html("")
    names = {"entries": "entries", "cells": "sensor cells", "samples": "samples", "labels": "labels"}
    body = []
    for row in rows:
        assert row.found is not None
        cells = [
            tag("td", number(value, 0) if key == "entries" else percent(value, 1), class_="n")
            for key, value in ((key, row.found.memory.get(key)) for key in names)
        ]
        body.append(tag("tr", tag("th", row.label, scope="row"), *cells))
    caption = "Replay memory: entries, and which part of its cells, samples and labels is truly clean."
    return boxed(("method", *names.values()), body, caption)


def _events(table: Table) -> Html:
    told = [
        f"{row.label}: {name}, in {count} trainings"
        for row in table.finished
        if row.found is not None
        for name, count in row.found.events.items()
    ]
    return details("Events that were reported", bullets(told)) if told else Html("")


def _judging(table: Table) -> list[Row]:
    found = [row for row in table.finished if row.found is not None and row.found.judged]
    return sorted(found, key=lambda row: row.separation == "known")


def _ordered(groups: Mapping[str, object], names: Sequence[str]) -> list[str]:
    return sorted(groups, key=lambda name: _rank(name, names))


def _rank(name: str, names: Sequence[str]) -> int:
    return list(names).index(name) if name in names else len(names) + (name == "label")


def _group(name: str) -> str:
    return {"label": "labels", "all sensors": "all sensors"}.get(name) or sensor(name)
