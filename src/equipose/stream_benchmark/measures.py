"""Measures of a stream, from the matrix E of its errors; pure functions with fixed signs.

``E[i, j]`` is the MPJPE in mm on the test samples of experience j after training on experience i, so lower is better,
and all differences below are such that more is worse unless their line says otherwise. T experiences:

=================  ==========================================================  ==========================
final              mean over j of E[T, j]                                      lower is better
over_time          mean over i of the mean over j <= i of E[i, j]              lower is better
learned            mean over j of E[j, j]                                      lower is better
forgetting         mean over j < T of E[T, j] - min over j <= l < T of E[l, j] + is worse
bwt                mean over j < T of E[T, j] - E[j, j]                        + is forgetting
fwt                mean over j > 1 of E_mean_pose[j] - E[j - 1, j]             + is better
intransigence      mean over j of E[j, j] - E_expert[j]                        + is worse
plasticity         sum over j of E_fine_tuning[j, j] / sum of E[j, j]          below 1 learns worse
stability_gap      mean over looks, see ``stability_gaps_mm``                  + is worse
gap_closed         (fine-tuning - E) / (fine-tuning - joint), of final         1 is joint, 0 fine-tuning
=================  ==========================================================  ==========================

``bwt`` has the opposite sign of backward transfer in papers on accuracy (Lopez-Paz and Ranzato, NeurIPS 2017);
``forgetting`` is that of Chaudhry et al. (ECCV 2018) for an error. The reference of forward transfer is the mean
training pose, as an untrained network means nothing in millimetres.

Most are linear in the errors. ``Terms`` writes such a measure as a weighted mean over experiences, so that the same
definition serves the matrix and the people behind it, of which intervals are made.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from equipose.train.stream_errors import StreamErrors

Matrix = Float[ndarray, "row experience"]
NAN = float("nan")


@dataclass(frozen=True, eq=False)
class Terms:
    """A weighted mean over experiences of sums of errors.

    Attributes:
        error: factor of each entry of E.
        mean_pose: factor of the error of the mean pose on each experience.
        share: weight of each experience; they sum to one.
    """

    error: Float[ndarray, "row experience"]
    mean_pose: Float[ndarray, " experience"]
    share: Float[ndarray, " experience"]

    def value(self, matrix: Matrix, mean_pose: Float[ndarray, " experience"] | None = None) -> float:
        """The measure of a matrix, mm."""
        still = 0.0 if mean_pose is None else float(self.mean_pose @ mean_pose)
        return float((self.error * matrix).sum()) + still


def final(matrix: Matrix) -> Terms:
    """All experiences at the stream's end."""
    rows, count = matrix.shape
    error = np.zeros((rows, count))
    error[-1] = 1.0 / count
    return Terms(error, np.zeros(count), np.full(count, 1.0 / count))


def over_time(matrix: Matrix) -> Terms:
    """After every experience, those seen so far."""
    count = _square(matrix)
    error = np.tril(np.ones((count, count))) / np.arange(1, count + 1)[:, None] / count
    return Terms(error, np.zeros(count), error.sum(0))


def learned(matrix: Matrix) -> Terms:
    """Every experience right after it was trained."""
    count = _square(matrix)
    return Terms(np.eye(count) / count, np.zeros(count), np.full(count, 1.0 / count))


def bwt(matrix: Matrix) -> Terms:
    """What earlier experiences lost since they were trained."""
    count = _square(matrix)
    earlier = np.arange(count) < count - 1
    error = -np.diag(earlier.astype(float))
    error[-1] += earlier
    return Terms(error / (count - 1), np.zeros(count), earlier / (count - 1))


def forgetting(matrix: Matrix) -> Terms:
    """What earlier experiences lost since they were known best; when that was is part of the terms."""
    count = _square(matrix)
    earlier = np.arange(count) < count - 1
    error = np.zeros((count, count))
    error[-1] = earlier
    for j in range(count - 1):
        error[j + int(matrix[j : count - 1, j].argmin()), j] -= 1.0
    return Terms(error / (count - 1), np.zeros(count), earlier / (count - 1))


def fwt(matrix: Matrix) -> Terms:
    """How much better than the mean pose an experience is known before it is trained."""
    count = _square(matrix)
    later = np.arange(count) > 0
    error = -np.diag(np.ones(count - 1), 1)
    return Terms(error / (count - 1), later / (count - 1), later / (count - 1))


def final_mm(matrix: Matrix) -> float:
    """Mean error over all experiences at the end."""
    return final(matrix).value(matrix)


def over_time_mm(matrix: Matrix) -> float:
    """Mean error over the experiences seen so far, mean over the stream."""
    return over_time(matrix).value(matrix)


