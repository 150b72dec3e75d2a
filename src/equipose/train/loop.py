"""The one training loop: the only place with a backward pass and an optimizer step.

Every random choice is a function of (seed, epoch, batch), so that a run continued from any batch goes on exactly as
if it had never stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equipose.balance.base import BalanceStrategy, PerSampleLoss
from equipose.config import Recipe
from equipose.continual.base import Clean, ContinualStrategy
from equipose.contribution.tracker import ContributionTracker
from equipose.data.dataset import PoseDataset
from equipose.data.scene_change import SceneChange, changed, draw_change
from equipose.nn.fusion import add_in_order
from equipose.nn.model import PoseModel
from equipose.train.processes import Processes
from equipose.train.schedule import learning_rate
from equipose.train.separation import Separation
from equipose.types import Batch, LossTerms


@dataclass
class Progress:
    """How far a run has come; saved with every checkpoint.

    Attributes:
        epoch: the epoch in progress, from 0.
        batch: how many of its batches are done.
        step: optimizer steps done in all.
        best_mpjpe_mm: lowest validation error so far.
        sums: running sums of the epoch in progress: samples, error, seconds, one per loss term.
        contribution: modality -> Shapley value of the epoch before.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    best_mpjpe_mm: float = math.inf
    sums: dict[str, float] = field(default_factory=dict)
    contribution: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        """Add to one of the sums."""
        self.sums[name] = self.sums.get(name, 0.0) + value


