"""Radar faults: each changes one cloud of (point, 5); see ``pixels`` for the form.

Columns: forward, right, down in metres, SNR in decibel, Doppler in metres per second.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.random import Generator

from equipose.data.corrupt.lidar import some

SNR, DOPPLER = 3, 4


def ghosts(
    cloud: Float[ndarray, "point 5"], level: float, fault: Generator, noise: Generator
) -> Float[ndarray, "more 5"]:
    """A share ``level`` more points, at least one: echoes by way of a wall.

    They are points of the cloud seen 12 to 30 degrees to one side, 0.2 to 0.8 m farther and 3 to 10 dB weaker (those
    are the burst's), each up to some centimetres off, with the Doppler of their source.
    """
    turn = math.radians(fault.uniform(12.0, 30.0)) * (1.0 if fault.random() < 0.5 else -1.0)
    farther, weaker = fault.uniform(0.2, 0.8), fault.uniform(3.0, 10.0)
    source = noise.integers(len(cloud), size=len(cloud))
    scatter = 0.05 * noise.standard_normal((len(cloud), 3))
    count = some(level, len(cloud))
    ghost = cloud[source[:count]].copy()
    forward, right = ghost[:, 0].astype(np.float64), ghost[:, 1].astype(np.float64)
    distance = np.hypot(forward, right) + farther
    angle = np.arctan2(right, forward) + turn
    ghost[:, 0], ghost[:, 1] = distance * np.cos(angle), distance * np.sin(angle)
    ghost[:, :3] += scatter[:count]
    ghost[:, SNR] = np.maximum(ghost[:, SNR] - weaker, 0.0)
    return np.concatenate((cloud, ghost))


def zero_doppler(
    cloud: Float[ndarray, "point 5"], level: float, fault: Generator, noise: Generator
) -> Float[ndarray, "point 5"]:
    """A share ``level`` of the points, at least one, reads a speed of zero."""
    out = cloud.copy()
    out[noise.permutation(len(cloud))[: some(level, len(cloud))], DOPPLER] = 0.0
    return out
