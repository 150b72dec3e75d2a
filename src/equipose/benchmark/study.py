"""Every number of the page, computed from the cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from equipose.benchmark.folder import known
from equipose.benchmark.plan import (
    Cell,
    Condition,
    candidates,
    chosen,
    conditions,
    final_cells,
    subset_cells,
    tuning_cells,
)
from equipose.benchmark.recipe import BenchmarkRecipe, Method
from equipose.benchmark.results import CellResult, TestErrors, read_failure
from equipose.benchmark.statistics import Estimate, mean

Sensors = tuple[str, ...]
NOT_YET = "not run yet"


@dataclass(frozen=True)
class Trained:
    """The finished cells of one method, or of one set of sensors, in one condition.

    Attributes:
        label: how it is called.
        cells: seed -> cell, in the order of the recipe.
    """

    label: str
    cells: dict[int, CellResult]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds that are finished."""
        return tuple(self.cells)

    @property
    def tests(self) -> tuple[TestErrors, ...]:
        """What each cell says about the test split."""
        return tuple(cell.test for cell in self.cells.values() if cell.test is not None)

    @property
    def first(self) -> TestErrors:
        """Of the first seed: what is the same for all."""
        return self.tests[0]

    def sums(self, sensors: Sensors, aligned: bool = False) -> Float[ndarray, "seed subject"]:
        """Sum of the error over each person's samples, mm."""
        return np.stack([test.sums(sensors, aligned) for test in self.tests])

    def error(self, sensors: Sensors, aligned: bool = False) -> Estimate:
        """Error from some of its sensors."""
        return mean(self.sums(sensors, aligned), self.first.counts)

    def of(self, seeds: tuple[int, ...]) -> Trained:
        """Only these seeds."""
        return Trained(self.label, {seed: self.cells[seed] for seed in seeds})


@dataclass(frozen=True)
class Candidate:
    """What tuning tried and found."""

    settings: dict[str, object]
    validation_mpjpe_mm: float | None
    failure: str | None


@dataclass(frozen=True)
class Row:
    """One method in one condition.

    Attributes:
        method: as the recipe has it.
        trained: its finished cells.
        candidates: what tuning tried, in order; one where nothing was to choose.
        chosen: index of the best one; None while it is not known.
        missing: label of a cell that is not there -> why.
        difference: MPJPE minus that of the reference, mm, over the seeds that both have; None without such.
        aligned_difference: the same for PA-MPJPE.
        unpaired: why there is no difference, where that needs a word.
    """

    method: Method
    trained: Trained
    candidates: tuple[Candidate, ...]
    chosen: int | None
    missing: dict[str, str]
    difference: Estimate | None = None
    aligned_difference: Estimate | None = None
    unpaired: str = ""

    @property
    def label(self) -> str:
        """The method's name on the page."""
        return self.method.name


@dataclass(frozen=True)
class Table:
    """One condition.

    Attributes:
        condition: where.
        sensors: of the methods.
        rows: a row per method: the reference first, then those with small errors, then those that are not finished.
        reference: the row that the others are compared with; None if it has no finished cell.
        subsets: sensors -> the models trained on just those.
        missing: label of a subset's cell that is not there -> why.
    """

    condition: Condition
    sensors: Sensors
    rows: tuple[Row, ...]
    reference: Row | None
    subsets: dict[Sensors, Trained]
    missing: dict[str, str]

    @property
    def finished(self) -> tuple[Row, ...]:
        """Rows with at least one finished cell."""
        return tuple(row for row in self.rows if row.trained.cells)


@dataclass(frozen=True)
class Study:
    """Everything the page shows."""

    recipe: BenchmarkRecipe
    tables: tuple[Table, ...]
    cells: tuple[CellResult, ...]


