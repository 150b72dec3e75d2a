"""A read-out per sensor that any model has: a linear map from its feature to the pose, cross-fitted.

Fitted on one half of the recordings and read on the other, so that a head cannot have learned the label it is compared
with by heart (the encoder still may have).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from equipose.separation.readings import Readings

_PENALTY = 1e-2  # per sample, of standardised features
_ROBUST_STEPS = 3


def cross_fitted(readings: Readings, trusted: Readings | None = None) -> tuple[Readings, Readings | None]:
    """The same readings with the poses of ridge regressions from each sensor's feature.

    Two halves by recording (blocks of frames where there is one recording); the trusted samples are read by the two
    heads in turn, recording by recording, so that their errors are distributed as those of clean samples. Fitted with
    Huber's weights, so that wrong labels and wild sensors hardly count.

    Args:
        readings: samples on which heads are fitted.
        trusted: samples that are only read.
    """
    half = _halves(readings)
    theirs = None if trusted is None else _halves(trusted)
    poses, trusted_poses = readings.poses.clone(), None if trusted is None else trusted.poses.clone()
    for m in range(len(readings.modalities)):
        for side in (0, 1):
            rows = readings.alive[:, m] & (half != side)
            if rows.sum() < 2:
                rows = readings.alive[:, m]
            if rows.sum() < 2:
                continue
            head = _Head(readings.features[rows, m], readings.target[rows])
            poses[half == side, m] = head(readings.features[half == side, m])
            if trusted is not None and trusted_poses is not None and theirs is not None:
                trusted_poses[theirs == side, m] = head(trusted.features[theirs == side, m])
    changed = None if trusted is None or trusted_poses is None else replace(trusted, poses=trusted_poses)
    return replace(readings, poses=poses), changed


class _Head:
    """Robust ridge regression with an intercept: alternates weighted least squares and Huber's weights."""

    def __init__(self, features: Float[Tensor, "sample width"], target: Float[Tensor, "sample joint 3"]) -> None:
        x, y = features.double(), target.double()
        self.shape = y.shape[1:]
        self.centre, self.scale = x.mean(0), x.std(0).clamp(min=1e-9)
        x = self._design(features)
        weight = torch.ones(len(x), dtype=torch.float64)
        penalty = _PENALTY * len(x) * torch.eye(x.shape[1], dtype=torch.float64)
        penalty[-1, -1] = 0.0
        for _ in range(_ROBUST_STEPS):
            moment = x.T @ (weight[:, None] * x) + penalty
            self.map = torch.linalg.solve(moment, x.T @ (weight[:, None] * y.flatten(1)))
            residual = torch.linalg.vector_norm((x @ self.map).reshape(y.shape) - y, dim=-1).mean(-1)
            weight = (1.5 * residual.median() / residual.clamp(min=1e-12)).clamp(max=1.0)

    def __call__(self, features: Float[Tensor, "sample width"]) -> Float[Tensor, "sample joint 3"]:
        return (self._design(features) @ self.map).reshape(-1, *self.shape).float()

    def _design(self, features: Tensor) -> Tensor:
        x = (features.double() - self.centre) / self.scale
        return torch.cat([x, torch.ones(len(x), 1, dtype=torch.float64)], 1)


def _halves(readings: Readings) -> Int[Tensor, " sample"]:
    """0 or 1 for each sample: alternate recordings, or blocks of 30 frames of a single one."""
    _, rank = torch.unique(readings.recording, return_inverse=True)
    if int(rank.max()) > 0:
        return rank % 2
    return torch.div(readings.frame, 30, rounding_mode="floor") % 2
