"""What a label-free statistic of a sensor's signal is, and helpers that all kinds of sensors share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Statistic:
    """One number that a sensor's own signal gives for each sample.

    Attributes:
        name: unique for a kind of sensor.
        unit: of the number.
        side: which end is bad: 1 high, -1 low, 0 both.
        floor: the smallest deviation that means anything, in ``unit``; the scale is at least that.
        relative: whether it is compared with the same person's median: what differs between people and places.
    """

    name: str
    unit: str
    side: int
    floor: float
    relative: bool = True


def log_of(values: Float[Tensor, "*shape"], least: float) -> Float[Tensor, "*shape"]:
    """Natural logarithm of values that are at least ``least``; NaN stays NaN."""
    return values.clamp(min=least).log()


def masked_quantile(
    values: Float[Tensor, "batch n"], mask: Bool[Tensor, "batch n"], q: float, fewest: int = 1
) -> Float[Tensor, " batch"]:
    """The q-quantile of each row's masked values, the lower one of two; NaN with fewer than ``fewest``."""
    if not values.shape[1]:
        return values.new_full((len(values),), torch.nan)
    ordered = torch.where(mask, values, torch.inf).sort(1).values
    count = mask.sum(1)
    place = (q * (count - 1)).clamp(min=0).long()
    picked = ordered.gather(1, place[:, None])[:, 0]
    return torch.where(count >= max(fewest, 1), picked, torch.nan)


def masked_share(
    hits: Bool[Tensor, "batch n"], mask: Bool[Tensor, "batch n"], fewest: int = 1
) -> Float[Tensor, " batch"]:
    """Share of each row's masked entries that are hits; NaN with fewer than ``fewest``."""
    count = mask.sum(1)
    share = (hits & mask).sum(1) / count.clamp(min=1)
    return torch.where(count >= max(fewest, 1), share, torch.nan)