@dataclass
class Session:
    """The parts of a run that the loop moves."""

    recipe: Recipe
    model: PoseModel
    optimizer: torch.optim.Optimizer
    strategy: BalanceStrategy
    tracker: ContributionTracker | None
    loss: PerSampleLoss
    processes: Processes
    progress: Progress
    continual: ContinualStrategy | None = None
    separator: Separation | None = None

    def state_dict(self) -> dict[str, Any]:
        """Everything but the weights that an exact continuation needs; every process must call.

        Sums that each process keeps for itself are gathered, so that one file serves all processes.
        """
        sums = {name: torch.tensor(value, dtype=torch.float64) for name, value in self.progress.sums.items()}
        return {
            "optimizer": self.optimizer.state_dict(),
            "strategy": self.strategy.state_dict(),
            "strategy_modules": self.strategy.modules.state_dict(),
            "continual": self.continual.state_dict() if self.continual is not None else {},
            "separator": self.separator.state_dict() if self.separator is not None else {},
            "tracker": self.processes.gather(self.tracker.state_dict()) if self.tracker else {},
            "progress": {**vars(self.progress), "sums": self.processes.gather(sums)},
            "torch_rng": torch.get_rng_state(),
        }

    def reset_optimizer(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Forget the momentum and running averages of some parameters, as if they were new."""
        for parameter in parameters:
            self.optimizer.state.pop(parameter, None)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned; its tensors are on this process's device."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.strategy.load_state_dict(state["strategy"])
        self.strategy.modules.load_state_dict(state.get("strategy_modules", {}))
        if self.continual is not None:
            self.continual.load_state_dict(state["continual"])
        if self.separator is not None:
            self.separator.load_state_dict(state["separator"])
        if self.tracker:
            self.tracker.load_state_dict(self.processes.own(state["tracker"]))
        sums = {name: float(value) for name, value in self.processes.own(state["progress"]["sums"]).items()}
        self.progress = Progress(**{**state["progress"], "sums": sums})
        torch.set_rng_state(state["torch_rng"].cpu())


def batches_per_epoch(num_samples: int, batch_size: int) -> int:
    """Full batches in an epoch; a data set smaller than one batch gives one."""
    return max(1, num_samples // batch_size)


def epoch_visits(dataset: PoseDataset, session: Session) -> tuple[np.ndarray, np.ndarray | None]:
    """The epoch's samples in order, (sample,) positions, and the sensors each may use, (sample, modality) or all."""
    epoch = session.progress.epoch
    order = np.random.default_rng([session.recipe.train.seed, 1, epoch]).permutation(len(dataset))
    return session.strategy.visit(order, epoch)


def training_batch(
    dataset: PoseDataset, session: Session, order: np.ndarray, coalition: np.ndarray | None
) -> tuple[Batch, SceneChange | None]:
    """This process's part of the batch the progress points at, and how its scenes are to be changed.

    The parts are equally large.
    """
    settings, progress, processes = session.recipe.train, session.progress, session.processes
    start = progress.batch * settings.batch_size
    places = np.arange(start, min(start + settings.batch_size, len(order)))
    places = places[: len(places) // processes.world * processes.world][processes.rank :: processes.world]
    generator = np.random.default_rng([settings.seed, 2, progress.epoch, progress.batch, processes.rank])
    batch = dataset.batch(order[places], generator)
    if coalition is not None:
        batch = replace(batch, present=batch.present & torch.from_numpy(coalition[places]))
    change = draw_change(session.recipe.data, len(batch), dataset.skeleton.mirror, generator)
    return batch.to(processes.device), change


def train_epoch(
    session: Session,
    dataset: PoseDataset,
    stop_requested: Callable[[], bool],
    save_due: Callable[[], bool],
    after_step: Callable[[], None],
    save: Callable[[], None],
) -> bool:
    """Go through the rest of the epoch in progress.

    Args:
        session: what is trained.
        dataset: the training split.
        stop_requested: asked once per step.
        save_due: asked once per step.
        after_step: called after each step: progress bar.
        save: writes a checkpoint; called in every process where one of them wants to stop or to save.

    Returns:
        True when the epoch is complete, False when it was asked to stop.
    """
    settings, progress = session.recipe.train, session.progress
    count = batches_per_epoch(len(dataset), settings.batch_size)
    tracked = _tracked_batches(count, settings.batch_size, session.recipe.contribution.samples_per_epoch)
    session.model.train()
    session.strategy.modules.train()
    order, coalition = epoch_visits(dataset, session)
    while progress.batch < count:
        start = time.perf_counter()
        set_learning_rate(session.optimizer, learning_rate(settings, progress.step, settings.epochs * count))
        batch, change = training_batch(dataset, session, order, coalition)
        stop, due = step(session, batch, progress.batch in tracked, (stop_requested(), save_due()), change=change)
        progress.batch += 1
        progress.step += 1
        progress.add("seconds", time.perf_counter() - start)
        after_step()
        if stop or due:
            save()
        if stop:
            return False
    return True


def step(
    session: Session,
    batch: Batch,
    track: bool,
    flags: tuple[bool, ...] = (),
    clean: Clean | None = None,
    fresh: bool = True,
    change: SceneChange | None = None,
) -> tuple[bool, ...]:
    """One optimizer step.

    Args:
        session: what is trained.
        batch: new samples, on the device of the training.
        track: whether contributions are measured on it.
        flags: what this process was asked to do.
        clean: what was found clean, where it is known already; a separator of the session has the last word.
        fresh: whether the samples come for the first time in this pass, so that a memory may consider them.
        change: how scenes of the new samples are to be changed, once it is known what is clean of them. A memory
            considers those that are not: a changed one comes again in another pass.

    Returns:
        For each flag, whether it is set in any process.
    """
    model, strategy, progress, continual = session.model, session.strategy, session.progress, session.continual
    new = batch
    if session.separator is not None:
        new, clean = session.separator.cleaned(batch)
    batch = continual.mix(new, progress.step) if continual is not None else new
    if change is not None:
        batch = changed(batch, change)
    parameters = [*model.parameters(), *strategy.modules.parameters()]
    session.optimizer.zero_grad(set_to_none=True)
    with session.processes.autocast():
        features = model.encode(batch)
        fused = strategy.features(features, batch)
        output = model.decode(fused, batch.present)
        terms = strategy.objective(model, fused, output, batch, session.loss(output, batch).mean())
        kept = continual.objective(model, fused, output, batch) if continual is not None else {}
    strategy.backward(_with_continual(terms, kept))
    flags_of_all = session.processes.average_gradients(parameters, flags)
    strategy.gradients(model, output, batch)
    if continual is not None:
        continual.gradients(model)
    if session.recipe.train.clip_norm:
        torch.nn.utils.clip_grad_norm_(parameters, session.recipe.train.clip_norm)
    session.optimizer.step()
    strategy.after_step(model)
    if continual is not None:
        continual.after_step(model, session.optimizer.param_groups[0]["lr"])
        if fresh:
            _remember(continual, new, output.joints[: len(new)].detach(), clean, change)
    if track and session.tracker is not None:
        start = time.perf_counter()
        session.tracker.update(model, {name: f.detach() for name, f in features.items()}, batch)
        progress.add("contribution_seconds", time.perf_counter() - start)
    shown = {name: value.detach() for name, value in (*terms.terms.items(), *kept.items())}
    _record(progress, shown, output.joints.detach(), batch)
    return flags_of_all


def _remember(
    continual: ContinualStrategy, new: Batch, joints: Tensor, clean: Clean | None, change: SceneChange | None
) -> None:
    if change is not None:
        kept = change.untouched.nonzero()[:, 0].to(new.present.device)
        if not len(kept):
            return
        new, joints = new.select(kept), joints[kept]
        clean = clean and Clean(clean.cells[kept], clean.labels[kept])
    continual.observe(new, joints, clean)


def _with_continual(terms: LossTerms, kept: Mapping[str, Tensor]) -> LossTerms:
    """A continual strategy's terms count where the pose error does, whatever a balance strategy makes of that."""
    if not kept:
        return terms
    return LossTerms({**terms.terms, "pose": add_in_order([terms.terms["pose"], *kept.values()])})


def _record(progress: Progress, terms: dict[str, Tensor], joints: Tensor, batch: Batch) -> None:
    error = torch.linalg.vector_norm(joints.float() - batch.target, dim=-1).mean()
    progress.add("samples", len(batch))
    progress.add("error", float(error) * len(batch))
    progress.add("batches", 1)
    for name, value in terms.items():
        progress.add(f"term.{name}", float(value))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def _tracked_batches(count: int, batch_size: int, samples: int) -> set[int]:
    """Evenly spaced batches of an epoch that hold about ``samples`` samples."""
    wanted = min(count, math.ceil(samples / batch_size))
    return {int(i) for i in np.linspace(0, count - 1, wanted).round()} if wanted else set()
