"""The public functions: run a benchmark on streams, and write its tables and page from the cells it has."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from equipose.benchmark.executors import Executor, LocalExecutor
from equipose.benchmark.folder import check_folder, locked, prepare, saved
from equipose.benchmark.live import view
from equipose.benchmark.loop import terminated_like_interrupted
from equipose.errors import DataError, at_least
from equipose.stream_benchmark.grid import StreamState, check, known, run_grid
from equipose.stream_benchmark.markdown import write_markdown
from equipose.stream_benchmark.plan import rows
from equipose.stream_benchmark.recipe import StreamBenchmarkRecipe, base_recipe
from equipose.stream_benchmark.study import build_study
from equipose.stream_benchmark.table import write_csv

RECIPE = "continual.yaml"
_PAGE = "equipose.stream_benchmark.page"


def continual(
    recipe: StreamBenchmarkRecipe, data: Path, out: Path, jobs: int = 2, executor: Executor | None = None
) -> StreamState:
    """Run every cell of a benchmark on streams that is not finished yet.

    Args:
        recipe: what to compare, see ``recipe.load_stream_benchmark``.
        data: a packed folder, or an MM-Fi folder as it is.
        out: the benchmark's folder; one that was interrupted goes on, each run within its experience.
        jobs: cells at a time.
        executor: where cells run, in place of processes of this machine.

    Returns:
        The finished and the failed cells.

    Raises:
        UsageError: the recipe cannot be run on this data, or the folder belongs to something else.
        DataError: the data folder is not usable.
    """
    at_least("--jobs", jobs, 1)
    check_folder(out, RECIPE)
    cells = check(recipe, data)
    with locked(out), terminated_like_interrupted(), view() as shown:
        prepare(out, recipe, data, RECIPE)
        return run_grid(cells, data, out, executor or LocalExecutor(jobs), shown)


def write_continual(out: Path) -> Path:
    """Write the tables, ``continual.md`` and ``continual.html`` of a folder from its cells alone.

    Returns:
        The page.

    Raises:
        DataError: the folder is no benchmark on streams, or no cell is finished.
    """
    study = build_study(out, saved(out, StreamBenchmarkRecipe, RECIPE, "equipose continual"))
    if not study.results:
        raise DataError(f"{out} has no finished cell yet; go on with: equipose continual RECIPE DATA --out {out}")
    write_csv(out, study)
    page = write_markdown(out / "continual.md", study)
    if find_spec(_PAGE) is not None:
        page = import_module(_PAGE).write_page(out / "continual.html", study)
    return page


def plan(recipe: StreamBenchmarkRecipe, data: Path, out: Path) -> str:
    """What a benchmark would do, in words; writes nothing, and refuses what ``continual`` would refuse."""
    check_folder(out, RECIPE)
    cells = check(recipe, data)
    done = known(out, cells).done
    base = base_recipe(recipe)
    lines = [
        f"{len(recipe.methods)} methods and {len(recipe.bounds)} bounds x {len(recipe.noise)} noise conditions x "
        f"{len(recipe.orders)} orders x {len(recipe.seeds)} seeds, {base.train.epochs} epochs per experience",
        f"{len(cells)} runs; {len(done)} are finished",
    ]
    lines += [f"order: {' '.join(order) or 'natural'}" for order in recipe.orders]
    for noise in recipe.noise:
        told = ", ".join(f"{key}={value}" for key, value in noise.corruption.items()) or "as the base says"
        labels = [row.source.name for row in rows(recipe) if row.noise == noise]
        lines.append(f"{noise.label} ({told}): {', '.join(labels)}")
    return "\n".join(lines)
