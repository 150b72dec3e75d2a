"""What AWC adds to the time of joint training: whole runs in turn, on the same data, as a ratio pair by pair.

python benchmarks/bm_awc_cost.py demo/packed --out benchmarks/results/awc_cost.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path


def main() -> None:
    """Train joint, AWC, joint, AWC, ... with one thread and compare their times."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="a packed folder")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from equipose.config import load_recipe
    from equipose.train.fit import train
    from equipose.train.run_dir import environment

    rows = []
    with tempfile.TemporaryDirectory() as runs:
        for pair in range(args.pairs):
            row = {}
            for name in ("joint", "awc"):
                recipe = load_recipe(None, [f"balance.name={name}", f"train.epochs={args.epochs}"])
                run = train(recipe, args.data, Path(runs), f"{name}{pair}", on_step=lambda steps: None)
                lines = run.epochs()
                row[name] = run.status["training_seconds"]
                row[f"{name}_contribution_share"] = sum(x["contribution_seconds"] for x in lines) / row[name]
            row["ratio"] = row["awc"] / row["joint"]
            print(f"joint {row['joint']:.1f} s, awc {row['awc']:.1f} s, ratio {row['ratio']:.3f}", flush=True)
            rows.append(row)
    found = environment()
    result = {
        "command": f"python benchmarks/bm_awc_cost.py {args.data.name} --epochs {args.epochs} --pairs {args.pairs}",
        "median_ratio": statistics.median(row["ratio"] for row in rows),
        "rows": rows,
        "versions": found["versions"],
        "machine": found["machine"],
    }
    print(f"median ratio {result['median_ratio']:.3f}")
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
