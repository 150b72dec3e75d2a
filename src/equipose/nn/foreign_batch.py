"""Batches of somebody else's loader, as ``Batch``, and their targets, as (batch, joint, 3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from equipose.errors import UsageError, unknown_name
from equipose.types import Batch, Cloud, Dense, FrameMeta

T = TypeVar("T")
Read = Callable[[Any], Sequence[Any]]
"""A batch of the user's loader to (inputs, target) or (inputs, target, present).

inputs: modality -> what its encoder takes: one tensor (batch, ...), or a ``Dense`` or ``Cloud``. target: a tensor of
floating-point numbers. present: modality -> (batch,) bool, which samples have it; left out, all have all.
"""
Parts = tuple[dict[str, Tensor | Dense | Cloud], Tensor, Bool[Tensor, "batch modality"]]
"""Inputs in the model's order, target, and which sample has which modality."""


def enough(items: Iterable[T], samples: int, size: Callable[[T], int], seed: int = 0) -> list[T]:
    """The first items of a pass that hold at least ``samples`` samples together, or all there are.

    A loader that shuffles by the global random state is shuffled by ``seed``; that state is left as it was.
    """
    taken, count = [], 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for item in items:
            taken.append(item)
            count += size(item)
            if count >= samples:
                break
    return taken


def as_batch(
    inputs: Mapping[str, Tensor | Dense | Cloud], target: Tensor, present: Bool[Tensor, "batch modality"]
) -> Batch:
    """Tensors as a ``Batch``; the target is laid into (batch, joint, 3), samples are numbered from 0."""
    count = target.shape[0]
    nothing = torch.zeros(count, dtype=torch.int64, device=target.device)
    number = torch.arange(count, device=target.device)
    return Batch(
        modalities=tuple(inputs),
        inputs={name: _window(value) for name, value in inputs.items()},
        present=present.to(target.device),
        target=padded(target),
        meta=FrameMeta(number, nothing, nothing, nothing, nothing, nothing),
    )


def parts_of(read: Any, modalities: tuple[str, ...]) -> Parts:
    """What ``read`` returned, checked; inputs in the model's order."""
    if not isinstance(read, Sequence) or len(read) not in (2, 3) or not isinstance(read[0], Mapping):
        raise UsageError(
            "read must return (inputs, target) or (inputs, target, present), where inputs maps each modality to its "
            f"tensor; found {type(read).__name__}" + (f" of {len(read)}" if isinstance(read, Sequence) else "")
        )
    inputs, target = read[0], read[1]
    given = dict(read[2]) if len(read) == 3 else {}
    for name in modalities:
        if name not in inputs:
            raise UsageError(f"read gave no input for {name!r}; it gave {', '.join(inputs) or 'none'}")
        if not isinstance(inputs[name], Tensor | Dense | Cloud):
            raise UsageError(
                f"the input of {name!r} is a {type(inputs[name]).__name__}, expected one tensor (batch, ...); points "
                "with a mask can be given as equipose.types.Cloud"
            )
    strangers = [name for name in given if name not in modalities]
    if strangers:
        raise unknown_name("modality in present", strangers[0], modalities)
    check_target(target)
    everywhere = torch.ones(len(target), dtype=torch.bool, device=target.device)
    columns = [given.get(name, everywhere).to(everywhere) for name in modalities]
    wrong = [n for n, c in zip(modalities, columns, strict=True) if c.shape != everywhere.shape]
    if wrong:
        raise UsageError(f"present of {wrong[0]!r} must be one bool per sample, shape ({len(target)},)")
    return {name: inputs[name] for name in modalities}, target, torch.stack(columns, 1)


def padded(values: Tensor) -> Float[Tensor, "batch joint 3"]:
    """(batch,), (batch, output), (batch, joint, 1 to 3) as (batch, joint, 3), with zeros behind."""
    if values.ndim < 3:
        values = values[..., None] if values.ndim == 2 else values[:, None, None]
    return values if values.shape[2] == 3 else nn.functional.pad(values, (0, 3 - values.shape[2]))


def cropped(joints: Float[Tensor, "batch joint 3"], shape: tuple[int, ...]) -> Tensor:
    """The inverse of ``padded``."""
    axes = shape[1] if len(shape) == 2 else 1
    kept = joints if axes == 3 else joints[..., :axes]
    return kept if len(shape) == 2 else kept.reshape(joints.shape[0], *shape)


def check_target(target: Any) -> None:
    """UsageError for what is no target of a regression."""
    fits = isinstance(target, Tensor) and (target.ndim in (1, 2) or (target.ndim == 3 and 1 <= target.shape[2] <= 3))
    if not fits:
        found = f"shape {shape_of(target)}" if isinstance(target, Tensor) else type(target).__name__
        raise UsageError(
            f"found a target of {found}, expected (batch, joint, 3), (batch, joint, 2), (batch, output) or (batch,)"
        )
    if not target.is_floating_point():
        raise UsageError(
            f"found a target of {target.dtype}: equipose works for regression, whose targets are floating-point "
            "numbers; for another task take equipose.shapley_of, which measures contributions to anything"
        )


def shape_of(tensor: Tensor) -> str:
    """A shape as messages write it."""
    return f"({listed(tuple(tensor.shape))})"


def listed(shape: tuple[int, ...]) -> str:
    """The numbers of a shape as messages write them."""
    return ", ".join(str(size) for size in shape)


def _window(value: Tensor | Dense | Cloud) -> Dense | Cloud:
    """A tensor (batch, ...) as a window of one frame."""
    if not isinstance(value, Tensor):
        return value
    return Dense(value.unsqueeze(1), torch.ones(len(value), 1, dtype=torch.bool, device=value.device))
