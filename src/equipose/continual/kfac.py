"""EWC with whole blocks instead of a diagonal for the linear layers of fusion and head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from equipose import config
from equipose.balance.base import Setup
from equipose.continual.base import End
from equipose.continual.importance import COORDINATES, loss_scale
from equipose.continual.kfac_factors import Factors, kronecker_factors, linear_layers, matrix
from equipose.continual.online_ewc import OnlineEwc, OnlineEwcSettings
from equipose.continual.weights import bytes_of
from equipose.errors import UsageError
from equipose.fisher_outputs import MM2_PER_M2, Groups, parameter_groups
from equipose.nn.model import PoseModel
from equipose.types import Batch, PoseOutput


class KfacSettings(OnlineEwcSettings):
    """Those of online EWC, and where blocks end."""

    widest: int = Field(default=1024, ge=1)
    """Layers with more inputs or outputs keep the diagonal: factors take the square of both."""


class Kfac(OnlineEwc):
    """Online EWC whose linear layers behind the encoders know which weights move the pose together.

    ::

        L = L_pose + strength * s * (sum_layers tr(D' G D A) + sum over other weights of F_i (theta_i - theta*_i)^2)

    with D = W - W*, A and G the second moments of the layer's inputs and of the output's gradients at its outputs (see
    ``kfac_factors``), and one pair of them per experience.

    Source: Ritter et al., *Online Structured Laplace Approximations For Overcoming Catastrophic Forgetting* (NeurIPS
    2018); defined for classification, for every layer.

    Differs from the published method:

    - only linear layers of fusion and head, where it is affordable and where every sensor's past meets; encoders keep
      the diagonal of ``online_ewc``;
    - factors of the outputs, without labels; those of each experience are kept instead of adding up A and G, since a
      sum of Kronecker products is none;
    - the blocks are not normalised.

    Exact for the head of a linear model. The pull is always in the loss; one process only.
    """

    Settings: ClassVar[type[config.Settings]] = KfacSettings
    settings: KfacSettings  # narrows the base's

    def __init__(self, settings: KfacSettings, modalities: tuple[str, ...]) -> None:
        super().__init__(settings, modalities)
        if settings.step != "loss":
            raise UsageError("kfac has no proximal step; set step: loss, or use online_ewc or adaptive_ewc")
        self._factors: list[list[Factors]] = []
        self._places: list[Tensor] = []
        self._scale = 0.0

    def setup(self, model: PoseModel, setup: Setup) -> None:
        """Find the layers."""
        super().setup(model, setup)
        self._layers = linear_layers(model, self.settings.widest)

    def objective(
        self, model: PoseModel, features: dict[str, Tensor], output: PoseOutput, batch: Batch
    ) -> dict[str, Float[Tensor, ""]]:
        """The diagonal's penalty and that of the blocks."""
        terms = super().objective(model, features, output, batch)
        if not self._places:
            return terms
        drift = output.joints.new_zeros(())
        for i, (layer, place) in enumerate(zip(self._layers, self._places, strict=True)):
            change = matrix(layer) - place
            for t, factors in enumerate(reversed(self._factors)):
                drift = drift + self.settings.decay ** (t + 1) * factors[i].drift(change)
        return {**terms, "anchor_blocks": self.settings.strength * self._scale * COORDINATES / MM2_PER_M2 * drift}

    def end_experience(self, model: PoseModel, end: End) -> None:
        """Measure diagonal and factors and move the anchor."""
        if self.settings.strength == 0:
            return
        super().end_experience(model, end)
        seed = self._setup.seed * 1_000_003 + end.index
        new = kronecker_factors(model, self._layers, end.batches(), self.settings.probes, seed)
        self._factors = [*self._factors, [factors.damped(self.settings.damping) for factors in new]]
        self._places = [matrix(layer).detach().clone() for layer in self._layers]
        self._scale = loss_scale(self._setup.loss, end, self.settings.reference_mm)

    def state_dict(self) -> dict[str, Any]:
        """Those of online EWC, and the factors."""
        factors = [[{"inputs": f.inputs.clone(), "outputs": f.outputs.clone()} for f in each] for each in self._factors]
        places = [place.clone() for place in self._places]
        return {**super().state_dict(), "factors": factors, "places": places, "scale": self._scale}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        super().load_state_dict(state)
        self._factors = [
            [Factors(f["inputs"].clone(), f["outputs"].clone()) for f in each] for each in state["factors"]
        ]
        self._places, self._scale = [place.clone() for place in state["places"]], state["scale"]

    def memory_bytes(self) -> int:
        """Those of online EWC, factors and anchors of the layers."""
        factors = [t for each in self._factors for f in each for t in (f.inputs, f.outputs)]
        return super().memory_bytes() + bytes_of([*factors, *self._places])

    def _importance(self, model: PoseModel, end: End) -> Groups:
        """The diagonal, without the layers that have blocks."""
        found = super()._importance(model, end)
        blocks = {id(p) for layer in self._layers for p in layer.parameters()}
        here = parameter_groups(model)
        return {
            g: [torch.zeros_like(f) if id(p) in blocks else f for f, p in zip(each, here[g], strict=True)]
            for g, each in found.items()
        }
