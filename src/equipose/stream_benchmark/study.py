"""Every number of the tables and of the page, computed from the cells.

A ``Study`` has a ``Table`` per noise condition, a table has a ``Row`` per method and bound. What a row can say depends
on what is finished: ``Row.values`` and the like only have the measures that could be computed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Literal

from equipose.benchmark.results import read_failure
from equipose.benchmark.statistics import Estimate
from equipose.stream_benchmark import rows as of
from equipose.stream_benchmark.found import Cost, Found, cost_of, found_in
from equipose.stream_benchmark.measures import inequality
from equipose.stream_benchmark.plan import Planned, rows
from equipose.stream_benchmark.recipe import Bound, Noise, StreamBenchmarkRecipe
from equipose.stream_benchmark.results import StreamResult, read_result
from equipose.stream_benchmark.rows import Runs, Sensors

NOT_YET = "not run yet"
FROZEN, MEAN_POSE = "frozen after the first", "mean pose"
Kind = Literal["method", "bound", "derived"]
UNITS = {
    "final_mm": "mm",
    "over_time_mm": "mm",
    "learned_mm": "mm",
    "forgetting_mm": "mm",
    "bwt_mm": "mm",
    "fwt_mm": "mm",
    "intransigence_mm": "mm",
    "plasticity": "",
    "gap_closed": "",
    "stability_gap_mm": "mm",
    "pa_final_mm": "mm",
}
"""Measures in the order of the tables -> unit. See ``measures`` for what they are; ``pa_final_mm`` is ``final_mm``
after Procrustes alignment. ``fwt_mm``, ``plasticity`` and ``gap_closed`` are better when larger, the others when
smaller."""
LARGER_IS_BETTER = frozenset({"fwt_mm", "plasticity", "gap_closed"})


@dataclass(frozen=True, eq=False)
class Row:
    """One method or bound in one noise condition.

    Attributes:
        label: how it is called.
        kind: ``method``; ``bound`` that was trained; ``derived`` from the rows of fine-tuning.
        strategy: continual strategy; the regime for bounds.
        separation: ``off``, ``find`` or ``known``, the oracle.
        runs: its finished runs, with ``matrix(sensors, order)`` of errors.
        missing: label of a run that is not there -> why.
        values: measure -> estimate, of all sensors; see ``UNITS``.
        subsets: sensors -> measure -> estimate, for every subset of the sensors, all of them too.
        differences: measure -> estimate minus that of the reference, mm, paired.
        inequality: Gini coefficient of what each sensor alone forgot; None where nothing was forgotten.
        found: what separation found against the truth, and how clean the memory is; None without a plan of noise.
        cost: time and memory; None for derived rows.
    """

    label: str
    kind: Kind
    strategy: str
    separation: str
    runs: Runs
    missing: dict[str, str]
    values: dict[str, Estimate] = field(default_factory=dict)
    subsets: dict[Sensors, dict[str, Estimate]] = field(default_factory=dict)
    differences: dict[str, Estimate] = field(default_factory=dict)
    inequality: float | None = None
    found: Found | None = None
    cost: Cost | None = None


@dataclass(frozen=True, eq=False)
class Table:
    """One noise condition.

    Attributes:
        noise: the condition.
        rows: methods in the recipe's order, then bounds, then what is derived; also those that are not finished.
        reference: the row that the others are compared with, and that the gap starts at; None if it is not finished.
        joint: the bound at which the gap is closed; None without.
        single: the models trained on one experience each; None without.
        sensors: all of them.
        experiences: names in the natural order.
    """

    noise: Noise
    rows: tuple[Row, ...]
    reference: Row | None
    joint: Row | None
    single: Row | None
    sensors: Sensors
    experiences: tuple[str, ...]

    @property
    def finished(self) -> tuple[Row, ...]:
        """Rows with at least one run."""
        return tuple(row for row in self.rows if row.runs)


@dataclass(frozen=True, eq=False)
class Study:
    """Everything the page shows.

    Attributes:
        recipe: of the benchmark.
        tables: one per noise condition.
        results: name of a cell -> its result, all that are finished.
        total: cells in all.
    """

    recipe: StreamBenchmarkRecipe
    tables: tuple[Table, ...]
    results: dict[str, StreamResult]
    total: int

    @property
    def simulated(self) -> Sensors:
        """Sensors whose data are simulated."""
        names = {name for each in self.results.values() for name in each.record.simulated}
        return tuple(sorted(names))


def build_study(out: Path, recipe: StreamBenchmarkRecipe) -> Study:
    """Read the cells of a folder and compute everything."""
    planned = rows(recipe)
    names = {cell.name for row in planned for cell in row.cells.values()}
    results = {name: found for name in sorted(names) if (found := read_result(out, name)) is not None}
    tables = tuple(_table(out, recipe, noise, planned, results) for noise in recipe.noise)
    return Study(recipe, tables, results, len(names))


def subsets(sensors: Sensors) -> tuple[Sensors, ...]:
    """All subsets with at least one sensor, small ones first; the last is all."""
    return tuple(each for size in range(1, len(sensors) + 1) for each in combinations(sensors, size))


def _table(
    out: Path,
    recipe: StreamBenchmarkRecipe,
    noise: Noise,
    planned: tuple[Planned, ...],
    results: dict[str, StreamResult],
) -> Table:
    mine = [row for row in planned if row.noise == noise]
    runs = {row.source.name: _runs(row, results) for row in mine}
    missing = {row.source.name: _missing(out, row, results) for row in mine}
    tuned = runs.get(recipe.baseline.name, Runs({}))
    joint = _bound(mine, runs, "joint")
    single = _bound(mine, runs, "single")
    others = _Others(tuned, runs.get(joint, Runs({})), of.experts(runs.get(single, Runs({}))))
    made = [
        _row(
            row.source.name,
            "bound" if isinstance(row.source, Bound) else "method",
            row.source.regime if isinstance(row.source, Bound) else row.source.continual,
            next(iter(row.cells.values())).recipe.separation.mode,
            others.experts if row.source.name == single else runs[row.source.name],
            missing[row.source.name],
            others,
            is_reference=row.source == recipe.baseline,
        )
        for row in mine
    ]
    if tuned:
        for label, derived in ((FROZEN, of.frozen(tuned)), (MEAN_POSE, of.still(tuned))):
            made.append(_row(label, "derived", label, "off", derived, {}, others))
    named = {row.label: row for row in made if row.runs}
    first = tuned.first if tuned else next((row.runs.first for row in made if row.runs), None)
    return Table(
        noise,
        tuple(made),
        named.get(recipe.baseline.name),
        named.get(joint),
        named.get(single),
        first.modalities if first is not None else (),
        tuple(sorted(first.names)) if first is not None else (),
    )


@dataclass(frozen=True, eq=False)
class _Others:
    """Rows that measures compare with; empty where they are not finished."""

    tuned: Runs
    joint: Runs
    experts: Runs


def _row(
    label: str,
    kind: Kind,
    strategy: str,
    separation: str,
    runs: Runs,
    missing: dict[str, str],
    others: _Others,
    is_reference: bool = False,
) -> Row:
    if not runs:
        return Row(label, kind, strategy, separation, runs, missing)
    sensors = runs.first.modalities
    each = {names: _values(runs, names, others) for names in subsets(sensors)}
    whole = dict(each[sensors])
    gap = of.stability_gap(runs)
    if gap is not None:
        whole["stability_gap_mm"] = gap
    if strategy != MEAN_POSE:
        whole["pa_final_mm"] = runs.estimate("final_mm", aligned=True)
    differences = {}
    if others.tuned and not is_reference:
        compared = {name: of.difference(runs, others.tuned, name) for name in _linear(runs)}
        differences = {name: estimate for name, estimate in compared.items() if estimate is not None}
    lost = [each[(name,)]["forgetting_mm"].value for name in sensors if "forgetting_mm" in each[(name,)]]
    uneven = inequality(lost)
    return Row(
        label,
        kind,
        strategy,
        separation,
        runs,
        missing,
        {name: whole[name] for name in UNITS if name in whole},
        each,
        differences,
        None if uneven != uneven else uneven,
        found_in(runs),
        cost_of(runs, others.tuned),
    )


def _values(runs: Runs, sensors: Sensors, others: _Others) -> dict[str, Estimate]:
    """Measures of one subset of the sensors."""
    found: dict[str, Estimate | None] = {name: runs.estimate(name, sensors) for name in _linear(runs)}
    if runs.sequential and others.experts:
        found["intransigence_mm"] = of.intransigence(runs, others.experts, sensors)
    if runs.sequential and others.tuned:
        found["plasticity"] = of.plasticity(runs, others.tuned, sensors)
    if others.tuned and others.joint:
        found["gap_closed"] = of.gap_closed(runs, others.tuned, others.joint, sensors)
    return {name: estimate for name, estimate in found.items() if estimate is not None}


def _linear(runs: Runs) -> tuple[str, ...]:
    return tuple(of.LINEAR) if runs.sequential else ("final_mm",)


def _bound(mine: list[Planned], runs: dict[str, Runs], regime: str) -> str:
    """Label of the first bound of a regime, one with a finished run if there is any."""
    labels = [row.source.name for row in mine if isinstance(row.source, Bound) and row.source.regime == regime]
    return next((label for label in labels if runs[label]), labels[0] if labels else "")


def _runs(row: Planned, results: dict[str, StreamResult]) -> Runs:
    return of.collected({key: results[cell.name] for key, cell in row.cells.items() if cell.name in results})


def _missing(out: Path, row: Planned, results: dict[str, StreamResult]) -> dict[str, str]:
    return {
        cell.label: read_failure(out, cell.name) or NOT_YET for cell in row.cells.values() if cell.name not in results
    }
