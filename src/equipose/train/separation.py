"""What keeps noise out of the training: the separator that looks for it, or an oracle that knows it.

Either turns a batch of new samples into one that may be learned from, and says what was found clean in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from equipose.continual.base import Clean
from equipose.data.corrupt.dataset import CorruptedDataset, Truth
from equipose.data.dataset import PoseDataset
from equipose.errors import UsageError
from equipose.nn.model import PoseModel
from equipose.separation.separator import Separator
from equipose.separation.settings import SeparationSettings
from equipose.types import Batch


@runtime_checkable
class Separation(Protocol):
    """What the training loop and the stream ask for."""

    def begin_experience(self, dataset: PoseDataset) -> None:
        """New data."""

    def update(self, model: PoseModel, dataset: PoseDataset, trusted: PoseDataset, epoch: int) -> None:
        """Before each epoch of an experience; ``trusted``: clean samples that are not trained on."""

    def cleaned(self, batch: Batch) -> tuple[Batch, Clean]:
        """What may be learned from, its weights included, and what was found clean."""

    def found(self, positions: Tensor) -> Clean | None:
        """What is held to be clean in samples of the present experience; None before anything was found out."""

    def noise_rate(self) -> dict[str, float]:
        """Sensor, or ``label``, -> share that was found corrupt in the experience so far."""

    def summary(self) -> dict[str, Any]:
        """For the log; plain values."""

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on exactly."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""


class FoundNoise:
    """Separation by what the model itself tells, see ``separation.separator``."""

    def __init__(self, settings: SeparationSettings, modalities: tuple[str, ...]) -> None:
        self.separator = Separator(settings, modalities)

    def begin_experience(self, dataset: PoseDataset) -> None:
        """Forget the verdicts."""
        self.separator.begin_experience()

    def update(self, model: PoseModel, dataset: PoseDataset, trusted: PoseDataset, epoch: int) -> None:
        """Score the training data where the settings say so."""
        self.separator.update(model, dataset, trusted, epoch)

    def cleaned(self, batch: Batch) -> tuple[Batch, Clean]:
        """Masked cells, repaired labels and weights."""
        kept, weight = self.separator.apply(batch)
        labels = weight > 0
        if self.separator.verdict is not None:
            labels = labels & ~self.separator.of(batch).bad_label.to(labels.device)
        lost = batch.present & ~kept.present
        return replace(kept, weight=weight), Clean(~lost, labels)

    def found(self, positions: Tensor) -> Clean | None:
        """By the last scoring."""
        if self.separator.verdict is None:
            return None
        verdict = self.separator.verdict.select(positions.cpu())
        return Clean(~verdict.masked, ~(verdict.bad_label | verdict.quarantined))

    def noise_rate(self) -> dict[str, float]:
        """Shares of the last scoring."""
        return self.separator.noise_rate()

    def summary(self) -> dict[str, Any]:
        """Rates and events."""
        return self.separator.summary()

    def state_dict(self) -> dict[str, Any]:
        """That of the separator."""
        return self.separator.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore it."""
        self.separator.load_state_dict(state)


class KnownNoise:
    """The oracle: every corrupt cell is masked and every wrong label counts nothing; nothing else is.

    A bound for what separation can reach, possible only where the corruption was planned.
    """

    def __init__(self, modalities: tuple[str, ...]) -> None:
        self.modalities = modalities
        self._dataset: CorruptedDataset | None = None

    def begin_experience(self, dataset: PoseDataset) -> None:
        """Know the noise of these data.

        Raises:
            UsageError: they were not corrupted by a plan.
        """
        if not isinstance(dataset, CorruptedDataset):
            raise UsageError(
                "separation.mode=known needs a plan of corruption: set corruption.sensor_rate or label_rate"
            )
        self._dataset = dataset

    def update(self, model: PoseModel, dataset: PoseDataset, trusted: PoseDataset, epoch: int) -> None:
        """Nothing to look for."""

    def cleaned(self, batch: Batch) -> tuple[Batch, Clean]:
        """Without the planned corruption."""
        truth = self._truth(batch)
        present = batch.present & ~truth.sensor
        labels = ~truth.label
        weight = (labels & present.any(1)).to(batch.target.dtype)
        return replace(batch, present=present, weight=weight), Clean(~truth.sensor, labels)

    def found(self, positions: Tensor) -> Clean | None:
        """The truth."""
        assert self._dataset is not None, "begin_experience comes first"
        truth = self._dataset.truth(positions.cpu().numpy())
        return Clean(~truth.sensor, ~truth.label)

    def noise_rate(self) -> dict[str, float]:
        """True shares over the experience."""
        assert self._dataset is not None, "begin_experience comes first"
        truth = self._dataset.truth(range(len(self._dataset)))
        rates = dict(zip(self.modalities, truth.sensor.double().mean(0).tolist(), strict=True))
        return {**rates, "label": float(truth.label.double().mean())}

    def summary(self) -> dict[str, Any]:
        """The true rates."""
        return {"noise_rate": self.noise_rate()}

    def state_dict(self) -> dict[str, Any]:
        """Nothing: it follows from the data."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to restore."""

    def _truth(self, batch: Batch) -> Truth:
        assert self._dataset is not None, "begin_experience comes first"
        positions: Tensor = batch.meta.sample.cpu()
        return self._dataset.truth(positions.numpy()).to(batch.present.device)
