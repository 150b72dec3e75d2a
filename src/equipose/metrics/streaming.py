"""MPJPE and PA-MPJPE as torchmetrics ``Metric`` classes, for code that already speaks torchmetrics.

Importing this module imports torchmetrics, which takes seconds; nothing in this program's own loop needs it.

    from equipose.metrics.streaming import MeanPerJointPositionError
    metric = MeanPerJointPositionError()
    metric.update(predicted, target)         # metres
    metric.compute()                         # millimetres, float64
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric

from equipose.metrics.pose import mpjpe, pa_mpjpe


class MeanPerJointPositionError(Metric):  # type: ignore[misc]  # torchmetrics is not typed for mypy
    """MPJPE in millimetres over all frames and joints seen; sums are float64 and add over processes."""

    is_differentiable = True
    higher_is_better = False
    full_state_update = False

    error_sum: Tensor
    frames: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Metric.to and Module.float leave metric states alone, so they stay float64.
        self.add_state("error_sum", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("frames", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, predicted: Float[Tensor, "*frame joint 3"], target: Float[Tensor, "*frame joint 3"]) -> None:
        """Add frames.

        Args:
            predicted: joints, metres.
            target: true joints, metres, same coordinate frame.
        """
        errors = self._errors(predicted, target)
        self.error_sum = self.error_sum + errors.sum()
        self.frames = self.frames + errors.numel()

    def compute(self) -> Float[Tensor, ""]:
        """The mean, millimetres; NaN before any frame."""
        return self.error_sum / self.frames

    def _errors(self, predicted: Tensor, target: Tensor) -> Tensor:
        return mpjpe(predicted, target)


class AlignedMeanPerJointPositionError(MeanPerJointPositionError):
    """PA-MPJPE in millimetres: every frame after its best similarity transform."""

    is_differentiable = False

    def _errors(self, predicted: Tensor, target: Tensor) -> Tensor:
        return pa_mpjpe(predicted, target)
