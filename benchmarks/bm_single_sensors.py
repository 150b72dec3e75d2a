"""Train every sensor alone, the pair RGB + LiDAR, and all four, on one data folder, beside answers without sensors.

    python benchmarks/bm_single_sensors.py demo/packed --out benchmarks/results/single_sensors.json

Two trainings run at a time, one thread each. Selection is on the validation split, the figures are of the test split.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
from pathlib import Path

SETS = ("rgb", "lidar", "mmwave", "wifi", "rgb+lidar", "rgb+lidar+mmwave+wifi")


def train_one(job: tuple[str, str, int, int, str, list[str]]) -> dict:
    """Train and evaluate one set of sensors; runs in a process of its own."""
    data, sensors, epochs, seed, out, overrides = job
    from equipose.config import load_recipe
    from equipose.train.evaluate import evaluate
    from equipose.train.fit import train

    modalities = sensors.split("+")
    recipe = load_recipe(
        None, [f"data.modalities={modalities}", f"train.epochs={epochs}", f"train.seed={seed}", *overrides]
    )
    run = train(recipe, Path(data), Path(out), f"{sensors}_s{seed}", on_step=lambda steps: None)
    metrics = evaluate(run, quiet=True)
    full = metrics["coalitions"][-1]
    keys = (
        "mean_pose_mpjpe_mm",
        "room_mean_mpjpe_mm",
        "subject_mean_mpjpe_mm",
        "samples",
        "training_seconds",
    )
    return {
        "sensors": sensors,
        "seed": seed,
        **{key: full[key] for key in ("mpjpe_mm", "interval", "pa_mpjpe_mm")},
        **{key: metrics[key] for key in keys},
        "gain_over_mean_pose": 1 - full["mpjpe_mm"] / metrics["mean_pose_mpjpe_mm"],
    }


def main() -> None:
    """Run the grid and print one row per training."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="a packed folder")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from equipose.train.run_dir import environment

    env = environment()
    result = {
        "command": f"python benchmarks/bm_single_sensors.py {args.data.name} --epochs {args.epochs} "
        f"--seeds {' '.join(map(str, args.seeds))}" + "".join(f" --set {override}" for override in args.overrides),
        "epochs": args.epochs,
        "overrides": args.overrides,
        "versions": env["versions"],
        "machine": env["machine"],
        "rows": earlier_rows(args),
    }
    rows = result["rows"]
    done = {(row["sensors"], row["seed"]) for row in rows}
    with tempfile.TemporaryDirectory() as runs:
        todo = [(s, seed) for seed in args.seeds for s in args.sets if (s, seed) not in done]
        jobs = [(str(args.data), s, args.epochs, seed, runs, args.overrides) for s, seed in todo]
        with multiprocessing.get_context("spawn").Pool(args.jobs, maxtasksperchild=1) as pool:
            for row in pool.imap_unordered(train_one, jobs, chunksize=1):
                rows.append(row)
                rows.sort(key=lambda r: (r["seed"], SETS.index(r["sensors"]) if r["sensors"] in SETS else 99))
                low, high = row["interval"]
                print(
                    f"{row['sensors']:<24} seed {row['seed']}: {row['mpjpe_mm']:6.1f} mm ({low:.1f} to {high:.1f}), "
                    f"{100 * row['gain_over_mean_pose']:5.1f} % better than the mean pose "
                    f"{row['mean_pose_mpjpe_mm']:.1f}, room mean {row['room_mean_mpjpe_mm']:.1f}",
                    flush=True,
                )
                if args.out:
                    args.out.write_text(json.dumps(result, indent=1) + "\n")


def earlier_rows(args: argparse.Namespace) -> list[dict]:
    """Rows that an interrupted call with the same epochs and settings has already measured."""
    if not args.out or not args.out.is_file():
        return []
    earlier = json.loads(args.out.read_text())
    same = earlier.get("epochs") == args.epochs and earlier.get("overrides") == args.overrides
    return earlier["rows"] if same else []


if __name__ == "__main__":
    main()
