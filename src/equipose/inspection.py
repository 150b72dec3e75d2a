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


@contextmanager
def untouched(model: object) -> Iterator[None]:
    """``evaluating``, and torch's random state on every device in use is restored too."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices), evaluating(model):
        yield
