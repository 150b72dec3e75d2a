"""Diagnosing and Re-learning: pull an encoder that has over-fitted back towards where it began."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from equipose import config
from equipose.balance.base import BalanceStrategy, Probe, Setup
from equipose.contribution.profit import correlation
from equipose.contribution.statistics import batch_statistics, zero_statistics
from equipose.inspection import untouched
from equipose.nn.model import PoseModel
from equipose.types import Batch


class RelearningSettings(config.Settings):
    """When encoders are pulled back, and how far."""

    strength: float = Field(default=3.0, ge=0)
    """lambda: how fast the pull grows with the gap (published: 3); 0 never pulls."""
    interval: float = Field(default=0.22, gt=0, le=1)
    """Share of the epochs from one re-learning to the next (published: 20 of 90)."""
    interval_epochs: int | None = Field(default=None, ge=1)
    """The same as a number of epochs; replaces ``interval``."""
    times: int = Field(default=3, ge=0)
    """How often encoders are pulled back in all (published: 3)."""
    gap: Literal["own", "excess"] = "own"
    """own: a sensor's training skill minus its validation skill. excess: by how much that exceeds the mean over
    sensors, so that what all of them share, such as new subjects, pulls nobody."""


class Relearning(BalanceStrategy):
    """At set epochs, pull each encoder back towards its first weights by how much it has over-fitted.

    ::

        theta_m <- (1 - a_m) theta_m + a_m theta_m^0,    a_m = tanh(lambda * gap_m)
        gap_m = max(skill_m(training) - skill_m(validation), 0)

    at the start of the epochs R, 2R, ... ; skill is the correlation of the pose that the fusion reads from that sensor
    alone with the truth, averaged over coordinates, on the training and the validation probe. The pulled encoder's
    optimizer state is reset. Fusion and head stay.

    Source: Wei, Li, Feng, Hu, *Diagnosing and Re-learning for Balanced Multimodal Learning*, ECCV 2024, for
    classification: there gap_m is the difference in purity of K-means clusters of the features of the two splits.

    Differs from the published code: correlation in place of cluster purity, for there are no classes (like purity it
    is between 0 and 1 for a working sensor and blind to scale and offset, so that the masked read-out's missing share
    of the mean pose does not count); a sensor better on validation than on training is not pulled, where the published
    gap is absolute; running averages of the optimizer are reset, which would otherwise push the encoder on;
    floating-point buffers such as normalisation statistics are pulled back with the weights. Any number of modalities.
    """

    Settings: ClassVar[type[config.Settings]] = RelearningSettings
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"strength": 1.0}, {"strength": 10.0})

    settings: RelearningSettings  # narrows the base's

    @classmethod
    def strength_zero(cls) -> Mapping[str, Any]:
        """A pull of nothing."""
        return {"strength": 0.0}

    def __init__(self, settings: RelearningSettings, modalities: tuple[str, ...]) -> None:
        super().__init__(settings, modalities)
        self._first: dict[str, Tensor] = {}
        self._log: dict[str, dict[str, float]] = {}

    def setup(self, model: PoseModel, setup: Setup) -> None:
        """Keep the first weights."""
        if self.settings.strength > 0:
            self._first = {name: tensor.detach().clone() for name, tensor in _state(model).items()}

    def begin_epoch(self, model: PoseModel, probe: Probe) -> None:
        """Diagnose and pull back, in the epochs set for it."""
        self._log = {}
        if self.settings.strength == 0 or not self._due(probe):
            return
        training = _skills(model, probe.batches(), probe)
        validation = _skills(model, probe.validation(), probe)
        gap = self._gaps(training, validation)
        pull = {m: float(torch.tensor(self.settings.strength * gap[m]).tanh()) for m in self.modalities}
        for m in self.modalities:
            if pull[m] > 0:
                self._pull(model, m, pull[m])
                probe.reset_optimizer(model.parameters_of(m))
        self._log = {"training": training, "validation": validation, "gap": gap, "pull": pull}

    def log(self) -> dict[str, Any]:
        """Skills, gaps and pulls at the start of the epoch; empty in an epoch without re-learning."""
        return {name: dict(values) for name, values in self._log.items()}

    def state_dict(self) -> dict[str, Any]:
        """The first weights."""
        return {"first": dict(self._first), "log": self.log()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._first = dict(state["first"])
        self._log = {name: dict(values) for name, values in state["log"].items()}

    def _due(self, probe: Probe) -> bool:
        settings = self.settings
        every = settings.interval_epochs or max(1, round(settings.interval * probe.epochs))
        return probe.epoch > 0 and probe.epoch % every == 0 and probe.epoch // every <= settings.times

    def _gaps(self, training: Mapping[str, float], validation: Mapping[str, float]) -> dict[str, float]:
        gap = {m: training[m] - validation[m] for m in self.modalities}
        mean = sum(gap.values()) / len(gap) if self.settings.gap == "excess" else 0.0
        return {m: max(value - mean, 0.0) for m, value in gap.items()}

    def _pull(self, model: PoseModel, modality: str, share: float) -> None:
        own = f"encoders.{modality}."
        with torch.no_grad():
            for name, tensor in _state(model).items():
                if name.startswith(own):
                    tensor.lerp_(self._first[name], share)


def _state(model: PoseModel) -> dict[str, Tensor]:
    """Trained parameters and floating-point buffers of the encoders, by name."""
    parameters = {
        name: p for m in model.modalities for name, p in model.named_parameters_of(m).items() if p.requires_grad
    }
    buffers = {f"encoders.{name}": b for name, b in model.encoders.named_buffers() if b.is_floating_point()}
    return {**parameters, **buffers}


def _skills(model: PoseModel, batches: Iterable[Batch], probe: Probe) -> dict[str, float]:
    """Modality -> mean correlation of the pose read from it alone with the truth; 0 if constant or never there."""
    count, device = len(model.modalities), model.mean_pose.device
    only = torch.eye(count, dtype=torch.bool, device=device)
    sums = [zero_statistics(1, 1, model.num_joints, device) for _ in model.modalities]
    with untouched(model):
        for batch in batches:
            joints = model.decode_coalitions(model.encode(batch), only, batch.present).float()
            having = batch.present.T[:, None].double()
            for m in range(count):
                sums[m] = sums[m] + batch_statistics(joints[m : m + 1], batch.target, model.mean_pose, having[m])
    pooled = [correlation(each.map(probe.all_reduce)).nan_to_num(0.0).mean() for each in sums]
    return {name: float(skill) for name, skill in zip(model.modalities, pooled, strict=True)}
