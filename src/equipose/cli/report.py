"""``equipose report``: one offline page about one or more runs."""

from __future__ import annotations

from pathlib import Path


def report(runs: list[Path], out: Path | None = None) -> int:
    """Write one HTML page about one or more runs: accuracy, sensors, balance, failures, cost, 3D clips.

    The page needs no network. Give a joint and a balanced run of the same data to see whether balancing helped, and
    several seeds of each to know whether that holds for another training.

    Args:
        runs: run folders that `equipose evaluate` has been through.
        out: the file to write, or a folder for report.html. Default: in the run folder for one run, in the folder
            that holds the first run for several.

    Returns:
        Exit code 0.
    """
    from equipose.report import write_report

    path = write_report(runs, out)
    print(f"report: {path} ({path.stat().st_size / 1e6:.1f} MB; opens in any browser, without a network)")
    return 0
