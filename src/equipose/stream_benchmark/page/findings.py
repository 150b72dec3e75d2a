"""What the runs say, in sentences and tiles; what they cannot say stands beside it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from equipose.benchmark.findings import FEW_PEOPLE
from equipose.benchmark.statistics import Estimate
from equipose.benchmark.words import signed
from equipose.report.markup import TIMES, listing, number, sentence
from equipose.report.study import sensor
from equipose.report.tiles import Mood, Tile
from equipose.stream_benchmark.page.picks import (
    RECOMMENDED,
    Case,
    case_of,
    clean_table,
    difference,
    noisy_tables,
    spoken_of,
)
from equipose.stream_benchmark.page.words import part, size, told_memory
from equipose.stream_benchmark.study import Row, Study, Table

FEW_SEEDS = 5
FEW_ORDERS = 3


def headline(study: Study) -> Iterator[str]:
    """One sentence about the recommended preset on the clean stream, one about noise."""
    table = clean_table(study) or study.tables[0]
    row, recommended = spoken_of(study, table)
    if row is None:
        yield f"No method beside the reference is finished{_where(study, table)}, so nothing can be compared."
    else:
        yield _on_stream(table, row, recommended)
    noisy = [case for each in noisy_tables(study) if (case := spoken_case(study, each)) is not None]
    known = [case for case in noisy if case.cost is not None or case.excess is not None]
    if known:
        worst = max(known, key=lambda case: case.cost.value if case.cost is not None else float("-inf"))
        yield _under_noise(worst, len(known))


def spoken_case(study: Study, table: Table) -> Case | None:
    """The recommended preset under noise."""
    row, _ = spoken_of(study, table)
    return case_of(study, table, row) if row is not None else None


def tiles(study: Study) -> tuple[Tile, ...]:
    """The four questions, in the order of the page."""
    table = clean_table(study) or study.tables[0]
    row, _ = spoken_of(study, table)
    return (_better(table, row), _forgets(table, row), _noise(study), _cost(table, row))


def limits(study: Study) -> Iterator[str]:
    """What the page cannot show, and what stands in the way of reading it."""
    if study.simulated:
        names = listing([sensor(name) for name in study.simulated])
        yield f"{names}: simulated. The figures hold for the simulator, not for real rooms and people."
    table = clean_table(study) or study.tables[0]
    row, recommended = spoken_of(study, table)
    if row is not None and not recommended:
        yield (
            f"No run of the recommended preset ({RECOMMENDED}) is finished{_where(study, table)}. The text speaks of "
            f"{row.label}, the method with the smallest error, which was picked on the test samples, in its favour."
        )
    yield from _not_shown(study)
    yield from _few(study)
    if noisy_tables(study):
        yield "Corruption is made by a plan, and of the training samples alone: all errors are on clean test samples."
        if any(each.joint is not None and each.joint.separation == "off" for each in noisy_tables(study)):
            yield "Under noise joint training learns from the noise too, so more than 100 % of the gap can be closed."
    missing = sum(len(row.missing) for each in study.tables for row in each.rows)
    if missing:
        yield f"{missing} runs are missing; the section on provenance says which and why."
    records = [result.record for result in study.results.values()]
    for name, values in (
        ("machines", {str(record.machine.get("processor")) for record in records}),
        ("versions of torch", {record.versions.get("torch", "") for record in records}),
        ("versions of equipose", {record.versions.get("equipose", "") for record in records}),
    ):
        if len(values) > 1:
            yield f"The runs come from {len(values)} {name}: {listing(sorted(values))}."


def _on_stream(table: Table, row: Row, recommended: bool) -> str:
    final, reference = row.values["final_mm"], table.reference
    where = f'Under the noise "{table.noise.label}"' if table.noise.corruption else "On the clean stream"
    start = f"{where}, {_name(row, recommended)} ends at {size(final)} ({_runs(row)})"
    if reference is None or "final_mm" not in row.differences:
        return f"{start}; there is no fine-tuning to compare it with."
    change = row.differences["final_mm"]
    told = [f"{start}: {_beside(change)} {reference.label} ({signed(change)})"]
    closed = row.values.get("gap_closed")
    if closed is not None and table.joint is not None:
        told.append(f"it closes {part(closed)} of the gap to {table.joint.label} training")
    if "forgetting_mm" in row.differences and "forgetting_mm" in reference.values:
        ours, theirs = row.values["forgetting_mm"], reference.values["forgetting_mm"]
        told.append(
            f"its forgetting is {number(ours.value, 1, 'mm')}, that of {reference.label} "
            f"{number(theirs.value, 1, 'mm')} (paired: {signed(row.differences['forgetting_mm'])})"
        )
    return "; ".join(told) + "."


def _under_noise(case: Case, conditions: int) -> str:
    own = case.own
    assert own is not None, "a case has a row"
    worst = f", the worst of {conditions}," if conditions > 1 else ""
    start = f'Under the noise "{case.table.noise.label}"{worst} {own.label} ends at '
    told = [start + f"{size(own.values['final_mm'])} ({_runs(own)})"]
    if case.cost is not None:
        told.append(f"{signed(case.cost)} against the clean stream")
    if case.excess is not None and case.known is not None:
        told.append(f"{_beside(case.excess)} the oracle that is told what is corrupt ({signed(case.excess)})")
    if case.gain is not None:
        told.append(f"{_beside(case.gain)} the same without separation ({signed(case.gain)})")
    return "; ".join(told) + "."


def _name(row: Row, recommended: bool) -> str:
    return f"the recommended preset ({row.label})" if recommended else row.label


def _runs(row: Row) -> str:
    count = len(row.runs.keys)
    return "one run" if count == 1 else f"mean of {count} runs"


def _beside(change: Estimate) -> str:
    """Words for a difference; without an interval nothing can be told."""
    if change.interval is None:
        return "without an interval, against"
    return "better than" if change.below else "worse than" if change.above else "not to be told apart from"


def _better(table: Table, row: Row | None) -> Tile:
    question = "Is it better than fine-tuning?"
    if row is None or "final_mm" not in row.differences or table.reference is None:
        return Tile(question, "Not measured", ("Run the method and fine_tune on the same stream.",), "plain", "methods")
    change = row.differences["final_mm"]
    lines = [
        f"Error at the end {size(row.values['final_mm'])}; {table.reference.label} "
        f"{size(table.reference.values['final_mm'])}",
        f"Difference {signed(change)}, smaller error in {change.wins} runs",
    ]
    closed = row.values.get("gap_closed")
    if closed is not None and table.joint is not None:
        lines.append(f"Gap to {table.joint.label} closed: {part(closed)} (100 % is {table.joint.label})")
    else:
        lines.append("No gap to close: there is no joint training, or it is no better than fine-tuning.")
    return Tile(
        question, f"{_verdict(change)}, {number(change.value, 1, 'mm')}", tuple(lines), _mood(change), "methods"
    )


def _forgets(table: Table, row: Row | None) -> Tile:
    question = "Does it forget?"
    if row is None or "forgetting_mm" not in row.values:
        return Tile(question, "Not measured", ("A stream needs two experiences.",), "plain", "stream")
    own = row.values["forgetting_mm"]
    lines = [f"Earlier experiences, now against at their best: {signed(own)}"]
    change = row.differences.get("forgetting_mm")
    if change is not None and table.reference is not None:
        theirs = table.reference.values["forgetting_mm"]
        lines.append(f"Reference {table.reference.label}: {signed(theirs)}; paired difference {signed(change)}")
    gap = row.values.get("stability_gap_mm")
    if gap is not None:
        lines.append(f"At worst within an experience: {number(gap.value, 1, 'mm')} above its start (no interval)")
    alone = {name: row.subsets[(name,)]["forgetting_mm"].value for name in table.sensors if (name,) in row.subsets}
    if len(alone) > 1:
        most = max(alone, key=lambda name: alone[name])
        lines.append(f"Most lost by {sensor(most)} alone: {number(alone[most], 1, 'mm')}")
    mood: Mood = "plain" if change is None else _mood(change)
    return Tile(question, number(own.value, 1, "mm"), tuple(lines), mood, "stream")


def _noise(study: Study) -> Tile:
    question = "Does it withstand noise?"
    tables = noisy_tables(study)
    if not tables:
        return Tile(question, "Not tried", ("Every condition is without noise.",), "plain", "noise")
    found = [(table, spoken_case(study, table)) for table in tables]
    lines = []
    for table, case in found:
        if case is None:
            lines.append(f"{table.noise.label}: nothing to compare with yet")
            continue
        told = [
            f"{word} {signed(estimate)}"
            for word, estimate in (
                ("against clean", case.cost),
                ("against the oracle", case.excess),
                ("against no separation", case.gain),
            )
            if estimate is not None
        ]
        lines.append(f"{table.noise.label}: {'; '.join(told) or 'nothing to compare with yet'}")
    costs = [case.cost for _, case in found if case is not None and case.cost is not None]
    if not costs:
        return Tile(question, "Not measured", tuple(lines), "plain", "noise")
    worst = max(costs, key=lambda estimate: estimate.value)
    answer = "Costs nothing"
    if worst.above or worst.interval is None:
        answer = f"Costs {number(worst.value, 1, 'mm')}" + (" at worst" if len(costs) > 1 else "")
    elif not worst.below:
        answer = "No cost to be told"
    return Tile(question, answer, tuple(lines), "plain", "noise")


def _cost(table: Table, row: Row | None) -> Tile:
    question = "What does it cost?"
    if row is None or row.cost is None:
        return Tile(question, "Not measured", (), "plain", "cost")
    cost = row.cost
    ratio = None if cost.step_ratio is None else f"{cost.step_ratio:.2f}{TIMES} the time per step"
    lines = [
        f"{number(1000 * cost.step_seconds, 1, 'ms')} per step",
        f"{told_memory(cost.memory_bytes)} kept between experiences",
    ]
    return Tile(question, ratio or lines[0], tuple(lines), "plain", "cost")


def _not_shown(study: Study) -> Iterator[str]:
    absent = []
    if clean_table(study) is None:
        absent.append("a stream without noise")
    tables = [table for table in study.tables if table.finished]
    for name, without in (
        ("the reference", [each for each in tables if each.reference is None]),
        ("joint training, so no gap", [each for each in tables if each.joint is None]),
        ("models of single experiences, so no intransigence", [each for each in tables if each.single is None]),
    ):
        if without:
            named = f" ({', '.join(each.noise.label for each in without)})" if len(tables) > 1 else ""
            absent.append(name + named)
    oracle = [
        table.noise.label for table in noisy_tables(study) if all(r.separation != "known" for r in table.finished)
    ]
    if oracle:
        absent.append(f"the oracle that knows the noise ({', '.join(oracle)})")
    if not any("stability_gap_mm" in row.values for table in tables for row in table.rows):
        absent.append("the stability gap: nobody looked within experiences")
    if absent:
        yield f"Not shown, as it is not there: {'; '.join(absent)}."
    for table in tables:
        if table.joint is None or table.reference is None:
            continue
        gap = difference(table.joint, table.reference)
        if gap is not None and not gap.below:
            yield (
                f"{sentence(table.joint.label)} training is not better than {table.reference.label} beyond the interval"
                f"{_where(study, table)} ({signed(gap)}): parts of that gap mean little."
            )


def _few(study: Study) -> Iterator[str]:
    seeds, orders = len(study.recipe.seeds), len(study.recipe.orders)
    if seeds == 1:
        yield "One seed: another one may turn the order around."
    elif seeds < FEW_SEEDS:
        yield f"{seeds} seeds say little about the spread between trainings."
    if orders == 1:
        yield "One order of the experiences: another one forgets other things. The intervals do not cover that."
    elif orders < FEW_ORDERS:
        yield f"Only {orders} orders of the experiences."
    people = {
        len(np.unique(result.errors.person[:, 1])) for result in study.results.values() if len(result.errors.person)
    }
    if people and min(people) < FEW_PEOPLE:
        yield f"Only {min(people)} people in the test samples: intervals over so few tend to be too narrow."
    compared = sum(len(row.differences) > 0 for table in study.tables for row in table.finished if row.kind == "method")
    if compared >= FEW_SEEDS:
        by_chance = max(1, round(0.05 * compared))
        yield (
            f"{compared} comparisons with the reference at 95 %: about {by_chance} would fall outside "
            f"{'its interval' if by_chance == 1 else 'their intervals'} by chance alone."
        )


def _where(study: Study, table: Table) -> str:
    return f" ({table.noise.label})" if len(study.tables) > 1 else ""


def _verdict(change: Estimate) -> str:
    if change.interval is None:
        return "Open (no interval)"
    return "Yes" if change.below else "No" if change.above else "Open"


def _mood(change: Estimate) -> Mood:
    return "good" if change.below else "bad" if change.above else "plain"
