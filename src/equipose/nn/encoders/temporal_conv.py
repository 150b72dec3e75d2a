"""Temporal convolutions over 2D joints, after VideoPose3D (Pavllo et al., CVPR 2019).

A window of 3^n frames is folded by n convolutions of width 3 into its centre frame, each followed by a 1 x 1
convolution and a residual from the centre of its three inputs. Only the centre frame's pose is asked for, so the
dilated convolutions are evaluated with a stride of three: the same function at a fraction of the cost.

Deviations from the published network: LayerNorm for BatchNorm (see ``encoders.base``), no dropout; inputs are viewing
rays, (pixel - principal point) / focal length, with every frame's own centre and size split off.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from equipose.config import Settings
from equipose.modality import FOCAL_LENGTH, PRINCIPAL_POINT, Kind, ModalitySpec
from equipose.nn.encoders.base import InputLayout, Size, fit_window
from equipose.types import Dense

TYPICAL_LOWEST = 0.24
"""Downward slope of the ray to a standing person's feet at 3 m."""
TYPICAL_SIZE = 0.13
"""Root mean square distance of a standing person's joints from their centre at 3 m, in viewing-ray units."""


class TemporalConvSettings(Settings):
    """Size of the temporal network."""

    channels: int = 160
    """Length of a frame's hidden vector."""


class TemporalConvEncoder(nn.Module):
    """2D joints over time -> one vector.

    Args:
        spec: a ``joints2d`` modality.
        layout: window and (joint, 2).
        width: length of the feature.
        settings: see ``preset``.
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"joints2d"})
    Settings: ClassVar[type[TemporalConvSettings]] = TemporalConvSettings

    @staticmethod
    def preset(size: Size, spec: ModalitySpec) -> TemporalConvSettings:
        """``paper``: 1024 channels, as published."""
        return TemporalConvSettings(channels=160 if size == "small" else 1024)

    def __init__(self, spec: ModalitySpec, layout: InputLayout, width: int, settings: TemporalConvSettings) -> None:
        super().__init__()
        num_folds = max(0, math.ceil(math.log(layout.window, 3) - 1e-9))
        self.window = 3**num_folds
        self.embed = nn.Linear(4 * layout.shape[0] + 3, settings.channels)
        self.folds = nn.ModuleList(_Fold(settings.channels) for _ in range(num_folds))
        self.out = nn.Sequential(
            nn.LayerNorm(settings.channels),
            nn.Linear(settings.channels, settings.channels),
            nn.ReLU(),
            nn.Linear(settings.channels, width),
        )

    def forward(self, dense: Dense) -> Float[Tensor, "batch width"]:
        """Pixels (batch, time, joint, 2) -> (batch, width)."""
        values, valid = fit_window(dense.values, dense.valid, self.window)
        frames = torch.relu(self.embed(ray_features(values, valid)))
        for fold in self.folds:
            frames = fold(frames)
        return self.out(frames[:, 0])


class _Fold(nn.Module):
    """Three neighbouring frames become one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.Sequential(
            nn.Linear(3 * channels, channels),
            nn.LayerNorm(channels),
            nn.ReLU(),
            nn.Linear(channels, channels),
        )

    def forward(self, frames: Float[Tensor, "batch time channel"]) -> Float[Tensor, "batch third channel"]:
        batch, time, channels = frames.shape
        triples = frames.reshape(batch, time // 3, 3, channels)
        return triples[:, :, 1] + self.mix(triples.reshape(batch, time // 3, 3 * channels))


def ray_features(
    pixels: Float[Tensor, "batch time joint 2"], valid: Bool[Tensor, "batch time"]
) -> Float[Tensor, "batch time feature"]:
    """Describe each frame by its shape, place and size.

    Returns:
        per frame 2 * joint + 4 numbers: the joints relative to their centre over their size, the centre as a viewing
        ray (x / z, y / z), the inverse size (proportional to the distance), and whether the frame is valid. Zero
        for an invalid frame.
    """
    rays = (pixels - pixels.new_tensor(PRINCIPAL_POINT)) / FOCAL_LENGTH
    centre = rays.mean(2)
    relative = rays - centre[:, :, None]
    size = relative.square().sum(-1).mean(-1).clamp_min(1e-4).sqrt()
    shape = relative / size[..., None, None]
    lowest = rays[..., 1].amax(2).clamp_min(0.05)
    place = torch.stack([TYPICAL_SIZE / size, TYPICAL_LOWEST / lowest, torch.ones_like(size)], -1)
    features = torch.cat([shape.flatten(2), 5.0 * rays.flatten(2), place], -1)
    return torch.where(valid[..., None], features, 0.0)
