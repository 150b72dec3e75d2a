"""GDumb: a balanced memory, and a new model trained on it alone. A check on everything else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from equipose import config
from equipose.balance.base import Setup
from equipose.continual.base import ContinualStrategy, Start
from equipose.continual.held_out import HeldOut
from equipose.continual.memory import Memory
from equipose.continual.replay import Rehearsal
from equipose.continual.weights import copied, flat, weights_of
from equipose.fisher_outputs import Groups, parameter_groups
from equipose.nn.model import PoseModel
from equipose.types import Batch


class GdumbSettings(config.Settings):
    """Size of the memory."""

    capacity: int = Field(default=400, ge=0)
    """Samples kept in all. 0 is fine-tuning."""
    held_out: int = Field(default=192, ge=0)
    """As ``MemorySettings.held_out``."""


class Gdumb(Rehearsal):
    """Every experience starts from the first weights and trains on a greedily balanced memory of all so far.

    ::

        store x if its stratum is not the largest;    L = mean loss over a batch from the memory

    Source: Prabhu et al., *GDumb: A Simple Approach that Questions Our Progress in Continual Learning* (ECCV 2020);
    defined for classification, with classes for strata.

    Differs from the published method:

    - strata are experience, subject and action;
    - the memory fills during an experience's first pass while the model already trains on it, instead of once a
      question is asked; rate and epochs are the run's, and there is no CutMix, which poses do not admit.

    What another strategy cannot beat at the same capacity, the stream did not need.
    """

    Settings: ClassVar[type[config.Settings]] = GdumbSettings
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"capacity": 200}, {"capacity": 1600})

    settings: GdumbSettings  # type: ignore[assignment]  # has no choice of filling or replay

    @classmethod
    def strength_zero(cls) -> Mapping[str, Any]:
        """No memory."""
        return {"capacity": 0, "held_out": 0}

    def __init__(self, settings: GdumbSettings, modalities: tuple[str, ...]) -> None:
        ContinualStrategy.__init__(self, settings, modalities)
        self._experience = 0
        self._first: Groups = {}

    def setup(self, model: PoseModel, setup: Setup) -> None:
        """Keep the first weights."""
        self.memory = Memory(self.settings.capacity, "greedy", setup.seed * 1_000_003 + 7, setup.endless)
        self.kept_out = HeldOut(0 if setup.endless else self.settings.held_out)
        self._first = weights_of(model)

    def begin_experience(self, model: PoseModel, start: Start) -> None:
        """Go back to the first weights, also the optimizer."""
        super().begin_experience(model, start)
        if start.index > 0 and self.settings.capacity > 0:
            parameters = flat(parameter_groups(model))
            for parameter, first in zip(parameters, flat(self._first), strict=True):
                parameter.data.copy_(first)
            start.reset_optimizer(parameters)

    def mix(self, batch: Batch, step: int) -> Batch:
        """A batch from the memory instead of the new one, once it holds something."""
        replay = self.memory.draw(len(batch), batch.present.device)
        return batch if replay is None else replay.batch

    def state_dict(self) -> dict[str, Any]:
        """The memory and the first weights."""
        return {**super().state_dict(), "first": copied(self._first)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        super().load_state_dict(state)
        self._first = copied(state["first"])
