"""Label faults: each changes one pose of (joint, 3) metres, camera frame; see ``pixels`` for the form."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.random import Generator


def joint_swap(
    pose: Float[ndarray, "joint 3"], level: float, fault: Generator, noise: Generator
) -> Float[ndarray, "joint 3"]:
    """``level`` pairs of joints exchanged, the same throughout a burst."""
    order = fault.permutation(len(pose))
    out = pose.copy()
    for pair in range(min(int(level), len(pose) // 2)):
        one, other = order[2 * pair], order[2 * pair + 1]
        out[[one, other]] = pose[[other, one]]
    return out


def offset(
    pose: Float[ndarray, "joint 3"], level: float, fault: Generator, noise: Generator
) -> Float[ndarray, "joint 3"]:
    """The whole body ``level`` metres away, in a direction that is the burst's."""
    direction = fault.standard_normal(3)
    return pose + level * direction / np.linalg.norm(direction)
