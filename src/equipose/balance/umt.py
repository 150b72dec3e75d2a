"""Distillation: what a sensor teaches when it is trained alone, it should teach among others too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from equipose import config
from equipose.balance.base import BalanceStrategy, Probe, Setup
from equipose.balance.sensor_losses import WeightedMeans, over_present
from equipose.errors import UsageError, unknown_name
from equipose.inspection import untouched
from equipose.nn.model import PoseModel
from equipose.types import Batch, LossTerms, PoseOutput

_LEAST_SPREAD = 1e-4
"""Least variance of a teacher's feature, over its mean square: a constant feature must not weigh without bound."""


class UmtSettings(config.Settings):
    """Teachers, and how closely to follow them."""

    teachers: dict[str, str] = Field(default_factory=dict)
    """Modality -> run folder of a model trained on that sensor, such as runs/lidar. Sensors without a teacher learn
    from the joint loss alone."""
    strength: float = Field(default=1.0, ge=0)
    """Weight of the distance to the teachers, in the unit that ``scaling`` gives it."""
    scaling: Literal["relative", "raw"] = "relative"
    """relative: the squared distance is measured in variances of the teacher's feature and counts as much as the joint
    loss of the moment: 1 means that a distance of one standard deviation weighs as much as the present pose error. raw:
    the mean squared distance as published, beside a loss in the run's unit; good strengths then depend on both."""


