"""Memory aware synapses: what the size of the output depends on, is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from equipose import config
from equipose.continual.anchored import Anchored
from equipose.continual.base import End
from equipose.continual.importance import FisherSettings, PullSettings, measure, pull_of
from equipose.continual.weights import bytes_of, copied, flat, like, weights_of
from equipose.fisher import mean_of_gradients
from equipose.fisher_outputs import Groups, parameter_groups
from equipose.nn.model import PoseModel
from equipose.types import Batch, PoseOutput


class MasSettings(PullSettings):
    """Strength, step and averaging."""

    damping: float = Field(default=0.1, ge=0)
    """Least importance of a weight, in means of its group; see online_ewc."""
    averaging: float = Field(default=0.5, gt=0, le=1)
    """Share of the new experience in the running importance."""
    gradients: Literal["per_sample", "loop"] = "per_sample"
    """per_sample: gradients of many samples at once. loop: one by one, for models that torch.func.vmap cannot take."""


class Mas(Anchored):
    """Every weight is pulled to its last values, by how much the size of the pose depends on it.

    ::

        Omega_i = mean over samples of |d |f_c|^2 / d theta_i|,    f_c: the pose, relative to the mean of its joints
        L = L_pose + strength * s * sum_i Omega_i (theta_i - theta*_i)^2

    Source: Aljundi et al., *Memory Aware Synapses* (ECCV 2018); defined for classification, where f is the logits.

    Differs from the published method:

    - the pose is centred first: |f|^2 of camera coordinates would measure the distance to the camera;
    - Omega lends its shape only; its size is that of the information of the outputs, so that ``strength`` means the
      same as for ``online_ewc``: the published weight 1 depends on the unit and the size of the model.

    No labels are needed. A known weakness stays: a direction in which the pose turns but keeps its size counts nothing.
    """

    Settings: ClassVar[type[config.Settings]] = MasSettings
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"strength": 0.1}, {"strength": 10.0})

    settings: MasSettings  # narrows the base's

    @classmethod
    def strength_zero(cls) -> Mapping[str, Any]:
        """No pull; the importance is not even measured."""
        return {"strength": 0.0}

    def __init__(self, settings: MasSettings, modalities: tuple[str, ...]) -> None:
        super().__init__(settings, modalities)
        self._importance: Groups = {}

    @property
    def _proximal(self) -> bool:
        return self.settings.step == "proximal"

    def end_experience(self, model: PoseModel, end: End) -> None:
        """Average the experience's importance in and move the anchor."""
        if self.settings.strength == 0:
            return
        shape = sensitivities(model, end, self.settings.gradients)
        shape = like(shape, [self._setup.mean(tensor) for tensor in flat(shape)])
        new = measure(
            model, end, FisherSettings(normalise="none", damping=self.settings.damping), self._setup, shape
        ).diagonal
        share = self.settings.averaging if self._importance else 1.0
        old = self._importance or new
        self._importance = {g: [a.lerp(b, share) for a, b in zip(old[g], new[g], strict=True)] for g in new}
        self._hold(weights_of(model), pull_of(self._importance, self.settings, self._setup, end))

    def state_dict(self) -> dict[str, Any]:
        """Anchor, stiffness and importance."""
        return {**super().state_dict(), "importance": copied(self._importance)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        super().load_state_dict(state)
        self._importance = copied(state["importance"])

    def memory_bytes(self) -> int:
        """Anchor, stiffness and importance."""
        return super().memory_bytes() + bytes_of(flat(self._importance))


def squared_size(output: PoseOutput, batch: Batch) -> Float[Tensor, " batch"]:
    """Sum over joints of the squared distance to the mean joint, square metres."""
    return (output.joints - output.joints.mean(1, keepdim=True)).square().sum((1, 2))


def sensitivities(model: PoseModel, end: End, gradients: Literal["per_sample", "loop"]) -> Groups:
    """Omega, in square metres per parameter unit."""
    groups = parameter_groups(model)
    names = {id(p): name for name, p in model.named_parameters()}
    live = {names[id(p)]: p for p in flat(groups) if p.requires_grad}
    found = mean_of_gradients(model, live, end.batches(), squared_size, gradients, of=torch.abs).mean
    return like(groups, [found.get(names[id(p)], torch.zeros_like(p, requires_grad=False)) for p in flat(groups)])
