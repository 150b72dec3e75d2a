"""What a balance strategy is: hooks into the one training loop, each a no-op by default.

Before the first step ``setup`` is called once, and at each epoch's start ``begin_epoch`` and ``visit``, which says what
samples come and which of their sensors. The loop of one step, with the hooks in order::

    features = model.encode(batch)
    features = strategy.features(features, batch)
    output   = model.decode(features, batch.present)
    terms    = strategy.objective(model, features, output, batch, pose_loss)
    strategy.backward(terms)                # gradients are averaged over processes after this
    strategy.gradients(model, output, batch)
    clip, optimizer.step()
    strategy.after_step(model)

Parameters of a strategy's own, such as auxiliary heads, are the parameters of ``strategy.modules``: they are trained,
averaged and saved with the model's.

With several processes each sees a part of the batch. A coefficient that a strategy computes from it must be averaged
with ``Setup.mean``, and noise must come from a generator seeded alike everywhere, or the processes drift apart.

A strategy never calls ``optimizer.step``, reads a loader or matches parameter names:
``model.parameters_of(modality)`` is the one map from a modality to its parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor, nn

from equipose import config
from equipose.types import Batch, LossTerms, PoseOutput

if TYPE_CHECKING:
    from equipose.nn.model import PoseModel

PerSampleLoss = Callable[[PoseOutput, Batch], Float[Tensor, " batch"]]
"""Pose error of each sample, in the run's loss unit."""


def _unchanged(tensor: Tensor) -> Tensor:
    return tensor


def _no_optimizer(parameters: Iterable[nn.Parameter]) -> None:
    """Nothing to reset."""


@dataclass(frozen=True)
class Setup:
    """What a strategy may know before the first step.

    Attributes:
        loss: the run's pose error per sample.
        seed: of the run.
        optimizer: ``adam``, ``adamw`` or ``sgd``.
        epochs: of the run.
        steps_per_epoch: optimizer steps.
        num_samples: training samples.
        mean: mean of a tensor over all processes; every process must call.
        load_model: run folder -> its best model, in evaluation mode and without gradients.
        endless: samples come once each and never end: nothing may be kept for every one of them. ``num_samples`` then
            is the number from which sample numbers begin anew.
    """

    loss: PerSampleLoss
    seed: int = 0
    optimizer: str = "adam"
    epochs: int = 1
    steps_per_epoch: int = 1
    num_samples: int = 0
    mean: Callable[[Tensor], Tensor] = _unchanged
    load_model: Callable[[str], PoseModel] | None = None
    endless: bool = False


@dataclass(frozen=True)
class Probe:
    """What a strategy may look at between epochs.

    Attributes:
        epoch: the epoch about to start (``begin_epoch``) or just done (``end_epoch``), from 0.
        batches: makes a fresh pass over a fixed random part of the training split, on the model's device.
        validation: the same of the validation split.
        loss: the run's pose error per sample.
        contribution: modality -> Shapley value, pooled over the previous epoch; before the first, over the
            probe. Empty when contribution is switched off.
        all_reduce: mean of a tensor over all processes (the tensor itself when there is one).
        epochs: how many epochs the run has; 0 when not known.
        learning_rate: of the next optimizer step; 0 when not known.
        reset_optimizer: forgets the optimizer's momentum and running averages of these parameters, for a strategy
            that has moved them by itself.
    """

    epoch: int
    batches: Callable[[], Iterable[Batch]]
    loss: PerSampleLoss
    contribution: Mapping[str, float] = field(default_factory=dict)
    all_reduce: Callable[[Tensor], Tensor] = _unchanged
    epochs: int = 0
    learning_rate: float = 0.0
    validation: Callable[[], Iterable[Batch]] = tuple
    reset_optimizer: Callable[[Iterable[nn.Parameter]], None] = _no_optimizer


class BalanceStrategy:
    """Joint training, and the base of every other strategy.

    Subclasses are built as ``Strategy(settings, modalities)`` where settings is an instance of the class's
    own ``Settings``.
    """

    Settings: ClassVar[type[config.Settings]] = config.Settings

    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)
    """Settings that a benchmark tries on validation data, the defaults first."""

    @classmethod
    def strength_zero(cls) -> Mapping[str, Any] | None:
        """Settings with which the strategy is joint training bit for bit; None where there are none."""
        return {}

    def __init__(self, settings: config.Settings, modalities: tuple[str, ...]) -> None:
        self.settings = settings
        self.modalities = modalities
        self.modules = nn.ModuleDict()

    def setup(self, model: PoseModel, setup: Setup) -> None:
        """Called once, before the first step and before a checkpoint is loaded; may fill ``modules``.

        The global random state is the strategy's to use; it depends on the run's seed alone and is restored after.
        """

    def notes(self) -> list[str]:
        """What the user should know before the run starts, one sentence each."""
        return []

    def visit(
        self, order: Int[ndarray, " sample"], epoch: int
    ) -> tuple[Int[ndarray, " sample"], Bool[ndarray, "sample modality"] | None]:
        """Which samples the epoch visits, in order, and which sensors each may use; None stands for all.

        Asked when the epoch begins, and again when it is resumed in its middle: a pure function of its arguments and
        of what the epoch began with.

        Args:
            order: a random permutation of the positions in the training split, equal in all processes.
            epoch: from 0.

        Returns:
            As many positions as were given.
        """
        return order, None

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

    def before_validation(self, model: PoseModel, probe: Probe) -> None:
        """Called after each epoch's last step, before the validation error is measured."""

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
