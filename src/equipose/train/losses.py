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
    """The loss of a recipe; a sample's error counts by its ``Batch.weight``.

    Args:
        name: ``mpjpe`` or ``mse``.
        unit: ``m`` or ``mm``; mse is then in the unit's square.
    """
    error = mse_loss if name == "mse" else mpjpe_loss
    scale = _UNITS[unit] ** (2 if name == "mse" else 1)

    def loss(output: PoseOutput, batch: Batch) -> Float[Tensor, " batch"]:
        found = error(output, batch)
        if scale != 1.0:
            found = found * scale
        return found if batch.weight is None else found * batch.weight

    return loss
