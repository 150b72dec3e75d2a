"""What every balance strategy costs: processor time of whole epochs, in turn with joint training, as a ratio.

python benchmarks/bm_step_cost.py DATA --out benchmarks/results/step_cost.json

Both sides of a pair train the same network on the same samples in one process and one thread; processor time, not the
clock's, so that other work on the machine counts little. The ratio of epochs includes what a strategy does between
them (errors of its own, Fisher information, contribution) and the validation that every run has. Ours is compared a
second time with joint training as published, plain concatenation, and a third time with rays for radar too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from equipose.config import Recipe, load_recipe
from equipose.data.dataset import PoseDataset, datasets
from equipose.registry import BALANCE
from equipose.train.build import build_session
from equipose.train.fit import begin_epoch, end_epoch, train
from equipose.train.loop import Session, train_epoch
from equipose.train.processes import launch
from equipose.train.run_dir import environment

Splits = dict[str, PoseDataset]


def recipe_of(name: str, options: list[str], teachers: dict[str, str]) -> Recipe:
    """The recipe of one side; ``ume`` needs the fusion that means all, ``umt`` its teachers."""
    more = [f"balance.name={name}", *options]
    if name == "ume":
        more.append("model.fusion=ensemble")
    if name == "umt":
        more.append("balance.settings=" + json.dumps({"teachers": teachers}))
    return load_recipe(None, more)


def epoch_seconds(session: Session, splits: Splits) -> tuple[float, float]:
    """Processor seconds of the steps of the session's next epoch, and of all of it with what comes between epochs."""
    begin = time.process_time()
    begin_epoch(session, splits)
    start = time.process_time()
    train_epoch(session, splits["train"], lambda: False, lambda: False, lambda: None, lambda: None)
    steps = time.process_time() - start
    end_epoch(session, splits)
    session.progress.epoch, session.progress.batch, session.progress.sums = session.progress.epoch + 1, 0, {}
    return steps, time.process_time() - begin


def compared(one: Recipe, other: Recipe, splits: Splits, epochs: int) -> dict[str, Any]:
    """Milliseconds per step of both, epoch by epoch in turn after one that does not count, and median ratios."""
    sessions = [build_session(recipe, splits["train"], launch(recipe.train)) for recipe in (one, other)]
    rows = []
    for epoch in range(epochs + 1):
        seconds = [epoch_seconds(session, splits) for session in sessions]
        if epoch:
            rows.append(seconds)
    steps = sessions[0].progress.step / (epochs + 1)
    return {
        "joint_ms_per_step": round(1000 * statistics.median(a[0] for a, _ in rows) / steps, 2),
        "ms_per_step": round(1000 * statistics.median(b[0] for _, b in rows) / steps, 2),
        "step_ratio": round(statistics.median(b[0] / a[0] for a, b in rows), 3),
        "epoch_ratio": round(statistics.median(b[1] / a[1] for a, b in rows), 3),
        "step_ratios": [round(b[0] / a[0], 3) for a, b in rows],
    }


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="a packed folder")
    parser.add_argument("--stride", type=int, default=9, help="data.frame_stride")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--strategies", nargs="*", default=[])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    options = [f"data.frame_stride={args.stride}", "train.epochs=20"]
    rows = []
    with tempfile.TemporaryDirectory() as runs:
        teachers = {}
        base = load_recipe(None, options)
        splits = datasets(args.data, base.data)
        for sensor in base.data.modalities:
            alone = load_recipe(None, [*options, f"data.modalities=[{sensor}]", "train.epochs=1"])
            teachers[sensor] = str(train(alone, args.data, Path(runs), sensor, on_step=lambda steps: None).path)
        cases: list[tuple[str, list[str], list[str]]] = [(name, [], []) for name in BALANCE if name != "joint"]
        ours = ["data.mirror=0.25", "data.move.share=0.25", "model.fusion=experts", "model.pairs=[rgb+lidar]"]
        ours.append("train.probe_samples=512")
        radar = [each.replace("[rgb+lidar]", "[rgb+lidar,rgb+mmwave]") for each in ours]
        cases += [("every_subset", ours, ours), ("every_subset", [], ours), ("joint", [], ours)]
        cases.append(("every_subset", [], radar))
        for name, one, other in cases:
            if args.strategies and name not in args.strategies:
                continue
            sides = (recipe_of("joint", [*options, *one], teachers), recipe_of(name, [*options, *other], teachers))
            row = {"strategy": name, "joint_with": one, "with": other, **compared(*sides, splits, args.epochs)}
            rows.append(row)
            note = f"{' '.join(other)}{'; joint with ' + ' '.join(one) if one else ''}"
            times = f"{row['ms_per_step']:7.1f} ms, joint {row['joint_ms_per_step']:6.1f} ms"
            print(
                f"{name:20s} {row['step_ratio']:5.2f}x, epochs {row['epoch_ratio']:5.2f}x  {times}  {note}", flush=True
            )
    found = environment()
    command = f"python benchmarks/bm_step_cost.py DATA --stride {args.stride} --epochs {args.epochs}"
    result = {"command": command, "rows": rows, "versions": found["versions"], "machine": found["machine"]}
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
