"""``equipose quickstart``: from nothing to a page that explains a balanced four-sensor model."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

from equipose.config import Recipe, load_recipe
from equipose.errors import EquiposeError, UsageError, at_least
from equipose.progress import progress

STRATEGIES = ("joint", "awc")


def quickstart(
    out: Path = Path("demo"), data: Path | None = None, epochs: int = 12, jobs: int = 2, seed: int = 0
) -> int:
    """Make data, train with and without balance, measure, and write OUT/report.html. Continues where it was stopped.

    Args:
        out: folder for everything.
        data: an MM-Fi folder to use in place of simulated data.
        epochs: passes over the training split.
        jobs: processes at the same time.
        seed: of the simulated data and of the training.
    """
    # One thread per process, before torch is imported here or in a child: the work is parallel over processes.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    started = time.monotonic()
    report = out / "report.html"
    if report.exists():
        raise UsageError(f"{report} exists already; look at it, remove the folder, or choose another --out")
    at_least("--jobs", jobs, 1)
    recipes = {name: load_recipe(None, [*_OVERRIDES, *_flags(name, epochs, seed)]) for name in STRATEGIES}
    packed = _data(out, data, jobs, seed)
    try:
        _train_all(recipes, packed, out / "runs", jobs)
    except KeyboardInterrupt:
        again = f"equipose quickstart --out {out}{f' --data {data}' if data else ''} --epochs {epochs} --seed {seed}"
        _say(f"stopped; everything is saved. Continue with: {again}")
        raise
    from equipose.report.page import write_report

    runs = [out / "runs" / name for name in STRATEGIES]
    write_report(runs, report)
    for run in runs:
        _say(_summary(run))
    _say(f"done in {time.monotonic() - started:.0f} s; open {report} in a browser")
    return 0


_OVERRIDES = ("data.protocol=P3", "data.split=S2")


def _flags(strategy: str, epochs: int, seed: int) -> list[str]:
    return [
        f"balance.name={strategy}",
        f"train.epochs={epochs}",
        f"train.seed={seed}",
        "train.accelerator=cpu",
    ]


def _data(out: Path, data: Path | None, jobs: int, seed: int) -> Path:
    """The packed folder, made if it is not there yet."""
    from equipose.data.audit import audit
    from equipose.data.packed import pack
    from equipose.simulate.mmfi_writer import write_mmfi
    from equipose.simulate.presets import PRESETS

    packed = out / "packed"
    if data is not None and _is_packed(data):
        return data
    if not _is_packed(packed):
        root = data
        if root is None:
            root = out / "mmfi"
            demo = PRESETS["demo"]
            write_mmfi(
                root,
                subjects=demo.subjects,
                actions=demo.actions,
                frames=demo.frames,
                modalities=demo.modalities,
                seed=seed,
                jobs=jobs,
                preset=demo.name,
            )
        found = audit(root, jobs=jobs)
        _say(found.to_text(limit=5))
        pack(root, packed, jobs=jobs)
    return packed


def _summary(run: Path) -> str:
    """One line about an evaluated run."""
    metrics = json.loads((run / "metrics.json").read_text())
    row = metrics["coalitions"][-1]
    return (
        f"{run.name}: {row['mpjpe_mm']:.1f} mm on {metrics['samples']} test frames of {len(metrics['subjects'])} "
        f"people (mean pose {metrics['mean_pose_mpjpe_mm']:.1f} mm)"
    )


def _is_packed(path: Path) -> bool:
    return (path / "meta.json").is_file()


def _train_all(recipes: dict[str, Recipe], packed: Path, runs: Path, jobs: int) -> None:
    """Train and evaluate every recipe, ``jobs`` at a time, under one progress bar."""
    from equipose.data.dataset import datasets
    from equipose.train.loop import batches_per_epoch

    first = next(iter(recipes.values()))
    steps = first.train.epochs * batches_per_epoch(len(datasets(packed, first.data)["train"]), first.train.batch_size)
    context = multiprocessing.get_context("spawn")
    waiting = list(recipes.items())
    counters: list[Synchronized[int]] = []
    errors = context.SimpleQueue()
    running: list[BaseProcess] = []
    shown = 0
    with progress(f"training {' and '.join(recipes)}", steps * len(recipes), "steps") as advance:
        while waiting or running:
            while waiting and len(running) < max(1, jobs):
                name, recipe = waiting.pop(0)
                counters.append(context.Value("l", 0))
                args = (recipe.model_dump(), packed, runs, name, counters[-1], errors)
                process = context.Process(target=_train_one, args=args, name=name)
                process.start()
                running.append(process)
            time.sleep(0.2)
            done = sum(counter.value for counter in counters)
            advance(done - shown)
            shown = done
            for ended in [p for p in running if not p.is_alive()]:
                running.remove(ended)
                if ended.exitcode:
                    for other in running:
                        other.terminate()
                    raise _failure(ended, errors)


def _failure(process: BaseProcess, errors: Any) -> Exception:
    if process.exitcode == 130:
        return KeyboardInterrupt()  # type: ignore[return-value]  # re-raised by the caller as what it is
    if not errors.empty():
        return errors.get()
    return RuntimeError(f"training {process.name} ended with exit code {process.exitcode}; see its messages above")


def _train_one(
    values: dict[str, Any], packed: Path, runs: Path, name: str, counter: Synchronized[int], errors: Any
) -> None:
    """In a process of its own: train or resume one recipe, then evaluate it."""

    def on_step(steps: int) -> None:
        with counter.get_lock():
            counter.value += steps

    try:
        from equipose.train import fit
        from equipose.train.evaluate import evaluate
        from equipose.train.run_dir import RunDir

        if (runs / name / "status.json").is_file():
            run = RunDir.open(runs / name)
            if run.recipe != Recipe.model_validate(values):
                raise UsageError(
                    f"{run.path} was begun with other settings (see its config.yaml); give the same --epochs and "
                    "--seed as then, or choose another --out"
                )
            if run.status["state"] != "finished":
                fit.resume(run, packed, on_step=on_step)
        else:
            run = fit.train(Recipe.model_validate(values), packed, runs, name, on_step=on_step)
        if run.status["state"] != "finished":
            sys.exit(130)
        if not (run.path / "metrics.json").is_file():
            evaluate(run, packed, quiet=True)
    except KeyboardInterrupt:
        sys.exit(130)
    except (EquiposeError, OSError) as error:  # an OSError: the disk is full or read-only
        errors.put(error)
        sys.exit(3)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
