"""What the last optimizer step did: gradients of the task before it, and how far every weight really moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Before:
    """Taken between the backward pass and the optimizer step.

    Attributes:
        gradients: d loss / d theta without the penalty; zero where a weight had no part in the loss.
        weights: copies, which share no memory with the model: a view would move along and the path be zero.
    """

    gradients: list[Tensor]
    weights: list[Tensor]


def before_step(
    parameters: Sequence[nn.Parameter], anchors: Sequence[Tensor] = (), stiffness: Sequence[Tensor] = ()
) -> Before:
    """Gradients of the task alone: those of the parameters, less that of 1/2 sum k (theta - theta*)^2."""
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad.detach().clone() for p in parameters]
    weights = [p.detach().clone() for p in parameters]
    if stiffness:
        pulls = torch._foreach_sub(weights, list(anchors))
        torch._foreach_mul_(pulls, list(stiffness))
        torch._foreach_sub_(gradients, pulls)
    return Before(gradients, weights)


def moves(before: Before, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """How far each weight moved since."""
    with torch.no_grad():
        return list(torch._foreach_sub([p.detach() for p in parameters], before.weights))
