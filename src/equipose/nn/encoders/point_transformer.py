"""Point Transformer over LiDAR and radar clouds (Zhao et al., ICCV 2021).

A cloud is thinned in stages. Each stage chooses centroids, gathers the nearest points of each into a group and turns
the group into one token; vector attention over neighbouring tokens follows in ``paper``, ordinary attention over all
tokens at the end in ``small``.

Deviations from the published network: LayerNorm for BatchNorm (see ``encoders.base``); in ``small`` a group is pooled
with attention weights per head (after Wu et al., NeurIPS 2022) instead of a maximum, and attention is scalar; farthest
point sampling starts from the point farthest from the middle, so that the order of the points does not matter.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from equipose.config import Settings
from equipose.modality import Kind, ModalitySpec
from equipose.nn.encoders.base import InputLayout, Size
from equipose.nn.encoders.grouping import (
    farthest_centroids,
    gather_points,
    nearest_points,
)
from equipose.nn.layers import FAR_BELOW, TransformerBlock, masked_max, masked_mean
from equipose.types import Cloud

CHANNEL_SCALE = {"snr": (20.0, 10.0), "doppler": (0.0, 0.7), "time": (0.0, 0.2)}
"""Middle and spread of the channels after x, y, z: decibel, metre per second, second."""


class PointTransformerSettings(Settings):
    """Size of the point network."""

    tokens: tuple[int, ...] = (32,)
    """Centroids per stage; 0 keeps every point."""
    channels: tuple[int, ...] = (64,)
    """Length of a token per stage."""
    neighbours: tuple[int, ...] = (16,)
    """Points per group and stage."""
    local_blocks: tuple[int, ...] = (0,)
    """Vector attention blocks over neighbouring tokens, per stage."""
    global_blocks: int = 1
    """Attention blocks over all tokens after the last stage."""
    hidden: int = 32
    """Length of a point's hidden vector inside a group; 0: that of the stage's tokens."""
    heads: int = 4
    pool: Literal["attention", "max"] = "attention"


class PointTransformerEncoder(nn.Module):
    """Points with a mask -> one vector.

    Args:
        spec: a ``cloud`` modality.
        layout: (channels,) and the centre that positions are measured from.
        width: length of the feature.
        settings: see ``preset``.
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"cloud"})
    Settings: ClassVar[type[PointTransformerSettings]] = PointTransformerSettings

    @staticmethod
    def preset(size: Size, spec: ModalitySpec) -> PointTransformerSettings:
        """``paper``: five stages of 32 to 512 channels with 1, 2, 3, 5, 2 vector attention blocks."""
        radar = "doppler" in spec.channels
        if size == "small":
            return PointTransformerSettings(tokens=(16 if radar else 24,), neighbours=(8 if radar else 12,))
        return PointTransformerSettings(
            tokens=(0, 64, 32, 16, 4) if radar else (0, 256, 64, 16, 4),
            channels=(32, 64, 128, 256, 512),
            neighbours=(8, 16, 16, 16, 4),
            local_blocks=(1, 2, 3, 5, 2),
            global_blocks=0,
            hidden=0,
            pool="max",
        )

    def __init__(self, spec: ModalitySpec, layout: InputLayout, width: int, settings: PointTransformerSettings) -> None:
        super().__init__()
        names = (*spec.channels[3:], "time")
        scale = [CHANNEL_SCALE.get(name, (0.0, 1.0)) for name in names]
        self.register_buffer("middle", torch.tensor([*layout.centre, *(middle for middle, _ in scale)]))
        self.register_buffer("spread", torch.tensor([1.0, 1.0, 1.0, *(spread for _, spread in scale)]))
        stages: list[nn.Module] = []
        before = layout.shape[0]
        for tokens, channels, neighbours, blocks in zip(
            settings.tokens, settings.channels, settings.neighbours, settings.local_blocks, strict=True
        ):
            stages.append(_Stage(before, channels, tokens, neighbours, blocks, settings))
            before = channels
        self.stages = nn.ModuleList(stages)
        self.blocks = nn.ModuleList(TransformerBlock(before, settings.heads) for _ in range(settings.global_blocks))
        self.out = nn.Sequential(
            nn.LayerNorm(2 * before), nn.Linear(2 * before, width), nn.ReLU(), nn.Linear(width, width)
        )

    middle: Tensor
    spread: Tensor

    def forward(self, cloud: Cloud) -> Float[Tensor, "batch width"]:
        """Points (batch, point, channel), camera frame -> (batch, width)."""
        mask = cloud.mask
        features = torch.where(mask[..., None], (cloud.points - self.middle) / self.spread, 0.0)
        position = features[..., :3]
        for stage in self.stages:
            features, position, mask = stage(features, position, mask)
        for block in self.blocks:
            features = block(features, mask)
        return self.out(torch.cat([masked_mean(features, mask), masked_max(features, mask)], -1))


