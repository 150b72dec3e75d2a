"""Learning without forgetting: on new samples, say what the old model would say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from equipose import config
from equipose.balance.base import Setup
from equipose.continual.base import ContinualStrategy, End, Start
from equipose.continual.distances import MM, relative_scale, squared_distance
from equipose.continual.teacher import Teacher
from equipose.fisher_outputs import random_subsets
from equipose.nn.model import PoseModel
from equipose.types import Batch, PoseOutput


class LwfSettings(config.Settings):
    """How closely to follow the old model."""

    strength: float = Field(default=0.5, ge=0)
    """Weight of the distance to the old outputs. 0 is fine-tuning."""
    subset_strength: float = Field(default=0.5, ge=0)
    """The same for the outputs of one random subset of the sensors, drawn per step: what each sensor could do alone."""
    reference_mm: float = Field(default=50.0, gt=0)
    """Distance, in millimetres, at which being off from the old output costs as much as being off from the label.
    Without effect for a squared loss."""


class Lwf(ContinualStrategy):
    """The outputs for new samples are drawn to those of a frozen copy from the last experience.

    ::

        L = L_pose + strength * d(f(x), f_old(x)) + subset_strength * d(f(x; S), f_old(x; S))

    with d the mean squared distance of the joints in the loss's unit (see ``distances``) and S a random subset of the
    sensors that are present.

    Source: Li and Hoiem, *Learning without Forgetting* (ECCV 2016); defined for classification with a head per task and
    softened logits.

    Differs from the published method:

    - one head for all experiences, and a squared distance: poses have no temperature;
    - the distance has the unit of the loss, whatever that is;
    - the term for a random subset: the whole set of sensors alone would let each of them forget;
    - no warm-up of a new head.

    Stores no sample. In a new room the old model may be wrong: what it says about samples far from its own data is kept
    as well. Per-sample label weights do not enter: the distance looks at no label.
    """

    Settings: ClassVar[type[config.Settings]] = LwfSettings
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {},
        {"strength": 0.1, "subset_strength": 0.1},
        {"strength": 2.0, "subset_strength": 2.0},
    )

    settings: LwfSettings  # narrows the base's

    @classmethod
    def strength_zero(cls) -> Mapping[str, Any]:
        """No distillation; nothing is copied."""
        return {"strength": 0.0, "subset_strength": 0.0}

    def __init__(self, settings: LwfSettings, modalities: tuple[str, ...]) -> None:
        super().__init__(settings, modalities)
        self._teacher: Teacher | None = None
        self._sum, self._steps = torch.zeros(()), 0

    def setup(self, model: PoseModel, setup: Setup) -> None:
        """Make room for the copy."""
        self._loss = setup.loss
        self._generator = torch.Generator().manual_seed(setup.seed * 1_000_003 + 11)
        if self.settings.strength > 0 or self.settings.subset_strength > 0:
            self._teacher = Teacher(model)

    def begin_experience(self, model: PoseModel, start: Start) -> None:
        """Start the experience's mean of the distance."""
        self._sum, self._steps = torch.zeros(()), 0

    def objective(
        self, model: PoseModel, features: dict[str, Tensor], output: PoseOutput, batch: Batch
    ) -> dict[str, Float[Tensor, ""]]:
        """The distances to the old outputs."""
        if self._teacher is None or not self._teacher.ready:
            return {}
        settings, teacher = self.settings, self._teacher.model
        with torch.no_grad():
            old = teacher.encode(batch)
            wanted = teacher.decode(old, batch.present).joints
        scale = relative_scale(self._loss, batch, settings.reference_mm * MM)
        everywhere = batch.present.any(1)
        term = settings.strength * _mean(squared_distance(output.joints, wanted), everywhere)
        if settings.subset_strength > 0:
            inside = batch.present & random_subsets(1, batch.present, self._generator)
            with torch.no_grad():
                wanted = teacher.decode(old, inside).joints
            distance = squared_distance(model.decode(features, inside).joints, wanted)
            term = term + settings.subset_strength * _mean(distance, inside.any(1))
        self._sum = self._sum.to(term.device) + scale * term.detach()
        self._steps += 1
        return {"distillation": scale * term}

    def end_experience(self, model: PoseModel, end: End) -> None:
        """Copy the model."""
        if self._teacher is not None:
            self._teacher.learn(model)

    def log(self) -> dict[str, Any]:
        """Mean of the term over the experience so far, in the loss's unit."""
        return {"distillation": float(self._sum) / max(self._steps, 1)}

    def state_dict(self) -> dict[str, Any]:
        """The copy, and where the drawing of subsets stands."""
        teacher = {} if self._teacher is None else self._teacher.state_dict()
        own = {"sum": self._sum.clone(), "steps": self._steps}
        return {"teacher": teacher, "generator": self._generator.get_state(), **own}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        if self._teacher is not None:
            self._teacher.load_state_dict(state["teacher"])
        self._generator.set_state(state["generator"].cpu())
        self._sum, self._steps = state["sum"].clone(), state["steps"]

    def memory_bytes(self) -> int:
        """The copy."""
        return 0 if self._teacher is None else self._teacher.memory_bytes()


def _mean(values: Float[Tensor, " batch"], where: Bool[Tensor, " batch"]) -> Float[Tensor, ""]:
    """Mean over the samples that count; 0 without any."""
    return (values * where).sum() / where.sum().clamp(min=1)
