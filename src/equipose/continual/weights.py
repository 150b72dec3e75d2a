"""Weights of a model by group (one per encoder, and ``shared``): copies, sizes, and outputs at other weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call

from equipose.fisher_outputs import Groups, parameter_groups
from equipose.inspection import untouched
from equipose.nn.model import PoseModel
from equipose.types import Batch, PoseOutput


def weights_of(model: PoseModel) -> Groups:
    """Copies of all weights."""
    return {group: [p.detach().clone() for p in each] for group, each in parameter_groups(model).items()}


def copied(groups: Mapping[str, Sequence[Tensor]]) -> Groups:
    """Copies that share no memory with the tensors given."""
    return {group: [t.detach().clone() for t in each] for group, each in groups.items()}


def zeros_of(model: PoseModel) -> Groups:
    """A zero for every weight."""
    return {g: [torch.zeros_like(p, requires_grad=False) for p in each] for g, each in parameter_groups(model).items()}


def flat(groups: Mapping[str, Sequence[Tensor]]) -> list[Any]:
    """All tensors in the order of the groups; parameters stay parameters."""
    return [tensor for each in groups.values() for tensor in each]


def like(groups: Mapping[str, Sequence[Tensor]], tensors: Iterable[Tensor]) -> Groups:
    """The inverse of ``flat``: tensors sorted into the same groups."""
    rest = iter(tensors)
    return {group: [next(rest) for _ in each] for group, each in groups.items()}


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """Size of the tensors in bytes."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def joints_at(
    model: PoseModel, weights: Mapping[str, Sequence[Tensor]], batch: Batch
) -> Float[Tensor, "batch joint 3"]:
    """What the model would say at other weights: evaluation mode, metres, camera frame; the model is left as it is."""
    names = {id(p): name for name, p in model.named_parameters()}
    there = {
        names[id(p)]: weight
        for group, each in parameter_groups(model).items()
        for p, weight in zip(each, weights[group], strict=True)
    }
    with untouched(model):
        output: PoseOutput = functional_call(model, there, (batch,))
    return output.joints


def joints_now(model: PoseModel, batch: Batch) -> Float[Tensor, "batch joint 3"]:
    """What the model says in evaluation mode, without a trace; metres, camera frame."""
    with untouched(model):
        return model(batch).joints
