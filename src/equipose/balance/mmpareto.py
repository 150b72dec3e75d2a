"""Joint and unimodal gradients of each encoder, combined so that neither works against the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from equipose import config
from equipose.balance.base import BalanceStrategy, Probe, Setup
from equipose.balance.readouts import Heads
from equipose.balance.sensor_losses import WeightedMeans, over_present
from equipose.nn.model import PoseModel
from equipose.types import Batch, LossTerms, PoseOutput


class MmParetoSettings(config.Settings):
    """Weight of the unimodal losses and length of the combined gradient."""

    strength: float = Field(default=1.0, ge=0)
    """Weight of the unimodal losses (published: 1); 0 leaves the heads and everything else out."""
    magnitude: float = Field(default=1.5, gt=0)
    """Factor on every combined gradient (published: 1.5). An adaptive optimizer does not feel it."""


class MmPareto(BalanceStrategy):
    """For each encoder, a common descent direction of the joint loss and of its own head's loss.

    For encoder m, a = gradient of the joint loss, b = gradient of the loss of a linear head on z_m::

        a . b > 0  (they agree):     h = a + b
        otherwise (they conflict):   h = 2 (c a + (1 - c) b),   c = (|b|^2 - a.b) / |a - b|^2   (least |c a + (1-c) b|)
        gradient := magnitude * h * max(1, |a + b| / |h|)

    A conflict is thus solved by the shortest vector between the two, which lowers both losses, at the length the sum
    would have had. Fusion and heads get their plain gradients.

    Source: Wei, Hu, *MMPareto: Boosting Multimodal Learning with Innocent Unimodal Assistance* (ICML 2024); defined for
    the classification of two modalities with cross-entropy and SGD. With M modalities it is M such problems of two
    gradients, since a head's loss reaches its own encoder only.

    Differs from the published code:

    - the lengths are those of an encoder's whole gradient, so that h keeps its direction (published: of each parameter
      tensor by itself);
    - a gradient of zero, as of a sensor that a batch does not have, is no conflict: h = a + b (published: 0 / 0), and
      opposite gradients, h = 0, stay 0 (published: infinite times zero);
    - with several processes a and b are averaged before they are combined;
    - two backward passes, of the joint loss and of the sum of the heads' (published: one for each loss, then one more).
    """

    Settings: ClassVar[type[config.Settings]] = MmParetoSettings
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"strength": 0.3}, {"strength": 3.0})

    settings: MmParetoSettings  # narrows the base's

    @classmethod
    def strength_zero(cls) -> Mapping[str, Any]:
        """No unimodal losses."""
        return {"strength": 0.0}

    def __init__(self, settings: MmParetoSettings, modalities: tuple[str, ...]) -> None:
        super().__init__(settings, modalities)
        self._cosine, self._weight, self._losses = WeightedMeans(), WeightedMeans(), WeightedMeans()

    def setup(self, model: PoseModel, setup: Setup) -> None:
        """Make the heads."""
        self._model, self._loss, self._mean = model, setup.loss, setup.mean
        if self.settings.strength > 0:
            self.modules["heads"] = Heads(model)

    def begin_epoch(self, model: PoseModel, probe: Probe) -> None:
        """Start the epoch's means."""
        for means in (self._cosine, self._weight, self._losses):
            means.reset()

    def objective(
        self,
        model: PoseModel,
        features: dict[str, Tensor],
        output: PoseOutput,
        batch: Batch,
        pose_loss: Float[Tensor, ""],
    ) -> LossTerms:
        """The joint loss, and the sum of the heads'."""
        if self.settings.strength == 0:
            return LossTerms({"pose": pose_loss})
        heads = self.modules["heads"]
        assert isinstance(heads, Heads)
        poses = heads.poses(model, features)
        losses = over_present(
            {name: self._loss(PoseOutput(pose), batch) for name, pose in poses.items()}, batch, self._mean
        )
        self._losses.add(losses.values, losses.counts)
        return LossTerms({"pose": pose_loss, "heads": self.settings.strength * losses.sum()})

    def backward(self, terms: LossTerms) -> None:
        """Both gradients of every encoder, averaged over processes, then combined."""
        if self.settings.strength == 0:
            super().backward(terms)
            return
        model = self._model
        groups = {m: _learning(model.parameters_of(m)) for m in self.modalities}
        encoders = [p for group in groups.values() for p in group]
        shared, heads = _learning(model.shared_parameters()), _learning(self.modules.parameters())
        joint = torch.autograd.grad(terms.terms["pose"], [*encoders, *shared], retain_graph=True, allow_unused=True)
        alone = torch.autograd.grad(terms.terms["heads"], [*encoders, *heads], allow_unused=True)
        _assign(shared, joint[len(encoders) :])
        _assign(heads, alone[len(encoders) :])
        flat = self._mean(torch.stack([_flat(encoders, joint), _flat(encoders, alone)]))
        start = 0
        for name, group in groups.items():
            size = sum(p.numel() for p in group)
            a, b = flat[0, start : start + size], flat[1, start : start + size]
            cosine, weight, combined = combine(a, b, self.settings.magnitude)
            self._cosine.add({name: cosine})
            self._weight.add({name: weight})
            pieces = torch.split(combined, [p.numel() for p in group])
            _assign(group, [piece.view_as(p) for p, piece in zip(group, pieces, strict=True)])
            start += size

    def log(self) -> dict[str, Any]:
        """Per encoder: cosine of the two gradients, weight of the joint one, loss of the head; means of the epoch."""
        if self.settings.strength == 0:
            return {}
        parts = {"cosine": self._cosine, "joint_weight": self._weight, "heads": self._losses}
        return {name: means.of(self.modalities) for name, means in parts.items()}

    def state_dict(self) -> dict[str, Any]:
        """The epoch's means."""
        parts = {"cosine": self._cosine, "joint_weight": self._weight, "heads": self._losses}
        return {name: means.state_dict() for name, means in parts.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._cosine.load_state_dict(state["cosine"])
        self._weight.load_state_dict(state["joint_weight"])
        self._losses.load_state_dict(state["heads"])


def combine(
    joint: Float[Tensor, " parameter"], alone: Float[Tensor, " parameter"], magnitude: float
) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, " parameter"]]:
    """The combined gradient of one encoder; see ``MmPareto``.

    Args:
        joint: gradient of the joint loss.
        alone: gradient of the unimodal loss.
        magnitude: factor on the result.

    Returns:
        cosine of the two gradients (0 where one is zero); weight c of the joint one, where (c, 1 - c) are the two;
        the combined gradient.
    """
    dot, of_joint, of_alone = joint @ alone, joint @ joint, alone @ alone
    cosine = dot / (of_joint * of_alone).sqrt().clamp(min=torch.finfo(dot.dtype).tiny)
    conflict = (dot <= 0) & (of_joint > 0) & (of_alone > 0)
    difference = torch.where(conflict, of_joint + of_alone - 2.0 * dot, 1.0)
    weight = torch.where(conflict, (of_alone - dot) / difference, 0.5)
    combined = 2.0 * (weight * joint + (1.0 - weight) * alone)
    length, wanted = torch.linalg.vector_norm(combined), torch.linalg.vector_norm(joint + alone)
    longer = torch.where(length > 0, wanted / torch.where(length > 0, length, 1.0), 1.0).clamp(min=1.0)
    return cosine, weight, magnitude * longer * combined


def _learning(parameters: Any) -> list[nn.Parameter]:
    return [p for p in parameters if p.requires_grad]


def _flat(parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor | None]) -> Tensor:
    """The gradients of the leading parameters as one vector; zero where there is none."""
    pieces = [
        torch.zeros_like(p) if gradient is None else gradient
        for p, gradient in zip(parameters, gradients, strict=False)
    ]
    return torch.cat([piece.reshape(-1) for piece in pieces])


def _assign(parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor | None]) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
