"""A data set with corrupt samples, and the truth about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from equipose.data.collate import window_rows
from equipose.data.corrupt.plan import CorruptionPlan
from equipose.data.corrupt.schedule import touches
from equipose.data.corrupt.store import CorruptedStore
from equipose.data.dataset import PoseDataset


@dataclass(frozen=True)
class Truth:
    """What was done to the samples of a batch.

    A sensor cell is corrupt where the fault covers the sample's own frame, the middle of its window. A window that only
    reaches into a burst is not corrupt: most of its frames and the one it stands for are right. ``touched`` is True for
    these as well, for a comparison that leaves them out.

    Attributes:
        sensor: True where the sensor's own frame is corrupt.
        label: True where the label is wrong.
        kind: index into ``KIND_NAMES``; -1 where clean.
        label_kind: the same of the label.
        severity: 1 to 3; 0 where clean.
        label_severity: the same of the label.
        touched: True where any frame of the sensor's window has a fault planned; a cell that is not touched is bit for
            bit the clean one.
        target: the true labels, metres, camera frame.
    """

    sensor: Bool[Tensor, "batch modality"]
    label: Bool[Tensor, " batch"]
    kind: Int[Tensor, "batch modality"]
    label_kind: Int[Tensor, " batch"]
    severity: Int[Tensor, "batch modality"]
    label_severity: Int[Tensor, " batch"]
    touched: Bool[Tensor, "batch modality"]
    target: Float[Tensor, "batch joint 3"]

    def to(self, device: torch.device | str) -> Truth:
        """The same on another device."""
        return Truth(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})

    def select(self, index: Tensor) -> Truth:
        """That of the samples at ``index`` (int64 positions or a mask)."""
        return Truth(**{field.name: getattr(self, field.name)[index] for field in fields(self)})


class CorruptedDataset(PoseDataset):
    """The samples of a data set, corrupt by a plan; the same samples in the same order.

    Frames that show another recording take it from the recordings of ``dataset``, so nothing of a test split gets into
    training.

    Args:
        dataset: the clean samples.
        plan: what to do with them.

    Attributes:
        plan: as given.
        clean: ``dataset``.

    Raises:
        UsageError: if the plan names a sensor that the data has not.
    """

    store: CorruptedStore

    def __init__(self, dataset: PoseDataset, plan: CorruptionPlan) -> None:
        recordings = np.isin(np.arange(len(dataset.store.recordings)), dataset.recording)
        store = CorruptedStore(dataset.store, plan, recordings.astype(np.int64), dataset.settings.radar_columns)
        super().__init__(store, dataset.rows, dataset.settings)
        self.plan = plan
        self.clean = dataset

    def truth(self, positions: NDArray[Any] | Sequence[int]) -> Truth:
        """What was done to the samples at ``positions``."""
        rows = self.rows[np.asarray(positions, np.int64)]
        truth = self.store.truth(rows, self.modalities)
        touched = np.zeros(truth.sensor.shape, bool)
        for column, name in enumerate(self.modalities):
            window = window_rows(self.store, rows, self.settings.windows.get(name, 1))
            touched[:, column] = touches(self.store.schedule(name), window)
        return Truth(
            sensor=torch.from_numpy(truth.sensor),
            label=torch.from_numpy(truth.label),
            kind=torch.from_numpy(truth.kind.astype(np.int64)),
            label_kind=torch.from_numpy(truth.label_kind.astype(np.int64)),
            severity=torch.from_numpy(truth.severity.astype(np.int64)),
            label_severity=torch.from_numpy(truth.label_severity.astype(np.int64)),
            touched=torch.from_numpy(touched),
            target=torch.from_numpy(truth.target),
        )

    def subset(self, positions: NDArray[Any]) -> CorruptedDataset:
        """A data set of some of the samples; they stay corrupt in the same way."""
        part = object.__new__(CorruptedDataset)
        PoseDataset.__init__(part, self.store, self.rows[positions], self.settings)
        part.plan, part.clean = self.plan, self.clean.subset(positions)
        return part
