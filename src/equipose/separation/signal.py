"""What the sensors' own signals say about every cell of a data set: no label, no network, no learning.

Faults such as jitter, lost beams or gain jumps hardly change what a network answers, but they are plain in the signal.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from equipose.config import DataSettings
from equipose.errors import UsageError
from equipose.modality import MODALITIES
from equipose.separation.readings import Samples
from equipose.separation.signal_cloud import LIDAR_STATISTICS, RADAR_STATISTICS, lidar_statistics, radar_statistics
from equipose.separation.signal_csi import CSI_STATISTICS, csi_statistics
from equipose.separation.signal_joints import JOINT_STATISTICS, joint_statistics
from equipose.separation.signal_statistic import Statistic
from equipose.types import Batch, Cloud, Dense

WINDOWS = {"rgb": 9, "infra1": 9, "infra2": 9, "lidar": 1, "mmwave": 5, "wifi": 3}
"""Frames that the statistics look at, where the data set can be read again."""
POINTS = {"lidar": 2048, "mmwave": 1024}
"""Points they look at: as good as all, for a count that is cut to a network's size says nothing."""


@dataclass(frozen=True)
class SignalReadings:
    """Statistics of every sensor cell; one row per sample, on the CPU.

    Attributes:
        modalities: sensors that have statistics.
        values: modality -> (sample, statistic) float64; NaN where there is none.
        tables: modality -> what the columns are.
        recording: index of the recording.
        frame: number of the frame.
        subject: number of the person.
    """

    modalities: tuple[str, ...]
    values: Mapping[str, Float[Tensor, "sample _"]]
    tables: Mapping[str, tuple[Statistic, ...]]
    recording: Int[Tensor, " sample"]
    frame: Int[Tensor, " sample"]
    subject: Int[Tensor, " sample"]

    def __len__(self) -> int:
        return len(self.frame)

    def known(self) -> Bool[Tensor, "sample modality"]:
        """Cells with at least one statistic."""
        return torch.stack([(~self.values[name].isnan()).any(1) for name in self.modalities], 1)

    @classmethod
    def of_batch(
        cls, batch: Batch, values: Mapping[str, Tensor], tables: Mapping[str, tuple[Statistic, ...]]
    ) -> SignalReadings:
        """The rows of one batch."""
        meta = batch.meta
        found = {name: value.cpu() for name, value in values.items()}
        return cls(tuple(values), found, tables, meta.recording.cpu(), meta.frame.cpu(), meta.subject.cpu())

    @classmethod
    def joined(cls, parts: Sequence[SignalReadings]) -> SignalReadings:
        """The rows of several with the same columns."""
        first = parts[0]
        return cls(
            modalities=first.modalities,
            values={name: torch.cat([part.values[name] for part in parts]) for name in first.modalities},
            tables=first.tables,
            recording=torch.cat([part.recording for part in parts]),
            frame=torch.cat([part.frame for part in parts]),
            subject=torch.cat([part.subject for part in parts]),
        )

    def select(self, index: Tensor) -> SignalReadings:
        """The samples at ``index`` (int64 positions or a mask)."""
        return replace(
            self,
            values={name: value[index] for name, value in self.values.items()},
            recording=self.recording[index],
            frame=self.frame[index],
            subject=self.subject[index],
        )


def statistics_of(modality: str) -> tuple[Statistic, ...]:
    """The statistics of a sensor; none of a sensor that has none (depth)."""
    kind = MODALITIES[modality].kind
    if kind == "cloud":
        return RADAR_STATISTICS if modality == "mmwave" else LIDAR_STATISTICS
    return {"joints2d": JOINT_STATISTICS, "csi": CSI_STATISTICS}.get(kind, ())


def signal_statistics(batch: Batch, settings: DataSettings | None = None) -> dict[str, Float[Tensor, "batch _"]]:
    """Statistics of a batch: modality -> (batch, statistic) float64; NaN where a sensor is absent.

    Args:
        batch: samples, windows as they come; shorter windows and fewer points give fewer and weaker statistics.
        settings: for the sensors' positions; the defaults where None.
    """
    settings = DataSettings() if settings is None else settings
    out = {}
    for m, name in enumerate(batch.modalities):
        if not statistics_of(name):
            continue
        values = _of_window(name, batch.inputs[name], batch.meta.frame, settings)
        out[name] = torch.where(batch.present[:, m, None], values, torch.nan)
    return out


def collect_signal(
    samples: Samples, positions: NDArray[np.int64] | Sequence[int] | None = None, batch_size: int = 128
) -> SignalReadings:
    """Statistics of the samples of a data set, deterministic; nothing is learned and nothing is changed.

    A data set that has ``settings`` is read with ``WINDOWS`` and ``POINTS`` in place of the network's own.

    Args:
        samples: a data set.
        positions: which samples; all where None.
        batch_size: samples at once; results do not depend on it.

    Raises:
        UsageError: if there is no sample.
    """
    return SignalReadings.joined([read_signal(*each) for each in batches_of(samples, positions, batch_size)])


def batches_of(
    samples: Samples, positions: NDArray[np.int64] | Sequence[int] | None, batch_size: int
) -> Iterator[tuple[Batch, DataSettings | None]]:
    """Batches of a data set, read with ``WINDOWS`` and ``POINTS`` where it has ``settings``, and those.

    Raises:
        UsageError: if there is no sample.
    """
    chosen = np.arange(len(samples)) if positions is None else np.asarray(positions, np.int64)
    if not len(chosen):
        raise UsageError("found no sample to read: expected a data set with at least one frame")
    wide, settings = _wide(samples)
    for start in range(0, len(chosen), batch_size):
        yield wide.batch(chosen[start : start + batch_size]), settings


def read_signal(batch: Batch, settings: DataSettings | None = None) -> SignalReadings:
    """``collect_signal`` for one batch as it is, for samples that come live."""
    values = signal_statistics(batch, settings)
    return SignalReadings.of_batch(batch, values, {name: statistics_of(name) for name in values})


def _of_window(name: str, window: Dense | Cloud, frame: Tensor, settings: DataSettings) -> Tensor:
    if isinstance(window, Cloud):
        if name == "mmwave":
            return radar_statistics(window)
        offset = settings.extrinsics[name].offset if name in settings.extrinsics else (0.0, 0.0, 0.0)
        return lidar_statistics(window, offset)
    if MODALITIES[name].kind == "csi":
        return csi_statistics(window)
    return joint_statistics(window, frame)


def _wide(samples: Samples) -> tuple[Samples, DataSettings | None]:
    """The same samples with windows and points of their own, and the settings."""
    settings: Any = getattr(samples, "settings", None)
    if not isinstance(settings, DataSettings):
        return samples, None
    changed = settings.model_copy(
        update={"windows": {**settings.windows, **WINDOWS}, "points": {**settings.points, **POINTS}}
    )
    again: Any = copy.copy(samples)
    again.settings = changed
    return again, changed