def build_study(out: Path, recipe: BenchmarkRecipe) -> Study:
    """Read the cells of a benchmark folder and compute everything."""
    done = known(out, recipe, failures=True).done
    validation = {name: cell.validation_mpjpe_mm for name, cell in done.items()}

    def why(cell: Cell) -> str:
        return read_failure(out, cell.name) or NOT_YET

    tables = []
    for place in conditions(recipe):
        rows = tuple(_row(recipe, method, place, done, validation, why) for method in recipe.methods)
        subsets: dict[Sensors, Trained] = {}
        missing: dict[str, str] = {}
        for (sensors, seed), cell in subset_cells(recipe, place).items():
            if cell.name in done:
                subsets.setdefault(sensors, Trained("+".join(sensors), {})).cells[seed] = done[cell.name]
            else:
                missing[cell.label] = why(cell)
        reference = next((row for row in rows if row.method == recipe.baseline and row.trained.cells), None)
        finished = [row for row in rows if row.trained.cells]
        sensors = max((row.trained.first.sensors for row in finished), key=len, default=())
        rows = tuple(sorted((_compared(row, reference) for row in rows), key=lambda row: _rank(row, recipe.baseline)))
        if reference is not None:
            reference = next(row for row in rows if row.method == reference.method)
        tables.append(Table(place, sensors, rows, reference, subsets, missing))
    return Study(recipe, tuple(tables), tuple(done.values()))


def _row(
    recipe: BenchmarkRecipe,
    method: Method,
    place: Condition,
    done: Mapping[str, CellResult],
    validation: Mapping[str, float | None],
    why: Callable[[Cell], str],
) -> Row:
    tuning = tuning_cells(recipe, method, place)
    tried = candidates(recipe, method)
    failures = {cell.name: told for cell in tuning if cell.name not in done and (told := why(cell)) != NOT_YET}
    index = chosen(recipe, method, place, {**dict.fromkeys(failures), **validation})
    missing = {cell.label: why(cell) for cell in tuning if cell.name not in done}
    cells: dict[int, CellResult] = {}
    if index is None:
        missing[f"{method.name}, all seeds"] = "its settings are not chosen yet"
    else:
        for seed, cell in zip(recipe.seeds, final_cells(recipe, method, place, index), strict=True):
            if cell.name in done:
                cells[seed] = done[cell.name]
            else:
                missing[cell.label] = why(cell)
    errors = [validation.get(cell.name) for cell in tuning] or [None] * len(tried)
    refused = [failures.get(cell.name) for cell in tuning] or [None] * len(tried)
    listed = tuple(Candidate(dict(s), e, t) for s, e, t in zip(tried, errors, refused, strict=True))
    return Row(method, Trained(method.name, cells), listed, index, missing)


def _rank(row: Row, baseline: Method) -> tuple[bool, float]:
    """The reference first, then small errors, then what is not finished."""
    error = row.trained.error(row.trained.first.sensors).value if row.trained.cells else float("inf")
    return row.method != baseline, error


def _compared(row: Row, reference: Row | None) -> Row:
    """The row with its paired differences to the reference."""
    if reference is None or row.method == reference.method or not row.trained.cells:
        return row
    pair = paired(row.trained, reference.trained)
    if isinstance(pair, str):
        return replace(row, unpaired=pair)
    ours, theirs = pair
    counts = ours.first.counts
    found = [
        mean(ours.sums(ours.first.sensors, aligned) - theirs.sums(theirs.first.sensors, aligned), counts)
        for aligned in (False, True)
    ]
    return replace(row, difference=found[0], aligned_difference=found[1])


def paired(first: Trained, second: Trained) -> tuple[Trained, Trained] | str:
    """Both with the seeds that both have, or why they cannot be compared sample by sample."""
    seeds = tuple(seed for seed in first.seeds if seed in second.seeds)
    if not seeds:
        return "no seed is finished in both"
    ours, theirs = first.of(seeds), second.of(seeds)
    if len({test.recordings.key for test in (*ours.tests, *theirs.tests)}) > 1:
        return "their test samples differ"
    return ours, theirs
