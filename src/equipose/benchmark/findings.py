"""What a benchmark found, in sentences; what failed and what cannot be told stands beside what worked."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean

from equipose.benchmark.comparisons import additions, best_own_pair, best_trained_pair, gaps
from equipose.benchmark.study import Row, Study, Table
from equipose.benchmark.words import signed, signed_part
from equipose.modality import MODALITIES
from equipose.report.markup import interval, listing, number, percent, sentence
from equipose.report.study import mean_or_none, sensor, sensors

NEAR = 0.05
"""A subset within this part of the model trained on it counts as good as that."""
IGNORED_BELOW = 0.1
MANY = 5
FEW_PEOPLE = 8


def headline(table: Table) -> str:
    """One sentence about all methods."""
    reference = table.reference
    if reference is None:
        return "The reference has no finished cell yet, so nothing can be compared."
    compared = [row for row in table.rows if row.difference is not None]
    error = reference.trained.error(reference.trained.first.sensors)
    start = f"{sentence(reference.label)}: {number(error.value, 1, 'mm')} {interval(error.interval)}"
    if not compared:
        return f"{start}. No other method is finished."
    if len(compared) == 1 and compared[0].difference is not None:
        only, found = compared[0], compared[0].difference
        told = "better" if found.below else "worse" if found.above else "not to be told apart from it"
        return f"{start}. {only.label} differs by {signed(found)}: {told}; ahead in {found.wins} seeds."
    better = [row for row in compared if row.difference is not None and row.difference.below]
    worse = [row for row in compared if row.difference is not None and row.difference.above]
    rest = len(compared) - len(better) - len(worse)
    return (
        f"{start}. Of {len(compared)} other {'method' if len(compared) == 1 else 'methods'}, {len(better)} "
        f"{'is' if len(better) == 1 else 'are'} better beyond the interval of the difference, {len(worse)} worse, and "
        f"{rest} cannot be told apart from it."
    )


def findings(table: Table) -> Iterator[str]:
    """The sentences under the headline."""
    yield from _methods(table)
    yield from _baselines(table)
    yield from _additions(table)
    yield from _transfer(table)
    yield from _gaps(table)
    yield from _collapse(table)


def _methods(table: Table) -> Iterator[str]:
    compared = [(row, row.difference) for row in table.rows if row.difference is not None]
    compared.sort(key=lambda pair: pair[1].value)
    if len(compared) == 1:
        return  # the headline says it
    for row, difference in compared:
        if difference.below or difference.above:
            way = "better" if difference.below else "worse"
            yield f"{row.label} is {way}: {signed(difference)}, ahead in {difference.wins} seeds."
    open_ = [row.label for row, difference in compared if not (difference.below or difference.above)]
    if open_ and table.reference is not None:
        yield f"Not to be told apart from {table.reference.label}: {listing(open_)}."
    if len(compared) >= MANY:
        yield (
            f"{len(compared)} comparisons at 95 %: about {max(1, round(0.05 * len(compared)))} of them would fall "
            "outside its interval by chance alone."
        )


def _baselines(table: Table) -> Iterator[str]:
    if table.reference is None:
        return
    constant = table.reference.trained.first.baselines.get("mean_pose_mpjpe_mm")
    if constant is None:
        return
    errors = {row.label: row.trained.error(row.trained.first.sensors).value for row in table.finished}
    worse = [label for label, error in errors.items() if error >= constant]
    told = f"Always answering the mean training pose gives {number(constant, 1, 'mm')}"
    yield f"{told}; no better than that: {listing(worse)}." if worse else f"{told}; every method is better."


def _additions(table: Table) -> Iterator[str]:
    counts = {row.label: sum(each.change.above for each in additions(row.trained)) for row in table.finished}
    if not counts:
        return
    total = len(additions(table.finished[0].trained))
    if not total:
        return
    if table.reference is not None:
        yield (
            f"Adding a sensor hurts {table.reference.label} in {counts[table.reference.label]} of {total} pairs "
            "(whole interval above zero)."
        )
    if len(counts) > 1:
        fewest = min(counts.values())
        names = [name for name, count in counts.items() if count == fewest]
        if fewest == 0:
            yield f"No addition hurts {listing(names)}."
        else:
            yield f"No method is free of harm; fewest pairs that hurt: {fewest} of {total}, by {listing(names)}."


def _transfer(table: Table) -> Iterator[str]:
    row = table.reference or (table.finished[0] if table.finished else None)
    if row is None:
        return
    own = best_own_pair(row.trained)
    if own is not None:
        way = "are worse than" if own.change.above else "are better than" if own.change.below else "are level with"
        yield (
            f"In {row.label} all {len(table.sensors)} sensors {way} its best pair, {sensors(own.pair)}: "
            f"{signed(own.change)}."
        )
    trained = best_trained_pair(row.trained, table.subsets)
    if trained is not None:
        way = (
            "negative transfer"
            if trained.change.above
            else "no negative transfer"
            if trained.change.below
            else "not to be told apart"
        )
        yield (
            f"{row.label} on all {len(table.sensors)} sensors against the best pair trained alone, "
            f"{sensors(trained.pair)}: {signed(trained.change)}, {way}."
        )


def _gaps(table: Table) -> Iterator[str]:
    if not table.subsets:
        return
    near: dict[str, tuple[int, int]] = {}
    for row in table.finished:
        found = gaps(row.trained, table.subsets)
        if not found:
            continue
        near[row.label] = (sum(gap.part.value <= NEAR for gap in found), len(found))
        alone = [gap for gap in found if len(gap.sensors) == 1]
        if row == table.reference and alone:
            worst = max(alone, key=lambda gap: gap.part.value)
            yield (
                f"In {row.label} the sensor farthest behind the model trained on it alone is "
                f"{sensor(worst.sensors[0])}: {signed_part(worst.part)}."
            )
    whole = [label for label, (count, total) in near.items() if count == total]
    if whole:
        yield f"Every subset within {percent(NEAR)} of the model trained on just that: {listing(whole)}."
    elif near:
        label, (count, total) = max(near.items(), key=lambda item: item[1][0])
        yield (
            f"No method keeps every subset within {percent(NEAR)} of the model trained on just that; the most, "
            f"{count} of {total}, by {label}."
        )


def _collapse(table: Table) -> Iterator[str]:
    low = {row.label: ignored(row) for row in table.finished}
    told = [f"{listing([sensor(name) for name in names])} in {label}" for label, names in low.items() if names]
    if told:
        yield (
            f"Ignored (alone, the sensor moves the pose less than {percent(IGNORED_BELOW)} as much as the truth): "
            f"{'; '.join(told)}."
        )
    elif low:
        yield f"No method ignores a sensor: each alone moves the pose at least {percent(IGNORED_BELOW)} as the truth."


def ignored(row: Row) -> tuple[str, ...]:
    """Sensors whose collapse ratio, mean over the seeds, is below the alarm."""
    return tuple(
        name
        for name in row.trained.first.sensors
        if (ratio := mean_or_none(test.collapse.get(name) for test in row.trained.tests)) is not None
        and ratio < IGNORED_BELOW
    )


def limits(study: Study) -> Iterator[str]:
    """What the page cannot show, and what stands in the way of reading it."""
    finals = [cell for cell in study.cells if cell.test is not None]
    found = {name for cell in finals if cell.test is not None for name in cell.test.simulated}
    simulated = sorted(found, key=[*MODALITIES, *found].index)
    if simulated:
        names = listing([sensor(name) for name in simulated])
        yield f"{names}: simulated. The figures hold for the simulator, not for real rooms and people."
    if len(study.recipe.seeds) == 1:
        yield "One seed: the intervals hold for these trainings; another seed may turn the order around."
    elif len(study.recipe.seeds) < 5:
        yield f"{len(study.recipe.seeds)} seeds say little about the spread between trainings."
    people = {len(cell.test.subjects) for cell in finals if cell.test is not None}
    if people and min(people) < FEW_PEOPLE:
        yield f"Only {min(people)} people in the test split: intervals over so few tend to be too narrow."
    tried = {row.label: len(row.candidates) for table in study.tables for row in table.rows}
    if len(set(tried.values())) > 1:
        least = [label for label, count in tried.items() if count < max(tried.values())]
        yield (
            f"Tuning tried up to {max(tried.values())} settings, but fewer for {listing(least)}. To give all the "
            "same, write `candidates` for them in the recipe, such as {train.learning_rate: 0.0003}."
        )
    missing = sum(len(row.missing) for table in study.tables for row in table.rows)
    missing += sum(len(table.missing) for table in study.tables)
    if missing:
        yield f"{missing} cells are missing; the section on provenance says which and why."
    for name, values in (
        ("machines", {str(cell.machine.get("processor")) for cell in finals}),
        ("versions of torch", {cell.versions.get("torch", "") for cell in finals}),
        ("versions of equipose", {cell.versions.get("equipose", "") for cell in finals}),
    ):
        if len(values) > 1:
            yield f"The cells come from {len(values)} {name}: {listing(sorted(values))}."
    yield (
        "Step times are medians over epochs of trainings that shared their machine with others; ratios of a few per "
        "cent mean nothing."
    )


def step_ratio(row: Row, reference: Row | None) -> float | None:
    """Seconds of a step over those of the reference, means over the seeds."""
    if reference is None or not row.trained.cells:
        return None
    return seconds(row) / seconds(reference)


def seconds(row: Row) -> float:
    """Of one optimizer step, mean over the seeds."""
    return fmean(cell.step_seconds for cell in row.trained.cells.values())
