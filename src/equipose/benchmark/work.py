"""One cell: train its run or go on with it, measure it, write its result. Runs in a process of its own.

Imports torch only inside functions, so that a fresh process can say early that it is there.
"""

from __future__ import annotations

import json
import shutil
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from equipose.benchmark.jobs import Message, Tell, finite, logged, peak_memory
from equipose.benchmark.results import FORMAT, cell_path
from equipose.config import Recipe
from equipose.files import write_text

__all__ = ["Job", "Message", "run_job"]

if TYPE_CHECKING:
    from equipose.train.run_dir import RunDir


@dataclass(frozen=True)
class Job:
    """What a process needs to know about a cell; plain values, so that it can be sent to another machine.

    Attributes:
        name: of the cell.
        kind: ``tuning`` or ``final``.
        training: name of the run folder.
        recipe: as plain values.
        teachers: modality -> name of the run folder that teaches it.
        data: the data folder.
        out: the benchmark's folder.
    """

    name: str
    kind: Literal["tuning", "final"]
    training: str
    recipe: Mapping[str, Any]
    teachers: Mapping[str, str]
    data: str
    out: str

    def run(self, tell: Tell) -> Message:
        """See ``run_job``."""
        return run_job(self, tell)


def run_job(job: Job, tell: Tell) -> Message:
    """Do all of a cell's work that is not done yet; never raises an ordinary exception.

    Args:
        job: the cell.
        tell: called about once a second with the progress.

    Returns:
        How it ended. A failure is also in ``DIR/failed/<name>.txt``, with its traceback.
    """

    def work() -> bool:
        run = _train(job, tell)
        if run is None:
            return False
        result = _measure(job, run)
        path = cell_path(Path(job.out), job.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(result, allow_nan=False) + "\n")
        return True

    return logged(job, work)


def _train(job: Job, tell: Tell) -> RunDir | None:
    """The finished run of a cell; None if it was asked to stop before."""
    from equipose.train import fit
    from equipose.train.run_dir import RunDir

    out, data = Path(job.out), Path(job.data)
    values = dict(job.recipe)
    if job.teachers:
        folders = {modality: str((out / "runs" / name).resolve()) for modality, name in job.teachers.items()}
        balance = values["balance"]
        values["balance"] = {**balance, "settings": {**balance["settings"], "teachers": folders}}
    recipe = Recipe.model_validate(values)
    path = out / "runs" / job.training
    if path.exists() and not ((path / "config.yaml").is_file() and (path / "status.json").is_file()):
        shutil.rmtree(path)  # it was stopped before it had anything
    if path.exists():
        run = RunDir.open(path)
        if run.status["state"] == "finished":
            return run
        run = fit.resume(run, data, _reporter(job, recipe, tell))
    else:
        run = fit.train(recipe, data, out / "runs", job.training, _reporter(job, recipe, tell))
    memory = peak_memory()
    before = run.status
    run.set_status(**{key: max(value, before.get(key) or 0.0) for key, value in memory.items() if value is not None})
    if run.status["state"] != "finished":
        return None
    return run


def _reporter(job: Job, recipe: Recipe, tell: Tell) -> Callable[[int], None]:
    """Adds up the steps and passes them on, at most once a second."""
    from equipose.data.dataset import datasets
    from equipose.train.loop import batches_per_epoch

    samples = len(datasets(Path(job.data), recipe.data)["train"])
    total = recipe.train.epochs * batches_per_epoch(samples, recipe.train.batch_size)
    done, last = 0, 0.0

    def advance(steps: int) -> None:
        nonlocal done, last
        done += steps
        now = time.monotonic()
        if now - last >= 1.0 or done >= total:
            last = now
            tell(Message(job.name, "running", done, total))

    return advance


def _measure(job: Job, run: RunDir) -> dict[str, Any]:
    """What the cell's file says."""
    from equipose.train.run_dir import environment

    lines, status, env = run.epochs(), run.status, environment()
    best = min(lines, key=lambda line: line["validation_mpjpe_mm"])
    steps = lines[-1]["step"]
    result: dict[str, Any] = {
        "format": FORMAT,
        "kind": job.kind,
        "run": f"runs/{job.training}",
        "recipe": job.recipe,
        "teachers": dict(job.teachers),
        "validation_mpjpe_mm": best["validation_mpjpe_mm"],
        "best_epoch": best["epoch"] + 1,
        "epochs": len(lines),
        "steps": steps,
        # The median over epochs: a machine that was busy for a while does not count against the method.
        "step_seconds": statistics.median(line["seconds"] for line in lines) * len(lines) / steps,
        "training_seconds": sum(line["seconds"] for line in lines),
        "peak_memory_mb": status.get("peak_memory_mb"),
        "peak_gpu_memory_mb": status.get("peak_gpu_memory_mb"),
        "versions": env["versions"],
        "machine": env["machine"],
        "finished": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
    if job.kind == "final":
        result.update(_test(run, Path(job.data)))
    shutil.rmtree(run.checkpoint("last"), ignore_errors=True)  # the run is finished; its best weights stay
    return result


def _test(run: RunDir, data: Path) -> dict[str, Any]:
    """Everything that comes from the test split; the run folder gets what `equipose evaluate` writes."""
    from equipose.contribution.result import load_npz
    from equipose.train.evaluate import evaluate

    metrics = evaluate(run, data, quiet=True)
    contributions = load_npz(run.path / "contributions.npz")
    recordings = _recordings(run)
    rows = [row for row in metrics["coalitions"] if row["modalities"]]
    oracles = ("mean_pose_mpjpe_mm", "room_mean_mpjpe_mm", "subject_mean_mpjpe_mm")
    test = {
        "sensors": metrics["modalities"],
        "simulated": metrics["simulated"],
        "samples": metrics["samples"],
        "baselines": {name: metrics[name] for name in oracles},
        "subsets": [
            {
                "name": row["name"],
                "sensors": row["modalities"],
                "mpjpe_mm": row["mpjpe_mm"],
                "pa_mpjpe_mm": row["pa_mpjpe_mm"],
            }
            for row in rows
        ],
        "recordings": recordings,
        "profit": contributions.profit,
        "phi": dict(zip(contributions.modalities, contributions.phi.tolist(), strict=True)),
        "share": dict(zip(contributions.modalities, contributions.share.tolist(), strict=True)),
        "entropy": contributions.entropy,
        "collapse": contributions.collapse,
        "alarms": list(contributions.alarms),
    }
    return {"parameters": metrics["parameters"], "test": finite(test)}


def _recordings(run: RunDir) -> dict[str, Any]:
    """Mean error of every subset (without the empty one) on every test recording."""
    import numpy as np

    with np.load(run.path / "predictions.npz") as found:
        _, first, index = np.unique(found["recording"], return_index=True, return_inverse=True)
        samples = np.bincount(index)

        def means(errors: np.ndarray) -> list[list[float]]:
            return [(np.bincount(index, row) / samples).round(4).tolist() for row in errors[1:]]

        return {
            **{name: found[name][first].tolist() for name in ("environment", "subject", "action")},
            "samples": samples.tolist(),
            "mpjpe_mm": means(found["error_mm"]),
            "pa_mpjpe_mm": means(found["pa_error_mm"]),
        }
