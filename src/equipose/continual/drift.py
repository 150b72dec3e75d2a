"""Drift budgets: how much of it each group gets, and how strengths follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from equipose.balance.base import Setup
from equipose.continual.base import End
from equipose.continual.importance import COORDINATES, loss_scale
from equipose.fisher_outputs import MM2_PER_M2, SHARED, Groups

_FASTEST = 4.0  # largest excess that counts in one step of the ascent


def modality_factors(modalities: Sequence[str], end: End, least: float) -> dict[str, float]:
    """How much each sensor's past is worth keeping, ``least`` to 1: contribution over the largest, times clean share.

    Where contributions or noise rates were not measured they count as 1 and 0; ``shared`` is 1.
    """
    best = max([0.0, *(end.contribution.get(m, 0.0) for m in modalities)])
    factors = {}
    for m in modalities:
        worth = max(end.contribution.get(m, 0.0), 0.0) / best if best > 0 else 1.0
        factors[m] = max(least, worth * (1.0 - end.noise_rate.get(m, 0.0)))
    return {**factors, SHARED: 1.0}


def budgets(fisher: Groups, factors: Mapping[str, float], total: float) -> dict[str, float]:
    """Group -> drift it may cause, metres: squares share out total^2 in proportion to 1 / factor.

    Groups without information move no joint and get none.
    """
    share = {g: 1.0 / factors[g] for g in fisher if _trace(fisher, g) > 0}
    whole = sum(share.values())
    return {g: total * (each / whole) ** 0.5 for g, each in share.items()}


def pulls(
    fisher: Groups,
    factors: Mapping[str, float],
    budget: Mapping[str, float],
    budget_mm: float,
    decoupled: bool,
    setup: Setup,
    end: End,
) -> dict[str, float]:
    """Group -> spring constant per square metre of predicted drift, at strength 1.

    Coupled: l(b) / b^2 with l the run's loss and b the budget, times factors of harmonic mean 1, so that drift by the
    budget costs what an error of the budget does. Decoupled, beside Adam: a weight of mean information is pulled by a
    whole learning rate once all weights of its group are as far away as uses the group's budget up.
    """
    if not budget:
        return {}
    if decoupled:
        return {g: _decoupled(fisher, g, budget[g]) for g in budget}
    scale = loss_scale(setup.loss, end, budget_mm)
    harmonic = len(budget) / sum(1.0 / factors[g] for g in budget)
    return {g: scale * factors[g] / harmonic for g in budget}


def ascended(strength: float, rate: float, excess: float) -> float:
    """Dual ascent on drift^2 <= budget^2; ``excess`` is their ratio."""
    return max(0.0, strength + rate * min(excess - 1.0, _FASTEST))


def _decoupled(fisher: Groups, group: str, budget: float) -> float:
    trace, count = _trace(fisher, group), sum(t.numel() for t in fisher[group])
    unit = COORDINATES / MM2_PER_M2
    move = budget / (unit * trace) ** 0.5
    return count / (trace * move) / (2.0 * unit)


def _trace(fisher: Groups, group: str) -> float:
    return sum(float(t.double().sum()) for t in fisher[group])
