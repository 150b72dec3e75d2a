"""Modality dropout: the simplest way to make a network use every sensor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from equipose import config
from equipose.balance.base import BalanceStrategy, Probe, Setup
from equipose.balance.lots import Lots, survivors
from equipose.nn.model import PoseModel
from equipose.types import Batch, LossTerms, PoseOutput

_STREAM = 5


class ModalityDropoutSettings(config.Settings):
    """How often a sensor is dropped."""

    rate: float = Field(default=0.3, ge=0, lt=1)
    """Probability that a sensor is dropped from a sample."""


class ModalityDropout(BalanceStrategy):
    """Train each sample without some of its sensors, drawn at random; at least one is kept.

        kept_m ~ Bernoulli(1 - rate) for each sample and sensor,    L = loss(g(kept_1 z_1, .., kept_M z_M), y)

    After Neverova, Wolf, Taylor, Nebout, *ModDrop: Adaptive Multi-Modal Gesture Recognition*, IEEE TPAMI 2016, which
    drops the channels of a gesture classifier.

    Differs from the published method:
    - a sensor is dropped between encoder and fusion, in the way the model handles any missing sensor, and not at its
      input: the encoders run once and the network learns the coalitions that evaluation asks for;
    - a sample that would lose all its sensors keeps one, each as likely, as nothing can be learned from none;
    - one rate for all sensors, from the first epoch on, without separate pre-training;
    - drawn per sample from (seed, epoch, sample), so that several processes drop what one would.

    The training error in the log is that of all sensors, to be compared with other strategies'; the term ``pose`` is
    the loss with dropout.
    """

    Settings: ClassVar[type[config.Settings]] = ModalityDropoutSettings
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"rate": 0.1}, {"rate": 0.5})

    settings: ModalityDropoutSettings  # narrows the base's

    @classmethod
    def strength_zero(cls) -> Mapping[str, Any]:
        """Nothing is dropped."""
        return {"rate": 0.0}

    def __init__(self, settings: ModalityDropoutSettings, modalities: tuple[str, ...]) -> None:
        super().__init__(settings, modalities)
        self._epoch = 0

    def setup(self, model: PoseModel, setup: Setup) -> None:
        """Prepare the lots."""
        self._setup = setup
        self._lots = Lots(setup.seed, _STREAM, setup.num_samples)

    def begin_epoch(self, model: PoseModel, probe: Probe) -> None:
        """New lots."""
        self._epoch = probe.epoch

    def objective(
        self,
        model: PoseModel,
        features: dict[str, Tensor],
        output: PoseOutput,
        batch: Batch,
        pose_loss: Float[Tensor, ""],
    ) -> LossTerms:
        """The pose error of the sensors that are kept."""
        rate = self.settings.rate
        if rate == 0:
            return LossTerms({"pose": pose_loss})
        rates = torch.full((len(self.modalities),), rate, device=batch.present.device)
        kept = survivors(self._lots.of(batch, self._epoch), rates, batch.present)
        return LossTerms({"pose": self._setup.loss(model.decode(features, kept), batch).mean()})

    def log(self) -> dict[str, Any]:
        """The rate of each sensor."""
        return {"rate": dict.fromkeys(self.modalities, self.settings.rate)}

    def state_dict(self) -> dict[str, Any]:
        """The epoch, from which the lots follow."""
        return {"epoch": self._epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._epoch = state["epoch"]