class _Stage(nn.Module):
    """Thin the cloud, then let neighbouring tokens attend to each other."""

    def __init__(
        self,
        before: int,
        channels: int,
        tokens: int,
        neighbours: int,
        blocks: int,
        settings: PointTransformerSettings,
    ) -> None:
        super().__init__()
        self.tokens = tokens
        self.neighbours = neighbours
        self.embed = nn.Linear(before, channels) if tokens == 0 else None
        self.pool = _GroupPool(before, channels, settings) if tokens > 0 else None
        self.blocks = nn.ModuleList(_VectorAttention(channels) for _ in range(blocks))

    def forward(
        self,
        features: Float[Tensor, "batch point before"],
        position: Float[Tensor, "batch point 3"],
        mask: Bool[Tensor, "batch point"],
    ) -> tuple[Tensor, Tensor, Tensor]:
        features, position, mask = _pad_to(self.neighbours, features, position, mask)
        if self.pool is not None:
            index, real = farthest_centroids(position, mask, self.tokens)
            centre = gather_points(position, index)
            group, present = nearest_points(centre, position, mask, self.neighbours)
            relative = _relative(position, centre, group, present)
            features = self.pool(features, relative, group, present, centre)
            position, mask = centre, real
        if self.embed is not None:
            features = self.embed(features)
        if len(self.blocks) > 0:
            features, position, mask = _pad_to(self.neighbours, features, position, mask)
            group, present = nearest_points(position, position, mask, self.neighbours)
            relative = _relative(position, position, group, present)
            for block in self.blocks:
                features = block(features, relative, group, present)
        return features, position, mask


def _pad_to(
    count: int,
    features: Float[Tensor, "batch point channel"],
    position: Float[Tensor, "batch point 3"],
    mask: Bool[Tensor, "batch point"],
) -> tuple[Tensor, Tensor, Tensor]:
    """At least ``count`` rows, so that a group has a row for each of its places."""
    short = count - mask.shape[1]
    if short <= 0:
        return features, position, mask
    rows = (0, 0, 0, short)
    return (
        nn.functional.pad(features, rows),
        nn.functional.pad(position, rows),
        nn.functional.pad(mask, (0, short)),
    )


def _relative(
    position: Float[Tensor, "batch point 3"],
    centre: Float[Tensor, "batch token 3"],
    group: Int[Tensor, "batch token neighbour"],
    present: Bool[Tensor, "batch token neighbour"],
) -> Float[Tensor, "batch token neighbour 3"]:
    """Where each neighbour lies from its centroid; zero where there is no neighbour."""
    relative = gather_points(position, group) - centre[:, :, None]
    return torch.where(present[..., None], relative, 0.0)


def _weights(
    logits: Float[Tensor, "batch token neighbour head"], present: Bool[Tensor, "batch token neighbour"]
) -> Float[Tensor, "batch token neighbour head"]:
    """Softmax over the neighbours that are there."""
    return torch.where(present[..., None], logits, FAR_BELOW).softmax(2)


class _GroupPool(nn.Module):
    """One token per group of neighbouring points.

    ``attention``: each head takes its own weighted mean of the points' hidden vectors; a linear layer joins the heads.
    """

    def __init__(self, before: int, channels: int, settings: PointTransformerSettings) -> None:
        super().__init__()
        hidden = settings.hidden or channels
        heads = settings.heads if settings.pool == "attention" else 0
        self.point = nn.Linear(before + 3, hidden, bias=False)
        self.centre = nn.Linear(3, hidden)
        self.weigh = nn.Linear(hidden, heads) if heads > 0 else None
        self.join = nn.Linear(hidden * max(heads, 1), channels)
        self.norm = nn.LayerNorm(channels)
        self.place = nn.Linear(3, channels)

    def forward(
        self,
        features: Float[Tensor, "batch point before"],
        relative: Float[Tensor, "batch token neighbour 3"],
        group: Int[Tensor, "batch token neighbour"],
        present: Bool[Tensor, "batch token neighbour"],
        centre: Float[Tensor, "batch token 3"],
    ) -> Float[Tensor, "batch token channel"]:
        gathered = torch.cat([5.0 * relative, gather_points(features, group)], -1)
        hidden = torch.relu(self.point(gathered) + self.centre(centre)[:, :, None])
        if self.weigh is not None:
            weights = _weights(self.weigh(hidden), present)
            pooled = (weights.transpose(2, 3) @ hidden).flatten(2)
        else:
            pooled = torch.where(present[..., None], hidden, 0.0).amax(2)
        return self.norm(self.join(pooled)) + self.place(centre)


class _VectorAttention(nn.Module):
    """Vector self-attention over each point's neighbours, with a residual (equation 3 of the paper)."""

    def __init__(self, channels: int, share: int = 8) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.place = nn.Sequential(nn.Linear(3, channels), nn.ReLU(), nn.Linear(channels, channels))
        self.weigh = nn.Sequential(
            nn.LayerNorm(channels),
            nn.ReLU(),
            nn.Linear(channels, channels // share),
            nn.ReLU(),
            nn.Linear(channels // share, channels // share),
        )
        self.out = nn.Linear(channels, channels)

    def forward(
        self,
        features: Float[Tensor, "batch point channel"],
        relative: Float[Tensor, "batch point neighbour 3"],
        group: Int[Tensor, "batch point neighbour"],
        present: Bool[Tensor, "batch point neighbour"],
    ) -> Float[Tensor, "batch point channel"]:
        normed = self.norm(features)
        place = self.place(relative)
        key = gather_points(self.key(normed), group)
        value = gather_points(self.value(normed), group) + place
        weights = _weights(self.weigh(self.query(normed)[:, :, None] - key + place), present)
        heads = value.reshape(*weights.shape, -1)
        mixed = (weights[..., None] * heads).sum(2).flatten(-2)
        return features + self.out(torch.relu(mixed))