class Umt(BalanceStrategy):
    """Unimodal teachers: the feature of each encoder is drawn to that of a frozen one trained on its sensor alone.

    ::

        L = L_pose + strength * sum_m |z_m - t_m|^2 / width        (raw)
        L = L_pose + strength * sg(L_pose) * sum_m |z_m - t_m|^2 / sum of the variances of t_m    (relative)

    with t_m the feature of the teacher's encoder for the same input and sg the stop of the gradient.

    Source: Du et al., *On Uni-Modal Feature Learning in Supervised Multi-Modal Learning* (ICML 2023); defined for
    classification, with a weight tuned per data set.

    Differs from the published code:

    - the relative scale, by default: a weight for cross-entropy means nothing for metres, and features have no unit;
    - teachers are ordinary run folders, loaded from their best checkpoint, and run in evaluation mode;
    - no layer adapts between features of unequal width: teacher and student must have the same ``model.width``;
    - the distance is the mean over the samples that have the sensor.

    A teacher should come from the same training subjects. Its training is not part of this run's cost: count it in.
    """

    Settings: ClassVar[type[config.Settings]] = UmtSettings
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"strength": 0.3}, {"strength": 3.0})

    settings: UmtSettings  # narrows the base's

    @classmethod
    def strength_zero(cls) -> Mapping[str, Any]:
        """No distillation; the teachers are not even loaded."""
        return {"strength": 0.0}

    def __init__(self, settings: UmtSettings, modalities: tuple[str, ...]) -> None:
        super().__init__(settings, modalities)
        strangers = [name for name in settings.teachers if name not in modalities]
        if strangers:
            raise unknown_name("modality with a teacher", strangers[0], modalities)
        self._teachers: dict[str, nn.Module] = {}
        self._variance: dict[str, Tensor] = {}
        self._distance = WeightedMeans()

    def setup(self, model: PoseModel, setup: Setup) -> None:
        """Load the teachers."""
        self._mean = setup.mean
        if self.settings.strength == 0:
            return
        if not self.settings.teachers:
            raise UsageError(
                "umt found no teachers; train a model on each sensor alone, such as `equipose train DATA --modalities "
                f"{self.modalities[0]} --name {self.modalities[0]}`, and name the runs: "
                f"--set balance.settings.teachers.{self.modalities[0]}=runs/{self.modalities[0]}"
            )
        if setup.load_model is None:
            raise UsageError("umt needs the models of other runs, and nothing here can load them: use `equipose train`")
        for name in self.modalities:
            if name in self.settings.teachers:
                folder = self.settings.teachers[name]
                self._teachers[name] = _encoder(setup.load_model(folder), name, folder, model.width)

    def notes(self) -> list[str]:
        """Which sensors have no teacher."""
        missing = [name for name in self.modalities if name not in self._teachers]
        return [f"umt: no teacher for {', '.join(missing)}"] if self._teachers and missing else []

    def begin_epoch(self, model: PoseModel, probe: Probe) -> None:
        """Start the epoch's means; before the first, measure how far a teacher's features spread."""
        self._distance.reset()
        if self._teachers and self.settings.scaling == "relative" and not self._variance:
            self._variance = _spread(self._teachers, probe)

    def objective(
        self,
        model: PoseModel,
        features: dict[str, Tensor],
        output: PoseOutput,
        batch: Batch,
        pose_loss: Float[Tensor, ""],
    ) -> LossTerms:
        """The joint loss, and the distance to the teachers."""
        if not self._teachers:
            return LossTerms({"pose": pose_loss})
        distances = {}
        for name, teacher in self._teachers.items():
            with torch.no_grad():
                wanted = teacher(batch.inputs[name])
            distance = (features[name].float() - wanted.float()).square().mean(1)
            distances[name] = distance / self._variance[name] if name in self._variance else distance
        losses = over_present(distances, batch, self._mean)
        self._distance.add(losses.values, losses.counts)
        scale = self._mean(pose_loss.detach().clone()) if self._variance else 1.0
        return LossTerms({"pose": pose_loss, "teachers": self.settings.strength * scale * losses.sum()})

    def log(self) -> dict[str, Any]:
        """Mean distance of each encoder to its teacher over the epoch so far, as ``scaling`` measures it."""
        return {"distance": self._distance.of(self._teachers)} if self._teachers else {}

    def state_dict(self) -> dict[str, Any]:
        """The spread of the teachers' features and the epoch's means; the teachers stay in their own runs."""
        return {"variance": dict(self._variance), "distance": self._distance.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._variance = dict(state["variance"])
        self._distance.load_state_dict(state["distance"])


def _encoder(teacher: PoseModel, name: str, folder: str, width: int) -> nn.Module:
    """One encoder of a trained model, frozen.

    Raises:
        UsageError: the model does not read that sensor, or its features have another width.
    """
    if name not in teacher.modalities:
        raise UsageError(
            f"the teacher {folder} was trained on {', '.join(teacher.modalities)}, expected {name}; name another run: "
            f"--set balance.settings.teachers.{name}=runs/{name}"
        )
    if teacher.width != width:
        raise UsageError(
            f"the features of the teacher {folder} are {teacher.width} long, those of this model {width}; train with "
            f"--set model.width={teacher.width}, or a teacher with --set model.width={width}"
        )
    return teacher.encoders[name].eval().requires_grad_(False)


def _spread(teachers: Mapping[str, nn.Module], probe: Probe) -> dict[str, Float[Tensor, ""]]:
    """Variance of each teacher's feature over the probe, mean over the feature's entries."""
    variance = {}
    moments: dict[str, list[Tensor]] = {name: [] for name in teachers}
    for batch in probe.batches():
        for name, teacher in teachers.items():
            with untouched(teacher):
                feature = teacher(batch.inputs[name]).double()
            weight = batch.present[:, batch.modalities.index(name), None].double()
            ones = torch.ones_like(feature)
            moments[name].append(torch.stack([(weight * x).sum(0) for x in (ones, feature, feature.square())]))
    for name, each in moments.items():
        if not each:
            raise UsageError("umt measures the teachers on the probe, and it is empty; raise train.probe_samples")
        count, first, second = probe.all_reduce(torch.stack(each).sum(0))
        count = count.clamp(min=torch.finfo(torch.float64).tiny)
        power = (second / count).mean()
        spread = torch.maximum(power - (first / count).square().mean(), _LEAST_SPREAD * power).float()
        variance[name] = torch.where(spread > 0, spread, 1.0)
    return variance
