"""What the numbers say, in plain sentences. Nothing is called a difference that lies within its interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from equipose.report.charts.subsets import harmful
from equipose.report.load import Estimate
from equipose.report.markup import change, interval, listing, number, percent
from equipose.report.pairing import Difference, Unpaired
from equipose.report.schema import GroupError
from equipose.report.study import Group, Series, Study, joint_label, mean_or_none, sensor, setting_differences, shares

Mood = Literal["good", "bad", "plain"]


@dataclass(frozen=True)
class Tile:
    """One question and its answer.

    Attributes:
        question: what the reader wants to know.
        answer: a few words or a number.
        lines: what stands behind it, one sentence each.
        mood: colour; the words say the same.
        target: id of the section that shows it.
    """

    question: str
    answer: str
    lines: tuple[str, ...]
    mood: Mood
    target: str


def tiles(study: Study) -> tuple[Tile, ...]:
    """The five questions, in the order of the page."""
    return (_accuracy(study), _carrier(study), _ignored(study), _balance(study), _failure(study))


def headline(study: Study) -> str:
    """The whole page in two or three sentences."""
    best = study.focus
    full = best.full
    people = len(best.run.metrics.subjects)
    where = f"on {people} test subjects" if people > 1 else "on the test split"
    sensors_used = len(best.run.metrics.modalities)
    with_all = (
        f"With all {sensors_used} sensors"
        if sensors_used > 1
        else f"With {sensor(best.run.metrics.modalities[0])} alone"
    )
    first = (
        f"{with_all}, {best.label} places each joint {number(full.mpjpe_mm, 1, 'mm')} from where it is "
        f"{_bracketed(full.interval)}{where}."
    )
    return " ".join(
        part for part in (first, carrier_sentence(best), _alarm_sentence(study), _balance_sentence(study)) if part
    )


def scale_sentence(study: Study) -> str:
    """How the best run compares with poses that no sensor was needed for."""
    best = study.focus
    error, constant = best.full.mpjpe_mm, best.run.metrics.mean_pose_mpjpe_mm
    if error is None or not constant:
        return ""
    return (
        f"{best.label}: {number(error, 1, 'mm')}, which is {percent(error / constant)} of the error of always answering the mean "
        f"training pose ({number(constant, 1, 'mm')})."
    )


def carrier_sentence(series: Series) -> str:
    """Which sensor has the largest share, or that the intervals do not tell."""
    share, measured_on = shares(series)
    if len(share) < 2:
        return ""
    (first, top), (second, next_) = _ranked(share)[:2]
    if separable(top, next_):
        return f"{sensor(first)} contributes the most ({percent(top.value)} of the whole)."
    if top.interval is None or next_.interval is None:
        return f"{sensor(first)} has the largest share of the contribution ({percent(top.value)}; {measured_on}, no interval)."
    return (
        f"{sensor(first)} ({percent(top.value)}) and {sensor(second)} ({percent(next_.value)}) contribute most; "
        "their intervals overlap, so their order is open."
    )


def separable(first: Estimate, second: Estimate) -> bool:
    """True if the first estimate's interval lies wholly above the second's."""
    return first.interval is not None and second.interval is not None and first.interval[0] > second.interval[1]


def verdict(difference: Difference | Unpaired) -> str:
    """``better by 2.7 mm``, ``worse by ...`` or ``no difference beyond the interval``."""
    if isinstance(difference, Unpaired):
        return "not comparable"
    if difference.interval is None:
        return "no interval: a single test subject"
    if not difference.clear:
        return "no difference beyond the interval"
    size = number(abs(difference.change_mm), 1, "mm")
    return f"{'better' if difference.change_mm < 0 else 'worse'} by {size}"


def limits(study: Study) -> tuple[str, ...]:
    """What these runs cannot show."""
    found = []
    seeds = [len(group.series) for group in study.groups]
    if min(seeds) == 1:
        found.append(
            "One seed: no claim about method differences. The intervals cover other people, not other trainings of "
            "the same method; several seeds are needed for that (equipose train with another train.seed, then all "
            "run folders in one report)."
        )
    people = min((len(s.run.metrics.subjects) for s in study.series), default=0)
    if 0 < people < 10:
        found.append(
            f"{people} test subject{'s' if people > 1 else ''}: an interval from so few people is a rough guide and tends to be too narrow."
        )
    simulated = simulated_sensors(study)
    if simulated:
        found.append(
            f"Simulated sensors: {listing([sensor(name) for name in simulated])}. The numbers show how the methods behave on a "
            "model of these sensors, not how the real ones perform."
        )
    other = [
        k
        for k in setting_differences([s.run for s in study.series])
        if not k.startswith("balance.") and k != "train.seed"
    ]
    if other:
        found.append(
            f"The runs differ in more than the balance strategy ({listing(other[:6])}{' and more' if len(other) > 6 else ''}): a difference "
            "in error may come from there."
        )
    dead = [series for series in study.series if series.run.metrics.alarms]
    if dead and any(s.run.metrics.hurts for s in dead):
        found.append(
            "A sensor that a model ignores cannot hurt it: read the number of harmful additions together with the alarms and "
            "with each sensor's error alone."
        )
    found.extend(
        f"{series.label}: the run is {series.run.status['state']}, not finished."
        for series in study.series
        if str(series.run.status.get("state", "finished")) not in ("finished", "evaluated", "done")
    )
    return tuple(found)


def simulated_sensors(study: Study) -> tuple[str, ...]:
    """Modalities that are simulated in any run."""
    return tuple(name for name in study.modalities if any(name in s.run.metrics.simulated for s in study.series))


def worst_joints(series: Series, count: int = 3) -> list[tuple[str, float]]:
    """The joints with the largest error and that error in millimetres."""
    metrics = series.run.metrics
    pairs = [(joint_label(n), e) for n, e in zip(metrics.joints, metrics.per_joint_mm, strict=False) if e is not None]
    return sorted(pairs, key=lambda pair: -pair[1])[:count]


def _accuracy(study: Study) -> Tile:
    focus = study.focus
    lines = []
    for group in study.groups:
        if len(group.series) == 1:
            spread = (
                f"95 % interval {interval(group.series[0].full.interval)}"
                if group.series[0].full.interval
                else "no interval"
            )
        else:
            values = [s.full.mpjpe_mm for s in group.series if s.full.mpjpe_mm is not None]
            spread = f"mean of {len(values)} seeds, {number(min(values))} to {number(max(values))}" if values else ""
        lines.append(
            f"{group.label}: {number(group.mpjpe_mm, 1, 'mm')} ({spread}); PA-MPJPE {number(group.pa_mpjpe_mm, 1, 'mm')}"
        )
    if focus.run.metrics.mean_pose_mpjpe_mm is not None:
        lines.append(f"Always guessing the mean training pose: {number(focus.run.metrics.mean_pose_mpjpe_mm, 1, 'mm')}")
    numbers = [number(group.mpjpe_mm) for group in study.groups[:2]]
    answer = f"{' / '.join(numbers)}\N{NO-BREAK SPACE}mm"
    if len(study.groups) > 2:
        answer = f"{number(focus.full.mpjpe_mm)}\N{NO-BREAK SPACE}mm"
        lines.insert(0, f"The large number is {focus.label}, best on validation.")
    return Tile("How accurate is it?", answer, tuple(lines), "plain", "accuracy")


def _carrier(study: Study) -> Tile:
    names, lines = [], []
    for group in study.groups:
        share, intervals = _group_shares(group)
        if not share:
            lines.append(f"{group.label}: not measured")
            continue
        ranked = sorted(share.items(), key=lambda item: -item[1])
        names.append(sensor(ranked[0][0]))
        first, second = (intervals.get(n) for n, _ in ranked[:2]) if len(ranked) > 1 else (None, None)
        open_ = first is not None and second is not None and not separable(first, second)
        told = ", ".join(f"{sensor(n)} {percent(v)}" for n, v in ranked)
        lines.append(f"{group.label}: {told}" + (" (order of the first two open)" if open_ else ""))
    if not names:
        return Tile(
            "Which sensor carries it?", "not measured", ("Run: equipose contributions RUN",), "plain", "contributions"
        )
    answer = " / ".join(dict.fromkeys(names))
    return Tile("Which sensor carries it?", answer, tuple(lines), "plain", "contributions")


def _ignored(study: Study) -> Tile:
    lines, alarmed = [], 0
    for series in study.series:
        alarms = series.run.metrics.alarms
        alarmed += bool(alarms)
        lines.extend(f"{series.label}: {alarm}" for alarm in alarms)
        if not alarms:
            lines.append(f"{series.label}: no alarm")
    if not alarmed:
        measured = any(series.run.metrics.collapse for series in study.series)
        return Tile(
            "Is a sensor ignored?",
            "No alarm" if measured else "not measured",
            tuple(lines),
            "good" if measured else "plain",
            "contributions",
        )
    answer = "Yes" if alarmed == len(study.series) else f"Yes, in {alarmed} of {len(study.series)} runs"
    return Tile("Is a sensor ignored?", answer, tuple(lines), "bad", "contributions")


def _balance(study: Study) -> Tile:
    question = "Did balancing help?"
    hurt_lines = tuple(_hurt_line(group) for group in study.groups if any(s.run.metrics.hurts for s in group.series))
    if study.reference is None:
        lines = ("One method only: give the report a joint and a balanced run to compare.", *hurt_lines)
        return Tile(question, "nothing to compare", lines, "plain", "accuracy")
    lines = tuple(f"{c.group.label} against {study.reference.label}: {_told(c.mpjpe)}" for c in study.comparisons)
    differences = [c.mpjpe for c in study.comparisons]
    if len(differences) == 1:
        answer = verdict(differences[0])
        if isinstance(differences[0], Difference) and differences[0].clear and min(differences[0].seeds) == 1:
            answer += " (one seed)"
    else:
        better = sum(isinstance(d, Difference) and d.clear and d.change_mm < 0 for d in differences)
        answer = f"{better} of {len(differences)} better beyond the interval"
    mood: Mood = "plain"
    if len(differences) == 1 and isinstance(differences[0], Difference) and differences[0].clear:
        mood = "good" if differences[0].change_mm < 0 else "bad"
    return Tile(
        question, answer[:1].upper() + answer[1:], (*lines, *hurt_lines), mood, "subsets" if not lines else "accuracy"
    )


def _failure(study: Study) -> Tile:
    focus = study.focus
    joints = worst_joints(focus)
    actions = sorted(
        (a for a in focus.run.metrics.per_action if a.mpjpe_mm is not None), key=lambda a: -(a.mpjpe_mm or 0.0)
    )
    lines = []
    if joints:
        lines.append("Joints: " + ", ".join(f"{name} {number(error)}" for name, error in joints) + " mm")
    if actions:
        lines.append(
            "Actions: "
            + ", ".join(f"{(a.name or str(a.number)).replace('_', ' ')} {number(a.mpjpe_mm)}" for a in actions[:2])
            + " mm"
        )
    rooms = [e for e in focus.run.metrics.per_environment if e.mpjpe_mm is not None]
    if len(rooms) > 1:
        worst = max(rooms, key=lambda e: e.mpjpe_mm or 0.0)
        lines.append(f"Room: {_room(worst)} {number(worst.mpjpe_mm)} mm")
    if len(study.series) > 1:
        lines.append(f"In {focus.label}.")
    answer = joints[0][0].capitalize() if joints else "not measured"
    return Tile("Where does it fail?", answer, tuple(lines), "plain", "failure")


def _hurt_line(group: Group) -> str:
    counts = [len(harmful(series)) for series in group.series]
    pairs = max(len(series.run.metrics.hurts) for series in group.series)
    mean = mean_or_none([float(count) for count in counts]) or 0.0
    return f"{group.label}: adding a sensor hurt in {number(mean, 0 if mean == int(mean) else 1)} of {pairs} cases"


def _balance_sentence(study: Study) -> str:
    if study.reference is None or len(study.comparisons) != 1:
        return ""
    difference = study.comparisons[0].mpjpe
    if isinstance(difference, Unpaired):
        return f"Whether balancing helped cannot be told: {difference.reason}."
    told = f"({change(difference.change_mm, 1, 'mm')} {interval(difference.interval, 1, True)} against {study.reference.label}, same frames)"
    if difference.interval is None or not difference.clear:
        return f"Balancing made no difference beyond the interval {told}."
    better = "lower" if difference.change_mm < 0 else "higher"
    single = " One seed each: that is no claim about the methods yet." if min(difference.seeds) == 1 else ""
    return f"The balanced runs have the {better} error {told}.{single}"


def _told(difference: Difference | Unpaired) -> str:
    if isinstance(difference, Unpaired):
        return difference.reason
    return f"{change(difference.change_mm, 1, 'mm')} {interval(difference.interval, 1, True)}, {verdict(difference)}"


def _alarm_sentence(study: Study) -> str:
    alarmed = [series.label for series in study.series if series.run.metrics.alarms]
    return f"Alarm: a sensor is ignored in {listing(alarmed)}." if alarmed else ""


def _room(item: GroupError) -> str:
    return item.name or (f"E{item.number:02d}" if isinstance(item.number, int) else item.number)


def _bracketed(ends: tuple[float, float] | None) -> str:
    return f"(95 % interval {number(ends[0])} to {number(ends[1])}) " if ends else ""


def _ranked(share: Mapping[str, Estimate]) -> list[tuple[str, Estimate]]:
    return sorted(share.items(), key=lambda item: -item[1].value)


def _group_shares(group: Group) -> tuple[dict[str, float], dict[str, Estimate]]:
    """Mean share over the seeds; the estimates with intervals only where there is one seed."""
    tables = [shares(series)[0] for series in group.series]
    names = dict.fromkeys(name for table in tables for name in table)
    means = {n: m for n in names if (m := mean_or_none(t[n].value for t in tables if n in t)) is not None}
    return means, tables[0] if len(tables) == 1 else {}
