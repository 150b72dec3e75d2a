"""Check a benchmark on streams whole, and run its cells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from equipose.benchmark.executors import Executor
from equipose.benchmark.live import View
from equipose.benchmark.loop import Grid, Outcome, run_cells
from equipose.benchmark.results import read_failure
from equipose.config import validate
from equipose.errors import UsageError
from equipose.registry import CONTINUAL
from equipose.stream_benchmark.plan import StreamCell, wanted
from equipose.stream_benchmark.recipe import StreamBenchmarkRecipe
from equipose.stream_benchmark.results import StreamResult, read_result
from equipose.stream_benchmark.work import StreamJob

StreamState = Outcome[StreamResult]
"""What is known about the cells."""


def check(recipe: StreamBenchmarkRecipe, data: Path) -> tuple[StreamCell, ...]:
    """All cells, after refusing everything that would fail later.

    Raises:
        UsageError: an unknown strategy or setting, an order that the data has not, a bound that does not fit the
            stream, an oracle without noise.
        DataError: the data folder is not usable.
    """
    from equipose.data.stream import stream
    from equipose.train.build import build_strategy, network
    from equipose.train.stream_stages import stages_of

    cells = wanted(recipe)
    streams: dict[str, Any] = {}
    networks: set[str] = set()
    for cell in cells:
        made = cell.recipe
        if made.train.devices != 1:
            raise UsageError(f"train.devices is {made.train.devices}; a cell is one process: use --jobs instead")
        strategy = CONTINUAL[made.continual.name]
        validate(strategy.Settings, made.continual.settings, f"continual.settings of {made.continual.name!r}")
        build_strategy(made, made.data.modalities)
        if made.separation.mode == "known" and not (made.corruption.sensor_rate or made.corruption.label_rate):
            raise UsageError(
                f"row {cell.title!r} knows the noise (separation: known) and the condition {cell.noise!r} has none: "
                "name the conditions it is run in, such as noise: [noisy]"
            )
        key = made.data.model_dump_json() + made.stream.model_dump_json()
        if key not in streams:
            streams[key] = stream(data, made.data, made.stream)
        stages_of(made, streams[key])
        told = made.data.model_dump_json() + made.model.model_dump_json()
        if told not in networks:
            networks.add(told)
            network(made, streams[key][0].train)
    return cells


def known(out: Path, cells: Sequence[StreamCell], failures: bool = False) -> StreamState:
    """Every finished cell that the folder has.

    Args:
        out: the benchmark's folder.
        cells: of the recipe.
        failures: take failed cells as failed; otherwise as not done yet, so that they are tried again.
    """
    state = StreamState()
    for cell in cells:
        result = read_result(out, cell.name)
        why = read_failure(out, cell.name) if failures else None
        if result is not None:
            state.done[cell.name] = result
        elif why is not None:
            state.failed[cell.name] = why
    return state


def run_grid(cells: Sequence[StreamCell], data: Path, out: Path, executor: Executor, view: View) -> StreamState:
    """Run every cell that is not finished; no cell waits for another, and a failure stops none.

    Args:
        cells: as ``check`` returns them.
        data: the data folder.
        out: the benchmark's folder, prepared.
        executor: where cells run.
        view: where the progress is shown.
    """
    state = known(out, cells)
    run_cells(_Streams(cells, data, out), state, executor, view)
    return state


class _Streams(Grid[StreamCell, StreamResult]):
    def __init__(self, cells: Sequence[StreamCell], data: Path, out: Path) -> None:
        self._cells, self.data, self.out = cells, data, out

    def cells(self, state: StreamState) -> Sequence[StreamCell]:
        """All of them, from the start."""
        return self._cells

    def read(self, cell: StreamCell) -> StreamResult | None:
        """Its files."""
        return read_result(self.out, cell.name)

    def job(self, cell: StreamCell) -> StreamJob:
        """Plain values."""
        recipe = cell.recipe.model_dump(mode="json")
        return StreamJob(cell.name, recipe, str(self.data.resolve()), str(self.out.resolve()))
