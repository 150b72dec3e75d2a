"""Split modalities into superior and inferior by their contribution: exact K-means on a line with K = 2.

On a line the best two clusters are separated by a threshold, so trying the M - 1 cuts of the sorted scores
finds the global optimum: the same answer as K-means at its best start, without random starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from equipose.errors import UsageError

Group = Literal["superior", "inferior"]


def two_means(scores: Mapping[str, float]) -> dict[str, Group]:
    """Group of each modality: the cluster with the higher centre is superior.

    Scores may be in any unit and of any sign: only gaps between them matter. One modality, or scores that are
    all equal, cannot be split: all are superior. Of two equally good cuts the lower one is taken.

    Raises:
        UsageError: if a score is not finite.
    """
    bad = [name for name, score in scores.items() if not np.isfinite(score)]
    if bad:
        raise UsageError(
            f"the contribution of {bad[0]!r} is {scores[bad[0]]}, expected a finite number: "
            "training has diverged; lower train.learning_rate or set train.clip_norm"
        )
    values = np.sort(np.asarray(list(scores.values()), dtype=np.float64))
    if len(values) < 2 or values[0] == values[-1]:
        return dict.fromkeys(scores, "superior")
    within = [_spread(values[:cut]) + _spread(values[cut:]) for cut in range(1, len(values))]
    threshold = values[int(np.argmin(within)) + 1]
    return {name: "superior" if score >= threshold else "inferior" for name, score in scores.items()}


def _spread(values: np.ndarray) -> float:
    return float(((values - values.mean()) ** 2).sum())
