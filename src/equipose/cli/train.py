"""``equipose train`` and ``equipose resume``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import tyro

from equipose.cli.inspect import check_names
from equipose.config import Recipe, load_recipe


def train(
    data: Annotated[Path, tyro.conf.Positional],
    recipe: Path | None = None,
    balance: str | None = None,
    fusion: str | None = None,
    modalities: tuple[str, ...] | None = None,
    protocol: str | None = None,
    split: str | None = None,
    size: str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    seed: int | None = None,
    devices: int | None = None,
    accelerator: str | None = None,
    set: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = (),
    out: Path = Path("runs"),
    name: str = "{time}_{strategy}_s{seed}",
    dry_run: bool = False,
) -> int:
    """Train a model and keep everything it made in a new run folder.

    Args:
        data: a packed folder, or an MM-Fi folder as it is.
        recipe: YAML file with settings; the flags below win over it and over --set.
        balance: balance strategy, see `equipose list balance`.
        fusion: how features become a pose, see `equipose list fusion`.
        modalities: sensors to use, such as rgb lidar mmwave wifi.
        protocol: P1 (daily actions), P2 (rehabilitation) or P3 (all).
        split: S1 (random), S2 (cross-subject), S3 (cross-environment), manual, or given (stored with the data).
        size: small or paper.
        epochs: passes over the training split.
        batch_size: samples per step, over all processes.
        seed: of initial weights, batches and everything random.
        devices: processes on this machine.
        accelerator: auto, cpu or gpu.
        set: any other setting, KEY=VALUE, as often as needed; `equipose config show` lists them.
        out: folder of all runs.
        name: name of the run folder.
        dry_run: print the plan and write nothing.
    """
    flags = {
        "balance.name": balance,
        "model.fusion": fusion,
        "data.modalities": None if modalities is None else list(modalities),
        "data.protocol": protocol,
        "data.split": split,
        "model.size": size,
        "train.epochs": epochs,
        "train.batch_size": batch_size,
        "train.seed": seed,
        "train.devices": devices,
        "train.accelerator": accelerator,
    }
    overrides = [f"{key}={value}" for key, value in flags.items() if value is not None]
    settings = load_recipe(recipe, [*set, *overrides])
    check_names(settings)
    from equipose.train import fit
    from equipose.train.run_dir import run_name

    run_name(name, settings)
    _announce(settings, data)
    if dry_run:
        print(fit.plan(settings, data))
        return 0
    return _finish(fit.train(settings, data, out, name).path)


def resume(run: Annotated[Path, tyro.conf.Positional], data: Path | None = None) -> int:
    """Continue a run from its last checkpoint, exactly as if it had not stopped.

    Args:
        run: the run folder.
        data: where its data folder is now, if it was moved.
    """
    from equipose.train import fit
    from equipose.train.run_dir import RunDir

    opened = RunDir.open(run)
    if opened.status["state"] == "finished":
        print(f"{run} is finished already; next: equipose evaluate {run}", file=sys.stderr)
        return 0
    _announce(opened.recipe, opened.data_path(data))
    return _finish(fit.resume(opened, data).path)


def _announce(recipe: Recipe, data: Path) -> None:
    print(
        f"{recipe.balance.name} training of {' + '.join(recipe.data.modalities)} with {recipe.model.fusion} fusion "
        f"({recipe.model.size} networks) on {data}, {recipe.data.protocol}-{recipe.data.split}, "
        f"{recipe.train.epochs} epochs, seed {recipe.train.seed}",
        file=sys.stderr,
    )


def _finish(path: Path) -> int:
    from equipose.train.run_dir import RunDir

    run = RunDir.open(path)
    lines = run.epochs()
    if run.status["state"] != "finished":
        print(f"stopped; everything is saved. Continue with: equipose resume {path}", file=sys.stderr)
        return 130
    best = min(lines, key=lambda line: line["validation_mpjpe_mm"])
    print(
        f"best validation error {best['validation_mpjpe_mm']:.1f} mm after epoch {best['epoch'] + 1} of {len(lines)}; "
        f"{run.status['training_seconds']:.0f} s\nnext: equipose evaluate {path}",
        file=sys.stderr,
    )
    print(path)
    return 0
