"""Run a benchmark: check it whole, start cells as soon as what they wait for is there, go on after failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from equipose.benchmark.executors import Executor
from equipose.benchmark.folder import State, known, validation_errors
from equipose.benchmark.live import View
from equipose.benchmark.loop import Grid, Outcome, run_cells
from equipose.benchmark.plan import Cell, conditions, method_cell, subset_cells, unknown_finals, wanted
from equipose.benchmark.recipe import BenchmarkRecipe, Method
from equipose.benchmark.results import CellResult, read_cell
from equipose.benchmark.work import Job
from equipose.errors import UsageError
from equipose.registry import BALANCE


def resolved(recipe: BenchmarkRecipe, data: Path) -> BenchmarkRecipe:
    """The recipe with every method's candidates filled in, after refusing everything that would fail later.

    Raises:
        UsageError: an unknown strategy or setting, a strategy that needs what it is not given, a fusion or encoder
            that does not exist, a split that leaves a side empty.
        DataError: the data folder is not usable.
    """
    from equipose.data.dataset import datasets
    from equipose.train.build import build_strategy, network

    methods = tuple(_with_candidates(method) for method in recipe.methods)
    recipe = recipe.model_copy(update={"methods": methods})
    for condition in conditions(recipe):
        tried = [
            method_cell(recipe, method, condition, candidate, recipe.seeds[0], "final")
            for method in recipe.methods
            for candidate in method.candidates or ({},)
        ]
        splits: dict[str, Any] = {}
        networks: set[str] = set()
        for cell in [*tried, *subset_cells(recipe, condition).values()]:
            made = cell.recipe
            if made.train.devices != 1:
                raise UsageError(f"train.devices is {made.train.devices}; a cell is one process: use --jobs instead")
            key = made.data.model_dump_json()
            if key not in splits:
                splits[key] = datasets(data, made.data)
            if key + made.model.model_dump_json() not in networks:
                networks.add(key + made.model.model_dump_json())
                network(made, splits[key]["train"])
            if cell.teachers:
                made = _with_teachers(made, {modality: "." for modality, _ in cell.teachers})
            build_strategy(made, made.data.modalities)
    return recipe


def _with_candidates(method: Method) -> Method:
    """The strategy's own list where the recipe has none, without repetitions."""
    strategy = BALANCE[method.strategy]
    found = strategy.candidates if method.candidates is None else method.candidates
    unique: list[dict[str, Any]] = []
    for each in found:
        if dict(each) not in unique:
            unique.append(dict(each))
    return method.model_copy(update={"candidates": tuple(unique or [{}])})


def _with_teachers(recipe: Any, teachers: Mapping[str, str]) -> Any:
    settings = {**recipe.balance.settings, "teachers": dict(teachers)}
    return recipe.model_copy(update={"balance": recipe.balance.model_copy(update={"settings": settings})})


def run_grid(recipe: BenchmarkRecipe, data: Path, out: Path, executor: Executor, view: View) -> State:
    """Run every cell that is not finished; a failure stops only the cells that need it.

    Args:
        recipe: as ``resolved`` returns it.
        data: the data folder.
        out: the benchmark's folder, prepared.
        executor: where cells run.
        view: where the progress is shown.
    """
    state = known(out, recipe)
    for name in _lost_teachers(recipe, out, state):
        del state.done[name]
    run_cells(_Trainings(recipe, data, out), state, executor, view)
    return state


def _lost_teachers(recipe: BenchmarkRecipe, out: Path, state: State) -> set[str]:
    """Finished cells that an unfinished one is to learn from, but whose run folder is gone.

    Cells are kept as data without their runs; such a teacher is trained again, with the same result.
    """
    waiting = [cell for cell in wanted(recipe, validation_errors(state)) if not state.ended(cell.name)]
    teachers = {teacher.name: teacher.training for cell in waiting for _, teacher in cell.teachers}
    return {
        name
        for name, training in teachers.items()
        if name in state.done and not (out / "runs" / training / "status.json").is_file()
    }


class _Trainings(Grid[Cell, CellResult]):
    """Cells of a benchmark: the final ones follow from what tuning found, and some wait for their teachers."""

    def __init__(self, recipe: BenchmarkRecipe, data: Path, out: Path) -> None:
        self.recipe, self.data, self.out = recipe, data, out

    def cells(self, state: Outcome[CellResult]) -> Sequence[Cell]:
        """What tuning needs, and what follows from the tuning that is done."""
        return wanted(self.recipe, validation_errors(state))

    def unknown(self, state: Outcome[CellResult]) -> int:
        """Final cells whose settings are not chosen yet."""
        return unknown_finals(self.recipe, validation_errors(state))

    def possible(self, cell: Cell, state: Outcome[CellResult]) -> bool:
        """Whether its teachers are trained."""
        for _, teacher in cell.teachers:
            if teacher.name in state.failed:
                state.failed[cell.name] = f"its teacher failed: {teacher.label}"
                return False
            if teacher.name not in state.done:
                return False
        return True

    def read(self, cell: Cell) -> CellResult | None:
        """Its file."""
        return read_cell(self.out, cell.name)

    def job(self, cell: Cell) -> Job:
        """Plain values."""
        return Job(
            name=cell.name,
            kind=cell.kind,
            training=cell.training,
            recipe=cell.recipe.model_dump(mode="json"),
            teachers={modality: teacher.training for modality, teacher in cell.teachers},
            data=str(self.data.resolve()),
            out=str(self.out.resolve()),
        )
