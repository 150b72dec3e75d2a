"""The last sections of the page: what training cost, the 3D clips, and where the numbers come from."""

from __future__ import annotations

import shlex
from typing import Any

import yaml

from equipose.report import findings
from equipose.report.canvas import Canvas, section
from equipose.report.charts.cost import cost_chart, cost_of
from equipose.report.markup import (
    TIMES,
    Html,
    bullets,
    code,
    details,
    duration,
    join,
    note,
    number,
    percent,
    table,
    tag,
)
from equipose.report.study import Series, Study, flatten, mean_or_none, sensor, sensors, setting_differences


def cost_section(study: Study, canvas: Canvas) -> Html:
    """Seconds, shares and the ratio to the reference."""
    reference = mean_or_none(cost.epoch for s in (study.reference or study.groups[0]).series if (cost := cost_of(s)))
    rows = []
    for each in study.series:
        cost = cost_of(each)
        metrics = each.run.metrics
        total = metrics.training_seconds
        if total is None:
            total = sum(seconds) if (seconds := [e.seconds for e in each.run.epochs if e.seconds is not None]) else None
        rows.append(
            (
                each.label,
                duration(cost.epoch) if cost else "\N{EN DASH}",
                percent(cost.contribution / cost.epoch, 1) if cost and cost.epoch else "\N{EN DASH}",
                percent(cost.balance / cost.epoch, 1) if cost and cost.epoch else "\N{EN DASH}",
                f"{cost.epoch / reference:.2f}{TIMES}" if cost and reference else "\N{EN DASH}",
                len(each.run.epochs) or "\N{EN DASH}",
                duration(total),
                f"{number(sum(metrics.parameters.values()) / 1e6, 2)} M" if metrics.parameters else "\N{EN DASH}",
                number(metrics.peak_memory_mb, 0, "MB"),
            )
        )
    base = (study.reference or study.groups[0]).label
    head = (
        "run",
        "per epoch",
        "contribution",
        "balance",
        f"against {base}",
        "epochs",
        "in all",
        "parameters",
        "peak memory",
    )
    return section(
        "cost",
        "What training cost",
        _cost_lead(study, reference),
        canvas.figure("Seconds per epoch", cost_chart(study)),
        table(head, rows, "Means over the epochs; contribution and balance as shares of the epoch."),
        _parameter_table(study),
        note("No timings: ", code("metrics.jsonl"), " is missing.")
        if not any(s.run.epochs for s in study.series)
        else "",
    )


def scene_section(clips: int, left_out: int) -> Html:
    """The 3D view; the page's script fills it from the embedded clips."""
    title = "In 3D"
    if not clips:
        return section(
            "scenes",
            title,
            "",
            note("No clips: ", code("scenes.npz"), " is missing; make it with ", code("equipose evaluate RUN"), "."),
        )
    controls = tag(
        "div",
        tag("label", "Clip ", Html('<select id="scene-clip"></select>')),
        tag("button", "Play", type="button", id="scene-play", aria_pressed="false"),
        tag("label", "Time ", Html('<input type="range" id="scene-time" min="0" max="0" value="0" step="1">')),
        tag("output", "", id="scene-state", for_="scene-time"),
        class_="controls",
    )
    return section(
        "scenes",
        title,
        "True and predicted skeletons with the points that LiDAR and radar saw. Drag to turn; click a name to hide it.",
        controls,
        tag(
            "figure",
            tag("div", class_="plot scene", id="scene", role="img", aria_label="3D view of the chosen clip"),
            tag(
                "p",
                "Camera frame: x right, y down, z forward, metres. People stand upright: y points to the floor.",
                class_="remark",
            ),
        ),
        note(f"{left_out} more clips are in the run folders.") if left_out else "",
    )


