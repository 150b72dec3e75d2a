"""Turn a scene about the camera and change its size: a person elsewhere, taller or shorter, that nobody recorded.

Both are symmetries of a pinhole camera. A turn moves 2D joints by a homography that needs no depth, and a scene of
another size looks the same in the image, so what a camera, a LiDAR and a radar at the camera's place would have
recorded is known exactly from what they did record, as long as the change is small (see ``moved``).
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from equipose.config import MoveSettings
from equipose.modality import FOCAL_LENGTH, MODALITIES, PRINCIPAL_POINT
from equipose.types import Batch, Cloud, Dense

_MOVED = ("rgb", "lidar", "mmwave")
"""Seen from the camera's own place. The infrared imagers stand left and right of it, a radio channel knows the room,
and a depth image would have to be drawn anew."""


def draw_moves(
    settings: MoveSettings, uniform: Float[Tensor, "batch 4"]
) -> tuple[Float[Tensor, "batch 3 3"], Float[Tensor, " batch"]]:
    """A turn and a size for each sample.

    Args:
        settings: largest angles and size.
        uniform: random numbers from 0 to 1.

    Returns:
        rotation matrices in the camera frame, and factors of size.
    """
    signed = 2.0 * uniform - 1.0
    largest = torch.tensor([settings.turn, settings.tilt, settings.roll], dtype=uniform.dtype)
    turn, tilt, roll = (signed[:, :3] * largest * (math.pi / 180)).unbind(1)
    rotation = _about(1, turn) @ _about(0, tilt) @ _about(2, roll)
    return rotation, torch.exp(signed[:, 3] * math.log1p(settings.size))


def moved(
    batch: Batch,
    chosen: Bool[Tensor, " batch"],
    rotation: Float[Tensor, "batch 3 3"],
    size: Float[Tensor, " batch"],
) -> Batch:
    """The samples with some of their scenes turned about the camera and made larger or smaller.

    With R the rotation, s the size and f the focal length::

        joints, points   p -> s R p                     (metres, camera frame)
        Doppler          v -> s v                       (along the ray, which turns too)
        pixels           (u, v, 1) -> K R K^-1 (u, v, 1)    for any s

    Exact for the camera. A cloud keeps its points where a real one, at another distance, would have a few more or
    less and the radar another SNR; LiDAR and radar are taken to stand where the camera stands, and are some
    decimetres off. Neither matters for the few degrees and per cent that this is made for.

    A sensor that cannot be moved (WiFi, depth, the infrared imagers) is absent from a moved sample; a sample that
    would keep no sensor stays as it is. A joint that was not found, at pixel (0, 0), stays there.

    Args:
        batch: samples.
        chosen: which of them to move.
        rotation: of each sample's scene about the camera.
        size: of each sample's scene.
    """
    able = torch.tensor([name in _MOVED for name in batch.modalities], device=batch.present.device)
    chosen = chosen & (batch.present & able).any(1)
    still = torch.eye(3, dtype=rotation.dtype, device=rotation.device)
    rotation = torch.where(chosen[:, None, None], rotation, still).to(batch.target)
    size = torch.where(chosen, size, torch.ones_like(size)).to(batch.target)
    scaled = rotation * size[:, None, None]
    inputs = dict(batch.inputs)
    for name, value in inputs.items():
        if name in _MOVED:
            inputs[name] = (
                _cloud(name, value, chosen, scaled, size)
                if isinstance(value, Cloud)
                else _joints(value, chosen, rotation)
            )
    target = torch.where(chosen[:, None, None], _rotated(scaled, batch.target), batch.target)
    return replace(batch, inputs=inputs, present=batch.present & (able | ~chosen[:, None]), target=target)


def _cloud(name: str, cloud: Cloud, chosen: Tensor, scaled: Tensor, size: Tensor) -> Cloud:
    points = torch.cat([_rotated(scaled, cloud.points[..., :3]), cloud.points[..., 3:]], -1)
    if "doppler" in MODALITIES[name].channels:
        column = MODALITIES[name].channels.index("doppler")
        points[..., column] = points[..., column] * size[:, None]
    return replace(cloud, points=torch.where(chosen[:, None, None], points, cloud.points))


def _joints(image: Dense, chosen: Tensor, rotation: Tensor) -> Dense:
    values = image.values
    rays = torch.cat(
        [(values - values.new_tensor(PRINCIPAL_POINT)) / FOCAL_LENGTH, torch.ones_like(values[..., :1])], -1
    )
    turned = _rotated(rotation, rays.flatten(1, 2)).reshape(rays.shape)
    pixels = FOCAL_LENGTH * turned[..., :2] / turned[..., 2:] + values.new_tensor(PRINCIPAL_POINT)
    found = (values != 0.0).any(-1) & image.valid[:, :, None] & chosen[:, None, None]
    return replace(image, values=torch.where(found[..., None], pixels, values))


def _rotated(rotation: Float[Tensor, "batch 3 3"], points: Float[Tensor, "batch n 3"]) -> Float[Tensor, "batch n 3"]:
    return points @ rotation.transpose(1, 2)


def _about(axis: int, angle: Float[Tensor, " batch"]) -> Float[Tensor, "batch 3 3"]:
    """Rotation matrices about a coordinate axis."""
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix = torch.zeros(len(angle), 3, 3, dtype=angle.dtype)
    matrix[:, axis, axis] = 1.0
    matrix[:, first, first] = matrix[:, second, second] = torch.cos(angle)
    matrix[:, first, second], matrix[:, second, first] = -torch.sin(angle), torch.sin(angle)
    return matrix
