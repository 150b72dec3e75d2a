"""Averaged gradient episodic memory: no step may make old samples worse on average."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field

from equipose import config
from equipose.continual.base import Start
from equipose.continual.projection import gradients_on, project
from equipose.continual.replay import MemorySettings, Rehearsal
from equipose.continual.weights import flat
from equipose.fisher_outputs import parameter_groups
from equipose.nn.model import PoseModel


class AgemSettings(MemorySettings):
    """Memory, and what is projected."""

    samples: int = Field(default=64, ge=1)
    """Old samples whose mean gradient is the reference, each step."""
    projection: Literal["whole", "groups"] = "whole"
    """whole: the gradient of all weights at once, as published. groups: that of each encoder, and of the fusion, by
    itself: no sensor is sacrificed to another."""


class Agem(Rehearsal):
    """Where the gradient points against that of old samples, the part that does is taken out.

    ::

        g <- g - (g.g_ref / g_ref.g_ref) g_ref    if g.g_ref < 0

    with g_ref the gradient of the mean loss of samples drawn from the memory.

    Source: Chaudhry et al., *Efficient Lifelong Learning with A-GEM* (ICLR 2019); defined for classification and SGD.

    Differs from the published method: the projection per encoder is an addition; the memory is stratified and clean
    (see ``er``).

    With Adam the guarantee is lost, since the optimizer scales every weight after the projection: forgetting comes near
    that of fine-tuning (reported in arXiv 2604.22407). Use ``train.optimizer: sgd`` to judge it.
    """

    Settings: ClassVar[type[config.Settings]] = AgemSettings
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"projection": "groups"}, {"capacity": 1600})

    settings: AgemSettings  # narrows the base's

    @classmethod
    def strength_zero(cls) -> Mapping[str, Any]:
        """No memory."""
        return {"capacity": 0, "held_out": 0}

    def __init__(self, settings: AgemSettings, modalities: tuple[str, ...]) -> None:
        super().__init__(settings, modalities)
        self._projected, self._steps = 0, 0

    def begin_experience(self, model: PoseModel, start: Start) -> None:
        """Count projections anew."""
        super().begin_experience(model, start)
        self._projected, self._steps = 0, 0

    def gradients(self, model: PoseModel) -> None:
        """Project."""
        replay = self.draw(self.settings.samples, model.mean_pose.device)
        if replay is None:
            return
        groups = parameter_groups(model)
        reference = gradients_on(model, flat(groups), self._setup.loss, replay.batch)
        parts = list(groups.values()) if self.settings.projection == "groups" else [flat(groups)]
        rest = iter(reference)
        changed = [project(part, [next(rest) for _ in part]) for part in parts]
        self._projected += int(any(changed))
        self._steps += 1

    def log(self) -> dict[str, Any]:
        """Size of the memory, and the share of steps whose gradient was changed."""
        return {**super().log(), "projected": self._projected / max(self._steps, 1)}

    def state_dict(self) -> dict[str, Any]:
        """The memory and the counts."""
        return {**super().state_dict(), "counts": torch.tensor([self._projected, self._steps])}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        super().load_state_dict(state)
        self._projected, self._steps = state["counts"].tolist()
