"""Classifier-guided gradient modulation: slow the sensors whose own heads improve fastest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from equipose import config
from equipose.balance.base import BalanceStrategy, PerSampleLoss, Probe, Setup
from equipose.balance.epoch_means import EpochMeans
from equipose.balance.modulation import Modulation, Scale, adam_note
from equipose.balance.readouts import Heads, detached
from equipose.balance.scores import pose_error, present_means, present_weights
from equipose.nn.model import PoseModel
from equipose.types import Batch, LossTerms, PoseOutput

_FOUND = 1e-3  # metres


class CggmSettings(config.Settings):
    """Strength of the two parts: how long the steps are, and where they point."""

    strength: float = Field(default=1.0, ge=0, le=1)
    """Part of the way from a factor of one to rho kappa (published: all of it)."""
    rho: float = Field(default=1.3, gt=0)
    """Multiplies every kappa (published: 1.3, and 1.0 on BraTS)."""
    direction: float = Field(default=0.2, ge=0)
    """Weight of the direction term (published: 0.05 to 0.2); relative to the pose error, so of no unit."""
    rule: Literal["softmax", "published"] = "softmax"
    """How improvements D become kappa. published: (sum D - D_m) / sum D, clipped to [0, 2]; it jumps, and turns round,
    where sum D passes zero. softmax: (M - 1) softmax(-D / (temperature * mean |D|)), of the same sum."""
    temperature: float = Field(default=1.0, gt=0)
    """Of the softmax; lower sets sensors further apart."""
    memory: float = Field(default=0.9, ge=0, lt=1)
    """Weight of the past in the running mean of a head's error, from which its improvement is taken."""
    scale: Scale = "step"
    """What kappa multiplies. step: the optimizer's step, which works with any optimizer. gradient: as published."""


