"""On-the-fly prediction modulation: drop the features of the sensors that are ahead."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from equipose import config
from equipose.balance.base import BalanceStrategy, Probe, Setup
from equipose.balance.epoch_means import EpochMeans
from equipose.balance.lots import Lots, survivors
from equipose.balance.scores import ScoreKind, SensorScores, ratio_to_others
from equipose.nn.model import PoseModel
from equipose.types import Batch, LossTerms, PoseOutput

_STREAM, _COIN_STREAM = 6, 7


class OpmSettings(config.Settings):
    """How often a sensor that is ahead is dropped."""

    base_rate: float = Field(default=0.5, ge=0, le=1)
    """Drop rate of a sensor that is barely ahead (q_base)."""
    growth: float = Field(default=0.5, ge=0)
    """How much the rate grows with the lead (lambda)."""
    probability: float = Field(default=0.7, ge=0, le=1)
    """Share of the batches in which anything is dropped (p_exe)."""
    warm_up: float = Field(default=0.1, ge=0, le=1)
    """Share of the epochs, from the start, without dropping (published: 6 epochs)."""
    score: ScoreKind = "exp"
    """exp: mean of exp(-error / running median of the fused error). skill: 1 - error / error of the mean pose."""


class Opm(BalanceStrategy):
    """Drop the feature of a sensor that is ahead from some samples, the more often the further it is ahead.

        rho_m = s_m / mean of s_j over the others,    r_m = tanh(max(rho_m - 1, 0))
        q_m = clip(q_base (1 + lambda r_m), 0, 1) if r_m > 0 else 0
        z_m <- kept_m z_m / (1 - mean of q),    kept_m ~ Bernoulli(1 - q_m) for each sample

    in a share of the batches, after a warm-up. s_m is the score of the sensor alone on the batch. OPM is the
    counterpart of OGM in the forward pass, and works with any optimizer.

    After Wei, Hu, Du, Wen, *On-the-fly Modulation for Balanced Multimodal Learning*, IEEE TPAMI 2024; defined for
    classifiers of two modalities.

    Differs from the published code:
    - any number of sensors: each against the mean of the others, which for two is the published ratio;
    - scores for regression and through the masked fusion, as in ``ogm``, averaged over processes;
    - a dropped sensor is missing in the way the model handles any missing sensor: a feature of zero for fusions that
      know no other way;
    - a sample that lost all its sensors keeps one, where the code deletes the sample, which changes the batch and
      stops several processes from keeping in step;
    - drawn per sample from (seed, epoch, sample), so that several processes drop what one would.

    The training error in the log is that of all sensors; the term ``pose`` is the loss with dropping.
    """

    Settings: ClassVar[type[config.Settings]] = OpmSettings
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"base_rate": 0.25}, {"base_rate": 0.7})

    settings: OpmSettings  # narrows the base's

    @classmethod
    def strength_zero(cls) -> Mapping[str, Any]:
        """Nothing is dropped."""
        return {"base_rate": 0.0}

    def __init__(self, settings: OpmSettings, modalities: tuple[str, ...]) -> None:
        super().__init__(settings, modalities)
        self._scores = SensorScores(settings.score)
        self._means = EpochMeans()
        self._epoch, self._step = 0, 0

    def setup(self, model: PoseModel, setup: Setup) -> None:
        """Prepare the lots."""
        self._setup = setup
        self._lots = Lots(setup.seed, _STREAM, setup.num_samples)

    def begin_epoch(self, model: PoseModel, probe: Probe) -> None:
        """New lots."""
        self._epoch = probe.epoch
        self._means.reset()

    def objective(
        self,
        model: PoseModel,
        features: dict[str, Tensor],
        output: PoseOutput,
        batch: Batch,
        pose_loss: Float[Tensor, ""],
    ) -> LossTerms:
        """The pose error, in most batches without some of the features."""
        if not self._active():
            return LossTerms({"pose": pose_loss})
        scores = self._scores.update(model, features, output, batch, self._setup.mean)
        rates = drop_rates(scores, self.settings.base_rate, self.settings.growth)
        self._means.add("score", scores)
        self._means.add("rate", rates)
        coin = np.random.default_rng([self._setup.seed, _COIN_STREAM, self._step]).random()
        self._step += 1
        if coin >= self.settings.probability or not any(rates.values()):
            return LossTerms({"pose": pose_loss})
        q = torch.tensor([rates.get(m, 0.0) for m in self.modalities], device=batch.present.device)
        kept = survivors(self._lots.of(batch, self._epoch), q, batch.present)
        # The least of the sensors is never ahead, so the mean rate stays below one.
        grown = {name: feature / (1.0 - sum(rates.values()) / len(rates)) for name, feature in features.items()}
        return LossTerms({"pose": self._setup.loss(model.decode(grown, kept), batch).mean()})

    def log(self) -> dict[str, Any]:
        """Mean score and drop rate of each sensor over the epoch so far."""
        return {"active": self._active(), **self._means.log()}

    def state_dict(self) -> dict[str, Any]:
        """Epoch and step, from which the lots follow; scale of the scores; sums of the log."""
        return {
            "epoch": self._epoch,
            "step": self._step,
            "scores": self._scores.state_dict(),
            "means": self._means.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._epoch, self._step = state["epoch"], state["step"]
        self._scores.load_state_dict(state["scores"])
        self._means.load_state_dict(state["means"])

    def _active(self) -> bool:
        settings = self.settings
        warm = self._epoch >= round(settings.warm_up * self._setup.epochs)
        return warm and settings.base_rate > 0 and settings.probability > 0


def drop_rates(scores: Mapping[str, float], base_rate: float, growth: float) -> dict[str, float]:
    """Modality -> q, the probability that its feature is dropped from a sample."""
    leads = {name: math.tanh(max(rho - 1.0, 0.0)) for name, rho in ratio_to_others(scores).items()}
    return {
        name: min(max(base_rate * (1.0 + growth * lead), 0.0), 1.0) if lead > 0 else 0.0 for name, lead in leads.items()
    }
