"""Samples as batches: a data set is a store, the frame rows used as samples, and the settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from equipose.config import DataSettings
from equipose.data.collate import cloud_input, dense_input
from equipose.data.splits import split
from equipose.data.store import FrameStore, open_store
from equipose.data.transforms import cloud_channels
from equipose.errors import DataError
from equipose.modality import MODALITIES
from equipose.skeleton import Skeleton
from equipose.types import Batch, Cloud, Dense, FrameMeta


class PoseDataset:
    """Frames with ground truth, as batches of all sensors.

    A sensor that did not record a frame clears a bit in ``present``; it never removes the sample, so every subset of
    the sensors sees the same samples. Picklable.

    Args:
        store: where frames come from.
        rows: (sample,) frame rows used as samples.
        settings: sensors, windows, crop, points.

    Attributes:
        store: as given.
        rows: as int64.
        settings: as given.
        modalities: sensors in the order of ``settings.modalities``.
        environment: (sample,) int64, 1 for E01.
        subject: (sample,) int64.
        action: (sample,) int64.
        frame: (sample,) int64 number in the frame's file name.
        recording: (sample,) int64 index into ``store.recordings``.

    Raises:
        UsageError: if a setting does not fit the sensors.
    """

    def __init__(self, store: FrameStore, rows: NDArray[Any], settings: DataSettings) -> None:
        self.store = store
        self.rows = np.asarray(rows, np.int64)
        self.settings = settings
        self.modalities: tuple[str, ...] = tuple(settings.modalities)
        for name in self.modalities:
            cloud_channels(name, settings)
        self.recording: NDArray[np.int64] = store.frame_recording[self.rows].astype(np.int64)
        self.environment: NDArray[np.int64] = store.recordings.environment[self.recording]
        self.subject: NDArray[np.int64] = store.recordings.subject[self.recording]
        self.action: NDArray[np.int64] = store.recordings.action[self.recording]
        self.frame: NDArray[np.int64] = store.frame_number[self.rows].astype(np.int64)

    @property
    def skeleton(self) -> Skeleton:
        """Joints of the targets."""
        return self.store.skeleton

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> Batch:
        """One sample as a batch of one; deterministic."""
        return self.batch(np.array([range(len(self))[position]]))

    def batch(self, positions: NDArray[Any] | Sequence[int], generator: np.random.Generator | None = None) -> Batch:
        """The samples at ``positions``.

        Args:
            positions: (batch,) integers below ``len(self)``.
            generator: picks points of large clouds at random, for training; without it the result depends on the
                samples alone.
        """
        positions = np.asarray(positions, np.int64)
        rows = self.rows[positions]
        inputs: dict[str, Dense | Cloud] = {}
        present = np.zeros((len(rows), len(self.modalities)), bool)
        for column, name in enumerate(self.modalities):
            if MODALITIES[name].kind == "cloud":
                inputs[name], present[:, column] = cloud_input(self.store, name, rows, self.settings, generator)
            else:
                inputs[name], present[:, column] = dense_input(self.store, name, rows, self.settings)
        return Batch(
            modalities=self.modalities,
            inputs=inputs,
            present=torch.from_numpy(present),
            target=torch.from_numpy(self.store.target(rows)),
            meta=FrameMeta(
                sample=torch.from_numpy(positions.copy()),
                environment=torch.from_numpy(self.environment[positions]),
                subject=torch.from_numpy(self.subject[positions]),
                action=torch.from_numpy(self.action[positions]),
                frame=torch.from_numpy(self.frame[positions]),
                recording=torch.from_numpy(self.recording[positions]),
            ),
        )

    def subset(self, positions: NDArray[Any]) -> PoseDataset:
        """A data set of some of the samples, given by positions or a mask over all samples."""
        return PoseDataset(self.store, self.rows[positions], self.settings)


def datasets(path: Path | str | FrameStore, settings: DataSettings) -> dict[str, PoseDataset]:
    """The three sides of a split.

    Args:
        path: a packed folder, an MM-Fi folder, or an open store.
        settings: sensors, protocol, split, windows.

    Returns:
        ``train``, ``validation`` and ``test``; samples are the frames with finite ground truth, every
        ``frame_stride``-th of a recording.

    Raises:
        DataError: if the folder is no data set or a side has no labelled frame.
        UsageError: if the split or a sensor is not possible with what the folder holds.
    """
    store: FrameStore = open_store(path, settings.modalities) if isinstance(path, str | Path) else path
    sides = split(store.recordings.keys, settings, store.recordings.split)
    usable = store.labelled & ((store.frame_number - 1) % settings.frame_stride == 0)
    made = {}
    for name, recordings in (("train", sides.train), ("validation", sides.validation), ("test", sides.test)):
        rows = np.flatnonzero(usable & np.isin(store.frame_recording, recordings))
        if not len(rows):
            raise DataError(
                f"the {name} side has {len(recordings)} recordings but no frame with ground truth. "
                "Type: equipose data check, or a smaller --set data.frame_stride"
            )
        made[name] = PoseDataset(store, rows, settings)
    return made


def batches(dataset: PoseDataset, batch_size: int) -> Iterator[Batch]:
    """All samples in order; deterministic."""
    for start in range(0, len(dataset), batch_size):
        yield dataset.batch(np.arange(start, min(start + batch_size, len(dataset))))
