"""How uneven contributions are, which sensors carry nothing, and the sentences a report prints about it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from equipose.contribution.profit import deviation_ratio
from equipose.contribution.statistics import Statistics

COLLAPSE_ALARM = 0.1
"""A sensor whose own prediction spreads less than this fraction of the truth counts as collapsed."""
DOMINANCE_ALARM = 0.6
"""A share above this counts as dominance, with more than two sensors."""


def positive_share(phi: Float[ndarray, "*rest player"]) -> Float[ndarray, "*rest player"]:
    """Each player's part of the positive contributions: phi+ / sum of phi+; negative ones count as 0.

    Returns:
        values from 0 to 1 that add up to 1; all 0 where no contribution is positive.
    """
    positive = np.maximum(np.asarray(phi, dtype=np.float64), 0.0)
    total = positive.sum(-1, keepdims=True)
    return np.divide(positive, total, out=np.zeros_like(positive), where=total > 0)


def normalised_entropy(share: Float[ndarray, "*rest player"]) -> Float[ndarray, "*rest"]:
    """-sum p log p / log M: 1 when all contribute alike, 0 when one (or none) does it all."""
    share = np.asarray(share, dtype=np.float64)
    players = share.shape[-1]
    logarithm = np.log(share, out=np.zeros_like(share), where=share > 0)
    entropy = np.maximum(-(share * logarithm).sum(-1), 0.0)
    return np.asarray(entropy / np.log(players) if players > 1 else np.zeros_like(entropy))


def effective_number(share: Float[ndarray, "*rest player"]) -> Float[ndarray, "*rest"]:
    """1 / sum p^2: how many equal contributors would be as uneven; 0 where no contribution is positive."""
    concentration = (np.asarray(share, dtype=np.float64) ** 2).sum(-1)
    return np.asarray(np.divide(1.0, concentration, out=np.zeros_like(concentration), where=concentration > 0))


def collapse_ratio(sums: Statistics) -> Float[Tensor, "group player"]:
    """Median over coordinates of std(prediction from one sensor alone) / std(truth); a dead sensor has 0."""
    rows = [1 << player for player in range(sums.error.shape[1].bit_length() - 1)]
    ratio = deviation_ratio(sums.coalitions(rows))
    return ratio.flatten(2).nanmedian(dim=2).values


def alarms(share: Mapping[str, float], collapse: Mapping[str, float]) -> tuple[str, ...]:
    """Sentences about collapsed and dominating sensors; empty when all is well.

    Args:
        share: modality -> positive-part share of the contribution.
        collapse: modality -> ``collapse_ratio``.
    """
    found = [
        f"{name} has collapsed: alone, its prediction spreads {ratio:.3f} times as much as the truth "
        f"(alarm below {COLLAPSE_ALARM}); it supplies little more than a constant pose"
        for name, ratio in collapse.items()
        if ratio < COLLAPSE_ALARM
    ]
    if share and not any(value > 0 for value in share.values()):
        found.append("no sensor contributes: every Shapley value is zero or negative")
    limit = max(DOMINANCE_ALARM, 1.5 / max(len(share), 1))
    found += [
        f"{name} dominates: it holds {value:.0%} of the positive contribution (alarm above {limit:.0%} "
        f"of {len(share)} sensors)"
        for name, value in share.items()
        if len(share) > 1 and value > limit
    ]
    return tuple(found)
