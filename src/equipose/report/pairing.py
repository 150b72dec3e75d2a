"""Paired differences between runs: the same frames, resampled over people.

Two errors of the same frames differ by far less than either spreads over people, so the difference gets its own
interval: the subjects are drawn again with replacement, and both runs are averaged over the same draw. Where both
sides have several seeds, the seeds are drawn again as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from equipose.report.run import Predictions

RESAMPLES = 2000
_SAME_TARGET_M = 1e-4


@dataclass(frozen=True)
class Difference:
    """How much worse the second side is than the first, millimetres; negative is better.

    Attributes:
        change_mm: difference of the mean errors over all common frames.
        interval: 95 % percentile interval; None with a single subject.
        frames: common frames.
        subjects: people among them.
        seeds: number of runs on the first and the second side.
        left_out: frames that only some of the runs have.
    """

    change_mm: float
    interval: tuple[float, float] | None
    frames: int
    subjects: int
    seeds: tuple[int, int]
    left_out: int

    @property
    def clear(self) -> bool:
        """True if the interval lies on one side of zero."""
        return self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)


@dataclass(frozen=True)
class Unpaired:
    """Why two sides cannot be compared frame by frame."""

    reason: str


def mpjpe_per_frame(joints: Float[np.ndarray, "n j 3"], target: Float[np.ndarray, "n j 3"]) -> Float[np.ndarray, " n"]:
    """(frame,) mean over joints of the distance, millimetres; joints and target in metres."""
    difference = joints.astype(np.float64) - target.astype(np.float64)
    return 1000.0 * np.linalg.norm(difference, axis=-1).mean(-1)


def pa_mpjpe_per_frame(
    joints: Float[np.ndarray, "n j 3"], target: Float[np.ndarray, "n j 3"]
) -> Float[np.ndarray, " n"]:
    """(frame,) MPJPE after the best rotation, scale and shift of each predicted pose onto its target, millimetres.

    Closed form of Umeyama (1991) without reflections; a pose whose joints coincide keeps scale 0.
    """
    x, y = joints.astype(np.float64), target.astype(np.float64)
    x_mean, y_mean = x.mean(1, keepdims=True), y.mean(1, keepdims=True)
    x, y = x - x_mean, y - y_mean
    u, singular, vt = np.linalg.svd(np.einsum("nji,njk->nik", x, y))
    sign = np.where(np.linalg.det(u @ vt) < 0, -1.0, 1.0)
    u[:, :, 2] *= sign[:, None]
    singular[:, 2] *= sign
    spread = (x**2).sum((1, 2))
    scale = np.divide(singular.sum(1), spread, out=np.zeros_like(spread), where=spread > 1e-18)
    aligned = scale[:, None, None] * (x @ (u @ vt))
    return 1000.0 * np.linalg.norm(aligned - y, axis=-1).mean(-1)


def compare(
    first: Sequence[Predictions], second: Sequence[Predictions], aligned: bool = False
) -> Difference | Unpaired:
    """Error of ``second`` minus error of ``first`` on the frames that all of them predicted.

    Args:
        first: the runs of the reference, one per seed.
        second: the runs of the other method.
        aligned: PA-MPJPE instead of MPJPE.
    """
    runs = [*first, *second]
    if len({run.joints.shape[1] for run in runs}) > 1:
        return Unpaired("the runs predict different numbers of joints")
    rows = _common_rows(runs)
    if isinstance(rows, Unpaired):
        return rows
    reference = runs[0].target[rows[0]]
    if any(np.abs(run.target[row] - reference).max() > _SAME_TARGET_M for run, row in zip(runs, rows, strict=True)):
        return Unpaired("the true poses of the same frames differ: these runs did not use the same data")
    if not all(np.isfinite(run.joints).all() and np.isfinite(run.target).all() for run in runs):
        return Unpaired("a prediction or a true pose is not a finite number")
    measure = pa_mpjpe_per_frame if aligned else mpjpe_per_frame
    errors = np.stack([measure(run.joints[row], reference) for run, row in zip(runs, rows, strict=True)])
    subjects, member = np.unique(runs[0].subject[rows[0]], return_inverse=True)
    counts = np.bincount(member).astype(np.float64)
    sums = np.stack([np.bincount(member, weights=error) for error in errors])
    split = len(first)
    return Difference(
        change_mm=float((sums[split:].mean(0) - sums[:split].mean(0)).sum() / counts.sum()),
        interval=_interval(sums[:split], sums[split:], counts),
        frames=errors.shape[1],
        subjects=len(subjects),
        seeds=(split, len(second)),
        left_out=max(len(run.joints) for run in runs) - errors.shape[1],
    )


def _common_rows(runs: Sequence[Predictions]) -> list[np.ndarray] | Unpaired:
    """For each run, the rows of the frames that all runs have, in one common order."""
    columns = 4 if all(len(np.unique(run.keys[:, :4], axis=0)) == len(run.keys) for run in runs) else 5
    tables = [[tuple(key) for key in run.keys[:, :columns].tolist()] for run in runs]
    if any(len(set(table)) != len(table) for table in tables):
        return Unpaired("a predictions.npz names the same frame twice")
    common = sorted(set(tables[0]).intersection(*tables[1:]))
    if not common:
        return Unpaired("the runs have no test frame in common")
    lookups = [{key: row for row, key in enumerate(table)} for table in tables]
    return [np.array([lookup[key] for key in common]) for lookup in lookups]


def _interval(first: np.ndarray, second: np.ndarray, counts: np.ndarray) -> tuple[float, float] | None:
    """95 % percentile interval of the difference; ``first`` and ``second`` are (seed, subject) sums."""
    people = len(counts)
    if people < 2:
        return None
    generator = np.random.default_rng(0)
    weights = generator.multinomial(people, np.full(people, 1.0 / people), size=RESAMPLES).astype(np.float64)
    draw_seeds = len(first) > 1 and len(second) > 1
    sides = []
    for sums in (first, second):
        seeds = len(sums)
        share = (
            generator.multinomial(seeds, np.full(seeds, 1.0 / seeds), size=RESAMPLES) / seeds
            if draw_seeds
            else np.full((RESAMPLES, seeds), 1.0 / seeds)
        )
        sides.append(np.einsum("bs,sp,bp->b", share, sums, weights))
    changes = (sides[1] - sides[0]) / (weights @ counts)
    low, high = np.quantile(changes, (0.025, 0.975))
    return float(low), float(high)
