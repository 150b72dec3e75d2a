"""Gradient blending: weigh every loss by how well what it teaches carries over to new data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from equipose import config
from equipose.balance.base import BalanceStrategy, PerSampleLoss, Probe, Setup
from equipose.balance.readouts import Heads
from equipose.balance.sensor_losses import WeightedMeans, over_present
from equipose.inspection import untouched
from equipose.nn.model import PoseModel
from equipose.types import Batch, LossTerms, PoseOutput

JOINT = "joint"
"""Name of the fused prediction among the heads."""


class GBlendSettings(config.Settings):
    """Strength, rhythm and floors of gradient blending."""

    blend: float = Field(default=1.0, ge=0, le=1)
    """How far to go from the joint loss alone (0) to the blended weights (1, as published)."""
    super_epoch: int = Field(default=5, ge=1)
    """Epochs between two measurements (published: 10 or 20 of longer runs). Until then weights are equal."""
    floor: float = Field(default=0.2, ge=0, le=1)
    """Part of the weight that is dealt out equally: no head falls below ``floor`` / (M + 1). At 1 all weights are
    equal."""
    overfitting_floor: float = Field(default=0.02, gt=0)
    """Least growth of the overfitting that a head is credited with, as a share of the joint validation loss: below it,
    the probe cannot tell growth from noise, and the square of it is divided by."""


class GBlend(BalanceStrategy):
    """Joint and unimodal losses, weighted by generalisation gained over overfitting squared.

    ::

        L = w_joint * L( y ) + sum_m w_m * L( h_m(z_m) )
        w_k proportional to G_k / O_k^2,    sum_k w_k = 1
        G_k = fall of head k's validation loss,  O_k = growth of (validation loss - training loss),  in a super-epoch

    h_m is a linear head of sensor m, used while training only. A sensor that mostly learns the training data by heart
    is given little weight. Losses are measured on the probe (``train.probe_samples``, of which it wants many) and on as
    many validation samples, in evaluation mode.

    Source: Wang, Tran, Feiszli, *What Makes Training Multi-Modal Classification Networks Hard?* (CVPR 2020); defined
    for the classification of any number of modalities. The formula needs no classes and is used as it is.

    Differs from the published method:

    - one run. The method trains every head alone, from the current weights, for a super-epoch before each decision, at
      M + 2 times the cost; here G and O are measured on the heads as they are trained together. They then contain what
      the other losses taught the encoder, and a head of small weight gains less because of that; ``floor`` keeps such
      a spiral from ending at 0;
    - G below 0 counts as 0: validation that got worse earns nothing (published: its size counts);
    - O below its floor counts as the floor, so that no weight grows without bound;
    - the heads start together with the run, and until the first measurement all weights are equal.
    """

    Settings: ClassVar[type[config.Settings]] = GBlendSettings
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"blend": 0.5}, {"blend": 0.25})

    settings: GBlendSettings  # narrows the base's

    @classmethod
    def strength_zero(cls) -> Mapping[str, Any]:
        """The joint loss alone; there are no heads."""
        return {"blend": 0.0}

    def __init__(self, settings: GBlendSettings, modalities: tuple[str, ...]) -> None:
        super().__init__(settings, modalities)
        self._names = (*modalities, JOINT)
        self._shares = dict.fromkeys(self._names, 1.0 / len(self._names))
        self._start: dict[str, tuple[float, float]] = {}
        self._gain: dict[str, float] = {}
        self._overfitting: dict[str, float] = {}
        self._losses = WeightedMeans()
        self._epochs = 0

    def setup(self, model: PoseModel, setup: Setup) -> None:
        """Make the heads."""
        self._loss, self._mean, self._epochs = setup.loss, setup.mean, setup.epochs
        if self.settings.blend > 0:
            self.modules["heads"] = Heads(model)

    def notes(self) -> list[str]:
        """A word on runs that end before anything was measured."""
        if self.settings.blend == 0 or self._epochs > self.settings.super_epoch:
            return []
        return [
            f"g_blend weighs its losses for the first time after {self.settings.super_epoch} epochs, and the run has "
            f"{self._epochs}: all weights stay equal; --set balance.settings.super_epoch=1 or train longer"
        ]

    def begin_epoch(self, model: PoseModel, probe: Probe) -> None:
        """At the start of a super-epoch, measure every head, and weigh them by what the last one did to them."""
        self._losses.reset()
        if self.settings.blend == 0 or probe.epoch % self.settings.super_epoch:
            return
        with untouched(model):
            train = self._measured(model, probe.batches(), probe.all_reduce)
            validation = self._measured(model, probe.validation(), probe.all_reduce)
        now = {
            name: (train[name], validation[name]) for name in self._names if {name} <= train.keys() & validation.keys()
        }
        if self._start and now:
            self._gain, self._overfitting = changes(self._start, now)
            least = self.settings.overfitting_floor * now[JOINT][1]
            shares = blended(self._gain, self._overfitting, least)
            if shares:
                self._shares = {name: shares.get(name, 0.0) for name in self._names}
        self._start = now

    def objective(
        self,
        model: PoseModel,
        features: dict[str, Tensor],
        output: PoseOutput,
        batch: Batch,
        pose_loss: Float[Tensor, ""],
    ) -> LossTerms:
        """The weighted losses."""
        if self.settings.blend == 0:
            return LossTerms({"pose": pose_loss})
        poses = self._heads().poses(model, features)
        losses = over_present({m: self._loss(PoseOutput(pose), batch) for m, pose in poses.items()}, batch, self._mean)
        self._losses.add(losses.values, losses.counts)
        weights = self.weights()
        heads = torch.stack([weights[m] * losses.terms[m] for m in self.modalities]).sum()
        return LossTerms({"pose": weights[JOINT] * pose_loss, "heads": heads})

    def weights(self) -> dict[str, float]:
        """Weight of each sensor's loss and of the joint one; they sum to 1."""
        blend, floor, count = self.settings.blend, self.settings.floor, len(self._names)
        mixed = {name: blend * (floor / count + (1.0 - floor) * share) for name, share in self._shares.items()}
        return {**mixed, JOINT: mixed[JOINT] + 1.0 - blend}

    def log(self) -> dict[str, Any]:
        """Weights; generalisation gained and overfitting grown in the last super-epoch; the heads' losses."""
        if self.settings.blend == 0:
            return {}
        return {
            "weights": self.weights(),
            "gain": dict(self._gain),
            "overfitting": dict(self._overfitting),
            "heads": self._losses.of(self.modalities),
        }

    def state_dict(self) -> dict[str, Any]:
        """Weights, and where the super-epoch started."""
        return {
            "shares": dict(self._shares),
            "start": {name: list(losses) for name, losses in self._start.items()},
            "gain": dict(self._gain),
            "overfitting": dict(self._overfitting),
            "losses": self._losses.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._shares = dict(state["shares"])
        self._start = {name: (train, validation) for name, (train, validation) in state["start"].items()}
        self._gain, self._overfitting = dict(state["gain"]), dict(state["overfitting"])
        self._losses.load_state_dict(state["losses"])

    def _heads(self) -> Heads:
        heads = self.modules["heads"]
        assert isinstance(heads, Heads)
        return heads

    def _measured(
        self, model: PoseModel, batches: Iterable[Batch], all_reduce: Callable[[Tensor], Tensor]
    ) -> dict[str, float]:
        """Mean loss of each head; those that no sample has are left out. Every process must call."""
        total = torch.zeros(2, len(self._names), dtype=torch.float64, device=model.mean_pose.device)
        for batch in batches:
            features = model.encode(batch)
            poses = [*self._heads().poses(model, features).values(), model.decode(features, batch.present).joints]
            columns = [batch.modalities.index(m) for m in self.modalities]
            weight = torch.cat([batch.present[:, columns], torch.ones_like(batch.present[:, :1])], 1).double()
            losses = _stacked(poses, batch, self._loss).double()
            total += torch.stack([torch.where(weight > 0, losses * weight, 0.0).sum(0), weight.sum(0)])
        sums, counts = all_reduce(total).tolist()
        return {name: sums[k] / counts[k] for k, name in enumerate(self._names) if counts[k] > 0}


def changes(
    start: Mapping[str, tuple[float, float]], end: Mapping[str, tuple[float, float]]
) -> tuple[dict[str, float], dict[str, float]]:
    """What a super-epoch did to each head that was measured at both ends.

    Args:
        start: name -> (training loss, validation loss).
        end: the same.

    Returns:
        the fall of each validation loss, and the growth of each validation loss minus training loss.
    """
    names = [name for name in start if name in end]
    gain = {name: start[name][1] - end[name][1] for name in names}
    overfitting = {name: (end[name][1] - end[name][0]) - (start[name][1] - start[name][0]) for name in names}
    return gain, overfitting


def blended(gain: Mapping[str, float], overfitting: Mapping[str, float], least: float) -> dict[str, float]:
    """Shares proportional to gain / overfitting^2, which sum to 1; empty where nothing was gained.

    Args:
        gain: fall of the validation loss; below 0 counts as 0.
        overfitting: growth of the gap; its size counts, and ``least`` where it is smaller.
        least: above 0, in the same unit.
    """
    raw = {name: max(gain[name], 0.0) / max(abs(overfitting[name]), least) ** 2 for name in gain}
    total = sum(raw.values())
    return {name: value / total for name, value in raw.items()} if total > 0 else {}


def _stacked(poses: list[Tensor], batch: Batch, loss: PerSampleLoss) -> Float[Tensor, "batch head"]:
    return torch.stack([loss(PoseOutput(pose), batch) for pose in poses], 1)
