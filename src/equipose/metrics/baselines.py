"""Errors of answers that look at no sensor; print them beside a result.

Beating the mean pose alone proves nothing:

- mean pose: one pose for everybody;
- room mean: one pose per room. A sensor that only recognises the room reaches it;
- subject mean: one pose per person, an oracle when taken from the test truth itself.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from equipose.errors import UsageError


def group_mean_pose(
    poses: Float[ndarray, "sample joint 3"], group: Int[ndarray, " sample"] | None
) -> dict[int, Float[ndarray, "joint 3"]]:
    """Mean pose of each group, float64, unit of ``poses``; ``None`` makes one group 0 of all samples."""
    labels = np.zeros(len(poses), dtype=np.int64) if group is None else group
    return {int(label): poses[labels == label].astype(np.float64).mean(0) for label in np.unique(labels)}


def group_mean_error(
    known: Float[ndarray, "known joint 3"],
    known_group: Int[ndarray, " known"] | None,
    target: Float[ndarray, "sample joint 3"],
    target_group: Int[ndarray, " sample"] | None,
) -> float:
    """MPJPE in millimetres of answering every sample with the mean known pose of its group.

    Args:
        known: poses the means are taken of, metres: the training split, or ``target`` itself for an oracle.
        known_group: group of each known pose, such as its room; None for one group of all.
        target: true poses, metres.
        target_group: group of each; None exactly where ``known_group`` is.

    Raises:
        UsageError: if a target's group has no known pose.
    """
    means = group_mean_pose(known, known_group)
    labels = np.zeros(len(target), dtype=np.int64) if target_group is None else target_group
    missing = sorted({int(label) for label in np.unique(labels)} - set(means))
    if missing:
        raise UsageError(
            f"group {missing[0]} has no known pose to average; groups with poses: {', '.join(map(str, sorted(means)))}"
        )
    total = 0.0
    for label in np.unique(labels):
        error = np.linalg.norm(target[labels == label].astype(np.float64) - means[int(label)], axis=-1)
        total += float(error.mean(-1).sum())
    return 1000.0 * total / len(target)
