"""The parts of a run at its start: network, strategy, optimizer, contribution tracker."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from equipose.balance.base import BalanceStrategy, Setup
from equipose.config import Recipe, validate
from equipose.contribution.tracker import ContributionTracker
from equipose.data.dataset import PoseDataset
from equipose.errors import UsageError
from equipose.nn.model import PoseModel, build_model
from equipose.registry import BALANCE
from equipose.train.checkpoint import find_checkpoint, load_weights
from equipose.train.loop import Progress, Session, batches_per_epoch
from equipose.train.losses import pose_loss
from equipose.train.processes import Processes
from equipose.train.run_dir import RunDir

_MEAN_POSE_SAMPLES = 20_000


def build_session(
    recipe: Recipe, dataset: PoseDataset, processes: Processes, model: PoseModel | None = None
) -> Session:
    """Model, optimizer, strategy and tracker at the start of a run; a function of the arguments alone.

    Args:
        recipe: all settings.
        dataset: the training samples.
        processes: how many train.
        model: goes on with this one in place of a new one.

    Raises:
        UsageError: a name or setting that is not known, a strategy without what it needs, or fewer training samples
            than processes.
    """
    if len(dataset) < processes.world:
        raise UsageError(f"found {len(dataset)} training samples for {processes.world} processes; use --devices 1")
    if model is None:
        model = network(recipe, dataset, mean_pose(dataset, recipe.train.seed)).to(processes.device)
    return assembled(recipe, model, processes, len(dataset), batches_per_epoch(len(dataset), recipe.train.batch_size))


def assembled(
    recipe: Recipe,
    model: PoseModel,
    processes: Processes,
    num_samples: int,
    steps_per_epoch: int,
    endless: bool = False,
) -> Session:
    """Optimizer, strategy and tracker for a model at the start of a run.

    Args:
        recipe: all settings.
        model: on the device of the training.
        processes: how many train.
        num_samples: see ``Setup``.
        steps_per_epoch: optimizer steps.
        endless: see ``Setup``.

    Raises:
        UsageError: see ``build_session``.
    """
    contribution = recipe.contribution
    tracker = None
    if contribution.samples_per_epoch:
        tracker = ContributionTracker(model.modalities, model.num_joints, contribution.profit, model.mean_pose)
    strategy = build_strategy(recipe, model.modalities)
    loss = pose_loss(recipe.train.loss, recipe.train.loss_unit)
    setup = Setup(
        loss=loss,
        seed=recipe.train.seed,
        optimizer=recipe.train.optimizer,
        epochs=recipe.train.epochs,
        steps_per_epoch=steps_per_epoch,
        num_samples=num_samples,
        mean=processes.mean,
        load_model=lambda run: trained_model(RunDir(Path(run)), model.num_joints, processes),
        endless=endless,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.train.seed)
        strategy.setup(model, setup)
    strategy.modules.to(processes.device)
    return Session(
        recipe=recipe,
        model=model,
        optimizer=_optimizer(recipe, [*model.parameters(), *strategy.modules.parameters()]),
        strategy=strategy,
        tracker=tracker,
        loss=loss,
        processes=processes,
        progress=Progress(),
    )


def trained_model(run: RunDir, num_joints: int, processes: Processes) -> PoseModel:
    """The best model of another run, in evaluation mode and without gradients.

    Args:
        run: its folder.
        num_joints: of its poses.
        processes: whose device it goes to.

    Raises:
        UsageError: there is no such run, or it has no finished epoch.
    """
    if not (run.path / "config.yaml").is_file():
        raise UsageError(f"{run.path} is no run folder; expected one that `equipose train` made")
    best = find_checkpoint(run.checkpoint("best"))
    if best is None:
        raise UsageError(f"{run.path} has no finished epoch; type `equipose train --resume {run.path}`")
    recipe = run.recipe
    model = build_model(
        recipe.model, recipe.data.modalities, num_joints, recipe.train.seed, windows=recipe.data.windows
    )
    load_weights(best, model)
    return model.to(processes.device).eval().requires_grad_(False)


def build_strategy(recipe: Recipe, modalities: tuple[str, ...]) -> BalanceStrategy:
    """The recipe's balance strategy, after checking its settings and that the recipe gives it what it needs.

    Raises:
        UsageError: an unknown strategy or setting, or contributions that it needs are switched off.
    """
    name = recipe.balance.name
    cls: type[BalanceStrategy] = BALANCE[name]
    strategy = cls(validate(cls.Settings, recipe.balance.settings, f"balance.settings of {name!r}"), modalities)
    if strategy.needs_contribution and recipe.contribution.samples_per_epoch == 0:
        raise UsageError(
            f"balance strategy {name!r} needs the contribution of each sensor, and "
            "contribution.samples_per_epoch is 0; try --set contribution.samples_per_epoch=512"
        )
    return strategy


def network(recipe: Recipe, dataset: PoseDataset, mean_pose: np.ndarray | None = None) -> PoseModel:
    """The recipe's untrained network for a data set; ``mean_pose``: (joint, 3) metres, camera frame."""
    return build_model(
        recipe.model,
        dataset.modalities,
        len(dataset.skeleton),
        recipe.train.seed,
        None if mean_pose is None else torch.from_numpy(mean_pose),
        windows=recipe.data.windows,
    )


def mean_pose(dataset: PoseDataset, seed: int) -> np.ndarray:
    """(joint, 3) float32 mean target of the training split, metres; of a random 20,000 if there are more."""
    rows = np.arange(len(dataset))
    if len(rows) > _MEAN_POSE_SAMPLES:
        rows = np.sort(np.random.default_rng([seed, 3]).choice(len(rows), _MEAN_POSE_SAMPLES, replace=False))
    return dataset.store.target(dataset.rows[rows]).astype(np.float64).mean(0).astype(np.float32)


def _optimizer(recipe: Recipe, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    settings = recipe.train
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=0.9, weight_decay=decay)
    cls = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return cls(parameters, lr=rate, weight_decay=decay, fused=True)  # one kernel: a quarter of the time on CPU
