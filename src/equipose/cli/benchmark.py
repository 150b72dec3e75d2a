"""``equipose benchmark`` and ``equipose benchmark report``."""

from __future__ import annotations

from pathlib import Path

from equipose.cli.grids import again, exit_code, tell_failures


def benchmark(
    recipe: Path,
    data: Path,
    out: Path = Path("benchmark"),
    jobs: int = 2,
    seeds: tuple[int, ...] = (),
    cluster: bool = False,
    dry_run: bool = False,
) -> int:
    """Compare methods: train each with every seed, tune all alike, measure every subset of the sensors, one page.

    A benchmark that was interrupted goes on with the same command; finished cells are never trained again. A cell
    that fails is named at the end, does not stop the others, and is tried again by the next call.

    Args:
        recipe: YAML file with the methods and where they are compared, such as benchmarks/tiny.yaml.
        data: a packed folder, or an MM-Fi folder as it is.
        out: folder of the cells, run folders, results.csv, benchmark.md and benchmark.html.
        jobs: trainings at a time, one thread each.
        seeds: in place of the recipe's; name all that the page should hold.
        cluster: run the cells on a Ray cluster that sees the same folders; --jobs says how many at a time.
        dry_run: print the plan and write nothing.

    Returns:
        Exit code: 0 all cells are finished, 1 some failed, 130 interrupted.
    """
    from equipose.benchmark import recipe as recipes
    from equipose.benchmark import run

    settings = recipes.load_benchmark(recipe, seeds)
    if dry_run:
        print(run.plan(settings, data, out))
        return 0
    state = run.benchmark(settings, data, out, jobs, cluster)
    tell_failures(state.failed)
    if any(result.test is not None for result in state.done.values()):
        _tell(run.write_benchmark(out))
    return exit_code(state.stopped, len(state.failed), "cells", out, again("benchmark", recipe, data, out, seeds))


def report(folder: Path) -> int:
    """Write results.csv, benchmark.md and benchmark.html of a benchmark folder again, from its cells alone.

    The page may be made while the benchmark runs; it says which cells are missing.

    Args:
        folder: written by `equipose benchmark`.

    Returns:
        Exit code 0.
    """
    from equipose.benchmark.run import write_benchmark

    _tell(write_benchmark(folder))
    return 0


def _tell(page: Path) -> None:
    size = page.stat().st_size / 1e6
    print(f"benchmark: {page} ({size:.1f} MB; opens in any browser, without a network), {page.parent / 'results.csv'}")
