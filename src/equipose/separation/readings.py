"""What a model says about every sensor cell of a data set, from one encoding per sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from equipose.contribution.tracker import CoalitionModel
from equipose.errors import UsageError
from equipose.inspection import untouched
from equipose.separation.integrity import fingerprints, integrity, repeats
from equipose.separation.reasons import Reason
from equipose.types import Batch, all_coalitions


@runtime_checkable
class Samples(Protocol):
    """A data set of batches: ``data.PoseDataset``, or anything with these."""

    @property
    def recording(self) -> NDArray[np.int64]:
        """(sample,) index of the recording."""
        ...

    @property
    def frame(self) -> NDArray[np.int64]:
        """(sample,) number of the frame."""
        ...

    def __len__(self) -> int: ...

    def batch(self, positions: NDArray[Any] | Sequence[int]) -> Batch:
        """The samples at ``positions``, deterministically."""
        ...


@dataclass(frozen=True)
class Readings:
    """One row per sample, on the CPU.

    Attributes:
        modalities: sensors, the order of every modality axis.
        present: what the sensors recorded.
        integrity: int8 codes of ``Reason`` from the checks without learning.
        target: labels, metres, camera frame.
        poses: what each sensor says alone, metres; meaningless where a cell is not alive.
        fused: what all present sensors say together, metres.
        features: of each sensor.
        coalition_errors: mean joint error of every coalition of the present sensors against the label, metres; row
            order of ``types.all_coalitions``.
        recording: index of the recording.
        frame: number of the frame.
        subject: number of the person.
        nearest: distance of each feature to trusted ones (``distances.feature_distance``); None if not measured.
    """

    modalities: tuple[str, ...]
    present: Bool[Tensor, "sample modality"]
    integrity: Int[Tensor, "sample modality"]
    target: Float[Tensor, "sample joint 3"]
    poses: Float[Tensor, "sample modality joint 3"]
    fused: Float[Tensor, "sample joint 3"]
    features: Float[Tensor, "sample modality width"]
    coalition_errors: Float[Tensor, "sample coalition"]
    recording: Int[Tensor, " sample"]
    frame: Int[Tensor, " sample"]
    subject: Int[Tensor, " sample"]
    nearest: Float[Tensor, "sample modality"] | None = None

    def __len__(self) -> int:
        return len(self.present)

    @property
    def alive(self) -> Bool[Tensor, "sample modality"]:
        """Cells that recorded and pass the checks without learning."""
        return self.integrity == Reason.CLEAN

    def select(self, index: Tensor) -> Readings:
        """The samples at ``index`` (int64 positions or a mask)."""
        changes: dict[str, Any] = {name: value[index] for name, value in _tensors(self).items()}
        return replace(self, **changes)


def collect(
    model: CoalitionModel,
    samples: Samples,
    positions: NDArray[np.int64] | None = None,
    batch_size: int = 256,
    masked: Bool[Tensor, "sample modality"] | None = None,
) -> Readings:
    """Encode every sample once, in evaluation mode; the model and the random state stay as they were.

    A sensor's pose alone is that of the coalition of it alone, so it means something only for a model that was trained
    to answer with any subset; for others replace ``poses`` by ``ridge.cross_fitted``.

    Args:
        model: the network.
        samples: a data set.
        positions: which samples; all where None.
        batch_size: samples at once; results do not depend on it but for rounding.
        masked: cells that are already known to be bad by their signal; a row per sample of the data set.

    Raises:
        UsageError: if there is no sample.
    """
    chosen = np.arange(len(samples)) if positions is None else np.asarray(positions, np.int64)
    if not len(chosen):
        raise UsageError("found no sample to score: expected a data set with at least one frame")
    first = first_frames(samples)
    parts, numbers = [], []
    with untouched(model):
        for start in range(0, len(chosen), batch_size):
            rows = chosen[start : start + batch_size]
            batch = samples.batch(rows)
            bad = None if masked is None else masked[torch.from_numpy(rows)]
            parts.append(read_batch(model, batch, first[torch.from_numpy(rows)], bad))
            numbers.append(fingerprints(batch))
    joined: dict[str, Any] = {name: torch.cat([_tensors(part)[name] for part in parts]) for name in _tensors(parts[0])}
    readings = Readings(modalities=parts[0].modalities, **joined)
    again = repeats(torch.cat(numbers), readings.recording, readings.frame)
    stale = torch.where(readings.alive & again, Reason.STALE, readings.integrity).to(torch.int8)
    return replace(readings, integrity=stale)


def first_frames(samples: Samples) -> Bool[Tensor, " sample"]:
    """Which samples are the earliest of their recording; a window repeats the first frame before it."""
    recording, frame = np.asarray(samples.recording), np.asarray(samples.frame)
    _, which = np.unique(recording, return_inverse=True)
    earliest = np.full(which.max() + 1, np.iinfo(np.int64).max)
    np.minimum.at(earliest, which, frame)
    return torch.from_numpy(frame == earliest[which])


def read_batch(
    model: CoalitionModel,
    batch: Batch,
    first: Bool[Tensor, " batch"] | None = None,
    masked: Bool[Tensor, "batch modality"] | None = None,
) -> Readings:
    """``collect`` for one batch, without gradients; the caller has put the model in evaluation mode.

    Args:
        model: the network.
        batch: samples, on any device.
        first: see ``integrity``.
        masked: cells that are already known to be bad by their signal.

    Raises:
        UsageError: if the batch's sensors are not the model's.
    """
    names = tuple(model.modalities)
    if batch.modalities != names:
        raise UsageError(
            f"the batch has the sensors {', '.join(batch.modalities)} and the model {', '.join(names)}: "
            "set data.modalities to the model's, in its order"
        )
    device = _device(model, batch)
    codes = integrity(batch, first)
    if masked is not None:
        codes = torch.where(masked & (codes == Reason.CLEAN), int(Reason.SIGNAL), codes.long()).to(codes.dtype)
    there = batch.to(device)
    coalitions = all_coalitions(len(names), device)
    usable = (codes == Reason.CLEAN).to(device)
    with torch.no_grad():
        features = {name: feature.nan_to_num() for name, feature in model.encode(there).items()}
        joints = model.decode_coalitions(features, coalitions, usable).float()
    errors = torch.linalg.vector_norm(joints - there.target, dim=-1).mean(-1)
    return Readings(
        modalities=names,
        present=batch.present.cpu(),
        integrity=codes.cpu(),
        target=batch.target.cpu(),
        poses=torch.stack([joints[2**m] for m in range(len(names))], 1).cpu(),
        fused=joints[-1].cpu(),
        features=torch.stack([features[name].float() for name in names], 1).cpu(),
        coalition_errors=errors.T.cpu(),
        recording=batch.meta.recording.cpu(),
        frame=batch.meta.frame.cpu(),
        subject=batch.meta.subject.cpu(),
    )


def _device(model: CoalitionModel, batch: Batch) -> torch.device:
    parameters = model.parameters() if isinstance(model, torch.nn.Module) else iter(())
    first = next(parameters, None)
    return batch.present.device if first is None else first.device


def _tensors(readings: Readings) -> dict[str, Tensor]:
    """Every field with a row per sample."""
    return {name: value for name, value in vars(readings).items() if isinstance(value, Tensor)}
