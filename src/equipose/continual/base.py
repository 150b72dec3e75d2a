"""What a continual strategy is: hooks into the training loop of a stream of experiences, each a no-op by default.

``setup`` is called once. Each experience of the stream is then trained between ``begin_experience`` and
``end_experience``. One step, together with the run's balance strategy::

    mixed    = continual.mix(batch, step)                # new samples first, replayed ones after them
    features = balance.features(model.encode(mixed), mixed)
    output   = model.decode(features, mixed.present)
    terms    = balance.objective(...)  and  continual.objective(model, features, output, mixed)
    backward of the sum; gradients averaged over processes; balance.gradients(...)
    continual.gradients(model)
    clip, optimizer.step(), balance.after_step(model)
    continual.after_step(model, learning_rate)
    continual.observe(batch, output.joints[: len(batch)].detach(), clean)

A continual strategy never calls ``optimizer.step``, reads a loader or matches parameter names:
``model.parameters_of(modality)`` and ``model.shared_parameters()`` are the only maps to parameters. It draws from
generators of its own, seeded by ``Setup.seed`` and saved with its state, so that a resumed stream goes on exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from equipose import config
from equipose.balance.base import Setup
from equipose.types import Batch, PoseOutput

if TYPE_CHECKING:
    from equipose.nn.model import PoseModel

__all__ = ["Clean", "ContinualStrategy", "End", "Setup", "Start"]


def _no_optimizer(parameters: Iterable[nn.Parameter]) -> None:
    """Nothing to reset."""


@dataclass(frozen=True)
class Start:
    """What a strategy may know when an experience begins.

    Attributes:
        index: from 0, in the order of the stream.
        modalities: sensors that the experience has.
        steps: its optimizer steps; 0 when not known.
        reset_optimizer: forgets the optimizer's momentum and running averages of these parameters.
    """

    index: int
    modalities: tuple[str, ...]
    steps: int = 0
    reset_optimizer: Callable[[Iterable[nn.Parameter]], None] = _no_optimizer


@dataclass(frozen=True)
class End:
    """What a strategy may look at when an experience ends.

    Attributes:
        index: of the experience.
        batches: makes a fresh pass over training samples of the experience, on the model's device, without sensor
            cells and labels that were found corrupt: ``present`` is False in a corrupt cell.
        validation: the same of its validation samples.
        contribution: modality -> Shapley value on the experience; empty when it was not measured.
        noise_rate: modality -> share of its cells that were found corrupt; empty when nothing looked for them.
        found: what was found clean in the experience's samples by its end, by their numbers (``FrameMeta.sample``);
            None, or says None, when nothing looked.
    """

    index: int
    batches: Callable[[], Iterable[Batch]]
    validation: Callable[[], Iterable[Batch]] = tuple
    contribution: Mapping[str, float] = field(default_factory=dict)
    noise_rate: Mapping[str, float] = field(default_factory=dict)
    found: Callable[[Int[Tensor, " sample"]], Clean | None] | None = None


@dataclass(frozen=True)
class Clean:
    """What was found clean in a batch.

    Attributes:
        cells: (batch, modality) True for a sensor cell that may be used.
        labels: (batch,) True for a label that may be used.
    """

    cells: Bool[Tensor, "batch modality"]
    labels: Bool[Tensor, " batch"]


class ContinualStrategy:
    """Fine-tuning, and the base of every other strategy.

    Subclasses are built as ``Strategy(settings, modalities)`` where settings is an instance of the class's own
    ``Settings``.
    """

    Settings: ClassVar[type[config.Settings]] = config.Settings

    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)
    """Settings that a benchmark tries on validation data, the defaults first."""

    @classmethod
    def strength_zero(cls) -> Mapping[str, Any] | None:
        """Settings with which the strategy is fine-tuning bit for bit; None where there are none."""
        return {}

    def __init__(self, settings: config.Settings, modalities: tuple[str, ...]) -> None:
        self.settings = settings
        self.modalities = modalities

    def setup(self, model: PoseModel, setup: Setup) -> None:
        """Called once, before the first experience and before a checkpoint is loaded.

        ``setup.epochs``, ``steps_per_epoch`` and ``num_samples`` are those of one experience where they are known.
        """

    def begin_experience(self, model: PoseModel, start: Start) -> None:
        """Called before an experience's first step, and not again when it is resumed in its middle."""

    def mix(self, batch: Batch, step: int) -> Batch:
        """The samples to train on: the new ones, and replayed ones after them.

        Args:
            batch: new samples, on the model's device.
            step: of the experience, from 0.
        """
        return batch

    def objective(
        self, model: PoseModel, features: dict[str, Tensor], output: PoseOutput, batch: Batch
    ) -> dict[str, Float[Tensor, ""]]:
        """Terms to add to the loss, in the run's loss unit; none while there is nothing to keep.

        Args:
            model: in training mode.
            features: modality -> (batch, width), as they were fused.
            output: of the model for ``batch``.
            batch: what ``mix`` returned.
        """
        return {}

    def gradients(self, model: PoseModel) -> None:
        """Edit ``parameter.grad`` after averaging over processes and before clipping."""

    def after_step(self, model: PoseModel, learning_rate: float) -> None:
        """Called after every optimizer step: proximal steps, path integrals."""

    def observe(self, batch: Batch, joints: Float[Tensor, "batch joint 3"], clean: Clean | None = None) -> None:
        """Called at the end of every step: what to remember of it.

        Args:
            batch: the new samples, as they were given to ``mix``.
            joints: the model's output for the first ``len(batch)`` samples that ``mix`` returned, metres, camera frame.
            clean: what was found clean; everything where None.
        """

    def end_experience(self, model: PoseModel, end: End) -> None:
        """Called after an experience's last step: Fisher information, anchors, teachers."""

    def held_out(self) -> Iterable[Batch]:
        """Held-out samples of earlier experiences, on the CPU; added to what balance strategies are given as such."""
        return ()

    def log(self) -> dict[str, Any]:
        """What the run's ``metrics.jsonl`` should say; plain JSON values."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to continue exactly; tensors and plain values only, none shared with the model."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""

    def memory_bytes(self) -> int:
        """Bytes kept between experiences: stored samples, anchors, importances, teachers."""
        return 0
