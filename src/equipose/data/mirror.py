"""Mirror a scene left to right: a person that nobody recorded, for the sensors that know no left and right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool
from torch import Tensor

from equipose.errors import UsageError
from equipose.modality import MODALITIES, PRINCIPAL_POINT
from equipose.types import Batch, Cloud, Dense

_MIRRORED = ("rgb", "depth", "lidar", "mmwave")
"""Seen from the camera's own place, so that the mirrored scene is one they could have seen. The infrared imagers stand
left and right of it, and a radio channel knows the room."""


def mirrored(batch: Batch, chosen: Bool[Tensor, " batch"], swap: Sequence[int]) -> Batch:
    """The samples with some of them mirrored at the plane x = 0 of the camera frame.

    A sensor that cannot be mirrored (WiFi, the infrared imagers) is absent from a mirrored sample; a sample that would
    keep no sensor stays as it is.

    Args:
        batch: samples.
        chosen: which of them to mirror.
        swap: the joint that takes each joint's place (``Skeleton.mirror``), for the target and for 2D joints.

    Raises:
        UsageError: 2D joints of another skeleton than the target's.
    """
    able = torch.tensor([name in _MIRRORED for name in batch.modalities], device=batch.present.device)
    chosen = chosen & (batch.present & able).any(1)
    order = torch.tensor(swap, device=batch.target.device)
    inputs = dict(batch.inputs)
    for name, value in inputs.items():
        if name not in _MIRRORED:
            continue
        if isinstance(value, Cloud):
            points = torch.cat([-value.points[..., :1], value.points[..., 1:]], -1)
            inputs[name] = replace(value, points=torch.where(chosen[:, None, None], points, value.points))
        else:
            inputs[name] = _dense(name, value, chosen, order)
    flip = batch.target.new_tensor([-1.0, 1.0, 1.0])
    return replace(
        batch,
        inputs=inputs,
        present=batch.present & (able | ~chosen[:, None]),
        target=torch.where(chosen[:, None, None], batch.target[:, order] * flip, batch.target),
    )


def _dense(name: str, value: Dense, chosen: Tensor, order: Tensor) -> Dense:
    if MODALITIES[name].kind == "depth":
        return replace(value, values=torch.where(chosen[:, None, None, None], value.values.flip(-1), value.values))
    joints = value.values.shape[2]
    if joints != len(order):
        raise UsageError(
            f"{name} has {joints} joints and the target {len(order)}: they cannot be mirrored alike; set data.mirror=0"
        )
    across = 2.0 * PRINCIPAL_POINT[0] - value.values[..., :1]
    values = torch.cat([across, value.values[..., 1:]], -1)[:, :, order]
    change = chosen[:, None] & value.valid  # an invalid frame stays zero
    return replace(value, values=torch.where(change[..., None, None], values, value.values))
