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
        held = list(batches)
        if not held or not len(coalitions):
            return value
        with torch.no_grad():  # trust does not change what each sensor gives
            each = [_parts(model, fusion, batch) for batch in held]
            parts = [torch.cat(part) for part in zip(*each, strict=True)]
        total = sum(len(batch) for batch in held)
        offset = fusion.offset.detach().clone().requires_grad_()
        gate = fusion.gate.detach().clone().requires_grad_()
        descent = torch.optim.Adam([offset, gate], lr=rate)
        try:
            fusion.offset, fusion.gate = offset, gate
            for _ in range(steps):
                with torch.enable_grad():
                    held_out = _error(model, fusion, parts, held, coalitions, loss) / (total * len(coalitions))
                    value = held_out + decay * ((gate - 1).square().sum() + 0.1 * offset.square().sum())
                    slopes = torch.autograd.grad(value, [offset, gate])
                offset.grad, gate.grad = (mean(slope) for slope in slopes)
                descent.step()
                gate.data.clamp_(*_GATE_LIMITS)
        finally:
            fusion.offset, fusion.gate = offset.detach(), gate.detach()
    return mean(value.detach())


def _parts(model: PoseModel, fusion: ExpertsFusion, batch: Batch) -> list[Float[Tensor, "batch part"]]:
    """What each feature gives to the fusion, nothing where its sensor is absent."""
    features = model.encode(batch)
    there = model.with_pairs(batch.present)
    parts = [fusion.part(name, features[name]) for name in model.names]
    return [torch.where(there[:, m, None], part, torch.zeros_like(part)) for m, part in enumerate(parts)]


def _error(
    model: PoseModel,
    fusion: ExpertsFusion,
    parts: list[Tensor],
    batches: list[Batch],
    coalitions: Tensor,
    loss: PerSampleLoss,
) -> Float[Tensor, ""]:
    """Summed over samples and coalitions.

    Args:
        model: for its pairs and mean pose.
        fusion: of the model.
        parts: of all batches, one after the other.
        batches: the samples.
        coalitions: rows of sensors.
        loss: error of each sample.
    """
    errors = []
    sizes = [len(batch) for batch in batches]
    for inside in model.with_pairs(coalitions):
        members = inside.nonzero()[:, 0].tolist()
        offset = fusion.combine([parts[m] for m in members], members)
        poses = torch.split(model.mean_pose + offset.reshape(-1, model.num_joints, 3), sizes)
        errors += [loss(PoseOutput(pose), batch).sum() for pose, batch in zip(poses, batches, strict=True)]
    return torch.stack(errors).sum()
