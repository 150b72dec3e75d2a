"""LiDAR faults: each changes one cloud of (point, 3) metres, x forward, y left, z up; see ``pixels`` for the form."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.random import Generator

BEAMS = 32
HALF_VIEW = math.radians(22.5)
"""Elevation of the outermost beams of an Ouster OS1-32."""
CONTRAST = -math.log(0.02)
"""Koschmieder's law: the optical depth of the visibility, at which 2 % of the contrast is left."""
NEAREST_M, FARTHEST_M = 0.3, 6.0


def some(share: float, size: int) -> int:
    """``share`` of ``size`` things, rounded, at least one."""
    return max(1, round(share * size))


def points_lost(
    cloud: Float[ndarray, "point channel"], level: float, fault: Generator, noise: Generator
) -> Float[ndarray, "kept channel"]:
    """A share ``level`` of the points gone, at random, at least one; new in each frame."""
    lost = noise.permutation(len(cloud))[: some(level, len(cloud))]
    return np.delete(cloud, lost, axis=0)


def beams_lost(
    cloud: Float[ndarray, "point 3"], level: float, fault: Generator, noise: Generator
) -> Float[ndarray, "kept 3"]:
    """``level`` of 32 beams left, evenly spaced; which, is that of the burst. A beam is a band of 1.4 degrees."""
    stride = BEAMS // int(level)
    phase = int(fault.integers(BEAMS)) % stride
    elevation = np.arctan2(cloud[:, 2], np.hypot(cloud[:, 0], cloud[:, 1]))
    beam = np.clip((elevation + HALF_VIEW) / (2 * HALF_VIEW) * BEAMS, 0, BEAMS - 1).astype(np.int64)
    return cloud[beam % stride == phase]


def range_noise(
    cloud: Float[ndarray, "point 3"], level: float, fault: Generator, noise: Generator
) -> Float[ndarray, "point 3"]:
    """Gaussian error of ``level`` metres along the ray of every point."""
    return _at_range(cloud, _range(cloud) + level * noise.standard_normal(len(cloud)))


def fog(cloud: Float[ndarray, "point 3"], level: float, fault: Generator, noise: Generator) -> Float[ndarray, "kept 3"]:
    """Fog in which one sees ``level`` metres far (meteorological visibility).

    Light travels to a point and back through an extinction of ``alpha = 3.91 / level`` per metre, so the point at range
    r survives with probability ``exp(-2 alpha r)``. The light of a lost one was scattered at a distance with density
    ``2 alpha exp(-2 alpha d)``; the droplets' echo falls with distance squared and is a return with probability
    ``min(1, (1 m / d)^2)``: clutter near the sensor.
    """
    depth = noise.exponential(1.0, len(cloud))
    heard = noise.random(len(cloud))
    scattered = depth * level / (2.0 * CONTRAST)
    lost = scattered < _range(cloud)
    clutter = lost & (heard * scattered**2 < 1.0)
    kept = clutter | ~lost
    return _at_range(cloud, np.where(clutter, np.maximum(scattered, NEAREST_M), _range(cloud)))[kept]


def crosstalk(
    cloud: Float[ndarray, "point 3"], level: float, fault: Generator, noise: Generator
) -> Float[ndarray, "point 3"]:
    """A share ``level`` of the points, at least one, at a random range on their ray: another LiDAR's pulses."""
    hit = noise.permutation(len(cloud))[: some(level, len(cloud))]
    where = noise.uniform(NEAREST_M, FARTHEST_M, len(cloud))
    distance = _range(cloud)
    distance[hit] = where[hit]
    return _at_range(cloud, distance)


def _range(cloud: Float[ndarray, "point 3"]) -> Float[ndarray, " point"]:
    return np.linalg.norm(cloud.astype(np.float64), axis=1)


def _at_range(cloud: Float[ndarray, "point 3"], distance: Float[ndarray, " point"]) -> Float[ndarray, "point 3"]:
    """Points moved along their rays; those whose range stays are left bit for bit."""
    now = _range(cloud)
    scale = np.divide(distance, now, out=np.ones_like(now), where=now > 0)
    return cloud * scale[:, None]
