"""What is wrong with a sensor cell that can be seen without learning.

MM-Fi has such cells as recorded: WiFi tones of minus infinity decibel, radar files of zero bytes.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from equipose.modality import MODALITIES
from equipose.separation.reasons import Reason
from equipose.types import Batch, Cloud, Dense


def integrity(batch: Batch, first: Bool[Tensor, " batch"] | None = None) -> Int[Tensor, "batch modality"]:
    """The first check that each sensor cell fails.

    Checks, in order of precedence: no point in a cloud; the own frame missing from a window of values; a value that is
    not finite; the sample's own frame all zero; not varying (all values of the own frame equal; all points of a cloud
    in one place); a WiFi receiver whose amplitude does not vary over tones and packets; own frame equal bit for bit to
    the previous one of the window. The last needs a window; ``repeats`` finds the same between samples.

    Args:
        batch: samples.
        first: which samples are the first frame of their recording, whose window repeats that frame before it;
            frames with number 1 where None.

    Returns:
        int8 codes of ``Reason``: CLEAN, ABSENT or one of ``reasons.INTEGRITY``.
    """
    first = batch.meta.frame == 1 if first is None else first
    columns = []
    for m, name in enumerate(batch.modalities):
        window = batch.inputs[name]
        found = _cloud_checks(window) if isinstance(window, Cloud) else _dense_checks(window, name)
        stale = found.pop(Reason.STALE) & ~first
        code = torch.where(stale, Reason.STALE, Reason.CLEAN)
        for reason in reversed(list(found)):
            code = torch.where(found[reason], reason, code)
        columns.append(torch.where(batch.present[:, m], code, Reason.ABSENT))
    return torch.stack(columns, 1).to(torch.int8)


def dead(batch: Batch, first: Bool[Tensor, " batch"] | None = None) -> Bool[Tensor, "batch modality"]:
    """Which present sensor cells fail a check of ``integrity``."""
    return integrity(batch, first) > Reason.ABSENT


def fingerprints(batch: Batch) -> Int[Tensor, "batch modality"]:
    """A number per sensor cell that depends on every bit of the sample's own frame, and on nothing else.

    Equal frames have equal numbers; unequal ones practically never (wrapping sum of bit patterns times odd
    coefficients, modulo 2^64). 0 where the sensor is absent or has no value.
    """
    columns = []
    for m, name in enumerate(batch.modalities):
        window = batch.inputs[name]
        if isinstance(window, Cloud):
            own = window.mask & (window.points[..., -1] == 0)
            frame = _packed(window.points[..., :-1], own)
        else:
            frame = window.values[:, window.values.shape[1] // 2]
        bits = frame.float().reshape(len(batch), -1).contiguous().view(torch.int32).long()
        place = torch.arange(bits.shape[1], device=bits.device)
        number = (bits * (place * 6364136223846793005 + 1442695040888963407)).sum(1)
        columns.append(torch.where(batch.present[:, m], number, 0))
    return torch.stack(columns, 1)


def repeats(
    numbers: Int[Tensor, "sample modality"], recording: Int[Tensor, " sample"], frame: Int[Tensor, " sample"]
) -> Bool[Tensor, "sample modality"]:
    """Which cells repeat the frame of the sample before them in their recording, from ``fingerprints``."""
    order = torch.argsort(recording * (frame.max() + 1) + frame) if len(frame) else recording
    same = torch.zeros_like(numbers, dtype=torch.bool)
    earlier, later = order[:-1], order[1:]
    equal = (numbers[earlier] == numbers[later]) & (numbers[later] != 0)
    same[later] = equal & (recording[earlier] == recording[later])[:, None]
    return same


def _dense_checks(window: Dense, name: str) -> dict[Reason, Bool[Tensor, " batch"]]:
    values, valid = window.values, window.valid
    middle = values.shape[1] // 2
    own, recorded = values[:, middle], valid[:, middle]
    flat = own.reshape(len(own), -1)
    # A position needs both its numbers equal to that of the others: u = v says nothing.
    kind = MODALITIES[name].kind if name in MODALITIES else "other"
    positions = kind == "joints2d" and own.ndim == 3
    channels = own if positions else flat[..., None]
    checks = {
        Reason.UNRECORDED: ~recorded,
        Reason.NOT_FINITE: ~values.reshape(len(own), -1).isfinite().all(1),
        Reason.ZERO: recorded & (flat == 0).all(1),
        Reason.CONSTANT: recorded & (channels == channels[:, :1]).flatten(1).all(1),
    }
    if kind == "csi" and own.ndim == 5:
        amplitude = own[:, 0].flatten(2)  # (batch, receiver, tone x packet)
        still = (amplitude == amplitude[..., :1]).all(2)
        checks[Reason.DEAD_CHAIN] = recorded & still.any(1)
    stale = torch.zeros_like(recorded)
    if middle > 0:
        before = values[:, middle - 1].reshape(len(own), -1)
        stale = recorded & valid[:, middle - 1] & (flat == before).all(1)
    return {**checks, Reason.STALE: stale}


def _cloud_checks(window: Cloud) -> dict[Reason, Bool[Tensor, " batch"]]:
    points, mask = window.points, window.mask
    count = mask.sum(1)
    real = mask[..., None]
    place = points[..., :3]
    high = torch.where(real, place, -torch.inf).amax(1)
    low = torch.where(real, place, torch.inf).amin(1)
    return {
        Reason.EMPTY: count == 0,
        Reason.NOT_FINITE: (~points.isfinite() & real).flatten(1).any(1),
        Reason.ZERO: (count > 0) & ((points[..., :-1] == 0) | ~real).flatten(1).all(1),
        Reason.CONSTANT: (count > 1) & (high == low).all(1),
        Reason.STALE: _same_points(points, mask),
    }


def _same_points(points: Tensor, mask: Tensor) -> Bool[Tensor, " batch"]:
    """Whether the points of the own frame are those of the frame before it in the window, in order."""
    seconds = points[..., -1]
    own = mask & (seconds == 0)
    past = mask & (seconds < 0)
    latest = torch.where(past, seconds, -torch.inf).amax(1, keepdim=True)
    previous = past & (seconds == latest)
    both = (own.sum(1) == previous.sum(1)) & own.any(1)
    return both & (_packed(points[..., :-1], own) == _packed(points[..., :-1], previous)).flatten(1).all(1)


def _packed(points: Tensor, chosen: Tensor) -> Tensor:
    """The chosen points of each sample moved to the front, in order; zeros after them."""
    order = torch.argsort((~chosen).int(), dim=1, stable=True)
    return torch.gather(torch.where(chosen[..., None], points, 0.0), 1, order[..., None].expand_as(points))
