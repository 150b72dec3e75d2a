"""Fusions in which every sensor answers by itself: a plain mean of the answers, and a precision-weighted one.

Both know which sensors are missing: an answer that is not there has weight 0, whatever stands in for its feature.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from equipose.nn.fusion import Fusion, add_in_order


class EnsembleFusion(Fusion):
    """A head per sensor, and the mean of the answers of the sensors that are there (late fusion)."""

    def __init__(self, modalities: Sequence[str], width: int, outputs: int) -> None:
        super().__init__(modalities, width, outputs)
        self.heads = nn.ModuleDict({name: head(width, outputs) for name in modalities})

    def part(self, modality: str, feature: Float[Tensor, "batch width"]) -> Float[Tensor, "batch part"]:
        """The sensor's answer, then its weight 1."""
        answer = self.heads[modality](feature)
        return torch.cat([answer, torch.ones_like(answer[:, :1])], 1)

    def absent(self, modality: str, feature: Float[Tensor, "batch width"]) -> Float[Tensor, "batch part"]:
        """No answer, weight 0."""
        return torch.zeros_like(self.part(modality, feature))

    def combine(self, parts: Sequence[Float[Tensor, "batch part"]]) -> Float[Tensor, "batch output"]:
        """Mean over the sensors that are there; zero (the mean pose) without any."""
        total = add_in_order([part[:, :-1] for part in parts])
        return total / add_in_order([part[:, -1:] for part in parts]).clamp(min=1.0)


def head(width: int, outputs: int) -> nn.Sequential:
    """A perceptron with one hidden layer of the feature's width."""
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs))
