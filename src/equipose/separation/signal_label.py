"""Statistics that need the label but no network: whether it is a body, and whether a sensor saw that body.

A label and a sensor are compared in the sensor's own space: a network's answer from 2D joints alone is off by
centimetres in depth, the joints' place in the image by one or two. What is unusual here is the label's fault or the
sensor's; ``blame`` tells which.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from equipose.modality import FOCAL_LENGTH, MODALITIES, PRINCIPAL_POINT
from equipose.separation.readings import Samples
from equipose.separation.signal import SignalReadings, batches_of
from equipose.separation.signal_statistic import Statistic, log_of
from equipose.skeleton import H36M17
from equipose.types import Cloud, Dense

LABEL = "label"
BODY_STATISTICS = tuple(Statistic(f"bone {c}", "log of metres", 0, 0.1) for _, c in H36M17.bones)
"""Of the label alone: the length of every bone, beside the same person's."""
IMAGE_STATISTICS = (
    Statistic("median joint beside the image", "metres", 1, 0.01),
    Statistic("mean joint beside the image", "metres", 1, 0.01),
)
"""Of the label and 2D joints, in the order of ``beside_image``."""
CLOUD_STATISTICS = (
    Statistic("points away from the body", "metres", 1, 0.02),
    Statistic("body without points", "metres", 1, 0.02),
)
"""Of the label and a LiDAR cloud, in the order of ``beside_cloud``."""

_NEAREST = 0.5
_WORST = 5
_SMALLEST = 1e-3
_AWAY = 0.6
"""Metres from the nearest joint beyond which a point counts the same: furniture is no fault of a label."""


def collect_label_signal(
    samples: Samples, positions: NDArray[np.int64] | Sequence[int] | None = None, batch_size: int = 128
) -> SignalReadings:
    """Statistics of labels, as ``label``, and of how they fit the sensors, under the sensors' names.

    Args:
        samples: a data set.
        positions: which samples; all where None.
        batch_size: samples at once; results do not depend on it.

    Raises:
        UsageError: if there is no sample.
    """
    parts = []
    for batch, _ in batches_of(samples, positions, batch_size):
        values = {LABEL: bone_lengths(batch.target)}
        for m, name in enumerate(batch.modalities):
            distance = distance_to_body(name, batch.inputs[name], batch.target)
            if distance is not None:
                values[name] = torch.where(batch.present[:, m, None], distance, torch.nan)
        parts.append(SignalReadings.of_batch(batch, values, {name: label_statistics_of(name) for name in values}))
    return SignalReadings.joined(parts)


