"""Synaptic intelligence: what lowered the loss while it was learned, is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field

from equipose import config
from equipose.continual.anchored import Anchored
from equipose.continual.base import End, Start
from equipose.continual.path import Before, before_step, moves
from equipose.continual.weights import bytes_of, copied, flat, like, weights_of, zeros_of
from equipose.fisher_outputs import Groups, parameter_groups
from equipose.nn.model import PoseModel


class SiSettings(config.Settings):
    """Strength and damping."""

    strength: float = Field(default=1.0, ge=0)
    """c: 1 means that going back where it came from costs a weight what the way had gained. 0 is fine-tuning."""
    damping: float = Field(default=0.1, gt=0)
    """xi, in mean squares of the moves: keeps a weight that hardly moved from an importance without bound."""


class Si(Anchored):
    """Every weight is pulled to its last values, by how much its moves lowered the loss.

    ::

        each step:  omega_i <- omega_i - g_i dtheta_i                g: gradient of the task, dtheta: the real move
        at the end: Omega_i <- Omega_i + max(omega_i, 0) / (D_i^2 + xi mean(D^2)),    D: move over the experience
        L = L_pose + strength * sum_i Omega_i (theta_i - theta*_i)^2

    Source: Zenke et al., *Continual Learning Through Synaptic Intelligence* (ICML 2017); defined for classification
    with xi 0.1 or 0.001 and strengths 0.1 to 1.

    Differs from the published method:

    - xi is measured in mean squared moves: a fixed one depends on how far the optimizer goes;
    - negative importances are cut, as in later code: they would push a weight away without bound;
    - g is the gradient before clipping and without the penalty, after all processes were averaged.

    omega is in the loss's unit, so the strength needs no other. Adam and weight decay bias it.
    """

    Settings: ClassVar[type[config.Settings]] = SiSettings
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"strength": 0.1}, {"strength": 10.0})

    settings: SiSettings  # narrows the base's

    @classmethod
    def strength_zero(cls) -> Mapping[str, Any]:
        """No pull; the path is not even followed."""
        return {"strength": 0.0}

    def __init__(self, settings: SiSettings, modalities: tuple[str, ...]) -> None:
        super().__init__(settings, modalities)
        self._start: Groups = {}
        self._path: Groups = {}
        self._importance: Groups = {}
        self._before: Before | None = None

    def begin_experience(self, model: PoseModel, start: Start) -> None:
        """Start a new path."""
        super().begin_experience(model, start)
        if self.settings.strength > 0:
            self._start, self._path = weights_of(model), zeros_of(model)
            self._importance = self._importance or zeros_of(model)

    def gradients(self, model: PoseModel) -> None:
        """Take the gradient of the task."""
        if self._path:
            self._before = before_step(flat(parameter_groups(model)), flat(self._anchor), flat(self._stiffness))

    def after_step(self, model: PoseModel, learning_rate: float) -> None:
        """Add the step to the path."""
        if self._before is not None:
            way = moves(self._before, flat(parameter_groups(model)))
            torch._foreach_addcmul_(flat(self._path), self._before.gradients, way, value=-1.0)
            self._before = None

    def end_experience(self, model: PoseModel, end: End) -> None:
        """Add the path's worth to the importance and move the anchor."""
        if not self._path:
            return
        here = weights_of(model)
        squares = [(b - a).square() for a, b in zip(flat(self._start), flat(here), strict=True)]
        mean = sum(float(s.double().sum()) for s in squares) / max(1, sum(s.numel() for s in squares))
        least = max(self.settings.damping * mean, torch.finfo(torch.float32).tiny)
        new = [p.clamp(min=0.0) / (square + least) for p, square in zip(flat(self._path), squares, strict=True)]
        total = [old + each for old, each in zip(flat(self._importance), new, strict=True)]
        self._importance = like(self._importance, total)
        self._hold(here, like(here, [2.0 * self.settings.strength * each for each in total]))
        self._start, self._path = {}, {}

    def state_dict(self) -> dict[str, Any]:
        """Anchor, importance and the path so far."""
        own = {"start": copied(self._start), "path": copied(self._path), "importance": copied(self._importance)}
        return {**super().state_dict(), **own}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        super().load_state_dict(state)
        self._start, self._path = copied(state["start"]), copied(state["path"])
        self._importance = copied(state["importance"])

    def memory_bytes(self) -> int:
        """Anchor, stiffness and importance."""
        return super().memory_bytes() + bytes_of(flat(self._importance))
