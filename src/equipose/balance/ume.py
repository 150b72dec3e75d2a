"""Late fusion of sensors that were each trained as if alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from equipose import config
from equipose.balance.base import BalanceStrategy, Probe, Setup
from equipose.balance.readouts import alone
from equipose.balance.sensor_losses import WeightedMeans, over_present
from equipose.nn.decision_fusion import EnsembleFusion
from equipose.nn.model import PoseModel
from equipose.types import Batch, LossTerms, PoseOutput


class UmeSettings(config.Settings):
    """How much of the joint loss is mixed in."""

    joint: float = Field(default=0.0, ge=0)
    """Weight of the joint prediction's loss; 0 as published. Above 0, late fusion trained jointly with unimodal
    losses."""


class Ume(BalanceStrategy):
    """Unimodal ensemble: each sensor is trained by its own loss alone, and the prediction is the mean of all.

    ::

        L = sum_m L( y_m ),    y_m: the prediction of sensor m with the others masked

    Meant for the `ensemble` fusion, where y_m comes from sensor m's own encoder and head and the joint prediction is
    the mean of all y_m: no gradient then flows between sensors, and training is that of M separate models. It is the
    baseline that joint training must beat. With another fusion the same loss trains every sensor's masked read-out
    through the shared fusion, which never sees two sensors at once while it learns.

    Source: Du et al., *On Uni-Modal Feature Learning in Supervised Multi-Modal Learning* (ICML 2023); defined for
    classification, averaging the outputs of separately trained models.

    Differs from the published code:

    - all models are trained in one run, for the same number of epochs, and the checkpoint `best` is the best mean, not
      the best of each sensor;
    - the run's ``clip_norm``, if set, is a norm over all sensors together;
    - a sensor's loss is the mean over the samples that have it;
    - ``joint`` is ours.

    No setting makes it joint training, since the unimodal losses are always there.
    """

    Settings: ClassVar[type[config.Settings]] = UmeSettings
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"joint": 0.3}, {"joint": 1.0})

    settings: UmeSettings  # narrows the base's

    @classmethod
    def strength_zero(cls) -> None:
        """None: without the unimodal losses nothing of the method is left."""
        return

    def __init__(self, settings: UmeSettings, modalities: tuple[str, ...]) -> None:
        super().__init__(settings, modalities)
        self._means = WeightedMeans()
        self._own_heads = True

    def setup(self, model: PoseModel, setup: Setup) -> None:
        """Keep the loss; look whether every sensor has a head of its own."""
        self._loss, self._mean = setup.loss, setup.mean
        self._own_heads = isinstance(model.fusion, EnsembleFusion) or len(model.modalities) == 1

    def notes(self) -> list[str]:
        """A word on fusions it was not made for."""
        if self._own_heads:
            return []
        return [
            "ume is meant for the ensemble fusion (--set model.fusion=ensemble); with this one it trains each sensor's "
            "masked read-out through the shared fusion, and the joint prediction is not trained"
        ]

    def begin_epoch(self, model: PoseModel, probe: Probe) -> None:
        """Start the epoch's means."""
        self._means.reset()

    def objective(
        self,
        model: PoseModel,
        features: dict[str, Tensor],
        output: PoseOutput,
        batch: Batch,
        pose_loss: Float[Tensor, ""],
    ) -> LossTerms:
        """The sum of the sensors' own losses; the joint one is only recorded, unless it has a weight."""
        poses = alone(model, features)
        losses = over_present(
            {name: self._loss(PoseOutput(pose), batch) for name, pose in poses.items()}, batch, self._mean
        )
        self._means.add(losses.values, losses.counts)
        joint = self.settings.joint
        return LossTerms({"pose": joint * pose_loss if joint > 0 else pose_loss.detach(), "alone": losses.sum()})

    def log(self) -> dict[str, Any]:
        """Mean loss of each sensor alone over the epoch so far, in the run's loss unit."""
        return {"alone": self._means.of(self.modalities)}

    def state_dict(self) -> dict[str, Any]:
        """The epoch's means."""
        return {"means": self._means.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._means.load_state_dict(state["means"])
