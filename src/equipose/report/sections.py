"""The sections about errors: overview, accuracy, failures. Each takes the study and gives HTML."""

from __future__ import annotations

from collections.abc import Sequence

from equipose.report import findings
from equipose.report.canvas import Canvas, alike, section
from equipose.report.charts import accuracy, failure
from equipose.report.markup import Html, change, code, details, interval, join, note, number, sentence, table, tag, text
from equipose.report.pairing import Difference
from equipose.report.schema import GroupError
from equipose.report.study import Study, sensor
from equipose.report.tiles import question_of_balance, tiles


def overview(study: Study) -> Html:
    """Headline, warnings and the five tiles."""
    simulated = findings.simulated_sensors(study)
    banner = (
        tag(
            "p",
            tag("strong", "Simulated data. "),
            f"{', '.join(sensor(name) for name in simulated)}: computed by a sensor model, not measured.",
            class_="banner",
        )
        if simulated
        else ""
    )
    cards = [
        tag(
            "a",
            tag("span", tile.question, class_="question"),
            tag("strong", tile.answer, class_="answer"),
            *(tag("span", sentence(line), class_="line") for line in tile.lines[:8]),
            class_=f"tile {tile.mood}",
            href=f"#{tile.target}",
        )
        for tile in tiles(study)
    ]
    return tag(
        "section",
        banner,
        tag("p", findings.headline(study), class_="headline"),
        tag("div", *cards, class_="tiles"),
        id="overview",
        aria_label="Overview",
    )


def accuracy_section(study: Study, canvas: Canvas) -> Html:
    """How accurate, and did balancing help."""
    rows = []
    for series in study.series:
        row = series.full
        rows.append(
            (
                series.label,
                number(row.mpjpe_mm),
                interval(row.interval),
                number(row.pa_mpjpe_mm),
                interval(row.pa_interval),
                f"{series.run.metrics.samples:,}".replace(",", "\N{THIN SPACE}"),
                len(series.run.metrics.subjects) or "\N{EN DASH}",
            )
        )
    head = ("run", "MPJPE mm", "95 % interval", "PA-MPJPE mm", "95 % interval", "test frames", "people")
    oracle = any(
        value is not None
        for value in (study.series[0].run.metrics.room_mean_mpjpe_mm, study.series[0].run.metrics.subject_mean_mpjpe_mm)
    )
    return section(
        "accuracy",
        "How accurate",
        findings.scale_sentence(study),
        tag(
            "div",
            canvas.figure(
                "MPJPE: mean distance between predicted and true joints",
                accuracy.error_chart(study, "MPJPE"),
                "* Oracles: they know the room or the person and always answer its mean pose; they mark what can be "
                "had without sensing the pose."
                if oracle
                else "",
            ),
            canvas.figure(
                "PA-MPJPE: the same after the best rotation, scale and shift",
                accuracy.error_chart(study, "PA-MPJPE"),
            ),
            class_="pair",
        ),
        table(head, rows, "With all sensors, on the test split. Intervals: bootstrap over people."),
        _comparison(study, canvas),
        canvas.figure("Error while training", accuracy.training_chart(study)),
    )


def failure_section(study: Study, canvas: Canvas) -> Html:
    """Error per joint, action, room and person."""
    focus = study.focus
    worst = findings.worst_joints(focus)
    told = ", ".join(f"{name} ({number(error, 1, 'mm')})" for name, error in worst)
    lead = f"In {focus.label} the largest errors are at these joints: {told}." if worst else ""
    by_joint = [
        canvas.figure("Error per joint, mm", failure.joints_heat_map(members))
        for members in alike(study.series, lambda s: s.run.metrics.joints)
    ]
    body = failure.body_chart(focus)
    body_note = (
        note(
            "No body picture: ",
            code("predictions.npz"),
            " is missing; make it with ",
            code("equipose evaluate RUN"),
            ".",
        )
        if body is None and focus.run.predictions is None
        else ""
    )
    return section(
        "failure",
        "Where it fails",
        lead,
        tag("div", *by_joint, canvas.figure(f"On the body ({focus.label}), seen from the camera", body), class_="pair"),
        body_note,
        canvas.figure("Error per action, mm", failure.actions_heat_map(study.series)),
        _group_table(study, "room", [s.run.metrics.per_environment for s in study.series], "E"),
        details(
            "Error per person", _group_table(study, "person", [s.run.metrics.per_subject for s in study.series], "S")
        )
        if any(s.run.metrics.per_subject for s in study.series)
        else "",
    )


def _comparison(study: Study, canvas: Canvas) -> Html:
    if study.reference is None:
        return note(
            "One method only. To see whether balancing helped, give the report two runs: ",
            code("equipose report RUN_JOINT RUN_AWC"),
            ".",
        )
    rows, remarks = [], []
    for comparison in study.comparisons:
        for name, each in (("MPJPE", comparison.mpjpe), ("PA-MPJPE", comparison.pa_mpjpe)):
            if isinstance(each, Difference):
                rows.append(
                    (
                        f"{comparison.group.label}: {name}",
                        change(each.change_mm, 2),
                        interval(each.interval, 2, True),
                        tag("td", findings.verdict(each)),
                        f"{each.seeds[0]} / {each.seeds[1]}",
                        f"{each.frames:,}".replace(",", "\N{THIN SPACE}"),
                        each.subjects,
                    )
                )
        if isinstance(comparison.mpjpe, Difference):
            if comparison.mpjpe.left_out:
                remarks.append(
                    f"{comparison.group.label}: {comparison.mpjpe.left_out} frames are not in all runs; left out."
                )
        else:
            remarks.append(f"{comparison.group.label} cannot be compared: {comparison.mpjpe.reason}.")
    head = (f"against {study.reference.label}", "change mm", "95 % interval", "verdict", "seeds", "frames", "people")
    return join(
        (
            tag("h3", question_of_balance(study)),
            canvas.figure(
                "Paired difference: the same frames, both methods",
                accuracy.difference_chart(study),
                "The interval comes from drawing the people (and the seeds, where both methods have several) again. If "
                "it contains zero, the runs show no difference.",
            ),
            table(head, rows) if rows else "",
            *(note(remark) for remark in remarks),
        )
    )


def _group_table(study: Study, what: str, tables: Sequence[Sequence[GroupError]], prefix: str) -> Html:
    names = {item.number: item.name for items in tables for item in items}
    if not names:
        return Html("")
    order = sorted(names, key=lambda n: (isinstance(n, str), n))
    lookups = [{item.number: item for item in items} for items in tables]
    rows = [
        (
            f"{prefix}{n:02d} {names[n]}".strip() if isinstance(n, int) else text(f"{n} {names[n]}".strip()),
            *(
                f"{number(item.mpjpe_mm)} {interval(item.interval)}" if (item := lookup.get(n)) else "\N{EN DASH}"
                for lookup in lookups
            ),
        )
        for n in order
    ]
    return table((what, *(each.label for each in study.series)), rows, f"MPJPE in mm per {what}.")
