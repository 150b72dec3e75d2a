"""Centroids and neighbours in a padded cloud: indices only, without gradients and without weights.

Every function depends on the set of real points alone, not on their order in the array, and has fixed output shapes,
so it runs under ``torch.func.vmap``.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_HALF_SIDE = 16.0
"""Metres. The curve covers a cube of twice this side around the origin; points beyond it count as on its border."""
_STEPS = 2**20


def curve_order(
    position: Float[Tensor, "batch point 3"], mask: Bool[Tensor, "batch point"]
) -> Int[Tensor, "batch point"]:
    """Indices that walk the points along a Z-order (Morton) curve; padding comes last.

    The curve is quantised to 2**20 steps per axis (0.03 mm), so points have a place of their own and the walk does not
    depend on the order in the array.
    """
    step = ((position + _HALF_SIDE) * (_STEPS / (2 * _HALF_SIDE))).clamp(0, _STEPS - 1).long()
    step = (step | step << 32) & 0x1F00000000FFFF
    step = (step | step << 16) & 0x1F0000FF0000FF
    step = (step | step << 8) & 0x100F00F00F00F00F
    step = (step | step << 4) & 0x10C30C30C30C30C3
    step = (step | step << 2) & 0x1249249249249249
    code = step[..., 0] << 2 | step[..., 1] << 1 | step[..., 2]
    return torch.where(mask, code, torch.iinfo(torch.int64).max).argsort(1)


@torch.no_grad()
def choose_centroids(
    position: Float[Tensor, "batch point 3"], mask: Bool[Tensor, "batch point"], count: int
) -> tuple[Int[Tensor, "batch centroid"], Bool[Tensor, "batch centroid"]]:
    """Indices of up to ``count`` points, evenly spaced along ``curve_order``, and which of them are real.

    A cloud of fewer points gives each point once.
    """
    order = curve_order(position, mask)
    total = mask.sum(1, keepdim=True)
    number = torch.arange(count, device=position.device)[None]
    rank = torch.where(total > count, ((2 * number + 1) * total) // (2 * count), number)
    real = number < total
    return order.gather(1, rank.clamp(0, position.shape[1] - 1)), real


@torch.no_grad()
def farthest_centroids(
    position: Float[Tensor, "batch point 3"], mask: Bool[Tensor, "batch point"], count: int
) -> tuple[Int[Tensor, "batch centroid"], Bool[Tensor, "batch centroid"]]:
    """As ``choose_centroids``, but by farthest point sampling from the point farthest from the middle.

    Covers arms and feet better than the curve and costs one pass over the cloud per centroid.
    """
    weight = mask[..., None].to(position.dtype)
    middle = (position * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp_min(1.0)
    gap = torch.where(mask, (position - middle).square().sum(-1), -1.0)
    nearest = torch.where(mask, torch.inf, -1.0)
    chosen = []
    for _ in range(count):
        index = gap.argmax(1, keepdim=True)
        chosen.append(index)
        picked = position.gather(1, index[..., None].expand(-1, 1, 3))
        nearest = torch.minimum(nearest, (position - picked).square().sum(-1))
        gap = nearest
    number = torch.arange(count, device=position.device)[None]
    return torch.cat(chosen, 1), number < mask.sum(1, keepdim=True)


@torch.no_grad()
def nearest_points(
    centre: Float[Tensor, "batch centroid 3"],
    position: Float[Tensor, "batch point 3"],
    mask: Bool[Tensor, "batch point"],
    count: int,
) -> tuple[Int[Tensor, "batch centroid neighbour"], Bool[Tensor, "batch centroid neighbour"]]:
    """Indices of the ``count`` real points nearest to each centre, and which of them are real."""
    squared = (
        centre.square().sum(-1)[:, :, None]
        + position.square().sum(-1)[:, None, :]
        - 2.0 * centre @ position.transpose(1, 2)
    )
    squared = torch.where(mask[:, None, :], squared, torch.inf)
    distance, index = squared.topk(count, dim=2, largest=False, sorted=False)
    return index, distance < torch.inf


def gather_points(
    features: Float[Tensor, "batch point channel"], index: Int[Tensor, batch * place]
) -> Float[Tensor, "batch *place channel"]:
    """``features[b, index[b, ...]]``."""
    batch, points, channels = features.shape
    start = torch.arange(batch, device=index.device) * points
    flat = (index.flatten(1) + start[:, None]).flatten()
    rows = features.reshape(batch * points, channels).index_select(0, flat)
    return rows.reshape(*index.shape, channels)