def provenance_section(study: Study) -> Html:
    """Which folders, settings, data, versions and command lines; and what the numbers cannot show."""
    runs = [each.run for each in study.series]
    return section(
        "provenance",
        "Where the numbers come from",
        "",
        tag("h3", "Limits"),
        bullets(findings.limits(study) or ("None that the report can see.",), class_="limits"),
        tag("h3", "Runs"),
        table(
            ("run", "folder", "seed", "state", "test frames", "sensors", "skeleton"),
            [
                (
                    each.label,
                    code(each.run.folder.resolve().name),
                    "\N{EN DASH}" if each.run.seed is None else each.run.seed,
                    each.run.status.get("state", "\N{EN DASH}"),
                    each.run.metrics.samples,
                    sensors(each.run.metrics.modalities),
                    each.run.metrics.skeleton or "\N{EN DASH}",
                )
                for each in study.series
            ],
            numeric_from=99,
        ),
        tag("h3", "Data"),
        _data_table(study),
        tag("h3", "Settings that differ") if len(runs) > 1 else "",
        table(
            ("setting", *(each.label for each in study.series)),
            [(code(name), *row) for name, row in setting_differences(runs).items()],
            numeric_from=99,
        )
        if len(runs) > 1 and setting_differences(runs)
        else (tag("p", "None: the runs have the same settings.") if len(runs) > 1 else ""),
        tag("h3", "Commands"),
        *(_command(each) for each in study.series),
        tag("h3", "Versions and machine"),
        _environment(study),
        *(
            details(f"All settings of {each.label}", tag("pre", yaml.safe_dump(dict(each.run.config), sort_keys=False)))
            for each in study.series
        ),
        _missing(study),
    )


def _cost_lead(study: Study, reference: float | None) -> str:
    told = []
    for group in study.groups[1:]:
        own = mean_or_none(cost.epoch for s in group.series if (cost := cost_of(s)))
        if own and reference and study.reference:
            told.append(
                f"an epoch of {group.label} took {own / reference:.2f} times as long as one of {study.reference.label}"
            )
    lead = "; ".join(told)
    return f"{lead[:1].upper()}{lead[1:]}." if lead else ""


def _parameter_table(study: Study) -> Html:
    shown = [each for each in study.series if each.run.metrics.parameters]
    if not shown:
        return Html("")
    parts = dict.fromkeys(part for each in shown for part in each.run.metrics.parameters)
    return details(
        "Parameters of each part",
        table(
            ("part", *(each.label for each in shown)),
            [(sensor(part), *(number(each.run.metrics.parameters.get(part), 0) for each in shown)) for part in parts],
        ),
    )


def _data_table(study: Study) -> Html:
    simulated = findings.simulated_sensors(study)
    rows = [
        (
            sensor(name),
            tag("td", tag("strong", "SIMULATED"), class_="simulated") if name in simulated else tag("td", "measured"),
        )
        for name in study.modalities
    ]
    people = study.series[0].run.metrics.subjects
    told = f"Test people: {', '.join(str(p) for p in people)}." if people else ""
    return join((table(("sensor", "origin"), rows, numeric_from=99), tag("p", told, class_="remark") if told else ""))


def _command(series: Series) -> Html:
    command = series.run.env.get("command")
    if isinstance(command, list):
        command = shlex.join(str(part) for part in command)
    shown = (
        tag("pre", str(command))
        if command
        else note("Not recorded: ", code("env.json"), " is missing or has no command.")
    )
    return tag("div", tag("p", series.label, class_="remark"), shown)


def _environment(study: Study) -> Html:
    tables: list[dict[str, Any]] = [
        {
            key: "none" if value == "null" else value
            for key, value in flatten({k: v for k, v in each.run.env.items() if k != "command"}).items()
        }
        for each in study.series
    ]
    names = dict.fromkeys(name for values in tables for name in values)
    if not names:
        return note("Not recorded: ", code("env.json"), " is missing.")
    return table(
        ("", *(each.label for each in study.series)),
        [(name, *(values.get(name, "\N{EN DASH}") for values in tables)) for name in names],
        numeric_from=99,
    )


def _missing(study: Study) -> Html:
    items = [f"{each.label}: {sentence}" for each in study.series for sentence in each.run.missing]
    return join((tag("h3", "Not in the run folders"), bullets(items))) if items else Html("")
