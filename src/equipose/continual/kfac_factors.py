"""Kronecker factors of the information of the outputs, for linear layers.

For a layer y = W a + b the block of J'J that belongs to [W b] is E[(a a') (x) (g g')], a with a 1 appended for the bias
and g the gradient of a randomly signed output with respect to y. K-FAC replaces it by A (x) G = E[a a'] (x) E[g g']:
exact where inputs and gradients are independent, as in the only layer of a linear model.

Martens and Grosse, *Optimizing Neural Networks with Kronecker-factored Approximate Curvature* (ICML 2015).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from equipose.errors import UsageError
from equipose.fisher_outputs import MM2_PER_M2
from equipose.inspection import untouched
from equipose.nn.model import PoseModel
from equipose.types import Batch


@dataclass(frozen=True)
class Factors:
    """Information of one layer, ``A (x) G`` in mm^2 per squared parameter unit.

    Attributes:
        inputs: A, the mean of a a' over the rows that matter to the output.
        outputs: G, the mean of g g' per sample and coordinate.
    """

    inputs: Float[Tensor, "input input"]
    outputs: Float[Tensor, "output output"]

    def drift(self, change: Float[Tensor, "output input"]) -> Float[Tensor, ""]:
        """Predicted mean square move of a coordinate, mm^2: tr(D' G D A)."""
        return (self.outputs @ change @ self.inputs * change).sum()

    def damped(self, share: float) -> Factors:
        """Both with ``share`` of their mean eigenvalue added to all; the traces stay."""
        return Factors(*(_damped(each, share) for each in (self.inputs, self.outputs)))


def _damped(moments: Tensor, share: float) -> Tensor:
    eye = torch.eye(len(moments), dtype=moments.dtype, device=moments.device)
    return (moments + share * moments.diagonal().mean() * eye) / (1.0 + share)


def linear_layers(model: PoseModel, widest: int) -> list[nn.Linear]:
    """Linear layers of the shared part (fusion and head) with at most ``widest`` inputs and outputs."""
    shared = {id(p) for p in model.shared_parameters()}
    return [
        layer
        for layer in model.modules()
        if isinstance(layer, nn.Linear)
        and id(layer.weight) in shared
        and layer.weight.requires_grad
        and max(layer.in_features, layer.out_features) <= widest
    ]


def matrix(layer: nn.Linear) -> Float[Tensor, "output input"]:
    """[W b] of a layer, or W where it has no bias; differentiable."""
    return layer.weight if layer.bias is None else torch.cat([layer.weight, layer.bias[:, None]], 1)


def kronecker_factors(
    model: PoseModel, layers: Sequence[nn.Linear], batches: Iterable[Batch], probes: int = 8, seed: int = 0
) -> list[Factors]:
    """Factors of some layers at the present weights; the model is left as it is.

    Raises:
        UsageError: if there is no sample.
    """
    generator = torch.Generator().manual_seed(seed)
    first = [matrix(layer).detach() for layer in layers]
    sums_a = [w.new_zeros(w.shape[1], w.shape[1]) for w in first]
    sums_g = [w.new_zeros(w.shape[0], w.shape[0]) for w in first]
    rows = [0.0 for _ in layers]
    samples = 0
    with untouched(model):
        for batch in batches:
            for _ in range(probes):
                for i, (a, g) in enumerate(_probe(model, layers, batch, generator)):
                    sums_a[i] += a.T @ a
                    sums_g[i] += g.T @ g
                    rows[i] += len(a)
            samples += len(batch)
    if samples == 0:
        raise UsageError("found no sample to measure Fisher information on: is every sample of the experience flagged?")
    scale = MM2_PER_M2 / (probes * samples * 3 * model.num_joints)
    return [Factors(a / max(n, 1.0), scale * g) for a, g, n in zip(sums_a, sums_g, rows, strict=True)]


def _probe(
    model: PoseModel, layers: Sequence[nn.Linear], batch: Batch, generator: torch.Generator
) -> list[tuple[Tensor, Tensor]]:
    """Per layer the inputs (row, input) and output gradients (row, output) of rows that matter to a signed output."""
    seen: list[list[tuple[Tensor, Tensor]]] = [[] for _ in layers]
    handles = [
        layer.register_forward_hook(lambda _, inputs, output, calls=calls: calls.append((inputs[0].detach(), output)))
        for layer, calls in zip(layers, seen, strict=True)
    ]
    try:
        with torch.enable_grad():
            joints = model(batch).joints
            signs = 2.0 * torch.randint(0, 2, joints.shape, generator=generator).to(joints) - 1.0
            outputs = [output for calls in seen for _, output in calls]
            gradients = torch.autograd.grad((signs * joints).sum(), outputs, allow_unused=True)
    finally:
        for handle in handles:
            handle.remove()
    rest = iter(gradients)
    return [_rows(layer, [(a, next(rest)) for a, _ in calls]) for layer, calls in zip(layers, seen, strict=True)]


def _rows(layer: nn.Linear, calls: Sequence[tuple[Tensor, Tensor | None]]) -> tuple[Tensor, Tensor]:
    """Inputs and gradients of all calls as rows; those that the output did not depend on are left out."""
    inputs, gradients = [layer.weight.new_zeros(0, layer.in_features)], [layer.weight.new_zeros(0, layer.out_features)]
    for a, g in calls:
        if g is not None:
            a, g = a.reshape(-1, layer.in_features), g.reshape(-1, layer.out_features)
            used = (g != 0).any(1)
            inputs.append(a[used])
            gradients.append(g[used])
    a, g = torch.cat(inputs), torch.cat(gradients)
    return (a if layer.bias is None else torch.cat([a, a.new_ones(len(a), 1)], 1)), g
