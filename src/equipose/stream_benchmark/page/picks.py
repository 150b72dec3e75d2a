"""Which rows the page speaks of: the recommended preset, and the same method with and without noise kept out."""

from __future__ import annotations

import json
from dataclasses import dataclass

from equipose.benchmark.statistics import Estimate
from equipose.stream_benchmark import rows as of
from equipose.stream_benchmark.recipe import StreamBenchmarkRecipe, StreamMethod
from equipose.stream_benchmark.study import Row, Study, Table

RECOMMENDED = "adaptive_ewc_replay"
"""Continual strategy of the recommended preset."""
_OF_SEPARATION = {"find": 0, "off": 1, "known": 2}


@dataclass(frozen=True, eq=False)
class Case:
    """One method under one noise, with what it is compared with.

    Attributes:
        table: of the noise.
        name: of the method, separation aside.
        off: trained on everything.
        find: with separation.
        known: the oracle, which is told what is corrupt.
        clean: without noise in the data; the row of the same label if there is one.
        cost: error under noise, with separation where there is such a run, minus that on the clean stream.
        excess: the same minus that of the oracle.
        gain: with separation minus without.
        repaired: part of the way from no separation to the oracle that separation goes.
    """

    table: Table
    name: str
    off: Row | None
    find: Row | None
    known: Row | None
    clean: Row | None
    cost: Estimate | None
    excess: Estimate | None
    gain: Estimate | None
    repaired: Estimate | None

    @property
    def own(self) -> Row | None:
        """The row that has to live with the noise."""
        return self.find or self.off


def method_of(recipe: StreamBenchmarkRecipe, row: Row) -> StreamMethod | None:
    """What the recipe says about a row; None for bounds and what is derived."""
    return next((each for each in recipe.methods if each.name == row.label), None) if row.kind == "method" else None


def recommended(study: Study, table: Table) -> Row | None:
    """The recommended preset as one would use it: with separation rather than without, default settings first."""

    def rank(row: Row) -> tuple[bool, int, bool]:
        method = method_of(study.recipe, row)
        return not row.runs, _OF_SEPARATION[row.separation], bool(method and method.settings)

    found = [row for row in table.rows if row.kind == "method" and row.strategy == RECOMMENDED]
    found = [row for row in found if row.separation != "known"]
    return min(found, key=rank, default=None)


def spoken_of(study: Study, table: Table) -> tuple[Row | None, bool]:
    """The row that the headline is about, and whether it is the recommended one; else the one with the least error."""
    row = recommended(study, table)
    if row is not None and row.runs:
        return row, True
    others = [
        row
        for row in table.finished
        if row.kind == "method" and row.separation != "known" and row is not table.reference
    ]
    return min(others, key=lambda row: row.values["final_mm"].value, default=None), False


def clean_table(study: Study) -> Table | None:
    """The condition that adds no noise."""
    return next((table for table in study.tables if not table.noise.corruption), None)


def noisy_tables(study: Study) -> tuple[Table, ...]:
    """All the others."""
    return tuple(table for table in study.tables if table.noise.corruption)


def cases(study: Study, table: Table) -> tuple[Case, ...]:
    """Every method of a noisy condition that has something to be compared with."""
    groups: dict[str, list[Row]] = {}
    for row in table.finished:
        if row.kind == "method":
            groups.setdefault(_method_key(study, row), []).append(row)
    found = []
    for key, mine in groups.items():
        off, known = (next((row for row in mine if row.separation == mode), None) for mode in ("off", "known"))
        found_by: list[Row | None] = [row for row in mine if row.separation == "find"]
        for find in found_by or [None]:
            case = _case(table, off, find, known, _clean_row(study, key, find or off))
            if case is not None:
                found.append(case)
    return tuple(found)


def case_of(study: Study, table: Table, row: Row) -> Case | None:
    """The case in which a row has to live with the noise."""
    return next((case for case in cases(study, table) if case.own is row), None)


def difference(row: Row | None, other: Row | None, measure: str = "final_mm") -> Estimate | None:
    """Paired difference of two rows, of one condition or of two: all are tested on the same clean samples."""
    if row is None or other is None:
        return None
    return of.difference(row.runs, other.runs, measure)


def _case(table: Table, off: Row | None, find: Row | None, known: Row | None, clean: Row | None) -> Case | None:
    own = find or off
    if own is None:
        return None
    repaired = None
    if find is not None and off is not None and known is not None:
        repaired = of.gap_closed(find.runs, off.runs, known.runs)
    name = (off or own).label
    gain = difference(find, off)
    cost, excess = difference(own, clean), difference(own, known)
    if cost is None and excess is None and gain is None:
        return None
    return Case(table, name, off, find, known, clean, cost, excess, gain, repaired)


def _clean_row(study: Study, key: str, own: Row | None) -> Row | None:
    """The same method where there is no noise: the same row, else without separation, else with it."""
    table = clean_table(study)
    rows = [row for row in table.finished if row.kind == "method"] if table is not None else []
    alike = [row for row in rows if row.separation != "known" and _method_key(study, row) == key]
    label = own.label if own is not None else ""
    return min(alike, key=lambda row: (row.label != label, row.separation != "off"), default=None)


def _method_key(study: Study, row: Row) -> str:
    """The same for methods that differ in separation alone."""
    method = method_of(study.recipe, row)
    assert method is not None, "a row of kind method is in the recipe"
    told = method.model_dump(mode="json", include={"continual", "settings", "balance", "recipe"})
    return json.dumps(told, sort_keys=True)