def image_offsets(
    samples: Samples,
    modalities: tuple[str, ...],
    batch_size: int = 128,
    positions: NDArray[np.int64] | Sequence[int] | None = None,
) -> Float[Tensor, "sample modality joint 2"]:
    """``image_offset`` of the labels and every 2D-joint sensor of a data set, float32; NaN of the others.

    Args:
        samples: a data set.
        modalities: sensors in the order of the modality axis.
        batch_size: samples at once; results do not depend on it.
        positions: which samples; all where None.
    """
    chosen = np.arange(len(samples)) if positions is None else np.asarray(positions, np.int64)
    parts = []
    for start in range(0, len(chosen), batch_size):
        batch = samples.batch(chosen[start : start + batch_size])
        offset = torch.full((len(batch), len(modalities), batch.target.shape[1], 2), torch.nan)
        for m, name in enumerate(modalities):
            window = batch.inputs[name]
            if isinstance(window, Dense) and _same_joints(name, window, batch.target):
                own = window.values[:, window.values.shape[1] // 2]
                found = image_offset(own, batch.target).float()
                offset[:, m] = torch.where(batch.present[:, m, None, None], found, torch.nan)
        parts.append(offset)
    return torch.cat(parts)


def label_statistics_of(name: str) -> tuple[Statistic, ...]:
    """The statistics of the ``label``, or of a sensor and the label; none of a sensor that has none."""
    if name == LABEL:
        return BODY_STATISTICS
    if MODALITIES[name].kind == "joints2d":
        return IMAGE_STATISTICS
    return CLOUD_STATISTICS if name == "lidar" else ()


def distance_to_body(
    name: str, window: Any, pose: Float[Tensor, "batch joint 3"]
) -> Float[Tensor, "batch statistic"] | None:
    """How far what a sensor saw is from a pose, in the order of ``label_statistics_of``; None of a sensor without.

    Args:
        name: of the sensor.
        window: what it recorded.
        pose: metres, camera frame; NaN gives NaN.
    """
    if isinstance(window, Dense) and _same_joints(name, window, pose):
        return beside_image(window, pose)
    if isinstance(window, Cloud) and name == "lidar":
        return beside_cloud(window, pose)
    return None


def bone_lengths(pose: Float[Tensor, "batch joint 3"]) -> Float[Tensor, "batch bone"]:
    """Logarithm of the length of every bone of ``H36M17``, float64; NaN of another skeleton."""
    if pose.shape[1] != len(H36M17):
        return torch.full((len(pose), len(H36M17.bones)), torch.nan, dtype=torch.float64)
    lengths = [(pose[:, p] - pose[:, c]).double().norm(dim=-1) for p, c in H36M17.bones]
    return log_of(torch.stack(lengths, 1), _SMALLEST)


def beside_image(window: Dense, pose: Float[Tensor, "batch joint 3"]) -> Float[Tensor, "batch 2"]:
    """Median and mean distance of the own frame's joints to the pose's, metres in the plane of each joint.

    Joints at (0, 0) were not found and do not count.
    """
    middle = window.values.shape[1] // 2
    offset = image_offset(window.values[:, middle], pose).norm(dim=-1)
    known = window.valid[:, middle]
    columns = torch.stack([offset.nanmedian(1).values, offset.nanmean(1)], 1)
    return torch.where(known[:, None], columns, torch.nan)


def image_offset(
    pixels: Float[Tensor, "batch joint 2"], pose: Float[Tensor, "batch joint 3"]
) -> Float[Tensor, "batch joint 2"]:
    """From where the pose would be seen to where the joints were seen, metres at the depth of each joint, float64."""
    pixels, pose = pixels.double(), pose.double()
    depth = pose[..., 2:].clamp(min=_NEAREST)
    rays = (pixels - pixels.new_tensor(PRINCIPAL_POINT)) / FOCAL_LENGTH
    offset = rays * depth - pose[..., :2]
    return torch.where((pixels != 0).any(-1, keepdim=True), offset, torch.nan)


def beside_cloud(cloud: Cloud, pose: Float[Tensor, "batch joint 3"]) -> Float[Tensor, "batch 2"]:
    """Mean distance of points to their nearest joint, and of the five loneliest joints to their nearest points.

    A point counts as at most 60 cm away. A quantile of the points would jump with the share of furniture in a cloud.
    """
    points, mask = cloud.points[..., :3].double(), cloud.mask
    if not mask.shape[1]:
        return points.new_full((len(points), len(CLOUD_STATISTICS)), torch.nan)
    distance = torch.where(mask[:, None], torch.cdist(pose.double(), points), torch.inf)
    lonely = distance.amin(-1).sort(1).values[:, -_WORST:].mean(1)
    away = distance.amin(1).clamp(max=_AWAY)
    columns = torch.stack([torch.where(mask, away, torch.nan).nanmean(1), lonely], 1)
    return torch.where(mask.any(1)[:, None] & columns.isfinite(), columns, torch.nan)


def _same_joints(name: str, window: Dense, pose: Tensor) -> bool:
    """Whether a sensor sees in the image the joints that the pose has."""
    return MODALITIES[name].kind == "joints2d" and window.values.shape[2:] == (pose.shape[1], 2)
