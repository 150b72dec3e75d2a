"""Riemannian walk: a running Fisher information, and how much the loss fell per distance in its metric."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from equipose import config
from equipose.continual.anchored import Anchored
from equipose.continual.base import End, Start
from equipose.continual.path import Before, before_step, moves
from equipose.continual.weights import bytes_of, copied, flat, like, weights_of, zeros_of
from equipose.fisher_outputs import Groups, parameter_groups
from equipose.nn.model import PoseModel


class RwalkSettings(config.Settings):
    """Strength, averaging and intervals."""

    strength: float = Field(default=1.0, ge=0)
    """lambda: a weight of the highest importance feels twice its usual gradient once it has moved by 1 / lambda. 0 is
    fine-tuning."""
    averaging: float = Field(default=0.9, ge=0, lt=1)
    """Share of the old in the running Fisher information, per step (EWC++)."""
    interval: int = Field(default=10, ge=1)
    """Optimizer steps over which a gain and a move are compared."""
    damping: float = Field(default=1e-3, gt=0)
    """Least distance of an interval, in mean distances of the weights: bounds the score of a weight at rest."""


class Rwalk(Anchored):
    """Every weight is pulled to its last values, by its Fisher information and by what its moves had gained.

    ::

        each step:      F_i <- a F_i + (1 - a) g_i^2                            (EWC++)
        each interval:  s_i <- s_i + max(0, -sum g_i dtheta_i) / (1/2 F_i Dtheta_i^2 + eps)
        at the end:     s <- (s_old + s) / 2,    w_i = F_i / max F + s_i / max s
        L = L_pose + strength * sqrt(max F) * sum_i w_i (theta_i - theta*_i)^2

    Source: Chaudhry et al., *Riemannian Walk for Incremental Learning* (ECCV 2018); defined for classification with
    lambda tuned per data set and samples stored besides.

    Differs from the published method:

    - sqrt(max F), the size of the largest gradients, gives the penalty the loss's unit; lambda is otherwise that of one
      loss and one model;
    - eps is measured in mean distances, and a maximum of zero gives zero importance: a fixed eps and a bare division
      are how other code comes to NaN;
    - gains below zero are cut per interval, and no samples are stored (see ``er``).

    F is of whole-batch gradients, as published: biased by the batch size (see ``fisher_outputs``).
    """

    Settings: ClassVar[type[config.Settings]] = RwalkSettings
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"strength": 0.1}, {"strength": 10.0})

    settings: RwalkSettings  # narrows the base's

    @classmethod
    def strength_zero(cls) -> Mapping[str, Any]:
        """No pull; the walk is not even followed."""
        return {"strength": 0.0}

    def __init__(self, settings: RwalkSettings, modalities: tuple[str, ...]) -> None:
        super().__init__(settings, modalities)
        self._groups: dict[str, Groups] = {}
        self._count = 0
        self._before: Before | None = None

    def begin_experience(self, model: PoseModel, start: Start) -> None:
        """Start a new walk; the Fisher information runs on."""
        super().begin_experience(model, start)
        if self.settings.strength == 0:
            return
        fisher = self._groups.get("fisher", zeros_of(model))
        old = self._groups.get("old_score", {})
        zeros = {name: zeros_of(model) for name in ("score", "gain")}
        self._groups = {"fisher": fisher, "old_score": old, "start": weights_of(model), **zeros}
        self._count = 0

    def gradients(self, model: PoseModel) -> None:
        """Take the gradient of the task, and average its square into the information."""
        if not self._groups:
            return
        self._before = before_step(flat(parameter_groups(model)), flat(self._anchor), flat(self._stiffness))
        fisher, share = flat(self._groups["fisher"]), 1.0 - self.settings.averaging
        torch._foreach_mul_(fisher, self.settings.averaging)
        torch._foreach_addcmul_(fisher, self._before.gradients, self._before.gradients, value=share)

    def after_step(self, model: PoseModel, learning_rate: float) -> None:
        """Add the step to the walk."""
        if self._before is None:
            return
        way = moves(self._before, flat(parameter_groups(model)))
        torch._foreach_addcmul_(flat(self._groups["gain"]), self._before.gradients, way, value=-1.0)
        self._before = None
        self._count += 1
        if self._count % self.settings.interval == 0:
            self._score(model)

    def end_experience(self, model: PoseModel, end: End) -> None:
        """Average the scores and move the anchor."""
        if not self._groups:
            return
        if self._count % self.settings.interval:
            self._score(model)
        fisher, score = flat(self._groups["fisher"]), flat(self._groups["score"])
        if self._groups["old_score"]:
            score = [(a + b) / 2 for a, b in zip(flat(self._groups["old_score"]), score, strict=True)]
        largest, best = _largest(fisher), _largest(score)
        factor = 2.0 * self.settings.strength * largest**0.5
        weights = [
            (f / largest if largest > 0 else torch.zeros_like(f)) + (s / best if best > 0 else torch.zeros_like(s))
            for f, s in zip(fisher, score, strict=True)
        ]
        here = weights_of(model)
        self._hold(here, like(here, [factor * w for w in weights]))
        self._groups = {"fisher": self._groups["fisher"], "old_score": like(here, score)}

    def state_dict(self) -> dict[str, Any]:
        """Anchor, information, scores and the walk so far."""
        groups = {name: copied(each) for name, each in self._groups.items()}
        return {**super().state_dict(), "groups": groups, "count": self._count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        super().load_state_dict(state)
        self._groups = {name: copied(each) for name, each in state["groups"].items()}
        self._count = state["count"]

    def memory_bytes(self) -> int:
        """Anchor, stiffness, information and scores."""
        kept = [t for name in ("fisher", "old_score") for t in flat(self._groups.get(name, {}))]
        return super().memory_bytes() + bytes_of(kept)

    def _score(self, model: PoseModel) -> None:
        """Close an interval: what it gained per distance in the metric of F."""
        here, start = weights_of(model), flat(self._groups["start"])
        distance = [
            0.5 * f * (b - a).square() for f, a, b in zip(flat(self._groups["fisher"]), start, flat(here), strict=True)
        ]
        mean = sum(float(d.double().sum()) for d in distance) / max(1, sum(d.numel() for d in distance))
        least = max(self.settings.damping * mean, torch.finfo(torch.float32).tiny)
        gains = [g.clamp(min=0.0) for g in flat(self._groups["gain"])]
        score = [
            s + gain / (d + least) for s, gain, d in zip(flat(self._groups["score"]), gains, distance, strict=True)
        ]
        zero = {g: [torch.zeros_like(t) for t in each] for g, each in here.items()}
        self._groups = {**self._groups, "score": like(here, score), "gain": zero, "start": here}


def _largest(tensors: list[Tensor]) -> float:
    return max((float(t.max()) for t in tensors if t.numel()), default=0.0)
