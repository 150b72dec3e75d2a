"""Cost of the networks: one training step of each encoder and of the whole model, and of decoding all coalitions.

    python benchmarks/bm_networks.py --out benchmarks/results/networks.json

Random inputs of MM-Fi's shapes, batch 64, one thread. Times are CPU time of the calling thread, the fastest of the
repetitions: other work on the machine only ever makes a repetition slower.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path

import torch

from equipose.config import DataSettings, ModelSettings
from equipose.modality import DEFAULT_MODALITIES, MODALITIES
from equipose.nn.model import PoseModel, build_model
from equipose.registry import FUSION
from equipose.types import Batch, Cloud, Dense, FrameMeta, all_coalitions

CONTRIBUTION_SAMPLES = 1024  # per epoch, as ContributionSettings.samples_per_epoch
EPOCH_SAMPLES = 5376  # training samples of the demonstration's cross-subject split


def random_batch(modalities, batch, generator):
    """Inputs of the default windows and cloud sizes."""
    settings = DataSettings()
    inputs = {name: random_input(name, batch, settings, generator) for name in modalities}
    index = torch.arange(batch)
    ones = torch.ones_like(index)
    return Batch(
        modalities=tuple(modalities),
        inputs=inputs,
        present=torch.ones(batch, len(modalities), dtype=torch.bool),
        target=torch.randn(batch, 17, 3, generator=generator) * 0.2 + torch.tensor([0.0, 0.0, 3.0]),
        meta=FrameMeta(index, ones, ones, ones, index, ones),
    )


def random_input(name, batch, settings, generator):
    """One sensor's random window."""
    spec = MODALITIES[name]
    if spec.kind == "cloud":
        shape = (batch, settings.points[name], len(spec.channels) + 1)
        points = torch.randn(shape, generator=generator) * 0.4
        points[..., 2] += 3.0
        return Cloud(points, torch.ones(shape[:2], dtype=torch.bool))
    window = settings.windows[name]
    values = torch.randn(batch, window, *spec.shape, generator=generator)
    if spec.kind == "joints2d":
        values = values * 60.0 + torch.tensor([320.0, 240.0])
    elif spec.kind == "csi":
        values = torch.stack([values[:, :, 0] * 5.0 + 41.0, values[:, :, 1]], 2)
    else:
        values = 3.0 + values
    return Dense(values, torch.ones(batch, window, dtype=torch.bool))


def cpu_milliseconds(function, repetitions):
    """Least CPU time of a call, after two calls to warm up (none for a single repetition)."""
    times = []
    warm_up = min(2, repetitions - 1)
    for i in range(repetitions + warm_up):
        start = time.thread_time()
        function()
        if i >= warm_up:
            times.append(1000.0 * (time.thread_time() - start))
    return round(min(times), 2)


def measure_step(model: PoseModel, batch: Batch, repetitions: int):
    """Milliseconds of forward and of a whole training step, and the number of parameters."""
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)

    def step():
        optimizer.zero_grad()
        (model(batch).joints - batch.target).norm(dim=-1).mean().backward()
        optimizer.step()

    def forward():
        with torch.no_grad():
            model(batch)

    return {
        "forward_ms": cpu_milliseconds(forward, repetitions),
        "step_ms": cpu_milliseconds(step, repetitions),
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def measure_coalitions(model: PoseModel, batch: Batch, step_ms: float, repetitions: int):
    """Milliseconds for the poses of all 16 coalitions, and their share of an epoch's training time."""
    coalitions = all_coalitions(len(batch.modalities))
    with torch.no_grad():
        features = model.encode(batch)
        together = cpu_milliseconds(lambda: model.decode_coalitions(features, coalitions, batch.present), repetitions)
        alone = cpu_milliseconds(
            lambda: [model.decode(features, row & batch.present) for row in coalitions], repetitions
        )
    share = together * CONTRIBUTION_SAMPLES / (step_ms * EPOCH_SAMPLES)
    return {"all_coalitions_ms": together, "one_by_one_ms": alone, "share_of_training": round(share, 5)}


def main():
    """Measure and print, and write the file if one is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--sizes", nargs="+", default=["small", "paper"], choices=["small", "paper"])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repetitions", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    result = {
        "torch": torch.__version__,
        "machine": platform.machine(),
        "threads": 1,
        "batch": arguments.batch,
        "encoders": {},
        "models": {},
    }
    for size in arguments.sizes:
        repetitions = arguments.repetitions if size == "small" else 1
        for name in (*DEFAULT_MODALITIES, "depth"):
            batch = random_batch((name,), arguments.batch, generator)
            model = build_model(ModelSettings(size=size), (name,), 17, 0)
            result["encoders"][f"{name} {size}"] = measure_step(model, batch, repetitions)
            print(name, size, result["encoders"][f"{name} {size}"], flush=True)
    batch = random_batch(DEFAULT_MODALITIES, arguments.batch, generator)
    for fusion in FUSION:
        model = build_model(ModelSettings(fusion=fusion), DEFAULT_MODALITIES, 17, 0)
        row = measure_step(model, batch, arguments.repetitions)
        row.update(measure_coalitions(model, batch, row["step_ms"], arguments.repetitions))
        result["models"][f"{fusion} small"] = row
        print(fusion, row, flush=True)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
