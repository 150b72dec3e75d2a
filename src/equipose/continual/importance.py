"""How much every weight matters to what was learned, in one unit for all ways of measuring it.

Importances are in the unit of ``fisher_outputs``, square millimetres per squared unit of the weight, so that one
strength means the same for all of them: with strength 1, weights that are predicted to move the joints of old samples
by a reference distance r cost as much as an error of r does. For a squared loss, independent weights and strength 1
the penalty *is* the old loss, to second order, whatever r.

Importances of another unit (empirical and batch gradients, MAS) lend their shape alone: they are scaled to the mean of
the information of the outputs, which one random-sign pass measures.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from equipose import config
from equipose.balance.base import PerSampleLoss, Setup
from equipose.continual.base import End
from equipose.continual.distances import MM, relative_scale
from equipose.fisher_outputs import MM2_PER_M2, Groups, OutputFisher, OutputFisherMethod, output_fisher
from equipose.nn.model import PoseModel

COORDINATES = 3
"""Of a joint: its mean square displacement is the sum over them, Fisher information the mean."""


class FisherSettings(config.Settings):
    """Which Fisher information, and how it enters."""

    fisher: OutputFisherMethod = "jacobian"
    """jacobian: information of the outputs, without labels (see fisher_outputs). per_sample, loop: squared gradients of
    each sample's loss, the empirical information. batch: squared gradients of whole batches, a common mistake that is
    kept for comparison. All are scaled to the mean of jacobian, so that they differ in shape alone."""
    probes: int = Field(default=8, ge=1)
    """Random-sign passes over the samples, for jacobian: 1, 8 and 32 rank weights as the exact information does with
    correlations of about 0.92, 0.99 and 1."""
    normalise: Literal["group", "none"] = "group"
    """group: every encoder, and the fusion, gets the same mean information in every experience; otherwise the one with
    the largest gradients takes the whole penalty. none: as measured."""
    damping: float = Field(default=0.1, ge=0)
    """Least information of a weight, in means of its group: a unit that was silent on the old samples has none, and
    left free it wakes up and speaks on them too. 0: as measured."""


class PullSettings(config.Settings):
    """How hard weights are pulled back."""

    strength: float = Field(default=1.0, ge=0)
    """1: weights predicted to move old joints by reference_mm cost as much as an error of reference_mm. 0 is
    fine-tuning."""
    reference_mm: float = Field(default=50.0, gt=0)
    """Distance at which drift and error are compared, millimetres; the error of a trained model is a good value.
    Without effect for a squared loss."""
    step: Literal["loss", "proximal"] = "loss"
    """loss: the penalty is added to the loss, as published; unstable where learning rate x strength x information
    exceeds 1. proximal: after each optimizer step weights settle towards their anchor by an implicit step, stable at
    any strength; with Adam decoupled from its scaling as weight decay is in AdamW."""


def measure(
    model: PoseModel, end: End, settings: FisherSettings, setup: Setup, shape: Groups | None = None
) -> OutputFisher:
    """Importance of every weight on the samples of an experience that has ended.

    Args:
        model: at the weights to measure at.
        end: of the experience.
        settings: which information.
        setup: loss, seed and mean over processes.
        shape: importances of any unit to use instead.

    Returns:
        In mm^2 per squared parameter unit.
    """
    seed = setup.seed * 1_000_003 + end.index
    if settings.fisher == "jacobian" and shape is None:
        found = output_fisher(model, end.batches(), probes=settings.probes, seed=seed, mean=setup.mean)
    else:
        scale = output_fisher(model, end.batches(), probes=1, seed=seed, mean=setup.mean)
        if shape is None:
            found = output_fisher(model, end.batches(), settings.fisher, loss=setup.loss, mean=setup.mean)
        else:
            found = OutputFisher(shape, scale.samples)
        mean = found.mean()
        found = found.scaled(dict.fromkeys(found.diagonal, scale.mean() / mean if mean > 0 else 0.0))
    found = damped(found, settings.damping)
    return normalised(found) if settings.normalise == "group" else found


def damped(fisher: OutputFisher, share: float) -> OutputFisher:
    """Every weight with ``share`` of its group's mean on top of its own information; the sums stay."""
    if share == 0:
        return fisher
    means = {g: fisher.mean(g) for g in fisher.diagonal}
    diagonal = {g: [(t + share * means[g]) / (1.0 + share) for t in each] for g, each in fisher.diagonal.items()}
    return OutputFisher(diagonal, fisher.samples)


def normalised(fisher: OutputFisher) -> OutputFisher:
    """Every group with the same mean; the sum over all weights stays. A group without information stays without."""
    sizes = {g: sum(t.numel() for t in each) for g, each in fisher.diagonal.items()}
    traces = {g: fisher.trace(g) for g in sizes}
    mean = sum(traces.values()) / max(1, sum(n for g, n in sizes.items() if traces[g] > 0))
    return fisher.scaled({g: mean * sizes[g] / traces[g] if traces[g] > 0 else 0.0 for g in sizes})


def loss_scale(loss: PerSampleLoss, end: End, reference_mm: float) -> float:
    """What turns the square metres of a drift into the run's loss unit; 0 without samples."""
    for batch in end.batches():
        return relative_scale(loss, batch, reference_mm * MM)
    return 0.0


def stiffness(importance: Groups, scale: float) -> Groups:
    """Spring constants with which the energy is the predicted drift in the loss's unit.

    ``1/2 sum_i k_i d_i^2 = scale * drift^2`` for changes d of the weights, drift^2 the mean square displacement of a
    joint that the importance predicts, square metres.
    """
    factor = 2.0 * scale * COORDINATES / MM2_PER_M2
    return {group: [factor * tensor for tensor in each] for group, each in importance.items()}


def decoupled_stiffness(importance: Groups, distance: float) -> Groups:
    """Spring constants for a proximal step beside Adam, whose steps have the size of the learning rate.

    A weight of mean importance is pulled by a whole learning rate once it is as far from its anchor as all weights
    must be to move the joints by ``distance`` (metres).
    """
    total = sum(float(tensor.double().sum()) for each in importance.values() for tensor in each)
    count = sum(tensor.numel() for each in importance.values() for tensor in each)
    if total <= 0:
        return {group: [torch.zeros_like(tensor) for tensor in each] for group, each in importance.items()}
    move = distance / (COORDINATES * total / MM2_PER_M2) ** 0.5
    return {group: [tensor * (count / total / move) for tensor in each] for group, each in importance.items()}


def pull_of(importance: Groups, settings: PullSettings, setup: Setup, end: End) -> Groups:
    """Spring constants of an importance, for the step and the optimizer in use."""
    if settings.step == "proximal" and setup.optimizer != "sgd":
        found = decoupled_stiffness(importance, settings.reference_mm * MM)
    else:
        found = stiffness(importance, loss_scale(setup.loss, end, settings.reference_mm))
    return {group: [settings.strength * k for k in each] for group, each in found.items()}


def predicted_drift(importance: Groups, moves: Groups) -> float:
    """Root mean square displacement of a joint, metres, that the importance predicts for changes of the weights."""
    total = 0.0
    for group, each in importance.items():
        for tensor, move in zip(each, moves[group], strict=True):
            total += float((tensor * move.square()).double().sum())
    return (COORDINATES * total / MM2_PER_M2) ** 0.5
