"""The sections about the sensors: every subset of them, and what each contributes."""

from __future__ import annotations

from typing import Any

from equipose.report import findings
from equipose.report.canvas import Canvas, alike, section
from equipose.report.charts import contribution
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
    sentence,
    table,
    tag,
)
from equipose.report.study import Series, Study, sensor, sensors, shares

PROFITS = {
    "pearson": "correlation between prediction and truth, summed over all joint coordinates",
    "weighted_pearson": "correlation between prediction and truth, summed with more weight on joints that move",
    "concordance": "concordance correlation (scale and offset count), summed over all joint coordinates",
    "mpjpe": "error removed, mm",
    "skill": "part of a constant pose's error removed",
}
"""What the Shapley values of a profit are made of."""


def subsets_section(study: Study, canvas: Canvas) -> Html:
    """All subsets and the harmful additions."""
    parts: list[object] = []
    for members in alike(study.series, lambda s: s.run.metrics.modalities):
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
        *(_addition_table(each, opened=len(study.series) <= 2) for each in study.series),
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
    profit = _profit(study)
    meaning = PROFITS.get(profit, f"profit {profit}")
    explain = (
        f"Shapley value of each sensor: {meaning}. One scale for all runs."
        + (" Filled symbols: superior group; hollow: inferior group." if grouped else "")
        + (" Shaded: epochs in which the weight constraint was on." if windows else "")
    )
    return section(
        "contributions",
        "What each sensor contributes",
        f"In {study.focus.label}: {lead}" if lead else "",
        tag("div", tag("strong", "Alarms"), bullets(alarms), class_="alarm", role="note") if alarms else "",
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
            "No contributions over the epochs: the runs were trained with contribution.samples_per_epoch 0, or "
            "metrics.jsonl is missing."
        ),
        _collapse_table(study),
        *(_details(each) for each in study.series),
    )


def _hurt_lead(study: Study) -> str:
    told = [line for group in study.groups[:6] if (line := findings.hurt_line(group))]
    if not told:
        return ""
    return f"{sentence('; '.join(told))}. An addition hurts when the whole interval of its change lies above zero."


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
    bad = harmful(series)
    listed = bullets(
        f"adding {sensor(a.added)} to {sensors(start_of(a))}: {change(a.change_mm, 1, 'mm')} "
        f"{interval(a.interval, 1, True)}"
        for a in bad
    )
    summary = f"{series.label}: change when a sensor is added, mm ({len(bad)} of {len(metrics.hurts)} hurt)"
    numbers = table(("sensors before", *(f"add {sensor(name)}" for name in metrics.modalities)), rows)
    return details(summary, listed if bad else tag("p", "No addition hurt.", class_="remark"), numbers, opened=opened)


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
    explanation = (
        "Does a sensor alone still move the prediction? Spread of the poses predicted from one sensor over the spread "
        "of the true poses (median over coordinates). Below 10 % the sensor counts as ignored: its prediction is "
        "little more than a constant."
    )
    return join(
        (
            tag("h3", "Each sensor alone"),
            tag("p", explanation, class_="remark"),
            table(("sensor alone", *(each.label for each in shown)), rows),
        )
    )


def _details(series: Series) -> Html:
    """Shapley values with intervals, under every profit, and the interactions of pairs."""
    found = series.run.contributions
    if found is None:
        return Html("")
    names = list(found.phi)
    rows = [
        (
            f"Shapley value ({found.unit or 'no unit'})",
            *(f"{number(found.phi[n].value, 2)} {interval(found.phi[n].interval, 2)}" for n in names),
        ),
        ("share", *(percent(found.share[n].value) for n in names)),
        *(
            (f"by {profit.replace('_', ' ')}", *(number(values[n], 3) for n in names))
            for profit, values in found.phi_by_profit.items()
        ),
    ]
    orders = {tuple(sorted(names, key=lambda n, v=values: -v[n])) for values in found.phi_by_profit.values()}  # type: ignore[misc]  # default binds the loop value
    ranking = {0: "", 1: "All profits rank the sensors alike."}.get(len(orders), "The ranking depends on the profit.")
    pairs = ", ".join(f"{sensor(a)} and {sensor(b)} {change(v, 2)}" for (a, b), v in found.interactions.items())
    remarks = (
        ranking if len(found.phi_by_profit) > 1 else "",
        f"Interactions ({found.interaction_index}; above zero synergy, below redundancy): {pairs}." if pairs else "",
        f"The feature of an absent sensor was replaced by: {found.baseline}." if found.baseline else "",
    )
    return details(
        f"{series.label}: Shapley values, other profits, interactions",
        table(("test split", *(sensor(n) for n in names)), rows),
        *(tag("p", remark, class_="remark") for remark in remarks if remark),
    )


def _profit(study: Study) -> str:
    section_ = study.focus.run.config.get("contribution")
    return str(section_.get("profit", "")) if isinstance(section_, dict) else ""
