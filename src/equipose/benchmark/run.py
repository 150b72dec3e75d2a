"""The two public functions: run a benchmark, and write its page and table from the cells it has."""

from __future__ import annotations

from pathlib import Path

from equipose.benchmark.executors import Executor, LocalExecutor
from equipose.benchmark.folder import State, check_folder, known, locked, prepare, saved_recipe, validation_errors
from equipose.benchmark.grid import resolved, run_grid
from equipose.benchmark.live import view
from equipose.benchmark.loop import terminated_like_interrupted
from equipose.benchmark.markdown import write_markdown
from equipose.benchmark.page import write_page
from equipose.benchmark.plan import candidates, conditions, unknown_finals, wanted
from equipose.benchmark.recipe import BenchmarkRecipe, base_recipe, subset_sensors
from equipose.benchmark.study import build_study
from equipose.benchmark.table import write_csv
from equipose.errors import DataError, at_least


def benchmark(
    recipe: BenchmarkRecipe,
    data: Path,
    out: Path,
    jobs: int = 2,
    cluster: bool = False,
    executor: Executor | None = None,
) -> State:
    """Run every cell of a benchmark that is not finished yet.

    Args:
        recipe: what to compare, see ``recipe.load_benchmark``.
        data: a packed folder, or an MM-Fi folder as it is.
        out: the benchmark's folder; one that was interrupted goes on.
        jobs: cells at a time.
        cluster: run the cells through Ray instead of in processes of this machine.
        executor: where cells run, in place of both.

    Returns:
        The finished and the failed cells.

    Raises:
        UsageError: the recipe cannot be run on this data, or the folder belongs to something else.
        DataError: the data folder is not usable.
    """
    at_least("--jobs", jobs, 1)
    check_folder(out)
    whole = resolved(recipe, data)
    chosen = executor or (_ray(jobs) if cluster else LocalExecutor(jobs))
    with locked(out), terminated_like_interrupted(), view() as shown:
        prepare(out, whole, data)
        return run_grid(whole, data, out, chosen, shown)


def write_benchmark(out: Path) -> Path:
    """Write ``results.csv``, ``benchmark.md`` and ``benchmark.html`` of a benchmark folder from its cells alone.

    Returns:
        The page.

    Raises:
        DataError: the folder is no benchmark, or no cell with a test error is finished.
    """
    study = build_study(out, saved_recipe(out))
    if not any(cell.test is not None for cell in study.cells):
        raise DataError(f"{out} has no finished cell yet; go on with: equipose benchmark RECIPE DATA --out {out}")
    write_csv(out / "results.csv", study)
    write_markdown(out / "benchmark.md", study)
    return write_page(out / "benchmark.html", study)


def plan(recipe: BenchmarkRecipe, data: Path, out: Path) -> str:
    """What a benchmark would do, in words; writes nothing, and refuses what ``benchmark`` would refuse."""
    check_folder(out)
    whole = resolved(recipe, data)
    state = known(out, whole)
    cells = wanted(whole, validation_errors(state))
    unknown = unknown_finals(whole, validation_errors(state))
    finals = sum(cell.kind == "final" for cell in cells) + unknown
    tuning = sum(cell.kind == "tuning" for cell in cells)
    epochs = base_recipe(whole).train.epochs
    lines = [
        f"{len(whole.methods)} methods x {len(conditions(whole))} conditions x {len(whole.seeds)} seeds, "
        f"{len(subset_sensors(whole))} sets of fewer sensors, {epochs} epochs each",
        f"{finals} final cells, {tuning} tuning cells; {len(state.done)} are finished",
        "conditions: " + "; ".join(condition.label for condition in conditions(whole)),
        "methods (settings tried):",
    ]
    for method in whole.methods:
        tried = [", ".join(f"{k}={v}" for k, v in each.items()) or "defaults" for each in candidates(whole, method)]
        lines.append(f"  {method.name} [{method.strategy}]: {' | '.join(tried)}")
    if subset_sensors(whole):
        lines.append("fewer sensors: " + ", ".join("+".join(names) for names in subset_sensors(whole)))
    return "\n".join(lines)


def _ray(slots: int) -> Executor:
    from equipose.benchmark.cluster import RayExecutor

    return RayExecutor(slots)
