"""WiFi channel state: convolution over tones, then a transformer over bands, after MetaFi++ (Zhou et al., 2023).

What is read from a frame is fixed, has no weights and is the same in training and use (``csi_features``):
level and amplitude per receiver and tone, the phase difference between receivers, and how both change from packet to
packet. The phase of a single receiver is of no use: oscillator offset and packet timing change it at random with each
packet, and cancel only between receivers.

Deviations from the published network: these inputs instead of raw amplitude, tones are convolved in one dimension
(receivers and frames are channels) instead of resized to an image, LayerNorm for BatchNorm.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from equipose.config import Settings
from equipose.modality import Kind, ModalitySpec
from equipose.nn.encoders.base import InputLayout, Size, fit_window
from equipose.nn.layers import TransformerBlock
from equipose.types import Dense

TYPICAL_LEVEL_DB = 41.0
"""Mean amplitude of MM-Fi's channel state."""
LEVEL_SPREAD_DB = 5.0
LOWEST = -5.0
"""In spreads. A tone that the receiver recorded as zero counts as this weak."""


class CsiSettings(Settings):
    """Size of the channel-state network."""

    channels: int = 64
    bands: int = 19
    """Neighbouring tones are gathered in this many bands; one token each."""
    blocks: int = 1
    heads: int = 4
    stem_convolutions: int = 0
    """Residual convolutions over tones before the bands are formed."""


class CsiEncoder(nn.Module):
    """Channel state over packets and tones -> one vector.

    Args:
        spec: a ``csi`` modality.
        layout: window and (2, receiver, tone, packet).
        width: length of the feature.
        settings: see ``preset``.
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"csi"})
    Settings: ClassVar[type[CsiSettings]] = CsiSettings

    @staticmethod
    def preset(size: Size, spec: ModalitySpec) -> CsiSettings:
        """``paper``: 512-long tokens and a two-block transformer behind a convolutional stem."""
        if size == "small":
            return CsiSettings()
        return CsiSettings(channels=512, bands=38, blocks=2, heads=8, stem_convolutions=4)

    def __init__(self, spec: ModalitySpec, layout: InputLayout, width: int, settings: CsiSettings) -> None:
        super().__init__()
        _, receivers, tones, _ = layout.shape
        self.window = layout.window
        channels = settings.channels
        self.patch = -(-tones // settings.bands)
        self.padding = self.patch * settings.bands - tones
        inputs = self.window * (_channels_per_frame(receivers) + 1)
        self.stem = nn.Sequential(*(_ToneBlock(inputs) for _ in range(settings.stem_convolutions)))
        self.embed = nn.Linear(inputs * self.patch, channels)
        self.place = nn.Parameter(0.02 * torch.randn(settings.bands, channels))
        self.blocks = nn.ModuleList(TransformerBlock(channels, settings.heads) for _ in range(settings.blocks))
        self.out = nn.Sequential(
            nn.LayerNorm(2 * channels), nn.Linear(2 * channels, width), nn.ReLU(), nn.Linear(width, width)
        )

    def forward(self, dense: Dense) -> Float[Tensor, "batch width"]:
        """(batch, time, 2, receiver, tone, packet) in dB and radians -> (batch, width)."""
        values, valid = fit_window(dense.values, dense.valid, self.window)
        frames = csi_features(values)
        flag = valid[..., None, None].to(frames.dtype)
        frames = torch.cat([frames * flag, flag.expand(*frames.shape[:2], 1, frames.shape[3])], 2)
        tones = self.stem(frames.flatten(1, 2))
        tones = nn.functional.pad(tones, (0, self.padding))
        bands = tones.reshape(*tones.shape[:2], -1, self.patch).permute(0, 2, 1, 3).flatten(2)
        tokens = self.embed(bands) + self.place
        for block in self.blocks:
            tokens = block(tokens)
        return self.out(torch.cat([tokens.mean(1), tokens.amax(1)], -1))


class _ToneBlock(nn.Module):
    """Residual convolution over neighbouring tones."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolve = nn.Sequential(
            nn.GroupNorm(1, channels),
            nn.ReLU(),
            nn.Conv1d(channels, channels, kernel_size=5, padding=2),
        )

    def forward(self, tones: Float[Tensor, "batch channel tone"]) -> Float[Tensor, "batch channel tone"]:
        return tones + self.convolve(tones)


def _channels_per_frame(receivers: int) -> int:
    pairs = receivers * (receivers - 1) // 2
    return 3 * receivers + 4 * pairs


def csi_features(
    values: Float[Tensor, "batch time 2 receiver tone packet"],
) -> Float[Tensor, "batch time channel tone"]:
    """What one frame of channel state says, per tone.

    Channels, with R receivers and P = R (R - 1) / 2 pairs: R amplitudes above each receiver's level (mean over
    packets); R levels (the same for all tones); R changes of the amplitude from packet to packet; then for each pair
    cosine of the phase between the receivers (mean over packets), its change (first half of the packets to the second),
    and the same two of the sine. Each packet's own gain step per receiver is removed from the amplitudes.
    """
    amplitude, phase = values.unbind(2)
    receivers, packets = phase.shape[2], phase.shape[4]
    half = packets // 2
    mean = phase.new_full((packets, 1), 1.0 / packets)
    change = phase.new_full((packets, 1), 4.0 / max(half, 1))
    change[:half] *= -1.0
    summary = torch.cat([mean, change], 1)  # a product with it: mean over packets, late minus early

    amplitude = ((amplitude - TYPICAL_LEVEL_DB) / LEVEL_SPREAD_DB).clamp_min(LOWEST)
    gain = amplitude.mean(3, keepdim=True)
    shape = amplitude - gain
    level = gain.mean(-1).expand(*amplitude.shape[:-1])
    flicker = (shape[..., 1:] - shape[..., :-1]).square().mean(-1).add(1e-6).sqrt()

    cosine, sine = torch.cos(phase).unbind(2), torch.sin(phase).unbind(2)
    parts = [(shape @ mean)[..., 0], level, 4.0 * flicker]
    for a in range(receivers):
        for b in range(a + 1, receivers):
            real = cosine[a] * cosine[b] + sine[a] * sine[b]
            imaginary = sine[a] * cosine[b] - cosine[a] * sine[b]
            parts += [(real @ summary).permute(0, 1, 3, 2), (imaginary @ summary).permute(0, 1, 3, 2)]
    return torch.cat(parts, 2)