def learned_mm(matrix: Matrix) -> float:
    """Mean error of every experience right after it was trained."""
    return learned(matrix).value(matrix)


def bwt_mm(matrix: Matrix) -> float:
    """Positive: earlier experiences were forgotten."""
    return bwt(matrix).value(matrix)


def forgetting_mm(matrix: Matrix) -> float:
    """Positive: earlier experiences were known better before."""
    return forgetting(matrix).value(matrix)


def fwt_mm(matrix: Matrix, mean_pose: Float[ndarray, " experience"]) -> float:
    """Positive: experiences that are still to come are known better than by the mean pose."""
    return fwt(matrix).value(matrix, mean_pose)


def intransigence_mm(matrix: Matrix, experts: Matrix) -> float:
    """Positive: experiences are learned worse than by a model of their own."""
    return learned_mm(matrix) - learned_mm(experts)


def plasticity(matrix: Matrix, fine_tuning: Matrix) -> float:
    """Below one: experiences are learned worse than by fine-tuning."""
    return learned_mm(fine_tuning) / learned_mm(matrix)


def gap_closed(error: float, fine_tuning: float, joint: float) -> float:
    """Part of the way from fine-tuning to joint training, from their ``final_mm``; NaN where there is no way to go."""
    return (fine_tuning - error) / (fine_tuning - joint) if fine_tuning != joint else NAN


def stability_gaps_mm(watched: Float[ndarray, "look 4"], steps: int | None = None) -> Float[ndarray, " pair"]:
    """How much worse an earlier experience was, at worst, while a later one was trained, than before that.

    De Lange et al., *Continual evaluation for lifelong learning: identifying the stability gap* (ICLR 2023), on fixed
    validation samples: the largest rise above the look at step 0, for each (experience in training, earlier one).

    Args:
        watched: experience in training, its step, experience looked at, MPJPE in mm; see ``StreamErrors.watched``.
        steps: only looks up to this step count; all by default.

    Returns:
        a value per pair that was looked at before its first step and later; none without such.
    """
    found = []
    for training, seen in np.unique(watched[:, [0, 2]], axis=0):
        here = watched[(watched[:, 0] == training) & (watched[:, 2] == seen)]
        first, later = here[here[:, 1] == 0, 3], here[:, 1] > 0
        if steps is not None:
            later &= here[:, 1] <= steps
        if len(first) and later.any():
            found.append(here[later, 3].max() - first[0])
    return np.array(found)


def per_subject(
    errors: StreamErrors, terms: Terms, coalition: int = -1, aligned: bool = False
) -> tuple[Int[ndarray, " subject"], Float[ndarray, " subject"], Float[ndarray, " subject"]]:
    """What every person adds to a measure.

    Args:
        errors: of one run.
        terms: of the measure.
        coalition: row of ``types.all_coalitions``; all sensors by default.
        aligned: errors after Procrustes alignment.

    Returns:
        the people, ascending; what each adds, summing to the measure in mm; how much of the weight is theirs, summing
        to one.
    """
    table = errors.pa_error_mm if aligned else errors.error_mm
    place = errors.person[:, 0]
    inside = place[:, None] == np.arange(len(errors.names))
    total = (errors.samples @ inside)[place]
    value = (terms.error[:, place] * table[:, coalition]).sum(0) + terms.mean_pose[place] * errors.mean_pose_mm
    people, index = np.unique(errors.person[:, 1], return_inverse=True)
    sums = np.bincount(index, value / total, len(people))
    return people, sums, np.bincount(index, terms.share[place] * errors.samples / total, len(people))


def mean_pose_matrix(errors: StreamErrors) -> Float[ndarray, " experience"]:
    """MPJPE in mm of the mean pose on every experience."""
    inside = errors.person[:, :1] == np.arange(len(errors.names))
    return (errors.mean_pose_mm @ inside) / (errors.samples @ inside)


def inequality(values: Iterable[float]) -> float:
    """Gini coefficient of what the sensors lost, 0: all alike; gains count as no loss; NaN where nothing was lost."""
    lost = np.sort(np.maximum(np.array(list(values), float), 0.0))
    if not len(lost) or not lost.sum() > 0:
        return NAN
    rank = np.arange(1, len(lost) + 1)
    return float(((2 * rank - len(lost) - 1) * lost).sum() / (len(lost) * lost.sum()))


def _square(matrix: Matrix) -> int:
    """Number of experiences of a stream of which every one was measured after."""
    rows, count = matrix.shape
    assert rows == count >= 2, "the measure needs a row per experience, and two of them"
    return count
