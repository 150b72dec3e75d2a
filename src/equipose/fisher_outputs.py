"""Fisher information of the pose itself: how far a small change of each weight moves the joints. Needs no labels.

With f(x; theta) the D = 3 J coordinates of the pose and J = df/dtheta, a Gaussian likelihood N(f, sigma^2 I) has the
Fisher information J'J / sigma^2, whatever the labels are; so has, but for a factor, any loss that treats the joints
alike. Measured here, in evaluation mode and for every weight of the model::

    F_ii = 1 / (N D) * sum over samples n and coordinates k of (d f_k(x_n) / d theta_i)^2        in mm^2 per unit^2

the mean over samples and coordinates, in **square millimetres**: sum_i F_ii (theta_i - theta*_i)^2 predicts the mean
square by which a coordinate moves when the weights do, as far as the weights act independently.

**Estimator** (``jacobian``, the default). Independent signs s = +-1 for every sample and coordinate; one ordinary
backward pass of sum(s f) gives a gradient g with E[g_i^2] = N D F_ii, for the cross terms have mean zero. That holds
at any batch size, for every layer, and costs as much as a training step per batch and probe.

**Alternatives**, of the loss of the labels: ``per_sample`` (and ``loop``, the same one by one) is the empirical Fisher
E[(dL/dtheta)^2], which goes with the squared residual: it fades as training fits, and a bad label of ten times the
error counts a hundred times. ``batch`` squares whole-batch gradients, in which samples cancel: no Fisher information at
all, but what much published code computes. Both are in squared loss units.

How the choice matters: van de Ven, *On the computation of the Fisher information in continual learning* (ICLR blog
posts 2025, arXiv 2502.11756). The random-sign estimate is Hutchinson's, for the diagonal of J'J.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from equipose.errors import UsageError
from equipose.fisher import FisherMethod, mean_of_gradients
from equipose.inspection import untouched
from equipose.nn.model import PoseModel
from equipose.types import Batch, PoseOutput

OutputFisherMethod = Literal["jacobian", "per_sample", "loop", "batch"]
SHARED = "shared"
MM2_PER_M2 = 1e6

Groups = dict[str, list[Tensor]]
"""Group -> tensors in the order of its parameters; a group is a modality, for its encoder, or ``shared``."""


def parameter_groups(model: PoseModel) -> dict[str, list[nn.Parameter]]:
    """Modality -> parameters of its encoder, and ``shared`` -> those of no single encoder."""
    return {m: model.parameters_of(m) for m in model.modalities} | {SHARED: model.shared_parameters()}


@dataclass(frozen=True)
class Weights:
    """How much each sample and each of its sensors counts, 0 to 1.

    Attributes:
        sample: (batch,) scales everything the sample adds.
        cells: (batch, modality) scales what it adds to that sensor's encoder.
    """

    sample: Float[Tensor, " batch"]
    cells: Float[Tensor, "batch modality"]


@dataclass(frozen=True)
class OutputFisher:
    """Fisher information of every weight.

    Attributes:
        diagonal: group -> one tensor per parameter, in mm^2 per squared parameter unit (``jacobian``) or squared loss
            units per squared parameter unit; zero for parameters that are frozen or had no part in the output.
        samples: sum of the samples' weights.
    """

    diagonal: Groups
    samples: float

    def trace(self, group: str) -> float:
        """Sum of the diagonal of a group."""
        return sum(float(tensor.double().sum()) for tensor in self.diagonal[group])

    def mean(self, group: str | None = None) -> float:
        """Mean of the diagonal of a group, or of all groups together; 0 where there is no parameter."""
        names = list(self.diagonal) if group is None else [group]
        count = sum(tensor.numel() for name in names for tensor in self.diagonal[name])
        return sum(self.trace(name) for name in names) / max(1, count)

    def scaled(self, factors: Mapping[str, float]) -> OutputFisher:
        """Every group times its factor."""
        return OutputFisher({g: [t * factors[g] for t in each] for g, each in self.diagonal.items()}, self.samples)


def output_fisher(
    model: PoseModel,
    batches: Iterable[Batch],
    method: OutputFisherMethod = "jacobian",
    *,
    probes: int = 8,
    seed: int = 0,
    weigh: Callable[[Batch], Weights] | None = None,
    subsets: bool = False,
    loss: Callable[[PoseOutput, Batch], Float[Tensor, " batch"]] | None = None,
    mean: Callable[[Tensor], Tensor] | None = None,
) -> OutputFisher:
    """Diagonal Fisher information of every weight, at the present weights.

    Parameters, their gradients, buffers, training flags and the random state are left as they are.

    Args:
        model: the model, at the weights to measure at.
        batches: the samples, on the model's device; targets are not looked at by ``jacobian``. A sensor that is not
            ``present`` adds nothing.
        method: see the module.
        probes: random-sign backward passes per batch.
        seed: of the signs.
        weigh: weights of a batch's samples and cells; all 1 where None. For ``jacobian``. An encoder's information is
            the mean over the cells that count, so cells of weight zero add nothing and do not dilute it.
        subsets: draw a random non-empty subset of the sensors per sample and probe instead of all that are present.
        loss: of each sample; for the other methods.
        mean: mean of a tensor over all processes.

    Raises:
        UsageError: if no sample counts, or a loss is needed and there is none.
    """
    if method == "jacobian":
        return _jacobian(model, batches, probes, seed, weigh, subsets, mean)
    if weigh is not None or loss is None:
        raise UsageError(f"the {method} Fisher information needs a loss and takes no weights; use method='jacobian'")
    assert method in get_args(FisherMethod)
    named = {id(p): name for name, p in model.named_parameters()}
    groups = parameter_groups(model)
    live = {named[id(p)]: p for each in groups.values() for p in each if p.requires_grad}
    found = mean_of_gradients(model, live, batches, loss, method)
    zero = {id(p): torch.zeros_like(p, requires_grad=False) for each in groups.values() for p in each}
    diagonal = {g: [found.mean.get(named[id(p)], zero[id(p)]) for p in each] for g, each in groups.items()}
    return OutputFisher(_averaged(diagonal, mean), float(found.samples))


def _jacobian(
    model: PoseModel,
    batches: Iterable[Batch],
    probes: int,
    seed: int,
    weigh: Callable[[Batch], Weights] | None,
    subsets: bool,
    mean: Callable[[Tensor], Tensor] | None,
) -> OutputFisher:
    groups = parameter_groups(model)
    live = [p for each in groups.values() for p in each if p.requires_grad]
    sums = [torch.zeros_like(p, requires_grad=False) for p in live]
    device = model.mean_pose.device
    counts = torch.zeros(len(groups), dtype=torch.float64, device=device)
    generator = torch.Generator().manual_seed(seed)
    with untouched(model):
        for batch in batches:
            ones = Weights(torch.ones(len(batch), device=device), torch.ones(batch.present.shape, device=device))
            weights = ones if weigh is None else weigh(batch)
            squares = _squares(model, batch, live, weights, probes, generator, subsets)
            sums = [total + square for total, square in zip(sums, squares, strict=True)]
            sample = weights.sample.double()
            counts += torch.cat([(sample[:, None] * weights.cells).sum(0), sample.sum()[None]])
    if mean is not None:
        counts = mean(counts)
    if float(counts[-1]) <= 0:
        raise UsageError("found no sample to measure Fisher information on: is every sample of the experience flagged?")
    found = iter(sums)
    scale = MM2_PER_M2 / (probes * 3 * model.num_joints)
    diagonal = {
        group: [next(found) * (scale / max(n, 1e-12)) if p.requires_grad else torch.zeros_like(p) for p in each]
        for (group, each), n in zip(groups.items(), counts.tolist(), strict=True)
    }
    return OutputFisher(_averaged(diagonal, mean), float(counts[-1]))


def _squares(
    model: PoseModel,
    batch: Batch,
    live: Sequence[nn.Parameter],
    weights: Weights,
    probes: int,
    generator: torch.Generator,
    subsets: bool,
) -> list[Tensor]:
    """Squared gradients of the randomly signed sum of the outputs, summed over probes."""
    squares = [torch.zeros_like(p, requires_grad=False) for p in live]
    sample, cells = weights.sample.sqrt(), weights.cells.sqrt()
    with torch.enable_grad():
        features = {name: _scaling(z, _of_name(model, cells, name)) for name, z in model.encode(batch).items()}
    for probe in range(probes):
        inside = batch.present & random_subsets(len(batch), batch.present, generator) if subsets else batch.present
        with torch.enable_grad():
            joints = model.decode(features, inside).joints
            signs = 2.0 * torch.randint(0, 2, joints.shape, generator=generator).to(joints) - 1.0
            signed = (signs * sample[:, None, None] * joints).sum()
            gradients = torch.autograd.grad(signed, live, allow_unused=True, retain_graph=probe < probes - 1)
        for total, gradient in zip(squares, gradients, strict=True):
            if gradient is not None:
                total += gradient.square()
    return squares


def random_subsets(
    count: int, present: Bool[Tensor, "batch modality"], generator: torch.Generator
) -> Bool[Tensor, "count modality"]:
    """Random non-empty subsets of the sensors, each as likely as any other; on the device of ``present``."""
    sensors = present.shape[1]
    codes = torch.randint(1, 2**sensors, (count, 1), generator=generator)
    return ((codes >> torch.arange(sensors)) & 1 == 1).to(present.device)


def _of_name(model: PoseModel, cells: Float[Tensor, "batch modality"], name: str) -> Float[Tensor, " batch"]:
    """The weight of a sensor's cells; of a pair's, the product of both."""
    return cells[:, [model.modalities.index(each) for each in name.split("+")]].prod(1)


def _scaling(feature: Tensor, factor: Float[Tensor, " batch"]) -> Tensor:
    """The same feature, whose gradient on the way to the encoder is scaled per sample."""
    if not feature.requires_grad:
        return feature
    scaled = feature.view_as(feature)
    scaled.register_hook(lambda gradient: gradient * factor[:, None])  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return scaled


def _averaged(diagonal: Groups, mean: Callable[[Tensor], Tensor] | None) -> Groups:
    """Mean over processes, in one message."""
    if mean is None:
        return diagonal
    flat = mean(torch.cat([tensor.reshape(-1) for each in diagonal.values() for tensor in each]))
    sizes = [tensor.numel() for each in diagonal.values() for tensor in each]
    pieces = iter(torch.split(flat, sizes))
    return {group: [next(pieces).view_as(tensor) for tensor in each] for group, each in diagonal.items()}
