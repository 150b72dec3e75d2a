"""Adaptive gradient modulation: scale what each sensor's share of the pose passes back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from equipose import config
from equipose.balance.base import BalanceStrategy, Probe, Setup
from equipose.balance.epoch_means import EpochMeans
from equipose.balance.modulation import Modulation, Scale, adam_note
from equipose.balance.readouts import detached
from equipose.balance.scores import RunningMean, pose_error, present_means
from equipose.contribution.shapley import shapley_values
from equipose.nn.model import PoseModel
from equipose.types import Batch, LossTerms, PoseOutput, all_coalitions

_LARGEST_EXPONENT = 50.0


class AgmSettings(config.Settings):
    """Strength of the modulation."""

    alpha: float = Field(default=1.0, ge=0)
    """How hard a sensor that is ahead is slowed and one that is behind is hurried (published: 1; 1.5 on CREMA-D, 2.5
    on AV-MNIST)."""
    largest: float = Field(default=3.0, ge=1)
    """Bound of kappa. The published bound is exp(7 alpha), about 1100, made up for by clipped gradients."""
    scale: Scale = "step"
    """step: kappa multiplies the step of the sensor's encoder. gradient: as published, kappa multiplies the gradient
    that flows through the sensor's share of the pose, into encoders and fusion."""


