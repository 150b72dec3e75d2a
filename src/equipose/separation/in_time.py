"""Flags in time: corruption persists over frames of a recording, false alarms come one by one."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def median_in_time(
    flags: Bool[Tensor, " sample"],
    known: Bool[Tensor, " sample"],
    recording: Int[Tensor, " sample"],
    frame: Int[Tensor, " sample"],
    half_width: int,
) -> Bool[Tensor, " sample"]:
    """The median of the flags over frames ``frame - half_width`` to ``frame + half_width`` of the same recording.

    Args:
        flags: to be filtered.
        known: samples whose flag means something; the others do not count and stay as they are.
        recording: of each sample.
        frame: number of each sample's frame.
        half_width: frames to each side; 0 changes nothing.

    Returns:
        flags; a tie, and a window of fewer than three samples, leave a flag as it is.
    """
    if half_width == 0 or not len(flags):
        return flags
    raised, total = (near_sums(values.double(), recording, frame, half_width) for values in (flags & known, known))
    decided = known & (total >= 3) & (2 * raised != total)
    return torch.where(decided, 2 * raised > total, flags)


def persistence(
    flags: Bool[Tensor, " sample"],
    known: Bool[Tensor, " sample"],
    recording: Int[Tensor, " sample"],
    frame: Int[Tensor, " sample"],
    reach: int,
) -> float:
    """Mean length of runs of flagged samples, in samples: 1 / (1 - P(next flagged | flagged)).

    1 where flags are isolated; infinity where none ends. Pairs of neighbours within ``reach`` frames count.
    """
    _, rank = torch.unique(recording, return_inverse=True)
    order = (rank * (int(frame.max()) + 1) + frame).argsort() if len(frame) else rank
    earlier, later = order[:-1], order[1:]
    pair = (rank[earlier] == rank[later]) & (frame[later] - frame[earlier] <= reach) & known[earlier] & known[later]
    after = flags[later][pair & flags[earlier]]
    if not len(after):
        return 1.0
    stays = float(after.double().mean())
    return float("inf") if stays == 1.0 else 1 / (1 - stays)


def half_width(mode: str, run: float, largest: int) -> int:
    """Frames to each side such that a run of ``run`` samples survives the filter.

    Args:
        mode: ``on`` for the largest width, ``off`` for none, ``auto`` to fit the run.
        run: from ``persistence``.
        largest: the setting.
    """
    if mode != "auto":
        return largest if mode == "on" else 0
    return int(min(float(largest), max(0.0, (run - 1) / 2)))


def smooth(
    flags: Bool[Tensor, "sample column"],
    known: Bool[Tensor, "sample column"],
    recording: Int[Tensor, " sample"],
    frame: Int[Tensor, " sample"],
    mode: str,
    frames: int,
) -> Bool[Tensor, "sample column"]:
    """``median_in_time`` of every column, as wide as its flags persist.

    Args:
        flags: to be filtered.
        known: flags that mean something.
        recording: of each sample.
        frame: number of each sample's frame.
        mode: as for ``half_width``.
        frames: largest half width.
    """
    columns = []
    for m in range(flags.shape[1]):
        run = persistence(flags[:, m], known[:, m], recording, frame, frames)
        columns.append(median_in_time(flags[:, m], known[:, m], recording, frame, half_width(mode, run, frames)))
    return torch.stack(columns, 1)


def near_sums(
    values: Float[Tensor, " sample"], recording: Int[Tensor, " sample"], frame: Int[Tensor, " sample"], reach: int
) -> Float[Tensor, " sample"]:
    """Sum over the samples of the same recording that are at most ``reach`` frames away, float64.

    Args:
        values: finite.
        recording: of each sample.
        frame: number of each sample's frame.
        reach: frames to each side.
    """
    if not len(values):
        return values.double()
    step = int(frame.max() - frame.min()) + 2 * reach + 2
    _, rank = torch.unique(recording, return_inverse=True)
    place = rank * step + (frame - frame.min())
    order = place.argsort()
    sums = torch.cat([torch.zeros(1, dtype=torch.float64), values.double()[order].cumsum(0)])
    low = torch.searchsorted(place[order], place - reach)
    high = torch.searchsorted(place[order], place + reach, right=True)
    return sums[high] - sums[low]
