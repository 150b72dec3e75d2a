"""Pose errors: MPJPE and PA-MPJPE, per joint, per frame and in the mean.

Inputs are metres in any one coordinate frame; results are millimetres and float64, and so are the sums
inside. PA-MPJPE is the error after the similarity transform (rotation without reflection, translation, scale)
that fits the prediction to the truth best in the least-squares sense, frame by frame (Umeyama, 1991).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

MILLIMETRES_PER_METRE = 1000.0


def joint_errors(
    predicted: Float[Tensor, "*frame joint 3"], target: Float[Tensor, "*frame joint 3"]
) -> Float[Tensor, "*frame joint"]:
    """Distance of every joint, millimetres, float64.

    Args:
        predicted: joints, metres.
        target: true joints, metres, same coordinate frame.
    """
    return (predicted.double() - target.double()).norm(dim=-1) * MILLIMETRES_PER_METRE


def mpjpe(
    predicted: Float[Tensor, "*frame joint 3"], target: Float[Tensor, "*frame joint 3"]
) -> Float[Tensor, "*frame"]:
    """Mean per joint position error of every frame, millimetres, float64; arguments as ``joint_errors``."""
    return joint_errors(predicted, target).mean(-1)


def pa_joint_errors(
    predicted: Float[Tensor, "*frame joint 3"], target: Float[Tensor, "*frame joint 3"]
) -> Float[Tensor, "*frame joint"]:
    """Distance of every joint after the best similarity transform of its frame, millimetres, float64."""
    return joint_errors(procrustes(predicted, target), target)


def pa_mpjpe(
    predicted: Float[Tensor, "*frame joint 3"], target: Float[Tensor, "*frame joint 3"]
) -> Float[Tensor, "*frame"]:
    """``mpjpe`` after the best similarity transform of every frame, millimetres, float64."""
    return pa_joint_errors(predicted, target).mean(-1)


def procrustes(
    predicted: Float[Tensor, "*frame joint 3"], target: Float[Tensor, "*frame joint 3"]
) -> Float[Tensor, "*frame joint 3"]:
    """The prediction, moved onto the truth by the best rotation, translation and scale; metres, float64.

    No reflection: a mirrored pose does not become the true one. A prediction whose joints all coincide has no
    scale and no direction; it is moved to the centre of the truth. Flat and straight poses have several best
    rotations with the same error. A frame with a value that is not finite gives NaN.
    """
    x, y = predicted.double(), target.double()
    finite = (x.isfinite() & y.isfinite()).all(-1).all(-1)[..., None, None]
    x, y = torch.where(finite, x, 0.0), torch.where(finite, y, 0.0)
    centre = y.mean(-2, keepdim=True)
    x_centred, y_centred = x - x.mean(-2, keepdim=True), y - centre

    u, singular, vt = torch.linalg.svd(x_centred.mT @ y_centred)
    sign = torch.ones_like(singular)
    sign[..., 2] = torch.where(torch.linalg.det(u @ vt) < 0, -1.0, 1.0)
    rotation = (u * sign[..., None, :]) @ vt

    spread = x_centred.square().sum((-1, -2))
    # Below this only rounding of the centre is left.
    collapsed = spread <= 1e-24 * x.square().sum((-1, -2))
    scale = torch.where(collapsed, 0.0, (singular * sign).sum(-1) / torch.where(collapsed, 1.0, spread))
    aligned = scale[..., None, None] * (x_centred @ rotation) + centre
    return torch.where(finite, aligned, torch.nan)
