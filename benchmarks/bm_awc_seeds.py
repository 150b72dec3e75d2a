"""AWC against joint training over several seeds: errors, and the paired difference on the same test frames.

    python benchmarks/bm_awc_seeds.py demo/packed --seeds 0 1 2 --out benchmarks/results/awc_seeds.json

The interval draws people again, over all seeds together; with few seeds it says nothing about further seeds.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
from pathlib import Path

import numpy as np

STRATEGIES = ("joint", "awc")


def train_one(job: tuple[str, str, int, int, str, list[str]]) -> tuple[str, int, dict, np.ndarray, np.ndarray]:
    """Train and evaluate one strategy with one seed; returns its metrics, error per frame and subjects."""
    data, strategy, epochs, seed, out, overrides = job
    from equipose.config import load_recipe
    from equipose.train.evaluate import evaluate
    from equipose.train.fit import train

    flags = [f"balance.name={strategy}", f"train.epochs={epochs}", f"train.seed={seed}", *overrides]
    run = train(load_recipe(None, flags), Path(data), Path(out), f"{strategy}_s{seed}", on_step=lambda steps: None)
    metrics = evaluate(run, quiet=True)
    with np.load(run.path / "predictions.npz") as found:
        error = 1000.0 * np.linalg.norm(found["joints"].astype(float) - found["target"], axis=-1).mean(-1)
        return strategy, seed, metrics, error, found["subject"]


def main() -> None:
    """Run the grid and print one row per seed, then the difference over all."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="a packed folder")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from equipose.metrics.bootstrap import bootstrap_difference
    from equipose.train.run_dir import environment

    rows, errors, people = [], {}, {}
    with tempfile.TemporaryDirectory() as runs:
        grid = [(seed, strategy) for seed in args.seeds for strategy in STRATEGIES]
        jobs = [(str(args.data), strategy, args.epochs, seed, runs, args.overrides) for seed, strategy in grid]
        with multiprocessing.get_context("spawn").Pool(args.jobs, maxtasksperchild=1) as pool:
            for strategy, seed, metrics, error, subject in pool.imap(train_one, jobs, chunksize=1):
                errors[strategy, seed], people[strategy, seed] = error, subject
                subsets = {row["name"]: round(row["mpjpe_mm"], 2) for row in metrics["coalitions"]}
                rows.append({"strategy": strategy, "seed": seed, "mpjpe_mm": subsets, "collapse": metrics["collapse"]})
                print(f"{strategy:<6} seed {seed}: {error.mean():.2f} mm", flush=True)
    joint, awc = (np.concatenate([errors[strategy, seed] for seed in args.seeds]) for strategy in STRATEGIES)
    subject = np.concatenate([people["joint", seed] for seed in args.seeds])
    low, high = bootstrap_difference(awc, joint, subject, 2000, np.random.default_rng(0))
    found = environment()
    result = {
        "command": f"python benchmarks/bm_awc_seeds.py {args.data.name} --epochs {args.epochs} "
        f"--seeds {' '.join(map(str, args.seeds))}" + "".join(f" --set {override}" for override in args.overrides),
        "awc_minus_joint_mm": float((awc - joint).mean()),
        "interval": [float(low), float(high)],
        "rows": rows,
        "versions": found["versions"],
        "machine": found["machine"],
    }
    print(f"awc - joint: {result['awc_minus_joint_mm']:+.2f} mm [{low:+.2f}, {high:+.2f}] over people")
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
