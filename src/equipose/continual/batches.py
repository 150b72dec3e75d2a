"""Batches one after the other, whose clouds may be padded to different lengths."""

from __future__ import annotations

from dataclasses import fields

import torch
from torch import Tensor
from torch.nn.functional import pad

from equipose.types import Batch, Cloud, Dense, FrameMeta


def joined(first: Batch, second: Batch) -> Batch:
    """The samples of both, those of ``first`` at the front; clouds are padded to the longer of the two.

    Where only one has label weights, every label of the other counts 1.
    """
    assert first.modalities == second.modalities, "batches of the same sensors"
    return Batch(
        modalities=first.modalities,
        inputs={m: _input(first.inputs[m], second.inputs[m]) for m in first.modalities},
        present=torch.cat([first.present, second.present]),
        target=torch.cat([first.target, second.target]),
        meta=FrameMeta(**{f.name: _both(first.meta, second.meta, f.name) for f in fields(FrameMeta)}),
        weight=_weights(first, second),
    )


def tensors_of(batch: Batch) -> list[Tensor]:
    """Every tensor of a batch."""
    inputs = [getattr(x, f.name) for x in batch.inputs.values() for f in fields(x)]
    weight = [] if batch.weight is None else [batch.weight]
    return [*inputs, batch.present, batch.target, *(getattr(batch.meta, f.name) for f in fields(FrameMeta)), *weight]


def _weights(first: Batch, second: Batch) -> Tensor | None:
    if first.weight is None and second.weight is None:
        return None
    return torch.cat(
        [each.target.new_ones(len(each)) if each.weight is None else each.weight for each in (first, second)]
    )


def _both(first: object, second: object, name: str) -> Tensor:
    return torch.cat([getattr(first, name), getattr(second, name)])


def _input(first: Dense | Cloud, second: Dense | Cloud) -> Dense | Cloud:
    if isinstance(first, Dense):
        assert isinstance(second, Dense)
        return Dense(_both(first, second, "values"), _both(first, second, "valid"))
    assert isinstance(second, Cloud)
    length = max(first.mask.shape[1], second.mask.shape[1])
    a, b = _padded(first, length), _padded(second, length)
    return Cloud(_both(a, b, "points"), _both(a, b, "mask"))


def _padded(cloud: Cloud, length: int) -> Cloud:
    more = length - cloud.mask.shape[1]
    return Cloud(pad(cloud.points, (0, 0, 0, more)), pad(cloud.mask, (0, more))) if more else cloud
