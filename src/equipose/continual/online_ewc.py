"""Elastic weight consolidation with one running Fisher information and one anchor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from equipose import config
from equipose.continual.anchored import Anchored
from equipose.continual.base import End
from equipose.continual.importance import FisherSettings, PullSettings, measure, pull_of
from equipose.continual.weights import bytes_of, copied, flat, weights_of
from equipose.fisher_outputs import Groups
from equipose.nn.model import PoseModel


class OnlineEwcSettings(FisherSettings, PullSettings):
    """Strength, Fisher information, step and how fast the past fades."""

    decay: float = Field(default=1.0, ge=0, le=1)
    """gamma: what is left of the old information at each new experience; 1 forgets nothing."""


class OnlineEwc(Anchored):
    """Every weight is pulled to its values after the last experience, by how much it mattered in all of them.

    ::

        F <- gamma F + F_t,    L = L_pose + strength * s * gamma * sum_i F_i (theta_i - theta*_i)^2

    with F_t the diagonal Fisher information of experience t, theta* the weights at its end and s what turns its square
    millimetres into the loss's unit (published: 1/2).

    Source: Schwarz et al., *Progress & Compress* (ICML 2018), and Huszar, *Note on the quadratic penalties in elastic
    weight consolidation* (PNAS 2018); defined for classification and reinforcement learning.

    Differs from the published method:

    - F is the information of the regressed pose, without labels (see ``fisher_outputs``);
    - F_t is normalised per encoder, so that the sensor with the largest gradients does not take the whole penalty
      (Schwarz et al. normalise the whole);
    - no weight is free: one without information gets a tenth of its group's mean (``damping``), since a unit that was
      silent on old samples can wake up;
    - the strength has a meaning: drift of old joints in millimetres against error in millimetres, whatever the loss.

    With a squared loss, independent weights, gamma 1, strength 1, ``damping: 0`` and ``normalise: none`` this is exact:
    the weights after experience t are those of joint training on experiences 1 to t.
    """

    Settings: ClassVar[type[config.Settings]] = OnlineEwcSettings
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"strength": 0.1}, {"strength": 10.0})

    settings: OnlineEwcSettings  # narrows the base's

    @classmethod
    def strength_zero(cls) -> Mapping[str, Any]:
        """No pull; the Fisher information is not even measured."""
        return {"strength": 0.0}

    def __init__(self, settings: OnlineEwcSettings, modalities: tuple[str, ...]) -> None:
        super().__init__(settings, modalities)
        self._fisher: Groups = {}

    @property
    def _proximal(self) -> bool:
        return self.settings.step == "proximal"

    def end_experience(self, model: PoseModel, end: End) -> None:
        """Add the experience's information and move the anchor."""
        if self.settings.strength == 0:
            return
        self._fisher = faded(self._fisher, self.settings.decay, self._importance(model, end))
        fisher = {group: [self.settings.decay * f for f in each] for group, each in self._fisher.items()}
        self._hold(weights_of(model), pull_of(fisher, self.settings, self._setup, end))

    def state_dict(self) -> dict[str, Any]:
        """Anchor, stiffness and information."""
        return {**super().state_dict(), "fisher": copied(self._fisher)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        super().load_state_dict(state)
        self._fisher = copied(state["fisher"])

    def memory_bytes(self) -> int:
        """Anchor, stiffness and information."""
        return super().memory_bytes() + bytes_of(flat(self._fisher))

    def _importance(self, model: PoseModel, end: End) -> Groups:
        return measure(model, end, self.settings, self._setup).diagonal


def faded(old: Groups, decay: float, new: Groups) -> Groups:
    """The old times ``decay``, plus the new."""
    if not old:
        return new
    return {g: [decay * a + b for a, b in zip(old[g], each, strict=True)] for g, each in new.items()}
