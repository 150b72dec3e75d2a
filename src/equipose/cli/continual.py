"""``equipose continual`` and ``equipose continual report``."""

from __future__ import annotations

from pathlib import Path

from equipose.cli.grids import again, exit_code, tell_failures


def continual(
    recipe: Path,
    data: Path,
    out: Path = Path("continual"),
    jobs: int = 2,
    seeds: tuple[int, ...] = (),
    dry_run: bool = False,
) -> int:
    """Compare continual strategies on streams, clean and noisy, with their bounds, over orders and seeds: one page.

    A benchmark that was interrupted goes on with the same command, every run within the experience it was in;
    finished runs are never trained again. A run that fails is named at the end, does not stop the others, and is tried
    again by the next call.

    Args:
        recipe: YAML file with the methods, noise, orders and bounds, such as benchmarks/continual_tiny.yaml.
        data: a packed folder, or an MM-Fi folder as it is.
        out: folder of the cells, run folders, tables, continual.md and continual.html.
        jobs: runs at a time, one thread each.
        seeds: in place of the recipe's; name all that the page should hold.
        dry_run: print the plan and write nothing.

    Returns:
        Exit code: 0 all runs are finished, 1 some failed, 130 interrupted.
    """
    from equipose.stream_benchmark import recipe as recipes
    from equipose.stream_benchmark import run

    settings = recipes.load_stream_benchmark(recipe, seeds)
    if dry_run:
        print(run.plan(settings, data, out))
        return 0
    state = run.continual(settings, data, out, jobs)
    tell_failures(state.failed)
    if state.done:
        _tell(run.write_continual(out))
    return exit_code(state.stopped, len(state.failed), "runs", out, again("continual", recipe, data, out, seeds))


def report(folder: Path) -> int:
    """Write the tables and the page of a benchmark on streams again, from its cells alone.

    The page may be made while the benchmark runs; it says which runs are missing.

    Args:
        folder: written by `equipose continual`.

    Returns:
        Exit code 0.
    """
    from equipose.stream_benchmark.run import write_continual

    _tell(write_continual(folder))
    return 0


def _tell(page: Path) -> None:
    tables = ", ".join(str(page.parent / f"{name}.csv") for name in ("results", "measures", "noise"))
    print(f"continual: {page}; tables: {tables}")
