"""Gradients of a model as lists, and their change so that old samples do not get worse."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import nnls
from torch import Tensor, nn

from equipose.balance.base import PerSampleLoss
from equipose.nn.model import PoseModel
from equipose.types import Batch


def gradients_on(
    model: PoseModel, parameters: Sequence[nn.Parameter], loss: PerSampleLoss, batch: Batch
) -> list[Tensor]:
    """Gradient of the mean loss of a batch; ``parameter.grad`` is left as it is. Zero for an unused parameter."""
    live = [p for p in parameters if p.requires_grad]
    found = iter(torch.autograd.grad(loss(model(batch), batch).mean(), live, allow_unused=True))
    gradients = [next(found) if p.requires_grad else None for p in parameters]
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients, strict=True)]


def inner(first: Sequence[Tensor], second: Sequence[Tensor]) -> Float[Tensor, ""]:
    """Inner product of two lists of tensors."""
    return torch.stack([(a * b).sum() for a, b in zip(first, second, strict=True)]).sum()


def project(parameters: Sequence[nn.Parameter], reference: Sequence[Tensor]) -> bool:
    """Take from ``grad`` what points against a reference gradient: g <- g - (g.r / r.r) r if g.r < 0.

    Returns:
        Whether anything was taken.
    """
    with torch.no_grad():
        own = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        against, size = float(inner(own, reference)), float(inner(reference, reference))
        if against >= 0 or size <= 0:
            return False
        for parameter, gradient, r in zip(parameters, own, reference, strict=True):
            parameter.grad = gradient - (against / size) * r
    return True


def constrain(parameters: Sequence[nn.Parameter], references: Sequence[Sequence[Tensor]], margin: float) -> bool:
    """Nearest gradient that agrees with every reference, by GEM's dual problem; see ``gem``.

    Returns:
        Whether anything was changed.
    """
    with torch.no_grad():
        own = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        against = np.array([float(inner(own, r)) for r in references])
        if (against >= 0).all():
            return False
        gram = np.array([[float(inner(a, b)) for b in references] for a in references])
        scale = max(float(np.trace(gram)) / len(gram), np.finfo(np.float64).tiny)
        v = dual(gram / scale, against / scale, margin)
        for i, (parameter, gradient) in enumerate(zip(parameters, own, strict=True)):
            change = sum(
                (float(each) * r[i] for each, r in zip(v, references, strict=True)), torch.zeros_like(gradient)
            )
            parameter.grad = gradient + change
    return True


def dual(gram: np.ndarray, against: np.ndarray, margin: float, ridge: float = 1e-3) -> np.ndarray:
    """Minimiser of 1/2 v'(GG' + ridge I)v + (Gg)'v over v >= margin, by non-negative least squares."""
    root = np.linalg.cholesky(gram + ridge * np.eye(len(gram)))
    shifted = against + (gram + ridge * np.eye(len(gram))) @ np.full(len(gram), margin)
    return nnls(root.T, -np.linalg.solve(root, shifted))[0] + margin
