"""Alternate boosting: one sensor at a time learns what the others leave over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from equipose import config
from equipose.balance.base import BalanceStrategy, Probe, Setup
from equipose.balance.sensor_losses import WeightedMeans, over_present
from equipose.nn.decision_fusion import EnsembleFusion
from equipose.nn.fusion import ConcatFusion
from equipose.nn.model import PoseModel
from equipose.types import Batch, LossTerms, PoseOutput


class ReconBoostSettings(config.Settings):
    """Rhythm of the stages, and how much of the others a sensor is told to leave alone."""

    nu: float = Field(default=0.2, ge=0, le=1)
    """Share of the others' prediction that is taken off a sensor's target (published: weights 1 and 5, a ratio of
    0.2). 0: every sensor learns the whole pose by itself; 1: the plain residual of boosting."""
    stage: float = Field(default=0.25, ge=0)
    """Length of one sensor's stage in epochs, at least a step; 0: no stages, joint training."""
    refit: float = Field(default=0.25, ge=0)
    """Length of the joint stage that follows each, in epochs; 0: none."""


class ReconBoost(BalanceStrategy):
    """Alternate boosting: in turn, each sensor alone is fitted to what the others leave over, then all together.

    With f_m what sensor m adds to the pose, sg the stop of the gradient and n the sensors that a sample has::

        stage of sensor m:   L( nu * sg(sum_{j != m} f_j) + s * f_m ),   s = n - nu (n - 1)
        joint stage:         L( sum_j f_j )

    Only sensor m's encoder and its part of the fusion (with what the fusion shares, such as its bias) move in its
    stage; the others keep their weights and the optimizer's memory. s makes the stages agree with the joint stage: n
    equal sensors that together are right satisfy every stage, for every nu. nu = 1 is least-squares boosting with the
    run's loss, s = 1; nu = 0 trains sensors on the whole pose.

    Meant for fusions that add: `concat`, where f_m = W_m z_m, and `ensemble`, where it is the sensor's own prediction
    over n. With another fusion f_m is the masked read-out over n and the others are the joint prediction minus that,
    which is a heuristic: what sensors say together is then learned in the joint stages only.

    Source: Hua, Xu, Bao, Yang, Huang, *ReconBoost: Boosting Can Achieve Modality Reconcilement* (ICML 2024); defined
    for the classification of two or three modalities.

    Differs from the published code:

    - regression: the target of a stage is the pose minus a part of the others' prediction, in place of
      cross-entropy against 5 y - softmax(others);
    - the others are all other sensors, as in the paper;
    - stages of a part of an epoch, not of 4 epochs, so that every sensor has its turns at every learning rate of a
      short run; one optimizer, whose memory of a sensor rests while the others have their turn (published: a new one
      in each stage); sensors take turns in the order of the modalities;
    - no agreement loss between sensors: the released one is detached on both sides and has no gradient;
    - no pre-trained encoders.

    With the default rhythm an encoder moves in 1/2 + 1/(2 M) of the steps; give it more epochs for equal work.
    """

    Settings: ClassVar[type[config.Settings]] = ReconBoostSettings
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"nu": 0.5}, {"nu": 1.0})

    settings: ReconBoostSettings  # narrows the base's

    @classmethod
    def strength_zero(cls) -> Mapping[str, Any]:
        """No stages."""
        return {"stage": 0.0}

    def __init__(self, settings: ReconBoostSettings, modalities: tuple[str, ...]) -> None:
        super().__init__(settings, modalities)
        self._step = 0
        self._fusion = ""
        self._losses = WeightedMeans()

    def setup(self, model: PoseModel, setup: Setup) -> None:
        """Lengths of the stages in steps."""
        self._loss, self._mean = setup.loss, setup.mean
        stage, refit = (share * setup.steps_per_epoch for share in (self.settings.stage, self.settings.refit))
        self._stage = max(1, round(stage)) if stage else 0
        self._refit = max(1, round(refit)) if refit else 0
        if not isinstance(model.fusion, ConcatFusion | EnsembleFusion):
            self._fusion = type(model.fusion).__name__

    def notes(self) -> list[str]:
        """A word on fusions that do not add."""
        if not self._fusion or not self.settings.stage:
            return []
        return [
            f"reconboost is meant for fusions that add up what each sensor says, and {self._fusion} does not: the "
            "residual is then a heuristic; --set model.fusion=concat or ensemble fit it"
        ]

    def turn(self) -> str | None:
        """Which sensor's stage the next step belongs to; None in a joint stage."""
        if not self._stage:
            return None
        turn, place = divmod(self._step, self._stage + self._refit)
        return self.modalities[turn % len(self.modalities)] if place < self._stage else None

    def begin_epoch(self, model: PoseModel, probe: Probe) -> None:
        """Start the epoch's means."""
        self._losses.reset()

    def objective(
        self,
        model: PoseModel,
        features: dict[str, Tensor],
        output: PoseOutput,
        batch: Batch,
        pose_loss: Float[Tensor, ""],
    ) -> LossTerms:
        """The loss of the stage; in a sensor's stage the joint loss is only recorded."""
        modality = self.turn()
        if modality is None:
            return LossTerms({"pose": pose_loss})
        pose = stage_pose(model, features, output, batch, modality, self.settings.nu)
        losses = over_present({modality: self._loss(PoseOutput(pose), batch)}, batch, self._mean)
        self._losses.add(losses.values, losses.counts)
        return LossTerms({"pose": pose_loss.detach(), "stage": losses.terms[modality]})

    def after_step(self, model: PoseModel) -> None:
        """Count."""
        self._step += 1

    def log(self) -> dict[str, Any]:
        """Mean loss of each sensor's stages in the epoch so far, in the run's loss unit; null without one."""
        return {"stage": self._losses.of(self.modalities)} if self._stage else {}

    def state_dict(self) -> dict[str, Any]:
        """How many steps were done, and the epoch's means."""
        return {"step": self._step, "losses": self._losses.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._step = state["step"]
        self._losses.load_state_dict(state["losses"])


def stage_pose(
    model: PoseModel,
    features: Mapping[str, Tensor],
    output: PoseOutput,
    batch: Batch,
    modality: str,
    nu: float,
) -> Float[Tensor, "batch joint 3"]:
    """What is fitted to the target in a sensor's stage: ``base + nu * others + s * own``; see ``ReconBoost``.

    Args:
        model: whose fusion.
        features: modality -> (batch, width).
        output: the joint prediction.
        batch: says which sample has which sensor.
        modality: whose stage; of samples without it the result means nothing.
        nu: share of the others.

    Returns:
        metres, camera frame; with gradient for that sensor's encoder and its part of the fusion only.
    """
    nothing = torch.zeros_like(features[modality][:1])
    absent = {name: model.fusion.absent(name, nothing).detach() for name in model.names}
    part = model.fusion.part(modality, features[modality])
    with torch.no_grad():
        base = _pose(model, list(absent.values()))
    parts = [part if name == modality else absent[name].expand_as(part) for name in model.names]
    own = _pose(model, parts) - base
    count = batch.present.sum(1).clamp(min=1).to(own.dtype)[:, None, None]
    if not isinstance(model.fusion, ConcatFusion):
        own = own / count
    others = output.joints.detach() - base - own.detach()
    return base + nu * others + (count - nu * (count - 1.0)) * own


def _pose(model: PoseModel, parts: list[Tensor]) -> Float[Tensor, "batch joint 3"]:
    """The pose that the fusion makes of its parts."""
    return model.mean_pose + model.fusion.combine(parts).reshape(-1, model.num_joints, 3)
