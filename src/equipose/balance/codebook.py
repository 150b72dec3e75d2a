"""A codebook of points: K-means grown by splitting, without random starts and with sums only.

From one code, the mean, every code is split in two along its widest direction and K-means runs until it stands, until
there are enough. Each step needs nothing but sums over the points, so several processes that hold a part of the points
each find the same codes as one that holds them all.

Source: Linde, Buzo, Gray, *An Algorithm for Vector Quantizer Design* (IEEE Transactions on Communications, 1980); the
split along the principal axis is a common variant.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

_ITERATIONS = 25


def learn_codebook(
    points: Float[Tensor, "point dim"],
    size: int,
    all_reduce: Callable[[Tensor], Tensor] = lambda tensor: tensor,
) -> Float[Tensor, "code dim"]:
    """Codes that stand for the points: at most ``size``, fewer where points coincide; every code has a point.

    Args:
        points: this process's part; at least one in all.
        size: a power of 2.
        all_reduce: mean of a tensor over processes; every process must call.
    """
    points = points.double()
    codes = points.new_zeros(1, points.shape[1])
    counts, codes = _means(points, codes, all_reduce)
    while len(codes) < size:
        grown = _split(points, codes, all_reduce)
        for _ in range(_ITERATIONS):
            counts, moved = _means(points, grown, all_reduce)
            still = torch.equal(moved, grown)
            grown = moved
            if still:
                break
        counts, _ = _means(points, grown, all_reduce)
        kept = grown[counts > 0]
        if len(kept) == len(codes):
            break  # nothing left to split
        codes = kept
        if len(codes) * 2 > size:
            break
    return codes


def nearest(points: Float[Tensor, "point dim"], codes: Float[Tensor, "code dim"]) -> Int[Tensor, " point"]:
    """Index of each point's nearest code, Euclidean."""
    return torch.cdist(points, codes, compute_mode="donot_use_mm_for_euclid_dist").argmin(1)


def _means(
    points: Tensor, codes: Tensor, all_reduce: Callable[[Tensor], Tensor]
) -> tuple[Float[Tensor, " code"], Float[Tensor, "code dim"]]:
    """How many points each code has (mean over processes), and where their mean is; a code without stays."""
    chosen = torch.nn.functional.one_hot(nearest(points, codes), len(codes)).to(points)
    reduced = all_reduce(torch.cat([chosen.sum(0)[:, None], chosen.T @ points], 1))
    counts, sums = reduced[:, 0], reduced[:, 1:]
    return counts, torch.where(counts[:, None] > 0, sums / counts[:, None].clamp(min=1e-12), codes)


def _split(points: Tensor, codes: Tensor, all_reduce: Callable[[Tensor], Tensor]) -> Float[Tensor, "double dim"]:
    """Each code twice, one standard deviation to either side along its widest direction."""
    label = nearest(points, codes)
    centred = points - codes[label]
    chosen = torch.nn.functional.one_hot(label, len(codes)).to(points)
    products = torch.einsum("pk,pi,pj->kij", chosen, centred, centred)
    counts = all_reduce(chosen.sum(0))
    values, vectors = torch.linalg.eigh(all_reduce(products) / counts.clamp(min=1e-12)[:, None, None])
    offset = values[:, -1:].clamp(min=0.0).sqrt() * vectors[:, :, -1]
    return torch.stack([codes - offset, codes + offset], 1).flatten(0, 1)
