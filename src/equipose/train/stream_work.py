"""The parts of a run over a stream, and what is done with them between steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from equipose.balance.base import Setup
from equipose.config import validate
from equipose.continual.base import ContinualStrategy
from equipose.data.dataset import PoseDataset
from equipose.data.stream import Experience, stream
from equipose.errors import UsageError
from equipose.nn.model import PoseModel
from equipose.registry import CONTINUAL
from equipose.separation.separator import spread
from equipose.train.build import mean_pose, network
from equipose.train.loop import Session, batches_per_epoch
from equipose.train.losses import pose_loss
from equipose.train.processes import Processes, launch
from equipose.train.separation import FoundNoise, KnownNoise, Separation
from equipose.train.stream_errors import StreamErrors, begin
from equipose.train.stream_recipe import StreamRecipe
from equipose.train.stream_stages import Stage, stages_of
from equipose.types import Batch


@dataclass
class Work:
    """What a run is made of; the parts that change are those that a checkpoint holds."""

    recipe: StreamRecipe
    experiences: tuple[Experience, ...]
    stages: tuple[Stage, ...]
    processes: Processes
    model: PoseModel
    continual: ContinualStrategy
    separation: Separation | None
    errors: StreamErrors
    watched: list[tuple[int, dict[int, float]]]

    @classmethod
    def of(cls, recipe: StreamRecipe, data: Path) -> Work:
        """Everything as it is before the first step; refuses what cannot be run."""
        if recipe.train.devices != 1:
            raise UsageError(
                f"train.devices is {recipe.train.devices}; a stream is trained by one process: set it to 1"
            )
        processes = launch(recipe.train)
        experiences = stream(data, recipe.data, recipe.stream)
        stages = stages_of(recipe, experiences)
        first = stages[0].train
        model = network(recipe, first, mean_pose(first, recipe.train.seed)).to(processes.device)
        kind: type[ContinualStrategy] = CONTINUAL[recipe.continual.name]
        settings = validate(
            kind.Settings, recipe.continual.settings, f"continual.settings of {recipe.continual.name!r}"
        )
        continual = kind(settings, model.modalities)
        setup = Setup(
            loss=pose_loss(recipe.train.loss, recipe.train.loss_unit),
            seed=recipe.train.seed,
            optimizer=recipe.train.optimizer,
            epochs=recipe.train.epochs,
            steps_per_epoch=batches_per_epoch(len(first), recipe.train.batch_size),
            num_samples=len(first),
        )
        continual.setup(model, setup)
        names = tuple(experience.name for experience in experiences)
        separation: Separation | None = None
        if recipe.separation.mode == "find":
            separation = FoundNoise(recipe.separation, model.modalities)
        elif recipe.separation.mode == "known":
            separation = KnownNoise(model.modalities)
        return cls(
            recipe, experiences, stages, processes, model, continual, separation, begin(names, model.modalities), []
        )


def watch(work: Work, session: Session, index: int) -> None:
    """Look at earlier experiences' validation samples, if a look is due."""
    every, step = work.recipe.watch_steps, session.progress.step
    if not every or step % every or work.recipe.regime != "stream" or not index:
        return
    seen = {}
    training = work.model.training
    work.model.eval()
    with torch.no_grad():
        for earlier in range(index):
            dataset = work.experiences[earlier].validation
            batch = dataset.batch(spread(len(dataset), work.recipe.watch_samples)).to(work.processes.device)
            error = torch.linalg.vector_norm(work.model(batch).joints - batch.target, dim=-1).mean()
            seen[earlier] = 1000.0 * float(error)
    work.model.train(training)
    work.watched.append((step, seen))


def of_stage(recipe: StreamRecipe, index: int) -> StreamRecipe:
    """The recipe with a seed of the stage's own, so that experiences are not visited in the same order."""
    train = recipe.train.model_copy(update={"seed": recipe.train.seed * 1009 + index})
    return recipe.model_copy(update={"train": train})


def clean_batches(work: Work, dataset: PoseDataset) -> Iterator[Batch]:
    """Training samples without what was found corrupt."""
    for batch in some_batches(work, dataset):
        if work.separation is None:
            yield batch
            continue
        kept, clean = work.separation.cleaned(batch)
        usable = clean.labels & kept.present.any(1)
        if bool(usable.any()):
            yield replace(kept, weight=None).select(usable)


def some_batches(work: Work, dataset: PoseDataset) -> Iterator[Batch]:
    """At most ``end_samples`` evenly spaced samples."""
    positions, size = spread(len(dataset), work.recipe.end_samples), work.recipe.train.batch_size
    for start in range(0, len(positions), size):
        yield dataset.batch(np.asarray(positions[start : start + size])).to(work.processes.device)
