"""How low an error against fitted labels can get: the true pose against its labels, and a network that is told it.

    python benchmarks/bm_label_floor.py --out benchmarks/results/label_floor.json

Simulated labels err as labels that were fitted to images do (``simulate.annotation``). Two answers are compared with
the labels of the test split: the true pose as it is, and that of a small network which is given the true pose and the
detector's joints and learns what of the labels' error can be told from them. Neither reads a sensor's noise, so no
method that does can be expected to get below the second.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

ACTIONS = [*map(str, (*range(2, 6), 13, 14, *range(17, 24), 27))]
EPOCHS, WIDTH, DROPOUT, RATE = 20, 128, 0.2, 1e-3
CAMERA = (615.0, (320.0, 240.0))


def simulated(folder: Path, seed: int, labels: str, actions: list[str]) -> Path:
    """A packed folder with 2D joints and one kind of labels."""
    raw, packed = folder / labels, folder / f"{labels}-packed"
    simulate = ["simulate", raw, "--preset", "mmfi-mini", "--actions", *actions, "--seed", seed, "--labels", labels]
    for arguments in ([*simulate, "--modalities", "rgb"], ["data", "pack", raw, packed]):
        command = [sys.executable, "-c", "import sys; from equipose.cli.main import main; sys.exit(main())"]
        subprocess.run([*command, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)
    return packed


def side(fitted: Path, exact: Path, name: str, stride: int) -> tuple[Tensor, Tensor, Tensor]:
    """What the network is told (sample, number), the true pose and its label, both (sample, joint, 3) metres."""
    from equipose.config import load_recipe
    from equipose.data.dataset import batches, datasets

    flags = ["data.protocol=P1", "data.split=S1", f"data.frame_stride={stride}", "data.modalities=[rgb]"]
    settings = load_recipe(None, flags).data
    labelled, real = (datasets(folder, settings)[name] for folder in (fitted, exact))
    assert np.array_equal(labelled.recording, real.recording) and np.array_equal(labelled.frame, real.frame)
    label = torch.from_numpy(labelled.store.target(labelled.rows))
    true = torch.from_numpy(real.store.target(real.rows))
    pixels = torch.cat([batch.inputs["rgb"].values for batch in batches(labelled, 512)])
    focal, centre = CAMERA
    projected = focal * true[..., :2] / true[..., 2:] + torch.tensor(centre)
    now = pixels[:, pixels.shape[1] // 2] - projected
    around = (pixels - projected[:, None]).mean(1)
    middle = true.mean(1)
    told = [2.0 * (true - middle[:, None]).flatten(1), middle - torch.tensor([0.0, 0.2, 3.0])]
    return torch.cat([*told, 0.2 * now.flatten(1), 0.1 * around.flatten(1)], 1), true, label


def error(pose: Tensor, label: Tensor) -> float:
    """MPJPE in mm."""
    return 1000.0 * float(torch.linalg.vector_norm(pose - label, dim=-1).mean())


def told_network(sides: dict[str, tuple[Tensor, Tensor, Tensor]], seed: int) -> dict[str, float]:
    """Train the network that is told; errors of both held-out sides at the best validation epoch."""
    torch.manual_seed(seed)
    numbers, true, label = sides["train"]
    outputs = true[0].numel()
    network = nn.Sequential(
        nn.Linear(numbers.shape[1], WIDTH), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(WIDTH, outputs)
    )
    nn.init.zeros_(network[-1].weight)
    optimizer = torch.optim.AdamW(network.parameters(), RATE)
    best: dict[str, float] = {}
    for _ in range(EPOCHS):
        network.train()
        for rows in torch.randperm(len(true)).split(64):
            pose = true[rows] + network(numbers[rows]).reshape(-1, *true.shape[1:])
            loss = torch.linalg.vector_norm(pose - label[rows], dim=-1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            found = {n: error(t + network(x).reshape(t.shape), y) for n, (x, t, y) in sides.items() if n != "train"}
        best = min(best or found, found, key=lambda each: each["validation"])
    return best


def main() -> None:
    """Simulate, compare, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--actions", nargs="+", default=ACTIONS)
    parser.add_argument("--stride", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    from equipose.train.run_dir import environment

    rows = []
    for seed in args.data_seeds:
        with tempfile.TemporaryDirectory() as folder:
            fitted, exact = (simulated(Path(folder), seed, kind, args.actions) for kind in ("fitted", "exact"))
            sides = {n: side(fitted, exact, n, args.stride) for n in ("train", "validation", "test")}
        _, true, label = sides["test"]
        depth = 1000.0 * float((label - true)[..., 2].std())
        told = told_network(sides, 0)["test"]
        row = {"data_seed": seed, "true_pose_mm": error(true, label), "told_mm": told, "depth_std_mm": depth}
        rows.append({key: round(value, 2) for key, value in row.items()})
        print(
            f"data seed {seed}: the true pose is {row['true_pose_mm']:.1f} mm from its labels (depth: std "
            f"{depth:.1f} mm), a network told the true pose and the detections {told:.1f} mm",
            flush=True,
        )
    if args.out:
        found = environment()
        command = f"python benchmarks/bm_label_floor.py --data-seeds {' '.join(map(str, args.data_seeds))}"
        result = {"command": command, "rows": rows, "versions": found["versions"], "machine": found["machine"]}
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
