"""What a ``Balancer`` makes of a loader, a loss and a strategy's heads before the first step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from equipose.balance.base import PerSampleLoss
from equipose.balance.readouts import Heads
from equipose.errors import UsageError
from equipose.nn.foreign import ForeignModel
from equipose.nn.foreign_batch import enough
from equipose.types import Batch, PoseOutput

Loss = Callable[[Tensor, Tensor], Tensor]
"""(prediction, target), in the shapes of the network's user, to a loss per sample, (batch,) or (batch, ...)."""


def per_sample(model: ForeignModel, loss: Loss | None) -> PerSampleLoss:
    """The user's loss as strategies call it."""
    if loss is None:
        return lambda output, batch: torch.linalg.vector_norm(output.joints - batch.target, dim=-1).mean(-1)

    def each(output: PoseOutput, batch: Batch) -> Tensor:
        losses = loss(model.as_given(output.joints), model.as_given(batch.target))
        if losses.ndim == 0 or losses.shape[0] != len(batch):
            raise UsageError(
                f"the loss of {len(batch)} samples has shape {tuple(losses.shape)}, expected one value per sample; "
                "with torch's losses say reduction='none'"
            )
        return losses.flatten(1).mean(1) if losses.ndim > 1 else losses

    return each


def probe_batches(model: ForeignModel, loader: Iterable[Any], samples: int, seed: int) -> list[Batch]:
    """The first ``samples`` samples of a pass over a loader."""
    batches = enough(model.batches(loader), samples, len, seed)
    surplus = sum(len(batch) for batch in batches) - samples
    if surplus > 0:
        batches[-1] = batches[-1].select(torch.arange(len(batches[-1]) - surplus, device=batches[-1].present.device))
    return batches


def length(loader: Iterable[Any]) -> int:
    """Batches of a pass over the loader; UsageError where it does not know."""
    try:
        return len(loader)  # type: ignore[arg-type]  # a loader may have a length
    except TypeError:
        raise UsageError("the training loader has no length: give steps_per_epoch") from None


def evenly(count: int, wanted: int) -> frozenset[int]:
    """Evenly spaced batches of an epoch."""
    wanted = min(count, wanted)
    return frozenset(int(i) for i in np.linspace(0, count - 1, wanted).round()) if wanted else frozenset()


def silence_padding(modules: nn.Module, model: ForeignModel) -> None:
    """Heads answer zero on the axes that a target of fewer than three has not; the gradient there stays zero."""
    axes = model.target_shape[1] if len(model.target_shape) == 2 else 1
    for heads in (module for module in modules.modules() if isinstance(module, Heads)):
        for head in heads.values():
            with torch.no_grad():
                for parameter in head.parameters():
                    parameter.view(model.num_joints, 3, -1)[:, axes:] = 0.0
