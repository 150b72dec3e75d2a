"""Look at a model without leaving a trace: flags, random state and gradients are as they were before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def evaluating(model: object, outside: Iterable[str] = ()) -> Iterator[None]:
    """Evaluation mode without gradients; each module's own training flag is restored.

    Args:
        model: anything; only an ``nn.Module`` has flags to switch.
        outside: names of direct children that will not run, whose flags need no switching.
    """
    training = [module for module in _modules(model, set(outside)) if module.training]
    for module in training:
        module.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def untouched(model: object) -> Iterator[None]:
    """``evaluating``, and torch's random state on the CPU and the model's devices is restored too."""
    parameters = model.parameters() if isinstance(model, nn.Module) else ()
    devices = sorted({p.device.index for p in parameters if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices), evaluating(model):
        yield


def _modules(model: object, outside: set[str]) -> Iterator[nn.Module]:
    """The model and all below it, but for some direct children."""
    if isinstance(model, nn.Module):
        yield model
        for name, child in model.named_children():
            if name not in outside:
                yield from child.modules()
