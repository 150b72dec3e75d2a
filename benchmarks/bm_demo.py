"""Run the demo from nothing; print its wall time and the peak memory of all its processes together.

python benchmarks/bm_demo.py --out benchmarks/results/demo.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")


def tree_memory(root: int) -> tuple[float, int]:
    """Resident megabytes (shared pages counted in each process) and number of processes of a tree, from /proc."""
    parents, pages = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                after_name = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.name)] = int(after_name[1])
                pages[int(entry.name)] = int((entry / "statm").read_text().split()[1])
            except (FileNotFoundError, ProcessLookupError):  # it ended while we looked
                parents.pop(int(entry.name), None)
    tree = {root}
    while grown := {pid for pid, parent in parents.items() if parent in tree} - tree:
        tree |= grown
    return sum(pages.get(pid, 0) for pid in tree) * _PAGE / 2**20, len(tree)


def main() -> None:
    """Run ``equipose quickstart`` in a temporary folder and watch it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--keep", type=Path, help="leave the demo in this folder")
    args = parser.parse_args()
    from equipose.train.run_dir import environment

    with tempfile.TemporaryDirectory() as folder:
        demo = args.keep or Path(folder) / "demo"
        start, peak = time.monotonic(), 0.0
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen([sys.executable, "-m", "equipose.cli", "quickstart", "--out", str(demo)], env=env)
        while process.poll() is None:
            peak = max(peak, tree_memory(process.pid)[0])
            time.sleep(0.2)
        seconds = time.monotonic() - start
        if process.returncode:
            sys.exit(process.returncode)
        runs = {}
        for run in sorted((demo / "runs").iterdir()):
            metrics = json.loads((run / "metrics.json").read_text())
            runs[run.name] = {
                "training_seconds": metrics["training_seconds"],
                "mean_pose_mpjpe_mm": metrics["mean_pose_mpjpe_mm"],
                "room_mean_mpjpe_mm": metrics["room_mean_mpjpe_mm"],
                "mpjpe_mm": {row["name"]: round(row["mpjpe_mm"], 2) for row in metrics["coalitions"]},
                "interval": metrics["coalitions"][-1]["interval"],
                "alarms": metrics["alarms"],
            }
        report = (demo / "report.html").stat().st_size
    found = environment()
    result = {
        "command": "python benchmarks/bm_demo.py",
        "wall_seconds": round(seconds, 1),
        "peak_memory_mb": round(peak, 1),
        "report_mb": round(report / 2**20, 2),
        "runs": runs,
        "versions": found["versions"],
        "machine": found["machine"],
    }
    print(json.dumps(result, indent=1))
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
