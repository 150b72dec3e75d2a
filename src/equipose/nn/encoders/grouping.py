"""Centroids and neighbours in a padded cloud: indices only, without gradients and without weights.

Every function depends on the set of real points alone, not on their order in the array, and has fixed output shapes,
so it runs under ``torch.func.vmap``.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@torch.no_grad()
def farthest_centroids(
    position: Float[Tensor, "batch point 3"], mask: Bool[Tensor, "batch point"], count: int
) -> tuple[Int[Tensor, "batch centroid"], Bool[Tensor, "batch centroid"]]:
    """Indices of ``count`` points by farthest point sampling, and which of them are real.

    Starts with the point farthest from the mean of all. A cloud of fewer points gives each point once, then fillers.
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
    with torch.autocast(position.device.type, enabled=False):  # bfloat16 would be wrong by decimetres
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
