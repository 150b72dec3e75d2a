"""What a balance strategy is: hooks into the one training loop, each a no-op by default.

The loop of one step, with the hooks in order::

    features = model.encode(batch)
    features = strategy.features(features, batch)
    output   = model.decode(features, batch.present)
    terms    = strategy.objective(model, features, output, batch, pose_loss)
    strategy.backward(terms)                # gradients are averaged over processes after this
    strategy.gradients(model, output, batch)
    clip, optimizer.step()
    strategy.after_step(model)

A strategy never calls ``optimizer.step``, reads a loader or matches parameter names:
``model.parameters_of(modality)`` is the one map from a modality to its parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from equipose import config
from equipose.types import Batch, LossTerms, PoseOutput

if TYPE_CHECKING:
    from equipose.nn.model import PoseModel

PerSampleLoss = Callable[[PoseOutput, Batch], Float[Tensor, " batch"]]
"""Pose error of each sample, in the run's loss unit."""


@dataclass(frozen=True)
class Probe:
    """What a strategy may look at between epochs.

    Attributes:
        epoch: the epoch about to start (``begin_epoch``) or just done (``end_epoch``), from 0.
        batches: makes a fresh pass over a fixed random part of the training split, on the model's device.
        loss: the run's pose error per sample.
        contribution: modality -> Shapley value, pooled over the previous epoch; before the first, over the
            probe. Empty when contribution is switched off.
        all_reduce: mean of a tensor over all processes (the tensor itself when there is one).
        epochs: how many epochs the run has; 0 when not known.
        learning_rate: of the next optimizer step; 0 when not known.
    """

    epoch: int
    batches: Callable[[], Iterable[Batch]]
    loss: PerSampleLoss
    contribution: Mapping[str, float] = field(default_factory=dict)
    all_reduce: Callable[[Tensor], Tensor] = lambda tensor: tensor
    epochs: int = 0
    learning_rate: float = 0.0


class BalanceStrategy:
    """Joint training, and the base of every other strategy.

    Subclasses are built as ``Strategy(settings, modalities)`` where settings is an instance of the class's
    own ``Settings``.
    """

    Settings: ClassVar[type[config.Settings]] = config.Settings

    def __init__(self, settings: config.Settings, modalities: tuple[str, ...]) -> None:
        self.settings = settings
        self.modalities = modalities

    @property
    def needs_contribution(self) -> bool:
        """Whether ``Probe.contribution`` must not be empty; the run is refused before it starts otherwise."""
        return False

    def begin_epoch(self, model: PoseModel, probe: Probe) -> None:
        """Called before each epoch's first step."""

    def features(self, features: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Change the features between encoders and fusion: masking, dropout, gradient scaling.

        Args:
            features: modality -> (batch, width).
            batch: the samples they come from.
        """
        return features

    def objective(
        self,
        model: PoseModel,
        features: dict[str, Tensor],
        output: PoseOutput,
        batch: Batch,
        pose_loss: Float[Tensor, ""],
    ) -> LossTerms:
        """The terms to minimise. ``pose_loss`` is the mean pose error in the run's loss unit."""
        return LossTerms({"pose": pose_loss})

    def backward(self, terms: LossTerms) -> None:
        """Compute gradients; one backward of the sum unless a strategy needs several."""
        terms.total.backward()  # type: ignore[no-untyped-call]  # torch does not annotate backward

    def gradients(self, model: PoseModel, output: PoseOutput, batch: Batch) -> None:
        """Edit ``parameter.grad`` after averaging over processes and before clipping."""

    def after_step(self, model: PoseModel) -> None:
        """Called after every optimizer step: proximal steps, path integrals."""

    def end_epoch(self, model: PoseModel, probe: Probe) -> None:
        """Called after each epoch's last step and its validation."""

    def log(self) -> dict[str, Any]:
        """What the run's ``metrics.jsonl`` should say about the current epoch; plain JSON values."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to continue exactly; tensors and plain values only."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
