"""The main tables as Markdown, to be pasted into a report or a pull request: ``benchmark.md``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from equipose.benchmark.comparisons import additions, gaps, proper_subsets
from equipose.benchmark.findings import findings, headline, step_ratio
from equipose.benchmark.statistics import Estimate
from equipose.benchmark.study import Row, Study, Table
from equipose.benchmark.words import DASH, mark, signed_part
from equipose.files import write_text
from equipose.report.markup import TIMES, change, interval, number
from equipose.report.study import sensor, sensors


def write_markdown(path: Path, study: Study) -> None:
    """Write every condition's findings and tables."""
    write_text(path, "\n\n".join(part for each in study.tables for part in _condition(study, each)) + "\n")


def _condition(study: Study, each: Table) -> Iterable[str]:
    if len(study.tables) > 1:
        yield f"### {each.condition.label}"
    yield headline(each)
    yield "\n".join(f"- {told}" for told in findings(each))
    yield _methods(each)
    if len(each.sensors) > 1:
        yield _subsets(each)
    if each.subsets:
        yield _gaps(each)


def _methods(each: Table) -> str:
    head = ("method", "seeds", "MPJPE, mm", "minus reference", "ahead", "PA-MPJPE", "a sensor more hurts", "step time")
    return table(head, [_method(each, row) for row in each.finished])


def _method(each: Table, row: Row) -> tuple[str, ...]:
    own = row.trained.first.sensors
    pairs = additions(row.trained)
    ratio = step_ratio(row, each.reference)
    difference = row.difference
    return (
        row.label,
        str(len(row.trained.seeds)),
        _estimate(row.trained.error(own)),
        "reference" if row is each.reference else _change(difference),
        difference.wins if difference is not None else DASH,
        number(row.trained.error(own, aligned=True).value),
        f"{sum(pair.change.above for pair in pairs)} of {len(pairs)}",
        DASH if ratio is None else f"{ratio:.2f}{TIMES}",
    )


def _subsets(each: Table) -> str:
    columns = proper_subsets(each.sensors)
    rows = [
        (
            row.label,
            *(
                number(row.trained.error(names).value) if set(names) <= set(row.trained.first.sensors) else DASH
                for names in columns
            ),
        )
        for row in each.finished
    ]
    if each.subsets:
        own = [number(each.subsets[n].error(n).value) if n in each.subsets else DASH for n in columns]
        rows.append(("trained on just these", *own))
    letters = {name: sensor(name)[0].upper() for name in each.sensors}
    if len(set(letters.values())) < len(letters):
        letters = {name: f"{sensor(name)} " for name in each.sensors}
    told = ", ".join(f"{letter.strip()} {sensor(name)}" for name, letter in letters.items())
    head = ("MPJPE, mm", *("".join(letters[name] for name in names).strip() for names in columns))
    return f"{table(head, rows)}\n\nEvery subset of the sensors ({told}), mean over the seeds."


def _gaps(each: Table) -> str:
    rows = []
    for row in each.finished:
        found = {gap.sensors: gap.part for gap in gaps(row.trained, each.subsets)}
        rows.append((row.label, *(signed_part(found[n]) if n in found else DASH for n in each.subsets)))
    return table(("against trained on just these", *(sensors(names) for names in each.subsets)), rows)


def _estimate(estimate: Estimate) -> str:
    return f"{number(estimate.value)} {interval(estimate.interval)}".strip()


def _change(estimate: Estimate | None) -> str:
    if estimate is None:
        return DASH
    return f"{change(estimate.value)} {interval(estimate.interval, 1, True)}{mark(estimate)}".strip()


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; numbers to the right."""
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
