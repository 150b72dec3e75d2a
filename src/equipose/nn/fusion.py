"""From one feature per sensor to a pose.

Every fusion has two steps, and the model calls no other:

- ``part(modality, feature)``: what depends on one sensor alone, (batch, width) -> (batch, part);
- ``combine(parts)``: (batch, modality, part) -> (batch, output).

A coalition replaces the parts of missing sensors by ``absent``: the part of the stand-in feature, unless a fusion knows
of missing sensors. So the parts are computed once
for all coalitions, and the pose of a coalition is the same bit for bit whether it was asked for alone or among all
2^M.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Fusion(nn.Module):
    """Base of the fusions, and what a third-party fusion implements.

    Args:
        modalities: sensors in the order of the modality axis.
        width: length of a sensor's feature.
        outputs: length of the result, 3 per joint.
    """

    def __init__(self, modalities: Sequence[str], width: int, outputs: int) -> None:
        super().__init__()
        self.modalities = tuple(modalities)

    def part(self, modality: str, feature: Float[Tensor, "batch width"]) -> Float[Tensor, "batch part"]:
        """What one sensor alone gives."""
        raise NotImplementedError

    def absent(self, modality: str, feature: Float[Tensor, "batch width"]) -> Float[Tensor, "batch part"]:
        """What stands in for a sensor outside the coalition; ``feature`` is its stand-in feature."""
        return self.part(modality, feature)

    def combine(self, parts: Sequence[Float[Tensor, "batch part"]]) -> Float[Tensor, "batch output"]:
        """Put the parts together, one per modality in order."""
        raise NotImplementedError


def add_in_order(parts: Sequence[Tensor]) -> Tensor:
    """Sum from the first to the last; a fixed order gives the same bits every time."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


class ConcatFusion(Fusion):
    """Concatenation and one linear regressor, y = sum_m W_m f_m + b: the published setting."""

    def __init__(self, modalities: Sequence[str], width: int, outputs: int) -> None:
        super().__init__(modalities, width, outputs)
        self.weights = _linear_per_modality(modalities, width, outputs)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def part(self, modality: str, feature: Float[Tensor, "batch width"]) -> Float[Tensor, "batch part"]:
        """W_m f_m."""
        return self.weights[modality](feature)

    def combine(self, parts: Sequence[Float[Tensor, "batch part"]]) -> Float[Tensor, "batch output"]:
        """The sum and the bias."""
        return add_in_order(parts) + self.bias


class MlpFusion(Fusion):
    """Concatenation and a perceptron with one hidden layer of twice the feature's width."""

    def __init__(self, modalities: Sequence[str], width: int, outputs: int) -> None:
        super().__init__(modalities, width, outputs)
        hidden = 2 * width
        self.weights = _linear_per_modality(modalities, width, hidden)
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.out = nn.Linear(hidden, outputs)

    def part(self, modality: str, feature: Float[Tensor, "batch width"]) -> Float[Tensor, "batch part"]:
        """One sensor's share of the hidden layer."""
        return self.weights[modality](feature)

    def combine(self, parts: Sequence[Float[Tensor, "batch part"]]) -> Float[Tensor, "batch output"]:
        """Hidden layer and read-out."""
        return self.out(torch.relu(add_in_order(parts) + self.bias))


class AttentionFusion(Fusion):
    """One token per sensor; attention between them, mean over sensors, a perceptron with a residual, linear read-out.

    Query, key and value depend on one sensor alone, so they belong to its part.
    """

    def __init__(self, modalities: Sequence[str], width: int, outputs: int) -> None:
        super().__init__(modalities, width, outputs)
        self.heads = next(heads for heads in (4, 2, 1) if width % heads == 0)
        self.names = nn.Parameter(0.5 * torch.randn(len(self.modalities), width))
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.join = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, outputs))

    def part(self, modality: str, feature: Float[Tensor, "batch width"]) -> Float[Tensor, "batch part"]:
        """The sensor's token (its feature plus a learned name), query, key and value, one after the other."""
        token = feature + self.names[self.modalities.index(modality)]
        return torch.cat([token, self.qkv(self.norm(token))], 1)

    def combine(self, parts: Sequence[Float[Tensor, "batch part"]]) -> Float[Tensor, "batch output"]:
        """Attention, mean, perceptron and read-out."""
        width = parts[0].shape[1] // 4
        token = add_in_order([part[:, :width] for part in parts]) / len(parts)
        vectors = torch.stack([part[:, width:].reshape(-1, 3 * self.heads, width // self.heads) for part in parts], 2)
        query, key, value = vectors.chunk(3, dim=1)  # (batch, head, modality, depth) each
        weights = (query @ key.transpose(2, 3) * key.shape[-1] ** -0.5).softmax(3)
        # The mean over the asking sensors commutes with the sum over the answering ones and with the joining layer.
        mixed = (weights.mean(2, keepdim=True) @ value).flatten(1)
        joined = token + self.join(mixed)
        return self.out(joined + self.mlp(joined))


def _linear_per_modality(modalities: Sequence[str], width: int, outputs: int) -> nn.ModuleDict:
    """One bias-free layer per modality, drawn as the columns of one layer over the concatenation."""
    bound = (len(modalities) * width) ** -0.5
    layers = nn.ModuleDict()
    for name in modalities:
        layer = nn.Linear(width, outputs, bias=False)
        nn.init.uniform_(layer.weight, -bound, bound)
        layers[name] = layer
    return layers
