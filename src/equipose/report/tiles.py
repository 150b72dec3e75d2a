"""The five questions at the top of the page, each with a short answer and what stands behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from equipose.report.findings import hurt_line, ignored_sensors, separable, verdict, worst_joints
from equipose.report.markup import change, interval, number, percent
from equipose.report.pairing import Difference, Unpaired
from equipose.report.run import Estimate
from equipose.report.schema import GroupError
from equipose.report.study import Group, Series, Study, mean_or_none, sensor, shares

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
            f"{group.label}: {number(group.mpjpe_mm, 1, 'mm')} ({spread}); "
            f"PA-MPJPE {number(group.pa_mpjpe_mm, 1, 'mm')}"
        )
    if focus.run.metrics.mean_pose_mpjpe_mm is not None:
        constant = number(focus.run.metrics.mean_pose_mpjpe_mm, 1, "mm")
        lines.append(f"Always guessing the mean training pose: {constant}")
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
        first, second = (intervals.get(n) for n, _ in ranked[:2]) if len(ranked) > 1 else (None, None)
        open_ = first is not None and second is not None and not separable(first, second)
        told = ", ".join(f"{sensor(n)} {percent(v)}" for n, v in ranked)
        names.append(f"{sensor(ranked[0][0])} or {sensor(ranked[1][0])}" if open_ else sensor(ranked[0][0]))
        lines.append(f"{group.label}: {told}" + (" (order of the first two open)" if open_ else ""))
    if not names:
        return Tile(
            "Which sensor carries it?", "Not measured", ("Run: equipose contributions RUN",), "plain", "contributions"
        )
    answer = " / ".join(dict.fromkeys(names))
    return Tile("Which sensor carries it?", answer, tuple(lines), "plain", "contributions")


def _ignored(study: Study) -> Tile:
    question = "Is a sensor ignored?"
    lines: list[str] = []
    alarmed: list[Series] = []
    measured = [series for series in study.series if series.run.metrics.collapse]
    if not measured:
        return Tile(question, "Not measured", ("Run: equipose evaluate RUN",), "plain", "contributions")
    for series in measured:
        names, collapse = ignored_sensors(series), series.run.metrics.collapse
        if names:
            alarmed.append(series)
            moves = ", ".join(f"{sensor(n)} alone moves the pose {percent(collapse[n])}" for n in names)
            lines.append(f"{series.label}: {moves} as much as the truth moves")
        else:
            lowest = min(collapse, key=lambda name: collapse[name] or 0.0)
            lines.append(f"{series.label}: no; the least is {sensor(lowest)} alone, {percent(collapse[lowest])}")
    if not alarmed:
        if len(measured) > 3:
            least = min(ratio or 0.0 for series in measured for ratio in series.run.metrics.collapse.values())
            lines = [
                f"In all {len(measured)} runs every sensor alone moves the pose, at least {percent(least)} as much"
            ]
        return Tile(question, "No", tuple(lines), "good", "contributions")
    found = dict.fromkeys(sensor(name) for series in alarmed for name in ignored_sensors(series))
    answer = f"Yes: {', '.join(found)}"
    if len(alarmed) < len(measured):
        answer += f" (in {len(alarmed)} of {len(measured)} runs)"
    return Tile(question, answer, tuple(lines), "bad", "contributions")


def _balance(study: Study) -> Tile:
    question = question_of_balance(study)
    hurt_lines = tuple(line for group in study.groups if (line := hurt_line(group)))
    if study.reference is None:
        lines = ("One method only: give the report a joint and a balanced run to compare.", *hurt_lines)
        return Tile(question, "Nothing to compare", lines, "plain", "accuracy")
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


def question_of_balance(study: Study) -> str:
    """What the comparison answers: runs of one strategy differ in something else than balancing."""
    return "Did balancing help?" if study.reference is None or len(set(study.strategies)) > 1 else "Is one better?"


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
    answer = joints[0][0].capitalize() if joints else "Not measured"
    return Tile("Where does it fail?", answer, tuple(lines), "plain", "failure")


def _told(difference: Difference | Unpaired) -> str:
    if isinstance(difference, Unpaired):
        return difference.reason
    size = f"{change(difference.change_mm, 1, 'mm')} {interval(difference.interval, 1, True)}"
    return f"{size} on the same {number(difference.frames, 0)} frames"


def _room(item: GroupError) -> str:
    return item.name or (f"E{item.number:02d}" if isinstance(item.number, int) else item.number)


def _group_shares(group: Group) -> tuple[dict[str, float], dict[str, Estimate]]:
    """Mean share over the seeds; the estimates with intervals only where there is one seed."""
    tables = [shares(series)[0] for series in group.series]
    names = dict.fromkeys(name for table in tables for name in table)
    means = {n: m for n in names if (m := mean_or_none(t[n].value for t in tables if n in t)) is not None}
    return means, tables[0] if len(tables) == 1 else {}
