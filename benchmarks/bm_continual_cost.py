"""What every continual strategy costs: processor time of a step and of an experience's end, and memory.

python benchmarks/bm_continual_cost.py DATA --out benchmarks/results/continual_cost.json

Streams of two rooms, two epochs each, in one thread; every strategy in turn with fine-tuning, so that both see the same
machine. A step is the median over the second room, where old knowledge is held; processor time, not the clock's, so
that other work on the machine counts little.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from equipose.config import load_settings
from equipose.registry import CONTINUAL
from equipose.train.run_dir import environment
from equipose.train.stream_recipe import StreamRecipe
from equipose.train.stream_run import train_stream

OPTIONS = [
    "data.protocol=P1",
    "data.split=S2",
    "data.frame_stride=3",
    "model.fusion=experts",
    "model.pairs=[rgb+lidar]",
    "balance.name=every_subset",
    "balance.settings.trust_steps=0",
    "stream.order=[E01,E02]",
    "train.epochs=2",
    "train.checkpoint_seconds=100000",
]


def measured(name: str, data: Path, runs: Path) -> dict[str, float]:
    """Median step of the second room and what is left of the run, seconds, and bytes of memory."""
    recipe = load_settings(StreamRecipe, None, [*OPTIONS, f"continual.name={name}"])
    marks: list[float] = []
    start = time.process_time()
    run = train_stream(
        recipe, data, runs, f"{name}_{time.monotonic_ns()}", on_step=lambda _: marks.append(time.process_time())
    )
    total = time.process_time() - start
    gaps = [later - earlier for earlier, later in itertools.pairwise(marks)]
    second = gaps[len(gaps) // 2 + 1 :]
    steps = statistics.median(second)
    return {"step": steps, "rest": total - steps * len(marks), "memory": float(run.status["memory_bytes"])}


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="a packed folder with rooms E01 and E02")
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--strategies", nargs="*", default=[])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)
        measured("fine_tune", args.data, runs)  # the first run warms up
        for name in args.strategies or [name for name in CONTINUAL if name != "fine_tune"]:
            pairs = [[measured(each, args.data, runs) for each in ("fine_tune", name)] for _ in range(args.pairs)]
            row = {
                "strategy": name,
                "step_ratio": round(statistics.median(own["step"] / plain["step"] for plain, own in pairs), 3),
                "step_ratios": [round(own["step"] / plain["step"], 3) for plain, own in pairs],
                "ms_per_step": round(1000 * statistics.median(own["step"] for _, own in pairs), 2),
                "other_seconds": round(statistics.median(own["rest"] - plain["rest"] for plain, own in pairs), 2),
                "memory_mb": round(pairs[0][1]["memory"] / 1e6, 3),
            }
            rows.append(row)
            print(
                f"{name:22s} {row['step_ratio']:5.2f}x  {row['ms_per_step']:7.1f} ms  {row['memory_mb']:8.2f} MB  "
                f"{row['other_seconds']:6.1f} s more between steps",
                flush=True,
            )
    about = environment()
    command = f"python benchmarks/bm_continual_cost.py DATA --pairs {args.pairs}"
    result = {"command": command, "rows": rows, "versions": about["versions"], "machine": about["machine"]}
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
