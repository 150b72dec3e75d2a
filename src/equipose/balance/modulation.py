"""Slow an encoder down by a factor: scale its gradient, as published, or its step.

Adam divides a gradient by its own running size, so a constant factor on the gradient changes nothing (measured ratio of
the steps: 1.000). Scaling the step itself, theta <- theta_old + k (theta_new - theta_old), does what the papers mean
with any optimizer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from equipose.nn.model import PoseModel

Scale = Literal["step", "gradient"]
"""What a factor applies to."""


class Modulation:
    """Factors on the encoders, applied to gradients or to steps.

    Args:
        scale: ``step`` or ``gradient``.
    """

    def __init__(self, scale: Scale) -> None:
        self.scale = scale
        self._before: list[tuple[torch.nn.Parameter, Tensor, float]] = []

    def gradients(self, model: PoseModel, factors: Mapping[str, float]) -> None:
        """After averaging over processes: scale the gradients now, or remember the weights for ``after_step``.

        Args:
            model: whose encoders.
            factors: modality -> factor, equal in all processes; 1 leaves an encoder alone.
        """
        self._before = []
        for modality, factor in factors.items():
            if factor == 1.0:
                continue
            for parameter in model.parameters_of(modality):
                if parameter.grad is None:
                    continue
                if self.scale == "gradient":
                    parameter.grad.mul_(factor)
                else:
                    self._before.append((parameter, parameter.detach().clone(), factor))

    def after_step(self) -> None:
        """Shorten the steps that ``gradients`` asked for."""
        with torch.no_grad():
            for parameter, before, factor in self._before:
                parameter.copy_(torch.lerp(before, parameter, factor))
        self._before = []


def adam_note(name: str, scale: Scale, optimizer: str) -> list[str]:
    """The sentence that warns of scaled gradients under Adam; empty where they work."""
    if scale == "gradient" and optimizer != "sgd":
        return [
            f"{name} scales gradients, and {optimizer} normalises every gradient, so that little or nothing remains of "
            "it; use --set balance.settings.scale=step, or --set train.optimizer=sgd"
        ]
    return []
