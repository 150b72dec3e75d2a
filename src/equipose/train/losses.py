"""The pose losses. A loss returns one value per sample; the loop takes the mean."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from equipose.balance.base import PerSampleLoss
from equipose.types import Batch, PoseOutput

_UNITS = {"m": 1.0, "mm": 1000.0}


def mpjpe_loss(output: PoseOutput, batch: Batch) -> Float[Tensor, " batch"]:
    """Mean Euclidean distance over the joints of each sample, metres, absolute camera coordinates."""
    return torch.linalg.vector_norm(output.joints - batch.target, dim=-1).mean(-1)


def mse_loss(output: PoseOutput, batch: Batch) -> Float[Tensor, " batch"]:
    """Mean squared Euclidean distance over the joints of each sample, square metres."""
    return (output.joints - batch.target).square().sum(-1).mean(-1)


def pose_loss(name: str, unit: str) -> PerSampleLoss:
    """The loss of a recipe.

    Args:
        name: ``mpjpe`` or ``mse``.
        unit: ``m`` or ``mm``; mse is then in the unit's square.
    """
    scale = _UNITS[unit]
    if name == "mse":
        return lambda output, batch: mse_loss(output, batch) * scale**2
    if scale == 1.0:
        return mpjpe_loss
    return lambda output, batch: mpjpe_loss(output, batch) * scale
