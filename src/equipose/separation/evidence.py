"""Evidence about every sensor cell and label: p-values, with the consensus computed again without what is flagged."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from equipose.separation.distances import consensus, label_distance, own_error, peer_distance
from equipose.separation.readings import Readings
from equipose.separation.rulers import Ruler, combine


@dataclass(frozen=True)
class Evidence:
    """What the decision table is given.

    Attributes:
        alive: cells that can be judged.
        p_error: of the distance to the label; 1 where it cannot be said.
        p_peers: of the distance to the other sensors.
        p_odd: of the feature distance.
        p: all of a cell's p-values in one (``rulers.combine``), ranked again among the trusted samples by
            ``conformal``, so that of clean cells a share alpha is below alpha; NaN where a cell is not judged.
        by_feature: whether p is that of the feature.
        by_contribution: whether p is not, and smaller for the contribution.
        clean: probability that each cell is clean; NaN where it is not judged.
        p_label: of the label's distance to what the cells that are not flagged say together.
        label_clean: probability that each label is clean.
        alpha: per sensor, below which p is bad.
        label_alpha: the same for labels.
        together: whether the flagged cells of a sample, of which there are two or more, agree with each other.
        distance: min(own error, distance to the others), metres; what logs show.
        label_distance: of the label to what the cells that are not flagged say together, metres.
    """

    alive: Bool[Tensor, "sample modality"]
    p_error: Float[Tensor, "sample modality"]
    p_peers: Float[Tensor, "sample modality"]
    p_odd: Float[Tensor, "sample modality"]
    p: Float[Tensor, "sample modality"]
    by_feature: Bool[Tensor, "sample modality"]
    by_contribution: Bool[Tensor, "sample modality"]
    clean: Float[Tensor, "sample modality"]
    p_label: Float[Tensor, " sample"]
    label_clean: Float[Tensor, " sample"]
    alpha: Float[Tensor, " modality"]
    label_alpha: float
    together: Bool[Tensor, " sample"]
    distance: Float[Tensor, "sample modality"]
    label_distance: Float[Tensor, " sample"]

    @property
    def flagged(self) -> Bool[Tensor, "sample modality"]:
        """Cells whose p-value is below the threshold."""
        return self.alive & (self.p < self.alpha)


def weigh(measure: Ruler, aside: Bool[Tensor, " modality"] | None = None) -> Evidence:
    """Evidence about every cell and label; the consensus is computed again without the flagged cells, in rounds.

    Args:
        measure: of the readings.
        aside: sensors that are left out of every consensus and never flagged.
    """
    readings, settings = measure.readings, measure.settings
    judged = readings.alive if aside is None else readings.alive & ~aside
    p_error, p_odd = measure.error().nan_to_num(1.0), measure.odd().nan_to_num(1.0)
    flagged = torch.zeros_like(judged)
    for _ in range(settings.rounds):
        trust = _or_all(judged & ~flagged, judged)
        p_peers = _fallback(measure.peers(trust), measure, judged).nan_to_num(1.0)
        either, by_feature, by_contribution = combine(p_error, p_peers, p_odd, measure.contribution(trust), settings)
        combined = torch.where(judged, either, torch.nan)
        p = measure.combined(judged, combined)
        alpha = measure.alpha(p, settings.alpha)
        flagged = judged & (p < alpha)
    trust = _or_all(judged & ~flagged, judged)
    p_label = measure.label(trust).nan_to_num(1.0)
    among = measure.peers(flagged).nan_to_num(1.0)
    apart = flagged & (among < alpha)
    distance = torch.fmin(own_error(readings).double(), peer_distance(readings.poses, trust, measure.typical))
    return Evidence(
        alive=judged,
        p_error=p_error,
        p_peers=p_peers,
        p_odd=p_odd,
        p=p,
        by_feature=by_feature,
        by_contribution=by_contribution,
        clean=measure.clean(p),
        p_label=p_label,
        label_clean=measure.clean(p_label[:, None])[:, 0],
        alpha=alpha,
        label_alpha=float(measure.alpha(p_label[:, None], settings.label_alpha)[0]),
        together=(flagged.sum(1) >= 2) & ~apart.any(1),
        distance=torch.where(readings.alive, distance, torch.nan),
        label_distance=label_distance(readings, trust),
    )


def pooled(
    readings: Readings,
    trust: Bool[Tensor, "sample modality"],
    judged: Bool[Tensor, "sample modality"],
    typical: Float[Tensor, " modality"],
) -> Float[Tensor, "sample joint 3"]:
    """What the trusted cells say, or all judged ones where none is trusted; the label where no sensor is left.

    The fused pose where every living cell is trusted, else the consensus of what the trusted ones say alone.
    """
    used = _or_all(trust, judged)
    pose = consensus(readings.poses, used, typical)
    everyone = (used == readings.alive).all(1)[:, None, None]
    pose = torch.where(everyone, readings.fused.double(), pose)
    nobody = ~used.any(1)[:, None, None]
    return torch.where(nobody, readings.target.double(), pose).float()


def _or_all(trust: Tensor, judged: Tensor) -> Tensor:
    """``trust``, but all judged cells of a sample that would have none."""
    return torch.where(trust.any(1, keepdim=True), trust, judged)


def _fallback(p: Tensor, measure: Ruler, judged: Tensor) -> Tensor:
    """Cells that are the only trusted one of their sample are compared with all others."""
    return torch.where(p.isnan(), measure.peers(judged), p) if bool(p.isnan().any()) else p
