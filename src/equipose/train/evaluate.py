"""Measure a finished run on the test split. The only place that reads the test split.

Writes ``metrics.json``, ``predictions.npz``, ``contributions.npz`` and ``scenes.npz`` into the run folder. Every
subset of the sensors is evaluated on the same samples, from one encoding.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import ndarray

from equipose.config import ContributionSettings, Recipe
from equipose.contribution.measure import Contributions, mean_features, measure, save_npz
from equipose.data.dataset import PoseDataset, batches, datasets
from equipose.data.store import digest_of
from equipose.errors import UsageError
from equipose.files import write_npz
from equipose.metrics.pose import mpjpe, pa_mpjpe
from equipose.nn.model import PoseModel
from equipose.progress import track
from equipose.train.build import network
from equipose.train.checkpoint import load_weights
from equipose.train.processes import compute_device
from equipose.train.run_dir import RunDir
from equipose.train.scenes import write_scenes
from equipose.train.summary import SplitPredictions, summarise
from equipose.types import Batch, all_coalitions

_MAX_MODALITIES = 8
_BASELINE_SAMPLES = 4096
_BATCH = 256


def load_model(run: RunDir, dataset: PoseDataset, which: str = "best") -> PoseModel:
    """The run's network with the weights of a checkpoint, in evaluation mode.

    It is on the GPU if there is one and the recipe's ``train.accelerator`` is not ``cpu``.

    Raises:
        DataError: no or damaged weights.
    """
    model = network(run.recipe, dataset)
    load_weights(run.checkpoint(which), model)
    device = compute_device("cpu" if run.recipe.train.accelerator == "cpu" else "auto")
    return model.to(device).eval()


def predict_split(model: PoseModel, dataset: PoseDataset, quiet: bool = False) -> SplitPredictions:
    """Predict every sample of a split from every subset of the sensors.

    Args:
        model: in evaluation mode, on any device.
        dataset: the split.
        quiet: show no progress bar.

    Raises:
        UsageError: more than 8 sensors, whose 2^M subsets would not fit.
    """
    if len(model.modalities) > _MAX_MODALITIES:
        raise UsageError(
            f"{len(model.modalities)} sensors have {2 ** len(model.modalities)} subsets; evaluation takes at most "
            f"{_MAX_MODALITIES} sensors"
        )
    device = model.mean_pose.device
    coalitions = all_coalitions(len(model.modalities), device)
    joints, targets, errors, pa_errors = [], [], [], []
    meta: dict[str, list[ndarray]] = {}
    with torch.no_grad():
        for batch in _passes(dataset, device, "evaluating every subset", quiet):
            decoded = model.decode_coalitions(model.encode(batch), coalitions, batch.present)
            target = batch.target.expand_as(decoded)
            joints.append(decoded[-1].cpu().numpy())
            targets.append(batch.target.cpu().numpy())
            errors.append(mpjpe(decoded, target).cpu().numpy())
            pa_errors.append(pa_mpjpe(decoded, target).cpu().numpy())
            for name, values in vars(batch.meta).items():
                meta.setdefault(name, []).append(values.cpu().numpy())
    return SplitPredictions(
        np.concatenate(joints),
        np.concatenate(targets),
        np.concatenate(errors, 1),
        np.concatenate(pa_errors, 1),
        {name: np.concatenate(values) for name, values in meta.items()},
    )


def evaluate(
    run: RunDir, data: Path | None = None, which: str = "best", seed: int = 0, quiet: bool = False
) -> dict[str, Any]:
    """Measure a run on the test split and keep the results in its folder.

    Args:
        run: a trained run.
        data: where its data folder is now, if it was moved.
        which: checkpoint, ``best`` (on the validation split) or ``last``.
        seed: of the bootstrap.
        quiet: show no progress bar.

    Raises:
        UsageError: the data folder holds other data than the run was trained on.

    Returns:
        What was written to ``metrics.json``; errors are millimetres.
    """
    recipe = run.recipe
    splits = _splits(run, data)
    model = load_model(run, splits["test"], which)
    started = time.perf_counter()
    predictions = predict_split(model, splits["test"], quiet)
    contributions = _contributions(model, splits, recipe, seed, quiet)
    metrics = {
        "split": "test",
        "checkpoint": which,
        "device": str(model.mean_pose.device),
        **summarise(predictions, model.modalities, splits, recipe.contribution.bootstrap, seed),
        "collapse": contributions.collapse,
        "alarms": list(contributions.alarms),
        "training_seconds": run.status.get("training_seconds"),
        "evaluation_seconds": round(time.perf_counter() - started, 3),
        "parameters": model.parameter_counts(),
        "peak_memory_mb": _peak_memory_mb(),
    }
    save_npz(run.path / "contributions.npz", contributions)
    arrays: dict[str, Any] = {
        "joints": predictions.joints,
        "target": predictions.target,
        "error_mm": predictions.error_mm.astype(np.float32),
        "pa_error_mm": predictions.pa_error_mm.astype(np.float32),
        **predictions.meta,
    }
    write_npz(run.path / "predictions.npz", arrays)
    write_scenes(run.path / "scenes.npz", splits["test"], predictions.joints, predictions.error_mm[-1])
    run.write_json("metrics.json", metrics)
    return metrics


def measure_contributions(
    run: RunDir, data: Path | None, settings: ContributionSettings, which: str = "best", seed: int = 0
) -> Contributions:
    """Measure what each sensor of a run contributes on the test split and keep it as ``contributions.npz``."""
    recipe = run.recipe.model_copy(update={"contribution": settings})
    splits = _splits(run, data)
    contributions = _contributions(load_model(run, splits["test"], which), splits, recipe, seed)
    save_npz(run.path / "contributions.npz", contributions)
    return contributions


def _splits(run: RunDir, data: Path | None) -> dict[str, PoseDataset]:
    """The sides of the data that the run was trained on; UsageError for other data."""
    splits = datasets(run.data_path(data), run.recipe.data)
    run.check_data(digest_of(splits["train"].store))
    return splits


def _contributions(
    model: PoseModel, splits: dict[str, PoseDataset], recipe: Recipe, seed: int, quiet: bool = False
) -> Contributions:
    settings, device = recipe.contribution, model.mean_pose.device
    baseline = None
    if settings.baseline == "mean":
        train = splits["train"]
        count = min(_BASELINE_SAMPLES, len(train))
        rows = np.sort(np.random.default_rng([seed, 5]).choice(len(train), count, replace=False))
        chunks = (train.batch(rows[i : i + _BATCH], None).to(device) for i in range(0, count, _BATCH))
        baseline = mean_features(model, chunks)
    return measure(
        model,
        _passes(splits["test"], device, "measuring contributions", quiet),
        profit=settings.profit,
        baseline=baseline,
        bootstrap=settings.bootstrap,
        generator=np.random.default_rng([seed, 6]),
    )


def _passes(dataset: PoseDataset, device: torch.device, description: str, quiet: bool) -> Iterable[Batch]:
    """Every sample in order, on a device."""
    chunks = (batch.to(device) for batch in batches(dataset, _BATCH))
    return chunks if quiet else track(chunks, description, -(-len(dataset) // _BATCH), "batches")


def _peak_memory_mb() -> float:
    """Largest resident memory of this process so far."""
    unit = 1e6 if sys.platform == "darwin" else 1e3  # getrusage counts bytes there and kilobytes on Linux
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)
