"""From one feature per sensor to a pose.

Every fusion has two steps, and the model calls no other:

- ``part(modality, feature)``: what depends on one sensor alone, (batch, width) -> (batch, part);
- ``combine(parts)``: (batch, modality, part) -> (batch, output).

A coalition replaces the parts of missing sensors by the part of the stand-in feature. So the parts are computed once for
all coalitions, and the pose of a coalition is the same bit for bit whether it was asked for alone or among all 2^M.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from equipose.nn.layers import TransformerBlock


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
    """One token per sensor, one transformer block over the tokens, mean over sensors, linear read-out."""

    def __init__(self, modalities: Sequence[str], width: int, outputs: int) -> None:
        super().__init__(modalities, width, outputs)
        self.names = nn.Parameter(0.5 * torch.randn(len(self.modalities), width))
        heads = next(heads for heads in (4, 2, 1) if width % heads == 0)
        self.block = TransformerBlock(width, heads)
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, outputs)

    def part(self, modality: str, feature: Float[Tensor, "batch width"]) -> Float[Tensor, "batch part"]:
        """The sensor's token: its feature plus a learned name."""
        return feature + self.names[self.modalities.index(modality)]

    def combine(self, parts: Sequence[Float[Tensor, "batch part"]]) -> Float[Tensor, "batch output"]:
        """Attention, mean and read-out."""
        tokens = self.block(torch.stack(list(parts), 1))
        return self.out(self.norm(tokens.mean(1)))


def _linear_per_modality(modalities: Sequence[str], width: int, outputs: int) -> nn.ModuleDict:
    """One bias-free layer per modality, drawn as the columns of one layer over the concatenation."""
    bound = (len(modalities) * width) ** -0.5
    layers = nn.ModuleDict()
    for name in modalities:
        layer = nn.Linear(width, outputs, bias=False)
        nn.init.uniform_(layer.weight, -bound, bound)
        layers[name] = layer
    return layers
