"""The sections of the page, in reading order. Each takes the study and gives HTML; charts are handed to a canvas."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from equipose.report import findings
from equipose.report.charts import accuracy, contribution, failure
from equipose.report.charts.base import Chart
from equipose.report.charts.subsets import harmful, start_of, subset_chart, subset_rows
from equipose.report.markup import (
    Html,
    bullets,
    change,
    code,
    details,
    interval,
    join,
    note,
    number,
    percent,
    table,
    tag,
    text,
)
from equipose.report.pairing import Difference
from equipose.report.schema import GroupError
from equipose.report.study import Series, Study, sensor, sensors, shares

PROFIT_UNITS = {
    "pearson": "sum over all joint coordinates of the correlation between prediction and truth",
    "negative_mpjpe": "mm of error removed",
}


class Canvas:
    """Collects the charts of a page and gives each its place."""

    def __init__(self) -> None:
        self.charts: list[Chart] = []

    def figure(self, title: object, chart: Chart | None, remark: object = "") -> Html:
        """A chart with its heading, or nothing."""
        if chart is None:
            return Html("")
        self.charts.append(chart)
        place = tag(
            "div",
            class_="plot",
            id=f"chart-{len(self.charts) - 1}",
            role="img",
            aria_label=chart.description,
            style=f"height:{chart.height}px",
        )
        below = tag("p", remark, class_="remark") if remark else ""
        return tag("figure", tag("figcaption", title), place, below)

    def payload(self) -> list[dict[str, Any]]:
        """The charts as JSON values."""
        return [{"data": chart.data, "layout": chart.layout} for chart in self.charts]


def section(id_: str, title: str, lead: object, *content: object) -> Html:
    """A section with its plain-language first sentence."""
    return tag("section", tag("h2", title), tag("p", lead, class_="lead") if lead else "", *content, id=id_)


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
            *(tag("span", line, class_="line") for line in tile.lines[:8]),
            class_=f"tile {tile.mood}",
            href=f"#{tile.target}",
        )
        for tile in findings.tiles(study)
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
                "* Oracles: they know the room or the person and always answer its mean pose, so they mark what can be had without sensing the pose."
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


def subsets_section(study: Study, canvas: Canvas) -> Html:
    """All subsets and the harmful additions."""
    parts: list[object] = []
    for members in _alike(study.series, lambda s: s.run.metrics.modalities):
        count = len([row for row in members[0].run.metrics.coalitions if row.modalities])
        shown = len(subset_rows(members))
        cut = "" if shown == count else f" (single sensors, all but one, and all: {shown} of {count} subsets)"
        parts.append(canvas.figure(f"Error of every subset of the sensors{cut}", subset_chart(study, members)))
        parts.append(
            details(
                "The same as numbers",
                table(
                    ("sensors used", *(each.label for each in members)),
                    [
                        (
                            sensors(names),
                            *(
                                f"{number(row.mpjpe_mm)} {interval(row.interval)}"
                                if (row := each.run.metrics.coalition(names))
                                else "\N{EN DASH}"
                                for each in members
                            ),
                        )
                        for names in [(), *subset_rows(members)]
                    ],
                    "MPJPE in mm with 95 % interval over people.",
                ),
            )
        )
    return section(
        "subsets",
        "Every subset of the sensors",
        _hurt_lead(study),
        *parts,
        *(_addition_table(each, opened=i < 2) for i, each in enumerate(study.series)),
    )


def contributions_section(study: Study, canvas: Canvas) -> Html:
    """What each sensor contributes, and whether one is ignored."""
    limits = contribution.contribution_range(study)
    panels = [
        canvas.figure(each.label, chart)
        for each in study.series
        if limits is not None and (chart := contribution.epochs_chart(study, each, limits)) is not None
    ]
    lead = findings.carrier_sentence(study.focus)
    alarms = [f"{each.label}: {alarm}" for each in study.series for alarm in each.run.metrics.alarms]
    grouped = any(e.balance.get("groups") for s in study.series for e in s.run.epochs)
    windows = any(e.window_open for s in study.series for e in s.run.epochs)
    unit = PROFIT_UNITS.get(_profit(study), "in units of the profit")
    explain = (
        f"Shapley value: {unit}. One scale for all runs."
        + (" Filled symbols: superior group; hollow: inferior group." if grouped else "")
        + (" Shaded: epochs in which the weight constraint was on." if windows else "")
    )
    return section(
        "contributions",
        "What each sensor contributes",
        f"In {study.focus.label}: {lead}" if lead else "",
        tag("div", tag("strong", "Collapse alarm"), bullets(alarms), class_="alarm", role="note") if alarms else "",
        canvas.figure(
            "Share of each sensor",
            contribution.share_chart(study),
            "Dotted line: an even share. Bars: 95 % interval over people, where measured.",
        ),
        _share_notes(study),
        tag("h3", "Over the epochs") if panels else "",
        tag("p", explain, class_="remark") if panels else "",
        tag("div", *panels, class_="pair")
        if panels
        else note(
            "No contributions over the epochs: the runs were trained with contribution.samples_per_epoch 0, or metrics.jsonl is missing."
        ),
        _collapse_table(study),
    )


def failure_section(study: Study, canvas: Canvas) -> Html:
    """Error per joint, action, room and person."""
    focus = study.focus
    worst = findings.worst_joints(focus)
    told = ", ".join(f"{name} ({number(error, 1, 'mm')})" for name, error in worst)
    lead = f"In {focus.label} the largest errors are at these joints: {told}." if worst else ""
    by_joint = [
        canvas.figure("Error per joint, mm", failure.joints_heat_map(members))
        for members in _alike(study.series, lambda s: s.run.metrics.joints)
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
                    f"{comparison.group.label}: {comparison.mpjpe.left_out} frames are not in all runs and were left out."
                )
        else:
            remarks.append(f"{comparison.group.label} cannot be compared: {comparison.mpjpe.reason}.")
    head = (f"against {study.reference.label}", "change mm", "95 % interval", "verdict", "seeds", "frames", "people")
    return join(
        (
            tag("h3", "Did balancing help?"),
            canvas.figure(
                "Paired difference: the same frames, both methods",
                accuracy.difference_chart(study),
                "The interval comes from drawing the people (and the seeds, where both methods have several) again. If it contains zero, the runs show no difference.",
            ),
            table(head, rows) if rows else "",
            *(note(remark) for remark in remarks),
        )
    )


def _hurt_lead(study: Study) -> str:
    told = [
        f"{each.label}: {len(harmful(each))} of {len(each.run.metrics.hurts)} additions of a sensor hurt"
        for each in study.series[:6]
        if each.run.metrics.hurts
    ]
    if not told:
        return ""
    return f"{'; '.join(told)}. An addition hurts when the whole interval of its change lies above zero."


def _addition_table(series: Series, opened: bool) -> Html:
    """Every pair (subset, added sensor) of one run."""
    metrics = series.run.metrics
    if not metrics.hurts:
        return Html("")
    cells = {(frozenset(start_of(a)), a.added): a for a in metrics.hurts}
    starts = sorted(
        {start for start, _ in cells},
        key=lambda start: (len(start), [name not in start for name in metrics.modalities]),
    )
    rows = [
        (
            sensors([name for name in metrics.modalities if name in start]),
            *(_addition_cell(cells.get((start, name))) for name in metrics.modalities),
        )
        for start in starts
    ]
    bad = len(harmful(series))
    summary = f"{series.label}: change when a sensor is added, mm ({bad} of {len(metrics.hurts)} hurt)"
    content = table(("sensors before", *(f"add {sensor(name)}" for name in metrics.modalities)), rows)
    return (
        Html(str(details(summary, content)).replace("<details>", "<details open>", 1))
        if opened
        else details(summary, content)
    )


def _addition_cell(addition: Any) -> Html:
    if addition is None:
        return tag("td", "", class_="n empty")
    ends = tag("small", interval(addition.interval, 1, True))
    if addition.hurt:
        return tag(
            "td",
            tag("strong", f"\N{BLACK UP-POINTING TRIANGLE} {change(addition.change_mm)}"),
            " ",
            ends,
            tag("small", " hurts"),
            class_="n hurts",
        )
    return tag("td", change(addition.change_mm), " ", ends, class_="n")


def _share_notes(study: Study) -> Html:
    remarks: list[Html] = []
    for each in study.series:
        _, where = shares(each)
        if not where:
            remarks.append(
                note(f"{each.label}: contributions were not measured; run ", code("equipose contributions RUN"), ".")
            )
        elif where != "test split":
            remarks.append(
                note(
                    f"{each.label}: shares of the {where}, without intervals; for the test split run ",
                    code("equipose contributions RUN"),
                    ".",
                )
            )
    return join(remarks)


def _collapse_table(study: Study) -> Html:
    shown = [each for each in study.series if each.run.metrics.collapse]
    if not shown:
        return Html("")
    rows = [
        (sensor(name), *(percent(each.run.metrics.collapse.get(name)) for each in shown))
        for name in study.modalities
        if any(name in each.run.metrics.collapse for each in shown)
    ]
    caption = (
        "Does a sensor alone still move the prediction? Spread of the poses predicted from one sensor over the spread of the true "
        "poses; near 0 % the sensor is ignored and its prediction is a constant."
    )
    return table(("sensor alone", *(each.label for each in shown)), rows, caption)


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


def _profit(study: Study) -> str:
    section_ = study.focus.run.config.get("contribution")
    return str(section_.get("profit", "")) if isinstance(section_, dict) else ""


def _alike(series: Iterable[Series], key: Any) -> list[list[Series]]:
    """Runs in groups of equal ``key``, in first-seen order."""
    groups: dict[Any, list[Series]] = {}
    for each in series:
        groups.setdefault(key(each), []).append(each)
    return list(groups.values())