class Cggm(BalanceStrategy):
    """Slow the encoders whose own heads improve fastest, and turn the fusion towards what the heads ask for.

        D_m = relative decrease of the error of head m, from one step to the next
        kappa_m = (sum D - D_m) / sum D,    theta_m <- theta_m + rho kappa_m step_m
        L = L_pose + lambda L_pose 1/M sum_m kappa_m (1 - cos(g, g_m)) + sum_m L(head_m(sg(z_m)))

    g and g_m are the gradients of the pose error in the fused pose and in head m's; sg stops the gradient, so the
    heads watch the encoders without teaching them.

    After Guo, Jin, Chen, Zhao, *Classifier-guided Gradient Modulation for Enhanced Multimodal Learning*, NeurIPS 2024;
    defined for classification, segmentation and the regression of a sentiment, with two to four modalities.

    Differs from the published code:
    - D is the relative decrease of a running mean of the head's pose error, where the code takes the change of its
      accuracy (of the sign, for regression) from one batch to the next;
    - kappa from a softmax by default, see ``rule``: the published quotient gave kappas of -99 and 201 for improvements
      that nearly cancel;
    - cos is between gradients, as the paper has it, where the code compares weights of head and fusion; taken in the
      poses, so that every fusion will do; at the same step, where the code is one late;
    - the direction term is multiplied by the pose error, as a constant: its weight then means the same in any unit;
    - heads are linear and share the run's optimizer and learning rate;
    - the step is scaled, not the gradient, as Adam undoes a factor on the gradient; no clipping of its own;
    - errors are averaged over processes and over the samples that have the sensor.
    """

    Settings: ClassVar[type[config.Settings]] = CggmSettings
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {},
        {"rho": 1.0, "direction": 0.1},
        {"strength": 0.5, "direction": 0.05},
    )

    settings: CggmSettings  # narrows the base's

    @classmethod
    def strength_zero(cls) -> Mapping[str, Any]:
        """Factors of one and no direction term; heads are then not even made."""
        return {"strength": 0.0, "direction": 0.0}

    def __init__(self, settings: CggmSettings, modalities: tuple[str, ...]) -> None:
        super().__init__(settings, modalities)
        self._modulation = Modulation(settings.scale)
        self._means = EpochMeans()
        self._errors: dict[str, float] = {}
        self._factors: dict[str, float] = {}

    def setup(self, model: PoseModel, setup: Setup) -> None:
        """Make the heads."""
        self._setup = setup
        if self._active():
            self.modules["heads"] = Heads(model)

    def notes(self) -> list[str]:
        """Warn of scaled gradients under Adam."""
        if self.settings.strength == 0:
            return []
        return adam_note("CGGM", self.settings.scale, self._setup.optimizer)

    def begin_epoch(self, model: PoseModel, probe: Probe) -> None:
        """Start the means of the log anew."""
        self._means.reset()

    def objective(
        self,
        model: PoseModel,
        features: dict[str, Tensor],
        output: PoseOutput,
        batch: Batch,
        pose_loss: Float[Tensor, ""],
    ) -> LossTerms:
        """The pose error, the heads' and the direction term."""
        self._factors = {}
        if not self._active():
            return LossTerms({"pose": pose_loss})
        heads = self.modules["heads"]
        assert isinstance(heads, Heads)
        poses = heads.poses(model, detached(features))
        kappas = self._kappas(poses, batch)
        settings, weights = self.settings, present_weights(batch.present, self._setup.mean)
        self._factors = {m: 1.0 + settings.strength * (settings.rho * k - 1.0) for m, k in kappas.items()}
        self._means.add("kappa", kappas)
        self._means.add("factor", self._factors)
        terms = {"pose": pose_loss}
        if settings.direction > 0 and kappas:
            turn = _turn(self._setup.loss, poses, kappas, output, batch, weights)
            error = self._setup.mean(pose_loss.detach())
            terms["direction"] = settings.direction * error * turn / len(kappas)
        losses = [(self._setup.loss(PoseOutput(pose), batch) * w).sum() for pose, w in _each(poses, weights)]
        terms["heads"] = torch.stack(losses).sum()
        return LossTerms(terms)

    def gradients(self, model: PoseModel, output: PoseOutput, batch: Batch) -> None:
        """Scale the gradients, or ask for other steps."""
        self._modulation.gradients(model, self._factors)

    def after_step(self, model: PoseModel) -> None:
        """Shorten or lengthen the steps."""
        self._modulation.after_step()

    def log(self) -> dict[str, Any]:
        """Mean kappa and factor over the epoch so far, and the running error of each head, mm."""
        return {**self._means.log(), "head_mpjpe_mm": {m: 1000.0 * error for m, error in self._errors.items()}}

    def state_dict(self) -> dict[str, Any]:
        """Running errors of the heads; sums of the log."""
        return {"errors": dict(self._errors), "means": self._means.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._errors = dict(state["errors"])
        self._means.load_state_dict(state["means"])

    def _active(self) -> bool:
        return self.settings.strength > 0 or self.settings.direction > 0

    def _kappas(self, poses: Mapping[str, Tensor], batch: Batch) -> dict[str, float]:
        """Modality -> kappa, of the sensors that have a past and are in the batch."""
        errors = torch.stack([pose_error(pose, batch.target) for pose in poses.values()], 1)
        means = present_means(errors, batch.present, self._setup.mean)
        drops = {}
        for name, error in zip(poses, means, strict=True):
            if error is None:
                continue
            before = self._errors.get(name)
            now = error if before is None else self.settings.memory * before + (1.0 - self.settings.memory) * error
            self._errors[name] = now
            if before is not None:
                drops[name] = (before - now) / before if before > 0 else 0.0
        return kappas(drops, self.settings.rule, self.settings.temperature)


def kappas(drops: Mapping[str, float], rule: Literal["softmax", "published"], temperature: float) -> dict[str, float]:
    """Modality -> kappa, the lower the more its head has improved; nothing for fewer than two sensors."""
    count, total = len(drops), sum(drops.values())
    if count < 2:
        return {}
    if rule == "published":
        equal = (count - 1) / count
        return {m: min(max((total - d) / total, 0.0), 2.0) if total != 0 else equal for m, d in drops.items()}
    size = sum(abs(d) for d in drops.values()) / count
    weights = {m: math.exp(-d / (temperature * size)) if size > 0 else 1.0 for m, d in drops.items()}
    return {m: (count - 1) * w / sum(weights.values()) for m, w in weights.items()}


def _turn(
    loss: PerSampleLoss,
    poses: Mapping[str, Tensor],
    kappa: Mapping[str, float],
    output: PoseOutput,
    batch: Batch,
    weights: Tensor,
) -> Tensor:
    """Sum over sensors of kappa (1 - cos(g, g_m)), mean over the samples that have the sensor."""
    # The direction to a joint that is all but found turns round at the least move: it may not pull.
    found = torch.linalg.vector_norm(output.joints.detach() - batch.target, dim=-1, keepdim=True) < _FOUND
    fused = _gradient(loss, torch.where(found, output.joints.detach(), output.joints), batch, create_graph=True)
    total = fused.new_zeros(())
    for (name, pose), weight in zip(poses.items(), weights.unbind(1), strict=True):
        if name in kappa:
            own = _gradient(loss, pose.detach().requires_grad_(), batch, create_graph=False)
            cosine = torch.nn.functional.cosine_similarity(fused.flatten(1), own.flatten(1))
            total = total + kappa[name] * (weight * (1.0 - cosine)).sum()
    return total


def _gradient(loss: PerSampleLoss, joints: Tensor, batch: Batch, create_graph: bool) -> Float[Tensor, "batch joint 3"]:
    """Gradient of each sample's pose error in its pose."""
    (gradient,) = torch.autograd.grad(loss(PoseOutput(joints), batch).sum(), joints, create_graph=create_graph)
    return gradient


def _each(poses: Mapping[str, Tensor], weights: Tensor) -> list[tuple[Tensor, Tensor]]:
    return list(zip(poses.values(), weights.unbind(1), strict=True))
