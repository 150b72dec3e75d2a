"""Gradient episodic memory: no step may make any old experience worse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from equipose import config
from equipose.continual.projection import constrain, gradients_on
from equipose.continual.replay import MemorySettings, Rehearsal
from equipose.continual.weights import flat
from equipose.fisher_outputs import parameter_groups
from equipose.nn.model import PoseModel


class GemSettings(MemorySettings):
    """Memory, and how strictly it is kept."""

    samples: int = Field(default=64, ge=1)
    """Old samples per experience whose mean gradient is a constraint, each step."""
    margin: float = Field(default=0.5, ge=0)
    """Least weight of every old gradient once any constraint is violated; above 0 it helps the old experiences."""


class Gem(Rehearsal):
    """The nearest gradient that points against none of the old experiences'.

    ::

        h = g + G'v,    v = argmin over v >= margin of 1/2 v'(GG' + 0.001 I)v + (Gg)'v,    G: a row per experience

    Source: Lopez-Paz and Ranzato, *Gradient Episodic Memory for Continual Learning* (NeurIPS 2017); defined for
    classification and SGD, with the whole memory of each task as its constraint.

    Differs from the published method: each constraint is the gradient of a random part of its experience's memory; the
    rows are scaled by their root mean square, so that 0.001 means the same for every model; the dual is solved by
    non-negative least squares. With Adam the guarantee is lost (see ``agem``).
    """

    Settings: ClassVar[type[config.Settings]] = GemSettings
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"margin": 0.0}, {"capacity": 1600})

    settings: GemSettings  # narrows the base's

    @classmethod
    def strength_zero(cls) -> Mapping[str, Any]:
        """No memory."""
        return {"capacity": 0, "held_out": 0}

    def gradients(self, model: PoseModel) -> None:
        """Constrain."""
        parameters, references = flat(parameter_groups(model)), []
        for k in range(self._experience):
            replay = self.memory.draw(self.settings.samples, model.mean_pose.device, only=k)
            if replay is not None:
                references.append(gradients_on(model, parameters, self._setup.loss, replay.batch))
        if references:
            constrain(parameters, references, self.settings.margin)
