"""Elastic weight consolidation with an anchor per experience."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch

from equipose import config
from equipose.continual.anchored import Anchored
from equipose.continual.base import End
from equipose.continual.importance import FisherSettings, PullSettings, measure, pull_of
from equipose.continual.weights import weights_of
from equipose.fisher_outputs import Groups
from equipose.nn.model import PoseModel


class EwcSettings(FisherSettings, PullSettings):
    """Strength, Fisher information and step."""

    normalise: Literal["group", "none"] = "none"
    """none: the information as measured. group: every encoder, and the fusion, gets the same mean information."""


class Ewc(Anchored):
    """Every weight is pulled to its values after each earlier experience, by how much it matters there.

    ::

        L = L_pose + strength * s * sum_t sum_i F_ti (theta_i - theta*_ti)^2

    with F_t the diagonal Fisher information, theta*_t the weights at the end of experience t and s what turns its
    square millimetres into the loss's unit (published: 1/2).

    Source: Kirkpatrick et al., *Overcoming catastrophic forgetting in neural networks* (PNAS 2017); defined for
    classification and reinforcement learning, with a strength tuned per task.

    Differs from the published method:

    - F is the information of the regressed pose, without labels (see ``fisher_outputs``); the empirical one, which goes
      with the squared error and so fades as training fits, is a setting;
    - the strength has a meaning: drift of old joints in millimetres against error in millimetres, whatever the loss;
    - the sum over anchors is kept as one: sum_t F_t (theta - theta*_t)^2 is, but for a constant, sum_t F_t times the
      square of the distance to the F-weighted mean of the anchors. Memory is that of two models for any number of
      experiences, and the penalty's value lacks the constant.

    With more than two experiences ``online_ewc`` is the better approximation of the old losses (Huszar, PNAS 2018):
    the anchors of this one count the first experience again in each later theta*_t.
    """

    Settings: ClassVar[type[config.Settings]] = EwcSettings
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"strength": 0.1}, {"strength": 10.0})

    settings: EwcSettings  # narrows the base's

    @classmethod
    def strength_zero(cls) -> Mapping[str, Any]:
        """No pull; the Fisher information is not even measured."""
        return {"strength": 0.0}

    @property
    def _proximal(self) -> bool:
        return self.settings.step == "proximal"

    def end_experience(self, model: PoseModel, end: End) -> None:
        """Measure the information and merge the new anchor into the old ones."""
        if self.settings.strength == 0:
            return
        fisher = measure(model, end, self.settings, self._setup).diagonal
        new = pull_of(fisher, self.settings, self._setup, end)
        here = weights_of(model)
        self._hold(*_merged(self._anchor, self._stiffness, here, new) if self._stiffness else (here, new))


def _merged(anchor: Groups, stiff: Groups, new_anchor: Groups, new_stiff: Groups) -> tuple[Groups, Groups]:
    """One anchor and stiffness for the sum of two quadratic pulls."""
    total = {g: [a + b for a, b in zip(stiff[g], new_stiff[g], strict=True)] for g in stiff}
    place = {
        g: [
            torch.where(k > 0, old + (new_k / k.clamp(min=torch.finfo(k.dtype).tiny)) * (new - old), new)
            for old, new, new_k, k in zip(anchor[g], new_anchor[g], new_stiff[g], total[g], strict=True)
        ]
        for g in stiff
    }
    return place, total
