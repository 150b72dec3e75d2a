"""What the numbers say, in plain sentences. Nothing is called a difference that lies within its interval."""

from __future__ import annotations

from collections.abc import Mapping

from equipose.report.charts.subsets import harmful
from equipose.report.markup import change, interval, listing, number, percent, sentence
from equipose.report.pairing import Difference, Unpaired
from equipose.report.run import Estimate
from equipose.report.study import Group, Series, Study, joint_label, mean_or_none, sensor, setting_differences, shares

IGNORED_BELOW = 0.1
"""The alarm threshold of ``contribution.imbalance.COLLAPSE_ALARM``, which needs torch to import."""


def headline(study: Study) -> str:
    """The whole page in a few sentences."""
    group, metrics = study.focus_group, study.focus.run.metrics
    people = len(metrics.subjects)
    where = f"on {people} test subjects" if people > 1 else "on the test split"
    many = len(metrics.modalities)
    with_all = f"With all {many} sensors" if many > 1 else f"With {sensor(metrics.modalities[0])} alone"
    first = (
        f"{with_all}, {group.label} places a joint {number(group.mpjpe_mm, 1, 'mm')} from where it is on average "
        f"{_bracketed(group)}{where}."
    )
    rest = (carrier_sentence(study.focus), _alarm_sentence(study), _balance_sentence(study))
    return " ".join(part for part in (first, *rest) if part)


def hurt_line(group: Group) -> str:
    """How often adding a sensor hurt; the mean over the seeds."""
    if not any(series.run.metrics.hurts for series in group.series):
        return ""
    pairs = max(len(series.run.metrics.hurts) for series in group.series)
    mean = mean_or_none([float(len(harmful(series))) for series in group.series]) or 0.0
    seeds = f" (mean of {len(group.series)} seeds)" if len(group.series) > 1 else ""
    return (
        f"{group.label}: adding a sensor hurt in {number(mean, 0 if mean == int(mean) else 1)} of {pairs} cases{seeds}"
    )


def scale_sentence(study: Study) -> str:
    """How the best run compares with poses that no sensor was needed for."""
    best = study.focus
    error, constant = best.full.mpjpe_mm, best.run.metrics.mean_pose_mpjpe_mm
    if error is None or not constant:
        return ""
    return (
        f"{sentence(best.label)}: {number(error, 1, 'mm')}, which is {percent(error / constant)} of the error of "
        f"always answering the mean training pose ({number(constant, 1, 'mm')})."
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
        return f"{sensor(first)} has the largest share ({percent(top.value)}; {measured_on}, no interval)."
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
            f"{people} test subject{'s' if people > 1 else ''}: an interval from so few people is a rough guide and "
            "tends to be too narrow."
        )
    simulated = simulated_sensors(study)
    if simulated:
        found.append(
            f"Simulated sensors: {listing([sensor(name) for name in simulated])}. The numbers show how the methods "
            "behave on a model of these sensors, not how the real ones perform."
        )
    other = [
        k
        for k in setting_differences([s.run for s in study.series])
        if not k.startswith("balance.") and k != "train.seed"
    ]
    if other:
        found.append(
            f"The runs differ in more than the balance strategy ({listing(other[:6])}"
            f"{' and more' if len(other) > 6 else ''}): a difference in error may come from there."
        )
    dead = [series for series in study.series if ignored_sensors(series)]
    if dead and any(s.run.metrics.hurts for s in dead):
        found.append(
            "A sensor that a model ignores cannot hurt it: read the number of harmful additions together with the "
            "alarms and with each sensor's error alone."
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


def ignored_sensors(series: Series) -> list[str]:
    """Modalities with which alone the prediction hardly moves."""
    collapse = series.run.metrics.collapse
    return [
        name
        for name in series.run.metrics.modalities
        if (ratio := collapse.get(name)) is not None and ratio < IGNORED_BELOW
    ]


def worst_joints(series: Series, count: int = 3) -> list[tuple[str, float]]:
    """The joints with the largest error and that error in millimetres."""
    metrics = series.run.metrics
    pairs = [(joint_label(n), e) for n, e in zip(metrics.joints, metrics.per_joint_mm, strict=False) if e is not None]
    return sorted(pairs, key=lambda pair: -pair[1])[:count]


def _balance_sentence(study: Study) -> str:
    if study.reference is None or len(study.comparisons) != 1:
        return ""
    difference, name = study.comparisons[0].mpjpe, study.comparisons[0].group.label
    if isinstance(difference, Unpaired):
        return f"{sentence(name)} cannot be compared with {study.reference.label}: {difference.reason}."
    size = f"{change(difference.change_mm, 1, 'mm')} {interval(difference.interval, 1, True)}"
    told = f"({size} against {study.reference.label}, same frames)"
    if difference.interval is None or not difference.clear:
        return f"{sentence(name)} makes no difference beyond the interval {told}."
    better = "lower" if difference.change_mm < 0 else "higher"
    single = " One seed each: that is no claim about the methods yet." if min(difference.seeds) == 1 else ""
    return f"{sentence(name)} has the {better} error {told}.{single}"


def _alarm_sentence(study: Study) -> str:
    told = [
        f"{listing([sensor(name) for name in names])} in {series.label}"
        for series in study.series
        if (names := ignored_sensors(series))
    ]
    return f"Alarm: a sensor is ignored ({'; '.join(told)})." if told else ""


def _bracketed(group: Group) -> str:
    """The interval of one run, or the range over the seeds."""
    if len(group.series) == 1:
        ends = group.series[0].full.interval
        return f"(95 % interval {number(ends[0])} to {number(ends[1])}) " if ends else ""
    values = [value for series in group.series if (value := series.full.mpjpe_mm) is not None]
    return f"(mean of {len(values)} seeds, {number(min(values))} to {number(max(values))}) " if values else ""


def _ranked(share: Mapping[str, Estimate]) -> list[tuple[str, Estimate]]:
    return sorted(share.items(), key=lambda item: -item[1].value)
