"""A small residual network over depth images (He et al., CVPR 2016), GroupNorm for BatchNorm."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from equipose.config import Settings
from equipose.modality import Kind, ModalitySpec
from equipose.nn.encoders.base import InputLayout, Size, fit_window
from equipose.types import Dense

DEPTH_SPREAD = 0.5
"""Metres; scale of the depth around the person."""
DEPTH_RANGE = 1.5
"""Metres from the mean pose beyond which a pixel is background."""


class DepthSettings(Settings):
    """Size of the depth network."""

    rows: int = 48
    columns: int = 64
    """The image is averaged down to this size."""
    channels: tuple[int, ...] = (16, 32, 64)
    """Channels of each stage; each stage halves the image."""
    blocks: int = 1
    """Residual blocks per stage."""


class DepthEncoder(nn.Module):
    """Depth images -> one vector.

    Args:
        spec: a ``depth`` modality.
        layout: window, (row, column) and the centre whose z the depth is measured from.
        width: length of the feature.
        settings: see ``preset``.
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"depth"})
    Settings: ClassVar[type[DepthSettings]] = DepthSettings

    @staticmethod
    def preset(size: Size, spec: ModalitySpec) -> DepthSettings:
        """``paper``: the stages of ResNet-18."""
        if size == "small":
            return DepthSettings()
        return DepthSettings(rows=96, columns=128, channels=(64, 128, 256, 512), blocks=2)

    def __init__(self, spec: ModalitySpec, layout: InputLayout, width: int, settings: DepthSettings) -> None:
        super().__init__()
        self.window = layout.window
        self.size = (settings.rows, settings.columns)
        self.register_buffer("distance", torch.tensor(layout.centre[2]))
        first = settings.channels[0]
        stages: list[nn.Module] = [nn.Conv2d(2 * self.window + 2, first, kernel_size=5, stride=2, padding=2)]
        before = first
        for i, channels in enumerate(settings.channels):
            for j in range(settings.blocks):
                stages.append(_Residual(before, channels, stride=2 if i > 0 and j == 0 else 1))
                before = channels
        self.stages = nn.Sequential(*stages)
        self.pool = nn.Linear(before * 12, 2 * width)
        self.out = nn.Linear(2 * width, width)

    distance: Tensor

    def forward(self, dense: Dense) -> Float[Tensor, "batch width"]:
        """(batch, time, row, column) metres, 0 for no echo -> (batch, width)."""
        values, valid = fit_window(dense.values, dense.valid, self.window)
        step = [max(1, full // (2 * small)) for full, small in zip(values.shape[2:], self.size, strict=True)]
        values = values[..., :: step[0], :: step[1]]
        near = valid[..., None, None] & (values > 0) & ((values - self.distance).abs() < DEPTH_RANGE)
        share = functional.adaptive_avg_pool2d(near.to(values.dtype), self.size)
        depth = torch.where(near, (values - self.distance) / DEPTH_SPREAD, 0.0)
        depth = functional.adaptive_avg_pool2d(depth, self.size) / share.clamp_min(1e-3)
        rows, columns = self.size
        grid = torch.stack(
            torch.meshgrid(
                torch.linspace(-1.0, 1.0, rows, device=values.device),
                torch.linspace(-1.0, 1.0, columns, device=values.device),
                indexing="ij",
            )
        )
        grid = grid.to(values.dtype).expand(values.shape[0], 2, rows, columns)
        images = self.stages(torch.cat([depth, share, grid], 1))
        pooled = functional.adaptive_avg_pool2d(images, (3, 4)).flatten(1)
        return self.out(torch.relu(self.pool(pooled)))


class _Residual(nn.Module):
    """Two 3 x 3 convolutions and a shortcut."""

    def __init__(self, before: int, channels: int, stride: int) -> None:
        super().__init__()
        self.convolve = nn.Sequential(
            nn.Conv2d(before, channels, 3, stride, padding=1, bias=False),
            nn.GroupNorm(max(1, channels // 16), channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.GroupNorm(max(1, channels // 16), channels),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != channels:
            self.shortcut = nn.Conv2d(before, channels, 1, stride, bias=False)

    def forward(self, images: Float[Tensor, "batch before row column"]) -> Tensor:
        return torch.relu(self.shortcut(images) + self.convolve(images))
