"""What is trained on when: the stages of a stream, and of the bounds that it is compared with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from equipose.data.corrupt.dataset import CorruptedDataset
from equipose.data.corrupt.plan import CorruptionPlan
from equipose.data.dataset import PoseDataset
from equipose.data.stream import Experience
from equipose.errors import UsageError
from equipose.train.stream_recipe import StreamRecipe


@dataclass(frozen=True, eq=False)
class Stage:
    """One training.

    Attributes:
        name: of its experience, or ``all``.
        trained: index of the last experience it has seen.
        train: its samples, corrupt as planned.
        validation: clean samples to watch and to calibrate by.
        modalities: sensors that recorded something.
        fresh: begins with a new model.
    """

    name: str
    trained: int
    train: PoseDataset
    validation: PoseDataset
    modalities: tuple[str, ...]
    fresh: bool


def stages_of(recipe: StreamRecipe, experiences: tuple[Experience, ...]) -> tuple[Stage, ...]:
    """The stages of the recipe's regime.

    Raises:
        UsageError: the regime needs the experiences' data in one set, which a stream of sensors does not have.
    """
    corrupted = [_corrupted(experience.train, recipe.corruption) for experience in experiences]
    count = len(experiences)
    if recipe.regime in ("stream", "single"):
        return tuple(
            Stage(each.name, i, corrupted[i], each.validation, each.modalities, recipe.regime == "single")
            for i, each in enumerate(experiences)
        )
    if recipe.stream.kind == "sensors":
        raise UsageError(
            f"regime={recipe.regime} trains on the samples of several experiences at once, and those of a stream of "
            "sensors are the same samples with other sensors; use regime=stream or single"
        )
    starts = range(count) if recipe.regime == "cumulative" else range(count - 1, count)
    return tuple(
        Stage(
            experiences[i].name if recipe.regime == "cumulative" else "all",
            i,
            _together(experiences[: i + 1], recipe.corruption),
            _union([each.validation for each in experiences[: i + 1]]),
            tuple(m for m in experiences[0].train.modalities if any(m in e.modalities for e in experiences[: i + 1])),
            False,
        )
        for i in starts
    )


def _corrupted(dataset: PoseDataset, plan: CorruptionPlan) -> PoseDataset:
    return CorruptedDataset(dataset, plan) if plan.sensor_rate or plan.label_rate else dataset


def _together(experiences: tuple[Experience, ...], plan: CorruptionPlan) -> PoseDataset:
    """The training samples of several experiences.

    What a fault shows of another recording may come from any of these experiences, and not only from its own.
    """
    return _corrupted(_union([each.train for each in experiences]), plan)


def _union(parts: list[PoseDataset]) -> PoseDataset:
    rows = np.unique(np.concatenate([part.rows for part in parts]))
    return PoseDataset(parts[0].store, rows, parts[0].settings)
