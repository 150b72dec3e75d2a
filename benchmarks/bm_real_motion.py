"""How far runs that were trained on scripted motion carry over to real motion seen by the same simulated sensors.

    equipose simulate cmu --motion CLIPS/*.npz && equipose data pack cmu cmu-packed
    python benchmarks/bm_real_motion.py runs/RUN [runs/RUN ...] --motion cmu-packed --out result.json

Every frame of the motion folder is a test sample; nothing is fitted to it. Beside it stands the run's error on its own
test split, taken from its predictions where `equipose evaluate` has left them. The motion is real, the sensors and
rooms are simulated: the difference is the price of unseen motion and bodies, not that of real sensors.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path


def measures(joints, target, root: int) -> dict:
    """Per sample: MPJPE, PA-MPJPE and MPJPE after moving the roots onto each other; millimetres."""
    import torch

    from equipose.metrics.pose import mpjpe, pa_mpjpe

    predicted, truth = torch.from_numpy(joints), torch.from_numpy(target)
    own, true = predicted[:, root : root + 1], truth[:, root : root + 1]
    return {
        "mpjpe_mm": mpjpe(predicted, truth).numpy(),
        "pa_mpjpe_mm": pa_mpjpe(predicted, truth).numpy(),
        "root_aligned_mpjpe_mm": mpjpe(predicted - own, truth - true).numpy(),
    }


def summary(values: dict, groups: dict, resamples: int, seed: int) -> dict:
    """Mean of every measure with 95 % intervals, one for each way to group the samples; null with a single group."""
    import numpy as np

    from equipose.metrics.bootstrap import bootstrap_mean

    rows = {}
    for name, value in values.items():
        rows[name] = {"mean": float(value.mean())}
        for unit, label in groups.items():
            low, high = bootstrap_mean(value, label, resamples, np.random.default_rng([seed, 6]))
            rows[name][f"interval_over_{unit}"] = [float(low), float(high)] if np.isfinite(low) else None
    return rows


def own_test(run, splits, model) -> tuple:
    """Joints, target, subject and recording of the run's own test split, from its predictions if it has them."""
    import numpy as np

    from equipose.train.evaluate import predict_split

    path = run.path / "predictions.npz"
    metrics = run.path / "metrics.json"
    if path.is_file() and metrics.is_file() and run.read_json("metrics.json").get("checkpoint") == "best":
        with np.load(path) as found:
            return tuple(found[name] for name in ("joints", "target", "subject", "recording"))
    found = predict_split(model, splits["test"], quiet=True)
    return found.joints, found.target, found.meta["subject"], found.meta["recording"]


def measure(path: Path, data: Path | None, motion: Path, resamples: int, seed: int) -> dict:
    """All figures of one run."""
    import numpy as np

    from equipose.data.dataset import PoseDataset, datasets
    from equipose.data.store import open_store
    from equipose.errors import DataError
    from equipose.train.evaluate import load_model, predict_split
    from equipose.train.run_dir import RunDir
    from equipose.types import coalition_name

    run = RunDir.open(path)
    settings = run.recipe.data
    store = open_store(motion, settings.modalities)
    splits = datasets(run.data_path(data), settings)
    if store.skeleton.name != splits["test"].skeleton.name:
        raise DataError(f"{motion} has the joints of {store.skeleton.name}, {path} those of its own data")
    dataset = PoseDataset(store, np.flatnonzero(store.labelled), settings)
    model = load_model(run, dataset)
    found = predict_split(model, dataset, quiet=True)
    root = dataset.skeleton.root

    def figures(joints, target, subject, recording) -> dict:
        groups = {"subjects": subject, "clips": recording}
        return {
            "samples": len(joints),
            "subjects": len(np.unique(subject)),
            "clips": len(np.unique(recording)),
            **summary(measures(joints, target, root), groups, resamples, seed),
        }

    mean_pose = np.broadcast_to(model.mean_pose.cpu().numpy(), found.target.shape).copy()
    names = [coalition_name(row, model.modalities) for row in range(len(found.error_mm))]
    real = figures(found.joints, found.target, found.meta["subject"], found.meta["recording"])
    return {
        "run": path.name,
        "strategy": run.recipe.balance.name,
        "seed": run.recipe.train.seed,
        "own_test": figures(*own_test(run, splits, model)),
        "real_motion": real,
        "training_mean_pose_on_real_motion": {
            name: float(value.mean()) for name, value in measures(mean_pose, found.target, root).items()
        },
        "real_motion_by_sensors_mpjpe_mm": dict(zip(names, found.error_mm.mean(1).tolist(), strict=True)),
        "real_motion_by_subject_mpjpe_mm": {
            str(s): float(found.error_mm[-1][found.meta["subject"] == s].mean())
            for s in np.unique(found.meta["subject"]).tolist()
        },
    }


def main() -> None:
    """Measure every run and print two lines for each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", type=Path, nargs="+", help="run folders")
    parser.add_argument("--motion", type=Path, required=True, help="packed folder of simulated recorded motion")
    parser.add_argument("--data", type=Path, help="where the runs' own data folder is now, if it was moved")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from equipose.errors import EquiposeError
    from equipose.train.run_dir import environment

    rows = []
    for path in args.runs:
        try:
            row = measure(path, args.data, args.motion, args.resamples, args.seed)
        except EquiposeError as error:
            parser.exit(error.exit_code, f"{error}\n")
        rows.append(row)
        for side in ("own_test", "real_motion"):
            parts = []
            for name in ("mpjpe_mm", "pa_mpjpe_mm", "root_aligned_mpjpe_mm"):
                ends = row[side][name]["interval_over_clips"]
                shown = f" ({ends[0]:.1f} to {ends[1]:.1f} over clips)" if ends else ""
                parts.append(f"{name.removesuffix('_mm')} {row[side][name]['mean']:.1f}{shown}")
            print(f"{path.name} {side}: {row[side]['samples']} samples, {', '.join(parts)} mm", flush=True)
    env = environment()
    result = {
        "command": "python benchmarks/bm_real_motion.py RUN --motion MOTION_PACKED",
        "what": "real motion, simulated sensors and rooms; nothing is fitted to the motion",
        "rows": rows,
        "versions": env["versions"],
        "machine": env["machine"],
    }
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
