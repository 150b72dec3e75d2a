"""Diagonal Fisher information of encoders: how much each weight matters to the loss at the present weights.

    F_ii = 1/|D| sum over samples n of ( d L(x_n, y_n) / d theta_i )^2

with the loss of the labels ("empirical" Fisher), as EWC and AWC use it. Measured in evaluation mode. Three
ways:

- ``per_sample``: the equation, exactly; gradients of many samples at once by ``torch.func``;
- ``loop``: the same equation, one sample at a time, for models that ``torch.func.vmap`` cannot handle;
- ``batch``: squares of whole-batch mean gradients. Cheaper and biased: opposite gradients cancel before
  squaring, so it is smaller by up to the batch size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from equipose.errors import UsageError
from equipose.inspection import untouched
from equipose.nn.model import PoseModel
from equipose.nn.tensors import add_batch_axis, batch_from_tensors, batch_to_tensors
from equipose.types import Batch, PoseOutput

FisherMethod = Literal["per_sample", "loop", "batch"]
NamedTensors = dict[str, Tensor]


@dataclass(frozen=True)
class DiagonalFisher:
    """Fisher information and where it was taken.

    Attributes:
        diagonal: modality -> parameter name -> tensor of the parameter's shape, in squared loss units per
            squared parameter unit.
        loss: mean loss over the samples, scalar tensor.
        samples: how many samples.
    """

    diagonal: dict[str, NamedTensors]
    loss: Float[Tensor, ""]
    samples: int

    def trace(self, modality: str) -> Tensor:
        """Sum of the diagonal of one encoder."""
        return torch.stack([self.loss.new_zeros(()), *(t.sum() for t in self.diagonal[modality].values())]).sum()

    def mean(self) -> float:
        """Mean of the diagonal over all encoders together; 0 where nothing was measured."""
        tensors = [tensor for named in self.diagonal.values() for tensor in named.values()]
        total = sum(float(tensor.double().sum()) for tensor in tensors)
        return total / max(1, sum(tensor.numel() for tensor in tensors))


def diagonal_fisher(
    model: PoseModel,
    modalities: Sequence[str],
    batches: Iterable[Batch],
    loss: Callable[[PoseOutput, Batch], Float[Tensor, " batch"]],
    method: FisherMethod = "per_sample",
    chunk: int = 32,
) -> DiagonalFisher:
    """Diagonal Fisher information of some encoders.

    Parameters, their gradients, buffers, training flags and the random state are left as they are. Frozen
    parameters (``requires_grad`` False) are left out.

    Args:
        model: the model, at the weights to measure at.
        modalities: whose encoders.
        batches: the samples, on the model's device.
        loss: error of each sample.
        method: see the module.
        chunk: samples whose gradients are held at once, for ``per_sample``.

    Raises:
        UsageError: if there is no sample, or ``vmap`` cannot handle the model.
    """
    owner = {name: m for m in modalities for name, p in model.named_parameters_of(m).items() if p.requires_grad}
    parameters = {name: p for m in modalities for name, p in model.named_parameters_of(m).items() if name in owner}
    found = mean_of_gradients(model, parameters, batches, loss, method, chunk)
    diagonal: dict[str, NamedTensors] = {m: {} for m in modalities}
    for name, square in found.mean.items():
        diagonal[owner[name]][name] = square
    return DiagonalFisher(diagonal, found.loss, found.samples)


@dataclass(frozen=True)
class GradientMean:
    """A function of each sample's gradient, averaged over samples.

    Attributes:
        mean: parameter name -> tensor of the parameter's shape.
        loss: mean loss over the samples, scalar tensor.
        samples: how many samples.
    """

    mean: NamedTensors
    loss: Float[Tensor, ""]
    samples: int


def mean_of_gradients(
    model: nn.Module,
    parameters: Mapping[str, Tensor],
    batches: Iterable[Batch],
    loss: Callable[[PoseOutput, Batch], Float[Tensor, " batch"]],
    method: FisherMethod = "per_sample",
    chunk: int = 32,
    of: Callable[[Tensor], Tensor] = torch.square,
) -> GradientMean:
    """Mean over samples of ``of(d loss / d parameter)``, in evaluation mode and without a trace in the model.

    Args:
        model: called with a batch.
        parameters: name in ``named_parameters()`` -> parameter that requires a gradient.
        batches: the samples, on the model's device.
        loss: scalar of each sample.
        method: see the module; ``batch`` is meant for squares.
        chunk: samples whose gradients are held at once, for ``per_sample``.
        of: elementwise.

    Raises:
        UsageError: if there is no sample, or ``vmap`` cannot handle the model.
    """
    sums = {name: torch.zeros_like(p, requires_grad=False) for name, p in parameters.items()}
    total = next(model.parameters()).new_zeros((), dtype=torch.float64)
    samples = 0
    gradients_of = {"per_sample": _per_sample, "loop": _loop, "batch": _whole_batch}[method]
    problem = _Problem(model, parameters, loss, chunk, of)
    with untouched(model):
        for batch in batches:
            for found, losses in gradients_of(problem, batch):
                for name, part in found.items():
                    sums[name] += part
                total += losses.double()
            samples += len(batch)
    if samples == 0:
        raise UsageError("found no sample to measure Fisher information on: set train.probe_samples to at least 1")
    return GradientMean({name: each / samples for name, each in sums.items()}, (total / samples).float(), samples)


@dataclass(frozen=True)
class _Problem:
    """What is differentiated, and with respect to what."""

    model: nn.Module
    parameters: Mapping[str, Tensor]
    loss: Callable[[PoseOutput, Batch], Tensor]
    chunk: int
    of: Callable[[Tensor], Tensor]


_Sums = Iterator[tuple[NamedTensors, Tensor]]
"""Parts of a batch: sums over their samples of the function of the gradients, and of the loss."""


def _per_sample(problem: _Problem, batch: Batch) -> _Sums:
    def sample_loss(weights: NamedTensors, sample: dict[str, Any]) -> Tensor:
        one = batch_from_tensors(add_batch_axis(sample), batch.modalities)
        return problem.loss(functional_call(problem.model, weights, (one,)), one)[0]

    gradients_of = vmap(grad_and_value(sample_loss), in_dims=(None, 0))
    weights = {name: p.detach() for name, p in problem.parameters.items()}
    for first in range(0, len(batch), problem.chunk):
        last = min(first + problem.chunk, len(batch))
        part = batch.select(torch.arange(first, last, device=batch.target.device))
        try:
            # The fused attention kernels have no vmap rule and would run sample by sample.
            with sdpa_kernel(SDPBackend.MATH):
                gradients, losses = gradients_of(weights, batch_to_tensors(part))
        except RuntimeError as error:
            raise UsageError(
                "torch.func.vmap cannot take per-sample gradients of this model: "
                f"{str(error).splitlines()[0]}. Set fisher: loop (exact, slower) or fisher: batch (approximate) "
                "in the strategy's settings"
            ) from error
        yield {name: problem.of(gradient).sum(0) for name, gradient in gradients.items()}, losses.sum()


def _loop(problem: _Problem, batch: Batch) -> _Sums:
    for i in range(len(batch)):
        yield from _whole_batch(problem, batch.select(torch.tensor([i], device=batch.target.device)))


def _whole_batch(problem: _Problem, batch: Batch) -> _Sums:
    with torch.enable_grad():
        mean = problem.loss(problem.model(batch), batch).mean()
        gradients = torch.autograd.grad(mean, list(problem.parameters.values()), allow_unused=True)
    named = zip(problem.parameters, gradients, strict=True)
    yield {n: len(batch) * problem.of(g) for n, g in named if g is not None}, mean.detach() * len(batch)
