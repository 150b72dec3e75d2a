"""Sparse clouds over time: a point set per frame, then temporal convolutions over the frames.

A radar frame holds some thirty points and no static limb; what a limb does shows in how the frames follow each
other. Each frame's points are pooled on their own (PointNet, Qi et al., CVPR 2017, with gated means instead of a
maximum), and the frames are mixed by residual dilated convolutions (Bai et al., 2018) whose middle frame is
read out.

The frames are recovered from the time channel: a point is shared between the two nearest slots of the window in
proportion, so points at frame times belong to exactly one.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from equipose.config import Settings
from equipose.modality import Kind, ModalitySpec
from equipose.nn.encoders.base import InputLayout, Size
from equipose.nn.encoders.point_transformer import CHANNEL_SCALE
from equipose.types import Cloud

FRAME_RATE_HZ = 10.0
"""Slots of the window per second; the frame rate of MM-Fi and of MARS."""
POSITION_SPREAD = 0.4
"""Metres; typical distance of a body's points from its centre."""
TYPICAL_COUNT = 30.0
"""Points per radar frame, to scale the count that each slot is told."""


class TemporalCloudSettings(Settings):
    """Size of the network."""

    point_channels: int = 64
    """Length of a point's first hidden vector."""
    channels: int = 128
    """Length of a frame's hidden vector."""
    gates: int = 4
    """Groups of channels that weigh a frame's points each in their own way; divides ``channels``."""
    dilations: tuple[int, ...] = (1, 2, 4)
    """One residual convolution of width 5 per entry."""


class TemporalCloudEncoder(nn.Module):
    """Points with times and a mask -> one vector.

    Args:
        spec: a ``cloud`` modality.
        layout: window, (channels,) and the centre that positions are measured from.
        width: length of the feature.
        settings: see ``preset``.
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"cloud"})
    Settings: ClassVar[type[TemporalCloudSettings]] = TemporalCloudSettings

    @staticmethod
    def preset(size: Size, spec: ModalitySpec) -> TemporalCloudSettings:
        """``paper``: twice the channels; no publication stands behind it."""
        factor = 1 if size == "small" else 2
        return TemporalCloudSettings(point_channels=64 * factor, channels=128 * factor)

    def __init__(
        self, spec: ModalitySpec, layout: InputLayout, width: int, settings: TemporalCloudSettings
    ) -> None:
        super().__init__()
        scale = [CHANNEL_SCALE.get(name, (0.0, 1.0)) for name in spec.channels[3:]]
        channels = settings.channels
        self.window = layout.window
        self.gates = settings.gates
        self.register_buffer("middle", torch.tensor([*layout.centre, *(middle for middle, _ in scale)]))
        self.register_buffer("spread", torch.tensor([POSITION_SPREAD] * 3 + [spread for _, spread in scale]))
        self.point = nn.Sequential(
            nn.Linear(layout.shape[0] - 1, settings.point_channels),
            nn.GELU(),
            nn.Linear(settings.point_channels, channels),
            nn.GELU(),
        )
        self.gate = nn.Linear(channels, settings.gates)
        self.frame = nn.Sequential(nn.Linear(channels + 1, channels), nn.LayerNorm(channels), nn.GELU())
        self.mixers = nn.ModuleList(_Mixer(channels, dilation) for dilation in settings.dilations)
        self.out = nn.Sequential(
            nn.LayerNorm(channels),
            nn.Linear(channels, 2 * channels),
            nn.GELU(),
            nn.Linear(2 * channels, width),
        )

    middle: Tensor
    spread: Tensor

    def forward(self, cloud: Cloud) -> Float[Tensor, "batch width"]:
        """Points (batch, point, channel), camera frame, the time in seconds last -> (batch, width)."""
        share = slot_shares(cloud.points[..., -1], cloud.mask, self.window)
        values = torch.where(cloud.mask[..., None], cloud.points[..., :-1], self.middle)
        hidden = self.point((values - self.middle) / self.spread)
        pooled = gated_means(hidden, torch.sigmoid(self.gate(hidden)), share)
        count = share.sum(2, keepdim=True) / TYPICAL_COUNT
        frames = self.frame(torch.cat([pooled, count], -1))
        for mixer in self.mixers:
            frames = mixer(frames)
        return self.out(frames[:, (self.window - 1) // 2])


class _Mixer(nn.Module):
    """Residual dilated convolution over the frames; the window is padded with zeros."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.mix = nn.Conv1d(channels, channels, 5, padding=2 * dilation, dilation=dilation)
        self.out = nn.Linear(channels, channels)

    def forward(self, frames: Float[Tensor, "batch frame channel"]) -> Float[Tensor, "batch frame channel"]:
        mixed = self.mix(self.norm(frames).transpose(1, 2)).transpose(1, 2)
        return frames + self.out(nn.functional.gelu(mixed))


def slot_shares(
    time: Float[Tensor, "batch point"], mask: Bool[Tensor, "batch point"], window: int
) -> Float[Tensor, "batch {window} point"]:
    """How much each point belongs to each slot of the window.

    Args:
        time: seconds from the sample's own frame, whose slot is ``(window - 1) // 2``.
        mask: which points are real; the others belong nowhere.
        window: number of slots.

    Returns:
        shares in [0, 1]; over the slots they sum to 1 for a real point inside the window, to less outside.
    """
    place = time * FRAME_RATE_HZ + (window - 1) // 2
    slots = torch.arange(window, device=time.device, dtype=time.dtype)
    share = (1.0 - (place[:, None, :] - slots[None, :, None]).abs()).clamp_min(0.0)
    return torch.where(mask[:, None, :], share, 0.0)


def gated_means(
    values: Float[Tensor, "batch point channel"],
    gates: Float[Tensor, "batch point gate"],
    share: Float[Tensor, "batch slot point"],
) -> Float[Tensor, "batch slot channel"]:
    """Weighted mean of each slot's points, one weighting per group of channels; zero for an empty slot.

    Args:
        values: what to average.
        gates: positive weights; the channels are split into as many groups of neighbours.
        share: see ``slot_shares``.
    """
    per_channel = gates.repeat_interleave(values.shape[-1] // gates.shape[-1], dim=-1)
    return (share @ (values * per_channel)) / (share @ per_channel).clamp_min(1e-6)
