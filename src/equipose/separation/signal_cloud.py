"""Statistics of point clouds, LiDAR and radar: what the points of a sample say about themselves.

Directions are seen from the sensor, so the points are moved by its offset first. Points on a person fall with distance
squared; counts are given for one metre.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from equipose.separation.signal_statistic import Statistic, log_of, masked_quantile, masked_share
from equipose.types import Cloud

LIDAR_STATISTICS = (
    Statistic("count", "log of points at 1 m", -1, 0.05),
    Statistic("beam_fill", "share of beams", -1, 0.02),
    Statistic("roughness", "log of m", 1, 0.1),
    Statistic("spikes", "log of share", 1, 0.3),
)
"""In the order of ``lidar_statistics``."""
RADAR_STATISTICS = (
    Statistic("count_window", "log of points", -1, 0.1),
    Statistic("still", "share of points", 1, 0.03),
    Statistic("still_window", "share of points", 1, 0.03),
    Statistic("aside", "log of m", 1, 0.1),
    Statistic("aside_window", "log of m", 1, 0.1),
    Statistic("weakest", "dB", -1, 0.2),
    Statistic("snr", "dB", -1, 0.5),
)
"""In the order of ``radar_statistics``."""

_BIN = math.radians(45.0 / 32.0)
"""Elevation between two beams of an Ouster OS1-32, radians."""
_GAP = math.radians(2.0)
_SPIKE_M = 0.2


def lidar_statistics(cloud: Cloud, offset: Sequence[float] = (0.0, 0.0, 0.0)) -> Float[Tensor, "batch statistic"]:
    """``LIDAR_STATISTICS`` of the points of each sample's own frame (time 0).

    ``count``: points times range squared. ``beam_fill``: elevations with points, of those between the lowest and the
    highest. ``roughness``: median distance of a point's range from the mean of its neighbours in its row. ``spikes``:
    share of points that both neighbours leave by 20 cm the same way.

    How far arms reach out is no fault, so the depth of the whole cloud is not among them.

    Args:
        cloud: points, metres, camera frame.
        offset: position of the sensor in the camera frame, metres.

    Returns:
        float64; NaN where a statistic has too few points.
    """
    own = cloud.mask & (cloud.points[..., -1] == 0)
    place = cloud.points[..., :3].double() - torch.tensor(offset, dtype=torch.float64, device=own.device)
    if not own.shape[1]:
        return place.new_full((len(own), len(LIDAR_STATISTICS)), torch.nan)
    distance = place.norm(dim=-1)
    elevation = torch.atan2(-place[..., 1], torch.hypot(place[..., 0], place[..., 2]))
    azimuth = torch.atan2(place[..., 0], place[..., 2])
    count = own.sum(1)
    typical = masked_quantile(distance, own, 0.5)
    roughness, spikes = _along_rows(distance, azimuth, elevation, own)
    columns = (
        torch.where(count > 0, log_of(count * typical**2, 1.0), torch.nan),
        _beams(elevation, own),
        log_of(roughness, 1e-3),
        log_of(spikes + 0.002, 1e-3),
    )
    return torch.stack(columns, 1)


def radar_statistics(cloud: Cloud, snr: int = 3, doppler: int = 4) -> Float[Tensor, "batch statistic"]:
    """``RADAR_STATISTICS`` of the points of each sample's own frame (time 0) and of its window.

    ``count_window``: per frame. ``still``: share of points of speed exactly 0. ``aside``: 90 % quantile of
    the distance of points to the side of their median. ``weakest``: 5 % quantile of the signal-to-noise ratio of the
    own frame; ``snr`` its median.

    Args:
        cloud: points (x, y, z, ..., seconds), camera frame, metres.
        snr: channel of the signal-to-noise ratio, decibel.
        doppler: channel of the speed, metres per second.

    Returns:
        float64; NaN where a statistic has too few points.
    """
    mask = cloud.mask
    if not mask.shape[1] or cloud.points.shape[-1] <= max(snr, doppler) + 1:
        return mask.new_full((len(mask), len(RADAR_STATISTICS)), torch.nan, dtype=torch.float64)
    points = cloud.points.double()
    seconds = cloud.points[..., -1]
    own = mask & (seconds == 0)
    frames = _distinct(seconds, mask)
    zero = points[..., doppler] == 0
    side = (points[..., 0] - masked_quantile(points[..., 0], mask, 0.5)[:, None]).abs()
    per_frame = mask.sum(1) / frames.clamp(min=1)
    columns = (
        log_of(torch.where(mask.any(1), per_frame.double(), torch.nan), 1.0),
        masked_share(zero, own, 3).double(),
        masked_share(zero, mask, 5).double(),
        log_of(masked_quantile(side, own, 0.9, 5), 0.02),
        log_of(masked_quantile(side, mask, 0.9, 10), 0.02),
        masked_quantile(points[..., snr], own, 0.05, 5),
        masked_quantile(points[..., snr], own, 0.5, 3),
    )
    return torch.stack(columns, 1)


def _beams(elevation: Tensor, own: Bool[Tensor, "batch point"]) -> Float[Tensor, " batch"]:
    """Share of elevations with points between the outermost ones; NaN where those are near each other."""
    row = (elevation / _BIN).floor().long().clamp(-64, 63) + 64
    counts = torch.zeros(len(own), 128, dtype=torch.float64, device=own.device)
    counts.scatter_add_(1, row, own.double())
    taken = counts > 0
    order = torch.arange(128, device=own.device)
    high = torch.where(taken, order, -1).amax(1)
    low = torch.where(taken, order, 128).amin(1)
    span = high - low + 1
    fill = taken.sum(1) / span.clamp(min=1)
    return torch.where(span > 3, fill.double(), torch.nan)


def _along_rows(distance: Tensor, azimuth: Tensor, elevation: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """Median distance of ranges from the mean of their neighbours in the row, metres, and the share of spikes."""
    row = (elevation / _BIN).floor()
    key = torch.where(own, row * 10.0 + azimuth, torch.inf)
    order = key.argsort(1)
    rows, turn, ranges, real = (t.gather(1, order) for t in (row, azimuth, distance, own))
    if ranges.shape[1] < 3:
        nothing = ranges.new_full((len(ranges),), torch.nan)
        return nothing, nothing
    same = (rows[:, 1:] == rows[:, :-1]) & real[:, 1:] & real[:, :-1] & (turn.diff(dim=1) < _GAP)
    known = same[:, 1:] & same[:, :-1]
    before, after = ranges[:, 1:-1] - ranges[:, :-2], ranges[:, 1:-1] - ranges[:, 2:]
    spike = (before.sign() == after.sign()) & (torch.minimum(before.abs(), after.abs()) > _SPIKE_M)
    return (
        masked_quantile((before + after).abs() / 2, known, 0.5, 5),
        masked_share(spike, known, 10).double(),
    )


def _distinct(seconds: Tensor, mask: Tensor) -> Tensor:
    """Number of distinct times among each sample's points."""
    ordered = torch.where(mask, seconds, torch.inf).sort(1).values
    new = (ordered[:, 1:] != ordered[:, :-1]) & ordered[:, 1:].isfinite()
    return mask.any(1).long() + new.sum(1)
