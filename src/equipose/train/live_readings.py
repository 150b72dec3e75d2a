"""What a model says about a batch of a stream before it learns from it, and the checks that need no learning."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from equipose.errors import UsageError
from equipose.inspection import untouched
from equipose.nn.model import PoseModel
from equipose.separation.distances import consensus
from equipose.separation.integrity import fingerprints, integrity, repeats
from equipose.separation.readings import Readings, read_batch
from equipose.separation.reasons import Reason
from equipose.separation.verdict import Verdict
from equipose.types import Batch, Cloud


@dataclass(frozen=True)
class Last:
    """The latest sample of a stream, which the next one is compared with.

    Attributes:
        recording: its recording.
        frame: its frame, as the caller numbered it.
        place: its place in the recording: the frame, or the number of its arrival where frames do not tell.
        numbers: (1, modality) what its frames looked like, see ``fingerprints``.
    """

    recording: int
    frame: int
    place: int
    numbers: Int[Tensor, "1 modality"]


def usable(batch: Batch) -> Batch:
    """The batch without numbers that are not finite: a sensor cell with one is absent, and zero.

    A zero that is masked gives gradients of zero; not a number, masked or not, would reach every weight.
    """
    broken = integrity(batch) == Reason.NOT_FINITE
    if not bool(broken.any()):
        return batch
    inputs = {}
    for m, (name, window) in enumerate(batch.inputs.items()):
        field = "points" if isinstance(window, Cloud) else "values"
        values: Tensor = getattr(window, field)
        cells = broken[:, m].reshape(-1, *[1] * (values.ndim - 1))
        changes: dict[str, Any] = {field: torch.where(cells, 0.0, values)}
        inputs[name] = replace(window, **changes)
    return replace(batch, inputs=inputs, present=batch.present & ~broken)


def accepted(batch: Batch, model: PoseModel) -> Batch:
    """The batch without weights, if it is one for the model.

    Raises:
        UsageError: other sensors or joints, or no sample.
    """
    if batch.modalities != model.modalities:
        found, expected = ", ".join(batch.modalities), ", ".join(model.modalities)
        raise UsageError(
            f"the batch has the sensors {found} and the model {expected}: give all of the model's, in its order; "
            "where one did not record, present is False"
        )
    if not len(batch) or batch.target.shape[1:] != model.mean_pose.shape:
        raise UsageError(
            f"found targets of shape {tuple(batch.target.shape)}, expected (batch, {model.num_joints}, 3) with at "
            "least one sample; labels that are not known are NaN"
        )
    return replace(batch, weight=None)


def labelled(target: Float[Tensor, "sample joint 3"]) -> Bool[Tensor, " sample"]:
    """Samples of which every joint is known."""
    return target.isfinite().flatten(1).all(1)


def read(model: PoseModel, batch: Batch, last: Last | None, arrival: int) -> tuple[Readings, Last]:
    """Encode a batch as it came, in evaluation mode; the model and the random state stay as they were.

    Args:
        model: before it learns from the batch.
        batch: as recorded, with NaN where something is not known, on the model's device.
        last: the sample before it.
        arrival: how many samples came before.

    Returns:
        readings on the CPU, whose integrity is that of the recorded numbers and knows the sample before; and the
        batch's own last sample.
    """
    meta, count = batch.meta, len(batch)
    recording, frame = meta.recording.cpu(), meta.frame.cpu()
    before = recording[:1] - 1 if last is None else torch.tensor([last.recording])
    first = recording != torch.cat([before, recording[:-1]])
    place = _places(recording, frame, last, arrival)
    codes = integrity(batch, first.to(batch.present.device)).cpu()
    with untouched(model):
        readings = read_batch(model, usable(batch), first.to(batch.present.device))
    numbers = fingerprints(batch).cpu()
    if last is None:
        again = repeats(numbers, recording, place)
    else:
        known = torch.cat([torch.tensor([last.recording]), recording]), torch.cat([torch.tensor([last.place]), place])
        again = repeats(torch.cat([last.numbers, numbers]), *known)[1:]
    codes = torch.where((codes == Reason.CLEAN) & again, Reason.STALE, codes).to(torch.int8)
    changes: dict[str, Any] = {"integrity": codes, "present": batch.present.cpu(), "frame": place}
    end = Last(int(recording[-1]), int(frame[-1]), int(place[-1]), numbers[count - 1 :])
    return replace(readings, **changes), end


def unjudged(readings: Readings) -> Verdict:
    """The verdict of the checks that need no learning."""
    count = len(readings)
    alive = readings.alive
    nothing = torch.full(readings.present.shape, torch.nan)
    pose = consensus(readings.poses, alive, torch.ones(alive.shape[1])).float()
    return Verdict(
        sensor_clean=(alive | (readings.integrity == Reason.ABSENT)).float(),
        label_clean=torch.ones(count),
        reason=readings.integrity.to(torch.int8),
        label_reason=torch.zeros(count, dtype=torch.int8),
        consensus=torch.where(pose.isnan(), readings.target, pose),
        p=nothing,
        label_p=nothing[:, 0],
        score=nothing,
        label_score=nothing[:, 0],
    )


def appended(old: Readings | None, new: Readings, most: int) -> Readings:
    """The latest ``most`` rows of both."""
    if old is None:
        return new.select(torch.arange(max(0, len(new) - most), len(new)))
    both: dict[str, Any] = {
        name: torch.cat([value, getattr(new, name)])[-most:]
        for name, value in vars(old).items()
        if isinstance(value, Tensor)
    }
    return replace(old, **both)


def _places(
    recording: Int[Tensor, " batch"], frame: Int[Tensor, " batch"], last: Last | None, arrival: int
) -> Int[Tensor, " batch"]:
    """The frames where they tell the samples apart, else the numbers of arrival."""
    pairs = torch.stack([recording, frame], 1)
    if last is not None:
        pairs = torch.cat([torch.tensor([[last.recording, last.frame]]), pairs])
    if len(torch.unique(pairs, dim=0)) == len(pairs):
        return frame
    return torch.arange(arrival, arrival + len(frame))
