"""A quadratic pull of many tensors towards their anchors, in few operations.

Encoders have some hundred small tensors; treating them one by one would cost more than the step itself, so
the arithmetic runs over lists (``torch._foreach_*``, the operations torch's own optimizers are made of).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


class Spring:
    """Energy 1/2 sum_i k_i (theta_i - theta*_i)^2 over a list of tensors.

    Args:
        parameters: theta, the live tensors.
        anchors: theta*, of the same shapes.
        stiffness: k >= 0, of the same shapes.
    """

    def __init__(self, parameters: Sequence[Tensor], anchors: Sequence[Tensor], stiffness: Sequence[Tensor]) -> None:
        self._parameters = list(parameters)
        self._anchors = list(anchors)
        self._stiffness = list(stiffness)
        self._roots = list(torch._foreach_sqrt(self._stiffness))

    def energy(self) -> Float[Tensor, ""]:
        """The energy, differentiable with respect to the parameters; exactly 0 at the anchors."""
        return _Energy.apply(self._anchors, self._roots, *self._parameters)  # type: ignore[no-untyped-call]  # torch leaves apply untyped

    def relax(self, rate: float, largest: float) -> None:
        """Move every parameter in place by ``largest * min(1, rate * k)`` of its way to the anchor."""
        with torch.no_grad():
            fraction = torch._foreach_mul(self._stiffness, rate)
            torch._foreach_clamp_max_(fraction, 1.0)
            way = torch._foreach_sub(self._anchors, self._parameters)
            torch._foreach_mul_(way, fraction)
            torch._foreach_add_(self._parameters, way, alpha=largest)

    def settle(self, rate: float) -> None:
        """Move every parameter in place to theta' + c (theta* - theta') / (1 + c), c = ``rate * k``.

        That is the minimiser of 1/2 |theta - theta'|^2 + rate * energy(theta), theta' the parameters before: an
        implicit step, which no rate makes unstable.
        """
        with torch.no_grad():
            step = torch._foreach_mul(self._stiffness, rate)
            torch._foreach_div_(step, torch._foreach_add(step, 1.0))
            way = torch._foreach_sub(self._anchors, self._parameters)
            torch._foreach_mul_(way, step)
            torch._foreach_add_(self._parameters, way)


class _Energy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, anchors: list[Tensor], roots: list[Tensor], *parameters: Tensor) -> Tensor:
        stretched = torch._foreach_sub(parameters, anchors)
        torch._foreach_mul_(stretched, roots)
        ctx.stretched, ctx.roots = stretched, roots
        return 0.5 * torch.stack(torch._foreach_norm(stretched)).square().sum()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        pulls = torch._foreach_mul(ctx.stretched, ctx.roots)
        torch._foreach_mul_(pulls, gradients[0])
        return (None, None, *pulls)
