"""Run a benchmark: check it whole, start cells as soon as what they wait for is there, go on after failures."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from equipose.benchmark.executors import Executor
from equipose.benchmark.folder import State, known
from equipose.benchmark.live import Tally, View
from equipose.benchmark.plan import Cell, conditions, method_cell, subset_cells, unknown_finals, wanted
from equipose.benchmark.recipe import BenchmarkRecipe, Method
from equipose.benchmark.results import read_cell
from equipose.benchmark.work import Job, Message
from equipose.errors import UsageError
from equipose.registry import BALANCE

_POLL_SECONDS = 0.5


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
    tally = Tally(slots=executor.slots)
    try:
        while True:
            cells = wanted(recipe, state.validation)
            _count(tally, recipe, cells, state)
            failures = len(state.failed)
            for cell in cells:
                if len(tally.running) >= executor.slots:
                    break
                if _ready(cell, state, tally):
                    executor.start(_job(cell, data, out))
                    tally.running[cell.name] = (cell, time.monotonic(), None)
                    view.started(cell, tally)
            if len(state.failed) > failures:
                continue  # what waited for those is known now
            if not tally.running:
                return state
            ended = False
            while not ended:
                for message in executor.poll(_POLL_SECONDS):
                    ended |= _note(message, out, state, tally, view)
                view.tick(tally)
    except KeyboardInterrupt:
        state.stopped = True
        for message in executor.stop():
            _note(message, out, state, tally, view)
        return state


def _ready(cell: Cell, state: State, tally: Tally) -> bool:
    """Whether a cell can start: not done, its run folder free, its teachers trained."""
    if cell.name in state.done or cell.name in state.failed or cell.name in tally.running:
        return False
    if any(cell.training == other.training for other, _, _ in tally.running.values()):
        return False
    for _, teacher in cell.teachers:
        if teacher.name in state.failed:
            state.failed[cell.name] = f"its teacher failed: {teacher.label}"
            return False
        if teacher.name not in state.done:
            return False
    return True


def _count(tally: Tally, recipe: BenchmarkRecipe, cells: list[Cell], state: State) -> None:
    unknown = unknown_finals(recipe, state.validation)
    tally.total = len(cells) + unknown
    tally.done = len(state.done)
    tally.failed = len(state.failed)
    open_ = [cell.weight for cell in cells if cell.name not in state.done and cell.name not in state.failed]
    average = sum(cell.weight for cell in cells) / max(len(cells), 1)
    tally.left = sum(open_) + unknown * average


def _note(message: Message, out: Path, state: State, tally: Tally, view: View) -> bool:
    """Take in what a cell told; True if it ended."""
    if message.name not in tally.running:
        return False
    cell, since, _ = tally.running[message.name]
    if state.stopped and message.state == "failed":  # it was not far enough to have anything to save
        message = Message(message.name, "stopped")
    if message.state == "running":
        tally.running[message.name] = (cell, since, message)
        return False
    del tally.running[message.name]
    result = None
    if message.state == "done":
        result = read_cell(out, cell.name)
        assert result is not None, "a cell that is done has its file"
        state.done[cell.name] = result
        tally.work += cell.weight
        tally.done += 1
        tally.left -= cell.weight
    elif message.state == "failed":
        state.failed[cell.name] = message.text
        tally.failed += 1
        tally.left -= cell.weight
    elif not state.stopped:  # somebody stopped this one process
        state.failed[cell.name] = "its process was asked to stop; repeat the same command to continue it"
        tally.failed += 1
    view.ended(cell, message, result, time.monotonic() - since, tally)
    return True


def _job(cell: Cell, data: Path, out: Path) -> Job:
    return Job(
        name=cell.name,
        kind=cell.kind,
        training=cell.training,
        recipe=cell.recipe.model_dump(mode="json"),
        teachers={modality: teacher.training for modality, teacher in cell.teachers},
        data=str(data.resolve()),
        out=str(out.resolve()),
    )
