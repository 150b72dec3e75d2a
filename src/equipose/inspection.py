"""Look at a model without leaving a trace: flags, random state and gradients are as they were before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def evaluating(model: object) -> Iterator[None]:
    """Evaluation mode without gradients; each module's own training flag is restored.

    Args:
        model: anything; only an ``nn.Module`` has flags to switch.
    """
    training = [m for m in model.modules() if m.training] if isinstance(model, nn.Module) else []
    for module in training:
        module.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


def _parameters(model: object) -> list[nn.Parameter]:
    return list(model.parameters()) if isinstance(model, nn.Module) else []


@contextmanager
def untouched(model: object) -> Iterator[None]:
    """``evaluating``, and torch's random state on the CPU and the model's devices is restored too."""
    devices = sorted({p.device.index for p in _parameters(model) if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices), evaluating(model):
        yield
