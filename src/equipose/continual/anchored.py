"""A quadratic pull of all weights to an anchor: what EWC, MAS, SI and RWalk have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from equipose import config
from equipose.balance.base import Setup
from equipose.balance.spring import Spring
from equipose.continual.base import ContinualStrategy, Start
from equipose.continual.weights import bytes_of, copied, flat
from equipose.fisher_outputs import Groups, parameter_groups
from equipose.nn.model import PoseModel
from equipose.types import Batch, PoseOutput


class Anchored(ContinualStrategy):
    """Base of the strategies that add 1/2 sum_i k_i (theta_i - theta*_i)^2, in the loss or by a proximal step.

    A subclass calls ``_hold`` when an experience ends.
    """

    def __init__(self, settings: config.Settings, modalities: tuple[str, ...]) -> None:
        super().__init__(settings, modalities)
        self._anchor: Groups = {}
        self._stiffness: Groups = {}
        self._spring: Spring | None = None
        self._penalty = torch.zeros(())
        self._steps = 0

    @property
    def _proximal(self) -> bool:
        """Whether the pull acts after the optimizer step instead of in the loss."""
        return False

    def setup(self, model: PoseModel, setup: Setup) -> None:
        """Keep the run's loss, seed and optimizer."""
        self._setup = setup

    def begin_experience(self, model: PoseModel, start: Start) -> None:
        """Start the experience's mean of the penalty."""
        self._penalty, self._steps = torch.zeros(()), 0

    def objective(
        self, model: PoseModel, features: dict[str, Tensor], output: PoseOutput, batch: Batch
    ) -> dict[str, Float[Tensor, ""]]:
        """The penalty, once an experience has ended."""
        if not self._stiffness or self._proximal:
            return {}
        penalty = self._attached(model).energy()
        self._penalty = self._penalty.to(penalty.device) + penalty.detach()
        self._steps += 1
        return {"anchor": penalty}

    def after_step(self, model: PoseModel, learning_rate: float) -> None:
        """The proximal step."""
        if self._stiffness and self._proximal:
            self._attached(model).settle(learning_rate)

    def log(self) -> dict[str, Any]:
        """Mean penalty of the experience so far, in the loss's unit."""
        return {"penalty": float(self._penalty) / max(self._steps, 1)}

    def state_dict(self) -> dict[str, Any]:
        """Anchor and stiffness."""
        return {
            "anchor": copied(self._anchor),
            "stiffness": copied(self._stiffness),
            "penalty": self._penalty.clone(),
            "steps": self._steps,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._hold(copied(state["anchor"]), copied(state["stiffness"]))
        self._penalty, self._steps = state["penalty"].clone(), state["steps"]

    def memory_bytes(self) -> int:
        """Anchor and stiffness."""
        return bytes_of([*flat(self._anchor), *flat(self._stiffness)])

    def _hold(self, anchor: Groups, stiffness: Groups) -> None:
        """Pull to ``anchor`` from now on; both are the strategy's own tensors."""
        self._anchor, self._stiffness, self._spring = anchor, stiffness, None

    def _attached(self, model: PoseModel) -> Spring:
        """The spring on the model's parameters."""
        if self._spring is None:
            self._spring = Spring(flat(parameter_groups(model)), flat(self._anchor), flat(self._stiffness))
        return self._spring
