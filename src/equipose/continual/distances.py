"""How far two poses are apart, in the unit of whatever loss the run has.

A squared distance beside another loss needs a scale, or its strength depends on metres or millimetres. With l(d) the
run's loss of a pose that is off by d everywhere, and r a reference distance::

    distance = l(r) * mean over joints of |f - g|^2 / r^2

For a squared loss that is the squared loss itself, whatever r is; for MPJPE it is |f - g|^2 / r in the run's unit: as
much as an error of r at the reference, and its pull there is twice that of a label.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from equipose.balance.base import PerSampleLoss
from equipose.types import Batch, PoseOutput

MM = 1e-3
"""Metres."""


def loss_at(loss: PerSampleLoss, batch: Batch, distance: float) -> float:
    """The run's loss of a pose whose every joint is ``distance`` metres off; targets do not matter."""
    one = batch.select(torch.zeros(1, dtype=torch.int64, device=batch.present.device))
    target = torch.zeros_like(one.target)
    moved = target.clone()
    moved[..., 0] = distance
    return float(loss(PoseOutput(moved), replace(one, target=target))[0])


def squared_distance(
    joints: Float[Tensor, "batch joint 3"], others: Float[Tensor, "batch joint 3"]
) -> Float[Tensor, " batch"]:
    """Mean over joints of the squared distance, square metres."""
    return (joints - others).square().sum(-1).mean(-1)


def relative_scale(loss: PerSampleLoss, batch: Batch, reference: float) -> float:
    """l(r) / r^2: what turns square metres into the loss's unit; ``reference`` in metres."""
    return loss_at(loss, batch, reference) / reference**2
