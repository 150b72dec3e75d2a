"""How far each coalition trusts each of its sensors, learned on people the network was not trained on.

A network knows its training people too well: a sensor that recognises the recording looks precise on them and is not.
So the confidence that it learned there makes a weak sensor hurt. Trust is a few numbers per coalition, fitted to held
out people while everything else stands still.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from equipose.balance.base import PerSampleLoss
from equipose.inspection import untouched
from equipose.nn.experts_fusion import ExpertsFusion
from equipose.nn.model import PoseModel
from equipose.types import Batch, PoseOutput, all_coalitions

_GATE_LIMITS = (0.0, 1.2)


def fit_trust(
    model: PoseModel,
    batches: Iterable[Batch],
    loss: PerSampleLoss,
    steps: int,
    rate: float,
    decay: float,
    mean: Callable[[Tensor], Tensor],
) -> Float[Tensor, ""]:
    """Improve the trust of a model's ``ExpertsFusion`` by gradient descent (Adam), from where it is; changed in place.

    Minimised is, with the offsets o and gates g of ``ExpertsFusion``::

        mean_S E_held-out( L(S) ) + decay * ( |g - 1|^2 + |o|^2 / 10 ),    S all coalitions of two or more sensors

    Args:
        model: its fusion is an ``ExpertsFusion``.
        batches: samples of people outside the training, on the model's device; equally many in every process.
        loss: error of each sample.
        steps: of the descent.
        rate: its learning rate.
        decay: pull back to the trust of the training.
        mean: mean of a tensor over all processes; every process must call.

    Returns:
        The minimised quantity before the last step; zero without a step, a sample or a second sensor.
    """
    fusion = model.fusion
    assert isinstance(fusion, ExpertsFusion), "the strategy checks the fusion"
    coalitions = all_coalitions(len(model.modalities), model.mean_pose.device)
    coalitions = coalitions[coalitions.sum(1) > 1]
    value = model.mean_pose.new_zeros(())
    with untouched(model):  # evaluation mode, in which trust counts
        with torch.no_grad():
            encoded = [(model.encode(batch), batch) for batch in batches]
        if not encoded or not len(coalitions):
            return value
        total = sum(len(batch) for _, batch in encoded)
        offset = fusion.offset.detach().clone().requires_grad_()
        gate = fusion.gate.detach().clone().requires_grad_()
        descent = torch.optim.Adam([offset, gate], lr=rate)
        try:
            fusion.offset, fusion.gate = offset, gate
            for _ in range(steps):
                with torch.enable_grad():
                    errors = [_error(model, features, batch, coalitions, loss) for features, batch in encoded]
                    held_out = torch.stack(errors).sum() / (total * len(coalitions))
                    value = held_out + decay * ((gate - 1).square().sum() + 0.1 * offset.square().sum())
                    slopes = torch.autograd.grad(value, [offset, gate])
                offset.grad, gate.grad = (mean(slope) for slope in slopes)
                descent.step()
                gate.data.clamp_(*_GATE_LIMITS)
        finally:
            fusion.offset, fusion.gate = offset.detach(), gate.detach()
    return mean(value.detach())


def _error(
    model: PoseModel, features: dict[str, Tensor], batch: Batch, coalitions: Tensor, loss: PerSampleLoss
) -> Float[Tensor, ""]:
    """Summed over samples and coalitions."""
    poses = model.decode_coalitions(features, coalitions, batch.present)
    return torch.stack([loss(PoseOutput(pose), batch).sum() for pose in poses]).sum()
