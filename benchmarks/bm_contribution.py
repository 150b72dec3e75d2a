"""What measuring costs beside training: contribution tracking and AWC's Fisher information, as shares of an epoch.

    python benchmarks/bm_contribution.py --out benchmarks/results/contribution_cost.json

Random inputs of the default shapes: the cost does not depend on what the sensors saw. Steps and measurements are
timed in turn, and medians are compared, so that a busy machine slows both alike. The default clock counts this
process's CPU time, on one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from equipose.balance.awc import Awc, AwcSettings
from equipose.balance.base import Probe
from equipose.config import ModelSettings
from equipose.contribution.tracker import ContributionTracker
from equipose.fisher import diagonal_fisher
from equipose.modality import DEFAULT_MODALITIES
from equipose.nn.model import PoseModel, build_model
from equipose.train.losses import pose_loss
from equipose.types import Batch, Cloud, Dense, FrameMeta

LOSS = pose_loss("mpjpe", "m")
CENTRE = torch.tensor([0.0, 0.0, 3.0])


def random_batch(size: int, seed: int, device: str) -> Batch:
    """Four sensors with the windows and point counts of ``DataSettings``."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    def true(*shape: int) -> torch.Tensor:
        return torch.ones(*shape, dtype=torch.bool)

    lidar = torch.cat([0.3 * normal(size, 256, 3) + CENTRE, torch.zeros(size, 256, 1)], -1)
    radar = torch.cat([0.3 * normal(size, 96, 3) + CENTRE, normal(size, 96, 3)], -1)
    number = torch.arange(size)
    batch = Batch(
        DEFAULT_MODALITIES,
        {
            "rgb": Dense(320 + 50 * normal(size, 9, 17, 2), true(size, 9)),
            "lidar": Cloud(lidar, true(size, 256)),
            "mmwave": Cloud(radar, true(size, 96)),
            "wifi": Dense(20 + 3 * normal(size, 3, 2, 3, 114, 10), true(size, 3)),
        },
        true(size, 4),
        0.2 * normal(size, 17, 3) + CENTRE,
        FrameMeta(number, number % 4 + 1, number % 9 + 1, number % 7 + 1, number, number % 5),
    )
    return batch.to(device)


def timed(action: Callable[[], Any], clock: Callable[[], float], device: str) -> float:
    """Seconds one call takes."""
    if device != "cpu":
        torch.cuda.synchronize()
    start = clock()
    action()
    if device != "cpu":
        torch.cuda.synchronize()
    return clock() - start


def measure(fusion: str, options: argparse.Namespace) -> dict[str, Any]:
    """Costs with one kind of fusion."""
    device, size = options.device, options.batch_size
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    model = build_model(ModelSettings(fusion=fusion), DEFAULT_MODALITIES, 17, 0, CENTRE.expand(17, 3)).to(device)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    batch = random_batch(size, 0, device)
    probe = [random_batch(min(size, options.probe - at), 1 + at, device) for at in range(0, options.probe, size)]
    tracker = ContributionTracker(DEFAULT_MODALITIES, 17, "pearson", model.mean_pose)
    strategy = opened_strategy(model, probe)
    features = {name: value.detach() for name, value in model.encode(batch).items()}

    def step(constraint: Awc | None) -> None:
        optimizer.zero_grad(set_to_none=True)
        made = model.encode(batch)
        output = model.decode(made, batch.present)
        loss = LOSS(output, batch).mean()
        terms = constraint.objective(model, made, output, batch, loss) if constraint else None
        (terms.total if terms else loss).backward()
        optimizer.step()

    actions: dict[str, Callable[[], Any]] = {
        "step": lambda: step(None),
        "step_awc": lambda: step(strategy),
        "update": lambda: tracker.update(model, features, batch),
        "contribution": tracker.contribution,
        "fisher": lambda: diagonal_fisher(model, DEFAULT_MODALITIES, probe, LOSS),
    }
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for repeat in range(options.repeats + 2):
        for name, action in actions.items():
            spent = timed(action, clock, device)
            if repeat >= 2:  # the first rounds warm caches up
                seconds[name].append(spent)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    steps = options.samples // size
    epoch = steps * median["step"]
    tracking = -(-options.tracked // size) * median["update"] + median["contribution"]
    constraint = steps * (median["step_awc"] - median["step"])
    return {
        "fusion": fusion,
        "parameters": sum(p.numel() for p in model.parameters()),
        "milliseconds": {name: round(1e3 * value, 3) for name, value in median.items()},
        "tracking_share_of_epoch": round(tracking / epoch, 5),
        "fisher_share_of_epoch": round(median["fisher"] / epoch, 5),
        "awc_epoch_over_joint_epoch": round((epoch + constraint + median["fisher"] + tracking) / epoch, 4),
    }


def opened_strategy(model: PoseModel, probe: list[Batch]) -> Awc:
    """AWC in the middle of its window."""
    strategy = Awc(AwcSettings(window_epochs=1), DEFAULT_MODALITIES)
    scores = dict(zip(DEFAULT_MODALITIES, (4.0, 3.0, 1.0, 0.5), strict=True))
    strategy.begin_epoch(model, Probe(0, lambda: iter(probe), LOSS, scores))
    return strategy


def environment(options: argparse.Namespace) -> dict[str, Any]:
    """What the numbers depend on."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": options.device if options.device == "cpu" else torch.cuda.get_device_name(),
        "load_average": [round(value, 1) for value in os.getloadavg()],
    }


def main() -> None:
    """Measure every fusion and print or write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=5760, help="training samples per epoch")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--tracked", type=int, default=512, help="samples per epoch whose features are reused")
    parser.add_argument("--probe", type=int, default=128, help="samples for the Fisher information")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clock", choices=("cpu", "wall"), default="cpu")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.device == "cpu":
        torch.set_num_threads(1)
    result = {
        "settings": {k: v for k, v in vars(options).items() if k != "out"},
        "environment": environment(options),
        "results": [measure(fusion, options) for fusion in ("concat", "mlp", "attention")],
    }
    text = json.dumps(result, indent=2)
    print(text)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
