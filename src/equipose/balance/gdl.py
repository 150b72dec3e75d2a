"""Disentangled gradients: who may teach whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from equipose import config
from equipose.balance.base import BalanceStrategy, Probe, Setup
from equipose.balance.readouts import Heads, alone
from equipose.balance.sensor_losses import WeightedMeans, over_present
from equipose.nn.fusion import ConcatFusion
from equipose.nn.model import PoseModel
from equipose.types import Batch, LossTerms, PoseOutput


class GdlSettings(config.Settings):
    """Weights of the two teachers of an encoder."""

    alpha: float = Field(default=4.0, ge=0)
    """Weight of each sensor's own loss (published: 4 or 5). With ``joint_share`` 0 an adaptive optimizer does not feel
    it, since an encoder then has no other loss."""
    joint_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the joint loss's gradient that reaches the encoders; 0: none, as published."""
    readout: Literal["masked", "heads"] = "masked"
    """What a sensor says by itself. masked: the fusion with the other sensors masked, as published; the fusion passes
    the gradient on and does not learn from it. heads: a linear head of its own, used while training only."""

    @model_validator(mode="after")
    def _somebody_teaches(self) -> GdlSettings:
        if self.alpha == 0 and self.joint_share == 0:
            raise ValueError("alpha and joint_share are both 0, so the encoders would learn nothing; raise one of them")
        return self


class Gdl(BalanceStrategy):
    """Encoders learn from each sensor's own prediction alone, the fusion from the joint prediction alone.

    With sg the stop of the gradient, g the fusion, z the features and L the run's pose loss::

        L( g(sg z_1, .., sg z_M) )  +  alpha * sum_m L( g'(0, .., z_m, .., 0) )

    where g' is g with constant weights. A strong sensor then cannot take the gradient away from the others, and the
    poorly trained fusion cannot mislead any encoder. What encoders could learn only together is given up.

    In regression with the `concat` fusion the two parts want different scales: each sensor alone is to reach the whole
    pose, while their sum is to reach it too. Class scores do not mind; poses do. ``readout: heads`` avoids it.

    Source: Wei, Luo, Luo, *Boosting Multimodal Learning via Disentangled Gradient Learning* (ICCV 2025). The
    equations hold for any loss and number of modalities; the released code classifies audio-visual clips.

    Differs from the published code:

    - one backward pass of the sum, with the fusion's weights constant in the second part, in place of two passes with
      the fusion's gradients cleared in between: the same gradients, at less cost;
    - a sensor's loss is the mean over the samples that have it, so that missing sensors are no zeros to learn from;
    - the gradient's norm is clipped by the run's ``clip_norm`` only (published: at 40);
    - ``joint_share`` and ``readout`` are ours.
    """

    Settings: ClassVar[type[config.Settings]] = GdlSettings
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {},
        {"readout": "heads"},
        {"readout": "heads", "joint_share": 0.3, "alpha": 1.0},
    )

    settings: GdlSettings  # narrows the base's

    @classmethod
    def strength_zero(cls) -> Mapping[str, Any]:
        """All of the joint gradient, nothing of the others."""
        return {"alpha": 0.0, "joint_share": 1.0}

    def __init__(self, settings: GdlSettings, modalities: tuple[str, ...]) -> None:
        super().__init__(settings, modalities)
        self._live: dict[str, Tensor] = {}
        self._means = WeightedMeans()
        self._sum_of_sensors = False

    def setup(self, model: PoseModel, setup: Setup) -> None:
        """Keep the loss; make the heads, if asked for."""
        self._loss, self._mean = setup.loss, setup.mean
        self._sum_of_sensors = isinstance(model.fusion, ConcatFusion) and len(model.modalities) > 1
        if self.settings.readout == "heads" and self.settings.alpha > 0:
            self.modules["heads"] = Heads(model)

    def notes(self) -> list[str]:
        """A word on sums of sensors."""
        if not self._sum_of_sensors or self.settings.readout == "heads" or self.settings.alpha == 0:
            return []
        return [
            "gdl with the concat fusion asks each sensor alone and the sum of all to reach the same pose, and the two "
            "pull the scale of the features apart; --set balance.settings.readout=heads avoids it"
        ]

    def begin_epoch(self, model: PoseModel, probe: Probe) -> None:
        """Start the epoch's means."""
        self._means.reset()

    def features(self, features: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Let ``joint_share`` of the joint gradient through; the values stay."""
        if self.settings.alpha > 0:
            self._live = features
        return {name: _gate(feature, self.settings.joint_share) for name, feature in features.items()}

    def objective(
        self,
        model: PoseModel,
        features: dict[str, Tensor],
        output: PoseOutput,
        batch: Batch,
        pose_loss: Float[Tensor, ""],
    ) -> LossTerms:
        """The joint loss, and the sum of each sensor's own."""
        if self.settings.alpha == 0:
            return LossTerms({"pose": pose_loss})
        live, self._live = self._live, {}
        if "heads" in self.modules:
            heads = self.modules["heads"]
            assert isinstance(heads, Heads)
            poses = heads.poses(model, live)
        else:
            with _constant(model.fusion):
                poses = alone(model, live)
        losses = over_present(
            {name: self._loss(PoseOutput(pose), batch) for name, pose in poses.items()}, batch, self._mean
        )
        self._means.add(losses.values, losses.counts)
        return LossTerms({"pose": pose_loss, "alone": self.settings.alpha * losses.sum()})

    def log(self) -> dict[str, Any]:
        """Mean loss of each sensor alone over the epoch so far, in the run's loss unit."""
        return {"alone": self._means.of(self.modalities)} if self.settings.alpha > 0 else {}

    def state_dict(self) -> dict[str, Any]:
        """The epoch's means."""
        return {"means": self._means.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._means.load_state_dict(state["means"])


def _gate(feature: Tensor, share: float) -> Tensor:
    """The same values; ``share`` of the gradient passes."""
    if share == 1.0:
        return feature
    stopped = feature.detach()
    return stopped if share == 0.0 else stopped + share * (feature - stopped)


@contextmanager
def _constant(module: nn.Module) -> Iterator[None]:
    """Within, what the module computes has no gradient with respect to its own weights."""
    learning = [p for p in module.parameters() if p.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
