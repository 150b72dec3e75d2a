"""Dark experience replay: old samples keep their labels and their outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from equipose import config
from equipose.continual.distances import MM, relative_scale, squared_distance
from equipose.continual.replay import MemorySettings, Rehearsal
from equipose.nn.model import PoseModel
from equipose.types import Batch, PoseOutput


class DerppSettings(MemorySettings):
    """Memory, and how closely to follow outputs and labels."""

    alpha: float = Field(default=0.5, ge=0)
    """Weight of the distance to the stored outputs. 0 together with beta is fine-tuning."""
    beta: float = Field(default=0.5, ge=0)
    """Weight of the loss of old samples."""
    reference_mm: float = Field(default=50.0, gt=0)
    """Distance, in millimetres, at which being off from the stored output costs as much as being off from a label.
    Without effect for a squared loss."""


class Derpp(Rehearsal):
    """Old samples are replayed twice: towards what the model once said about them, and towards their labels.

    ::

        L = L_pose + alpha * d(f(x'), h') + beta * L_pose(x'', y'')

    with x' and x'' independent draws from the memory, h the stored output and d the mean squared distance of the joints
    in the loss's unit (see ``distances``).

    Source: Buzzega et al., *Dark Experience for General Continual Learning* (NeurIPS 2020); defined for classification,
    with logits for outputs and a reservoir.

    Differs from the published method:

    - h is refreshed when its experience ends: with several passes over it, what the model said at the first is not
      worth keeping;
    - d has the unit of the loss; alpha and beta then mean the same for every loss;
    - the memory is stratified, replays experiences that have ended, takes no sample with a corrupt label and hides
      corrupt sensors.

    Per-sample label weights would enter the term with beta; the one with alpha looks at no label.
    """

    Settings: ClassVar[type[config.Settings]] = DerppSettings
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"alpha": 0.2, "beta": 1.0}, {"capacity": 1600})

    settings: DerppSettings  # narrows the base's

    @classmethod
    def strength_zero(cls) -> Mapping[str, Any]:
        """Neither outputs nor labels."""
        return {"alpha": 0.0, "beta": 0.0, "held_out": 0}

    def objective(
        self, model: PoseModel, features: dict[str, Tensor], output: PoseOutput, batch: Batch
    ) -> dict[str, Float[Tensor, ""]]:
        """Both terms, of as many samples each as the batch has."""
        settings, device = self.settings, batch.present.device
        terms: dict[str, Tensor] = {}
        if settings.alpha > 0 and (replay := self.draw(len(batch), device)) is not None:
            scale = relative_scale(self._setup.loss, batch, settings.reference_mm * MM)
            distance = squared_distance(model(replay.batch).joints, replay.outputs).mean()
            terms["replayed_outputs"] = settings.alpha * scale * distance
        if settings.beta > 0 and (replay := self.draw(len(batch), device)) is not None:
            terms["replayed_labels"] = settings.beta * self._setup.loss(model(replay.batch), replay.batch).mean()
        return terms
