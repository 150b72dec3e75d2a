"""A batch as a plain nested dictionary of tensors, for ``torch.func`` transforms and ``torch.export``.

``Batch`` is a dataclass with names in it, which ``torch.func.vmap`` cannot map over. Per-sample gradients::

    tree = batch_to_tensors(batch)

    def loss(parameters, sample):                       # sample: the tree without its batch axis
        one = batch_from_tensors(add_batch_axis(sample), batch.modalities)
        output = torch.func.functional_call(model, (parameters, dict(model.named_buffers())), (one,))
        return per_sample_loss(output, one)[0]

    gradients = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(dict(model.named_parameters()), tree)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from torch import Tensor

from equipose.types import Batch, Cloud, Dense, FrameMeta

TensorTree = dict[str, Any]
"""Nested dictionaries with tensors as leaves."""


def batch_to_tensors(batch: Batch) -> TensorTree:
    """The batch's tensors; every leaf keeps its leading batch axis.

    Returns:
        {"inputs": {modality: {"values", "valid"} or {"points", "mask"}}, "present", "target", "meta": {field: ..}}, and
        "weight" where the batch has one.
    """
    return {
        "inputs": {name: _fields(batch.inputs[name]) for name in batch.modalities},
        "present": batch.present,
        "target": batch.target,
        "meta": _fields(batch.meta),
        **({} if batch.weight is None else {"weight": batch.weight}),
    }


def batch_from_tensors(tree: Mapping[str, Any], modalities: Sequence[str]) -> Batch:
    """The inverse of ``batch_to_tensors``."""
    return Batch(
        modalities=tuple(modalities),
        inputs={name: _input(tree["inputs"][name]) for name in modalities},
        present=tree["present"],
        target=tree["target"],
        meta=FrameMeta(**tree["meta"]),
        weight=tree.get("weight"),
    )


def add_batch_axis(tree: Mapping[str, Any]) -> TensorTree:
    """Every leaf with a leading axis of length one: what ``vmap`` hands over becomes a batch of one sample."""
    return {key: value[None] if isinstance(value, Tensor) else add_batch_axis(value) for key, value in tree.items()}


def _fields(value: Dense | Cloud | FrameMeta) -> dict[str, Tensor]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _input(tree: Mapping[str, Tensor]) -> Dense | Cloud:
    if "points" in tree:
        return Cloud(points=tree["points"], mask=tree["mask"])
    return Dense(values=tree["values"], valid=tree["valid"])
