"""Feature distillation: on new samples, every encoder gives the feature that it used to give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from equipose import config
from equipose.balance.base import Setup
from equipose.continual.base import ContinualStrategy, End
from equipose.continual.teacher import Teacher
from equipose.inspection import untouched
from equipose.nn.model import PoseModel
from equipose.types import Batch, PoseOutput

_LEAST_SPREAD = 1e-4
"""Least variance of a feature, over its mean square: a constant feature must not weigh without bound."""


class FeatureDistillationSettings(config.Settings):
    """How closely to follow the old encoders."""

    strength: float = Field(default=0.3, ge=0)
    """Weight of the distance, in present pose errors per variance of the feature: at 1, a feature that is one standard
    deviation off weighs as much as the error of the moment. 0 is fine-tuning."""
    freeze_shared: bool = False
    """Freeze fusion and head after the first experience, as published; poses that the old head cannot say are then out
    of reach."""


class FeatureDistillation(ContinualStrategy):
    """The feature of each encoder is drawn to that of a frozen copy from the last experience.

    ::

        L = L_pose + strength * sg(L_pose) * sum_m mean over samples with m of |z_m - z_m_old|^2 / (width var_m)

    with var_m the variance of the old feature on the old data, mean over its entries, and sg the stop of the gradient.

    Source: Jung et al., *Less-forgetful Learning for Domain Expansion in Deep Neural Networks* (AAAI 2018); defined for
    classification and one input, with the head frozen and a weight tuned per data set.

    Differs from the published method:

    - one term per sensor, over the samples that have it, in variances of the old feature and errors of the moment:
      features have no unit;
    - fusion and head go on learning unless ``freeze_shared``.

    Stores no sample. Which sensors are kept is not chosen by what they were worth; see ``adaptive_ewc`` for that.
    """

    Settings: ClassVar[type[config.Settings]] = FeatureDistillationSettings
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"strength": 0.03}, {"strength": 3.0})

    settings: FeatureDistillationSettings  # narrows the base's

    @classmethod
    def strength_zero(cls) -> Mapping[str, Any]:
        """No distillation; nothing is copied."""
        return {"strength": 0.0}

    def __init__(self, settings: FeatureDistillationSettings, modalities: tuple[str, ...]) -> None:
        super().__init__(settings, modalities)
        self._teacher: Teacher | None = None
        self._variance: dict[str, Tensor] = {}

    def setup(self, model: PoseModel, setup: Setup) -> None:
        """Make room for the copy."""
        self._loss, self._mean = setup.loss, setup.mean
        if self.settings.strength > 0 or self.settings.freeze_shared:
            self._teacher = Teacher(model)

    def objective(
        self, model: PoseModel, features: dict[str, Tensor], output: PoseOutput, batch: Batch
    ) -> dict[str, Float[Tensor, ""]]:
        """The distance of every sensor's feature to the old one."""
        if self._teacher is None or not self._teacher.ready or self.settings.strength == 0:
            return {}
        with torch.no_grad():
            old = self._teacher.model.encode(batch)
        total = output.joints.new_zeros(())
        for m, name in enumerate(self.modalities):
            there = batch.present[:, m]
            distance = (features[name] - old[name]).square().mean(1) / self._variance[name]
            total = total + (distance * there).sum() / there.sum().clamp(min=1)
        error = self._mean(self._loss(output, batch).mean().detach())
        return {"distillation": self.settings.strength * error * total}

    def gradients(self, model: PoseModel) -> None:
        """Keep fusion and head where they are, if they are frozen."""
        if self.settings.freeze_shared and self._teacher is not None and self._teacher.ready:
            for parameter in model.shared_parameters():
                parameter.grad = None

    def end_experience(self, model: PoseModel, end: End) -> None:
        """Copy the model and measure how far its features spread."""
        if self._teacher is None:
            return
        self._teacher.learn(model)
        device, width = model.mean_pose.device, model.width
        moments = {name: torch.zeros(3, width, dtype=torch.float64, device=device) for name in self.modalities}
        with untouched(model):
            for batch in end.batches():
                features = model.encode(batch)
                for m, name in enumerate(self.modalities):
                    kept = features[name][batch.present[:, m]].double()
                    moments[name] += torch.stack([x.sum(0) for x in (torch.ones_like(kept), kept, kept.square())])
        self._variance = {name: _spread(self._mean(each)) for name, each in moments.items()}

    def state_dict(self) -> dict[str, Any]:
        """The copy and the spread of its features."""
        teacher = {} if self._teacher is None else self._teacher.state_dict()
        return {"teacher": teacher, "variance": {name: v.clone() for name, v in self._variance.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        if self._teacher is not None:
            self._teacher.load_state_dict(state["teacher"])
        self._variance = {name: v.clone() for name, v in state["variance"].items()}

    def memory_bytes(self) -> int:
        """The copy."""
        return 0 if self._teacher is None else self._teacher.memory_bytes()


def _spread(moments: Float[Tensor, "3 width"]) -> Float[Tensor, ""]:
    """Variance of a feature from the sums of 1, z and z^2, mean over its entries; 1 without samples."""
    count, first, second = moments
    count = count.clamp(min=1.0)
    power = (second / count).mean()
    spread = torch.maximum(power - (first / count).square().mean(), _LEAST_SPREAD * power).float()
    return torch.where(spread > 0, spread, 1.0)
