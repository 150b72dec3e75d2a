"""The values that travel through the program: Batch, PoseOutput, LossTerms, coalitions.

All are frozen; a stage returns a new value and never changes the one it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

V = TypeVar("V", bound="Dense | Cloud | FrameMeta")


@dataclass(frozen=True)
class Dense:
    """A window of equally shaped frames of one sensor.

    Attributes:
        values: (batch, time, ...) float32, in the modality's unit (``ModalitySpec.unit``); finite everywhere.
            ``joints2d``: (batch, time, joint, 2) pixels. ``csi``: (batch, time, 2, receiver, tone, packet), index 0 of
            the third axis the amplitude in dB, index 1 the phase in radians. ``depth``: (batch, time, row, column)
            metres.
        valid: (batch, time) which frames were recorded; the values of the others are zero.
    """

    values: Float[Tensor, "batch time *shape"]
    valid: Bool[Tensor, "batch time"]


@dataclass(frozen=True)
class Cloud:
    """Points of one sensor, gathered over a window and padded.

    Attributes:
        points: (batch, point, channel) float32. The first three channels are x, y, z in metres in the camera frame
            (x right, y down, z forward); the last is the time to the sample's own frame in seconds. Between them
            the radar has SNR in decibel and Doppler in metres per second. Padding is zero.
        mask: (batch, point) True for a real point. A sample may have none.
    """

    points: Float[Tensor, "batch point channel"]
    mask: Bool[Tensor, "batch point"]


@dataclass(frozen=True)
class FrameMeta:
    """Where each sample of a batch comes from; every field is (batch,) int64.

    Attributes:
        sample: index into the data set; of a sample replayed from an earlier experience, -1 minus its index there.
        environment: 1 to 4 for E01 to E04.
        subject: 1 to 40 for S01 to S40.
        action: 1 to 27 for A01 to A27.
        frame: the number in the frame's file name.
        recording: index of the recording in the data set.
    """

    sample: Int[Tensor, " batch"]
    environment: Int[Tensor, " batch"]
    subject: Int[Tensor, " batch"]
    action: Int[Tensor, " batch"]
    frame: Int[Tensor, " batch"]
    recording: Int[Tensor, " batch"]


@dataclass(frozen=True)
class Batch:
    """Samples of several sensors with one pose each.

    Attributes:
        modalities: names in the order of ``present``'s second axis.
        inputs: one Dense or Cloud per modality.
        present: (batch, modality) which sensors each sample has.
        target: (batch, joint, 3) metres, camera frame.
        meta: origin of each sample.
        weight: (batch,) how much each sample's label counts in a loss; None: all count 1.
    """

    modalities: tuple[str, ...]
    inputs: Mapping[str, Dense | Cloud]
    present: Bool[Tensor, "batch modality"]
    target: Float[Tensor, "batch joint 3"]
    meta: FrameMeta
    weight: Float[Tensor, " batch"] | None = None

    def __len__(self) -> int:
        return self.present.shape[0]

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        if torch.device(device) == self.present.device:
            return self
        return _map_tensors(self, lambda t: t.to(device, non_blocking=True))

    def select(self, index: Tensor) -> Batch:
        """The samples at ``index`` (int64 positions or a mask of length batch)."""
        return _map_tensors(self, lambda t: t[index])


def _map_tensors(batch: Batch, f: Callable[[Tensor], Tensor]) -> Batch:
    def each(value: V) -> V:
        changes: dict[str, Any] = {x.name: f(getattr(value, x.name)) for x in fields(value)}
        return replace(value, **changes)

    return Batch(
        modalities=batch.modalities,
        inputs={name: each(value) for name, value in batch.inputs.items()},
        present=f(batch.present),
        target=f(batch.target),
        meta=each(batch.meta),
        weight=None if batch.weight is None else f(batch.weight),
    )


@dataclass(frozen=True)
class PoseOutput:
    """What a model says about a batch.

    Attributes:
        joints: (batch, joint, 3) metres, camera frame.
    """

    joints: Float[Tensor, "batch joint 3"]


@dataclass(frozen=True)
class LossTerms:
    """Named scalar loss terms; their sum is minimised.

    Attributes:
        terms: name -> scalar tensor. The pose error is called ``pose``, in metres.
    """

    terms: Mapping[str, Float[Tensor, ""]]

    @property
    def total(self) -> Float[Tensor, ""]:
        """Sum of all terms, in a fixed order."""
        values = list(self.terms.values())
        total = values[0]
        for value in values[1:]:
            total = total + value
        return total


def all_coalitions(num_modalities: int, device: torch.device | str = "cpu") -> Bool[Tensor, "coalition modality"]:
    """Every subset of the modalities; row k holds the bits of k, modality 0 the lowest.

    Row 0 is the empty coalition and the last row the full one.
    """
    rows = torch.arange(2**num_modalities, device=device)
    return (rows[:, None] >> torch.arange(num_modalities, device=device)) & 1 == 1


def coalition_name(row: int, modalities: tuple[str, ...]) -> str:
    """``"rgb+lidar"`` for row 3 of ``all_coalitions``; ``"none"`` for row 0."""
    names = [name for i, name in enumerate(modalities) if row >> i & 1]
    return "+".join(names) or "none"
