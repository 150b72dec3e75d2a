"""Faults of 2D joints: each changes one frame of (17, 2) pixels.

Every fault function of this package has the form ``fault(frame, level, fault, noise) -> frame``: ``level`` is the
number of the severity, ``fault`` a generator that starts the same for all frames of a burst (what is broken), and
``noise`` one of the frame's own. All levels draw the same numbers, so a higher level only goes further.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.random import Generator

from equipose.skeleton import H36M17

SIDE_PAIRS = tuple((j, m) for j, m in enumerate(H36M17.mirror) if j < m)
"""The joints that have a left and a right one."""
NOT_FOUND = 0.0
"""What a joint detector writes for a joint it did not find, pixels."""


def jitter(
    frame: Float[ndarray, "joint 2"], level: float, fault: Generator, noise: Generator
) -> Float[ndarray, "joint 2"]:
    """Gaussian noise of ``level`` pixels on every coordinate, new in each frame."""
    return frame + level * noise.standard_normal(frame.shape)


def side_swap(
    frame: Float[ndarray, "joint 2"], level: float, fault: Generator, noise: Generator
) -> Float[ndarray, "joint 2"]:
    """``level`` of the left-right pairs exchanged, the same throughout a burst."""
    out = frame.copy()
    for i in fault.permutation(len(SIDE_PAIRS))[: int(level)]:
        left, right = SIDE_PAIRS[i]
        out[[left, right]] = frame[[right, left]]
    return out


def joints_missing(
    frame: Float[ndarray, "joint 2"], level: float, fault: Generator, noise: Generator
) -> Float[ndarray, "joint 2"]:
    """``level`` joints read (0, 0), the same ones throughout a burst."""
    out = frame.copy()
    out[fault.permutation(len(frame))[: int(level)]] = NOT_FOUND
    return out


def beside(
    frame: Float[ndarray, "joint 2"], level: float, fault: Generator, noise: Generator
) -> Float[ndarray, "joint 2"]:
    """The whole person ``level`` pixels to the left or the right; the side is that of the burst."""
    return frame + np.array([level * (1.0 if fault.random() < 0.5 else -1.0), 0.0])