class Agm(BalanceStrategy):
    """Hurry or slow each encoder by how its sensor's share of the pose compares with its share so far.

        phi_m = Shapley value of sensor m in the game v(S) = pose from the sensors S, a pose for every sample
        c_m   = mean error of (pose from none + phi_m) / sigma
        r_m   = exp((mean of c - c_m) M / (M - 1)),    reference r'_m likewise, from the means of c over all steps
        kappa_m = exp(alpha min(r'_m - r_m, 7))

    A sensor whose share is better than it used to be, relative to the others', has r > r' and is slowed.

    After Li, Li, Hu, Lei, Li, Zhou, *Boosting Multi-modal Model Performance with Adaptive Gradient Modulation*, ICCV
    2023; defined for classifiers of two or three modalities.

    Differs from the published code:
    - any number of sensors, by the Shapley matrix; the published formulas for two and three are its first cases, taken
      on offsets from the pose without any sensor, where classification takes logits from zero;
    - c is the negative log-likelihood of a pose in place of a cross-entropy, but for log sigma, which is the same for
      all; sigma is a running mean of the fused error, so that the unit of length does not matter;
    - sensors are masked between encoder and fusion, so that one run of the encoders serves all 2^M coalitions;
    - scale: step multiplies the step of encoder m by kappa_m. Where the fusion adds up what the sensors say, this is
      the published factor on the encoder; elsewhere it leaves out the part of the gradient that reaches encoder m
      through the shares of others, and always the fusion. scale: gradient is the published gradient with any fusion;
    - kappa is bounded, and gradients are clipped only by train.clip_norm;
    - c is averaged over processes and over the samples that have the sensor.
    """

    Settings: ClassVar[type[config.Settings]] = AgmSettings
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"alpha": 0.5}, {"alpha": 2.5})

    settings: AgmSettings  # narrows the base's

    @classmethod
    def strength_zero(cls) -> Mapping[str, Any]:
        """Every kappa is one."""
        return {"alpha": 0.0}

    def __init__(self, settings: AgmSettings, modalities: tuple[str, ...]) -> None:
        super().__init__(settings, modalities)
        self._modulation = Modulation("step")
        self._sigma = RunningMean()
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._means = EpochMeans()
        self._factors: dict[str, float] = {}

    def setup(self, model: PoseModel, setup: Setup) -> None:
        """Learn how processes average."""
        self._setup = setup

    def notes(self) -> list[str]:
        """Warn of scaled gradients under Adam."""
        return adam_note("AGM", self.settings.scale, self._setup.optimizer)

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
        """The pose error; with ``scale: gradient`` of the same pose put together from the sensors' shares."""
        self._factors = {}
        if self.settings.alpha == 0:
            return LossTerms({"pose": pose_loss})
        through = self.settings.scale == "gradient"
        poses = _coalition_poses(model, features if through else detached(features), batch, with_gradient=through)
        costs = self._costs(poses.detach(), output, batch)
        self._factors = self._modulated(costs)
        self._means.add("cost", costs)
        self._means.add("factor", self._factors)
        if not through or all(factor == 1.0 for factor in self._factors.values()):
            return LossTerms({"pose": pose_loss})
        kappa = torch.tensor([self._factors.get(m, 1.0) for m in self.modalities]).to(poses)
        joints = with_scaled_gradient(poses, kappa)
        return LossTerms({"pose": self._setup.loss(PoseOutput(joints), batch).mean()})

    def gradients(self, model: PoseModel, output: PoseOutput, batch: Batch) -> None:
        """Ask for shorter or longer steps."""
        if self.settings.scale == "step":
            self._modulation.gradients(model, self._factors)

    def after_step(self, model: PoseModel) -> None:
        """Shorten or lengthen them."""
        self._modulation.after_step()

    def log(self) -> dict[str, Any]:
        """Mean cost and factor of each sensor over the epoch so far."""
        return dict(self._means.log())

    def state_dict(self) -> dict[str, Any]:
        """Running scale and running means of the costs; sums of the log."""
        return {
            "sigma": self._sigma.value,
            "sums": dict(self._sums),
            "counts": dict(self._counts),
            "means": self._means.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._sigma.value = state["sigma"]
        self._sums, self._counts = dict(state["sums"]), dict(state["counts"])
        self._means.load_state_dict(state["means"])

    def _costs(self, poses: Tensor, output: PoseOutput, batch: Batch) -> dict[str, float]:
        """Modality -> c, over the samples that have the sensor; the others are left out."""
        own = poses[0] + shapley_values(poses)
        errors = [pose_error(pose, batch.target) for pose in (*own, output.joints)]
        counted = torch.cat([batch.present, torch.ones_like(batch.present[:, :1])], 1)
        *each, fused = present_means(torch.stack(errors, 1), counted, self._setup.mean)
        assert fused is not None
        sigma = self._sigma.update(fused)
        return {m: error / sigma for m, error in zip(self.modalities, each, strict=True) if error is not None}

    def _modulated(self, costs: Mapping[str, float]) -> dict[str, float]:
        """Kappa against the means of the steps before, which then take these costs in."""
        known = all(name in self._counts for name in costs)
        reference = {name: self._sums[name] / self._counts[name] for name in costs} if known else costs
        factors = coefficients(costs, reference, self.settings.alpha, self.settings.largest)
        for name, cost in costs.items():
            self._sums[name] = self._sums.get(name, 0.0) + cost
            self._counts[name] = self._counts.get(name, 0) + 1
        return factors


def coefficients(
    costs: Mapping[str, float], reference: Mapping[str, float], alpha: float, largest: float
) -> dict[str, float]:
    """Modality -> kappa in (0, largest], from the costs of a batch and their means so far."""
    now, before = _ratios(costs), _ratios(reference)
    return {name: min(math.exp(alpha * min(before[name] - now[name], 7.0)), largest) for name in costs}


def with_scaled_gradient(
    poses: Float[Tensor, "coalition batch joint 3"], kappa: Float[Tensor, " modality"]
) -> Float[Tensor, "batch joint 3"]:
    """The fused pose as the sum of the sensors' Shapley values, each of which passes its gradient on times kappa."""
    shares = shapley_values(poses)
    factor = kappa[:, None, None, None]
    return poses[0] + (factor * shares + (1.0 - factor) * shares.detach()).sum(0)


def _ratios(costs: Mapping[str, float]) -> dict[str, float]:
    """r: above one for a sensor that costs less than the mean; one for a sensor that is alone."""
    count = len(costs)
    if count < 2:
        return dict.fromkeys(costs, 1.0)
    mean = sum(costs.values()) / count
    return {name: math.exp(min((mean - cost) * count / (count - 1), _LARGEST_EXPONENT)) for name, cost in costs.items()}


def _coalition_poses(
    model: PoseModel, features: Mapping[str, Tensor], batch: Batch, with_gradient: bool
) -> Float[Tensor, "coalition batch joint 3"]:
    """The pose of every sample from every coalition."""
    coalitions = all_coalitions(len(model.modalities), batch.present.device)
    with torch.set_grad_enabled(with_gradient):
        return model.decode_coalitions(features, coalitions, batch.present).float()
