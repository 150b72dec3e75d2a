"""Measure what every sensor contributes to a model's predictions on a set of samples.

Each sample is encoded once; fusion and head then run on all 2^M subsets of its features. Sums are pooled per
subject, action and environment, and everything else (Shapley values per joint or action, interactions,
shares, bootstrap intervals over subjects, other profits) is computed from those sums without touching the
model again. The keys of ``contributions.npz`` are listed at the top of ``contribution/result.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from equipose.contribution.imbalance import (
    alarms,
    collapse_ratio,
    effective_number,
    normalised_entropy,
    positive_share,
)
from equipose.contribution.profit import Profit, profit_named
from equipose.contribution.result import Contributions, load_npz, save_npz
from equipose.contribution.shapley import checked_players, interactions, shapley_values
from equipose.contribution.statistics import GroupedStatistics, Statistics
from equipose.contribution.tracker import CoalitionModel, coalition_statistics
from equipose.errors import UsageError
from equipose.inspection import untouched
from equipose.metrics.bootstrap import percentile_interval, resample_weights
from equipose.registry import PROFITS
from equipose.types import Batch, all_coalitions

__all__ = ["Contributions", "load_npz", "mean_features", "measure", "save_npz"]

_NUMBERS_AT_ONCE = 4_000_000


def measure(
    model: CoalitionModel,
    batches: Iterable[Batch],
    profit: str | Profit = "pearson",
    baseline: Mapping[str, Float[Tensor, " width"]] | None = None,
    bootstrap: int = 1000,
    generator: np.random.Generator | None = None,
    mean_pose: Float[Tensor, "joint 3"] | None = None,
    interaction_index: str = "SII",
) -> Contributions:
    """Shapley contributions of every sensor, with intervals; the model is left exactly as it was.

    Args:
        model: anything that encodes a batch and decodes coalitions.
        batches: the samples, on the model's device. How they are cut into batches does not matter.
        profit: what a coalition is worth: a name of ``PROFITS`` or a ``Profit``.
        baseline: feature that stands in for an absent sensor (see ``mean_features``); None means zeros.
        bootstrap: resamples of the subjects behind each interval; 0 for none.
        generator: source of the resamples; None means seed 0.
        mean_pose: pose that ``skill`` compares with, metres; None means ``model.mean_pose`` if there is one,
            else the mean of the first batch.
        interaction_index: which index to report for pairs.

    Raises:
        UsageError: if there is no sample, or the profit or index is unknown.
    """
    chosen = profit_named(profit)
    checked_players(len(model.modalities))
    groups, samples = _collect(model, batches, baseline, mean_pose)
    subjects, by_subject = groups.of("subject")
    total = by_subject.total()

    values = chosen.value(total)[0]
    phi = shapley_values(values).numpy()
    share = positive_share(phi)
    phi_draws = _resampled(by_subject, chosen, bootstrap, generator)
    collapse = dict(zip(model.modalities, collapse_ratio(total)[0].tolist(), strict=True))
    names = tuple(sorted({chosen.name, *PROFITS}))
    others = [chosen if name == chosen.name else profit_named(name) for name in names]
    order = min(2, len(phi))
    within = {kind: groups.of(kind) for kind in ("action", "environment")}
    return Contributions(
        modalities=tuple(model.modalities),
        profit=chosen.name,
        unit=chosen.unit,
        baseline="zero" if baseline is None else "mean",
        samples=samples,
        resamples=len(phi_draws),
        values=values.numpy(),
        phi=phi,
        phi_interval=_interval(phi_draws, len(phi)),
        share=share,
        share_interval=_interval(positive_share(phi_draws), len(phi)),
        per_joint=shapley_values(chosen.per_joint(total)[0]).numpy(),
        subjects=subjects,
        per_subject=_per_group(by_subject, chosen),
        actions=within["action"][0],
        per_action=_per_group(within["action"][1], chosen),
        environments=within["environment"][0],
        per_environment=_per_group(within["environment"][1], chosen),
        interaction_index=interaction_index,
        interactions=interactions(values, order, interaction_index).pair_matrix().numpy(),
        collapse=collapse,
        entropy=float(normalised_entropy(share)),
        effective_number=float(effective_number(share)),
        alarms=alarms(dict(zip(model.modalities, share.tolist(), strict=True)), collapse),
        profits=names,
        phi_by_profit=np.stack([shapley_values(other.value(total)[0]).numpy() for other in others]),
    )


def mean_features(model: CoalitionModel, batches: Iterable[Batch]) -> dict[str, Float[Tensor, " width"]]:
    """Mean feature of every sensor over the samples that have it: the ``mean`` baseline.

    Args:
        model: left exactly as it was.
        batches: training samples, on the model's device.

    Raises:
        UsageError: if a sensor has no sample.
    """
    sums: dict[str, Tensor] = {}
    counts: dict[str, float] = dict.fromkeys(model.modalities, 0.0)
    with untouched(model):
        for batch in batches:
            features = model.encode(batch)
            for name in model.modalities:  # a pair has no baseline: it says nothing where a sensor is absent
                present = batch.present[:, batch.modalities.index(name)].double()
                sums[name] = sums.get(name, 0.0) + present @ features[name].double()
                counts[name] += float(present.sum())
    empty = [name for name, count in counts.items() if count == 0]
    if empty:
        raise UsageError(f"no training sample has {empty[0]}: its mean feature is not defined; use the zero baseline")
    return {name: (sums[name] / counts[name]).float() for name in model.modalities}


def _collect(
    model: CoalitionModel,
    batches: Iterable[Batch],
    baseline: Mapping[str, Tensor] | None,
    mean_pose: Tensor | None,
) -> tuple[GroupedStatistics, int]:
    """Sums per subject, action and environment, on the CPU, and the number of samples."""
    groups, samples = GroupedStatistics(), 0
    reference = getattr(model, "mean_pose", None) if mean_pose is None else mean_pose
    with untouched(model):
        for batch in batches:
            if reference is None:
                reference = batch.target.double().mean(0).float()
            coalitions = all_coalitions(len(model.modalities), batch.target.device)
            labels = {kind: getattr(batch.meta, kind) for kind in ("subject", "action", "environment")}
            names, membership = groups.membership(labels)
            sums = coalition_statistics(
                model, model.encode(batch), batch, coalitions, reference.detach(), baseline, membership
            )
            groups.add(names, sums.map(lambda tensor: tensor.cpu()))
            samples += len(batch)
    if samples == 0:
        raise UsageError("found no sample to measure contributions on: the list of batches is empty")
    return groups, samples


def _per_group(sums: Statistics, profit: Profit) -> Float[ndarray, "modality group"]:
    """Shapley values within every group on its own."""
    return shapley_values(profit.value(sums).T).numpy()


def _resampled(
    sums: Statistics, profit: Profit, resamples: int, generator: np.random.Generator | None
) -> Float[ndarray, "resample modality"]:
    """Shapley values of resamples of the groups with replacement; none with fewer than two groups."""
    num_groups, num_coalitions = sums.error.shape[:2]
    num_modalities = num_coalitions.bit_length() - 1
    if num_groups < 2 or resamples == 0:
        return np.empty((0, num_modalities))
    generator = np.random.default_rng(0) if generator is None else generator
    weights = torch.from_numpy(resample_weights(num_groups, resamples, generator))
    at_once = max(1, _NUMBERS_AT_ONCE // sums.predicted[0].numel())
    return np.concatenate(
        [shapley_values(profit.value(sums.combine(part)).T).T.numpy() for part in torch.split(weights, at_once)]
    )


def _interval(draws: Float[ndarray, "resample modality"], num_modalities: int) -> Float[ndarray, "modality 2"]:
    """Central 95 % of the draws; NaN without draws."""
    if len(draws) == 0:
        return np.full((num_modalities, 2), np.nan)
    return percentile_interval(draws).T
