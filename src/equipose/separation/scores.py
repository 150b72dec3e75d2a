"""Scores of sensor cells and labels, by name, so that a benchmark can compare them all.

A higher score means more suspicious. Scores are comparable within a sensor: distances as logarithms, all less their
median over median absolute deviation (``robust_z``). NaN where a cell is not alive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from equipose.contribution.shapley import shapley_values
from equipose.errors import unknown_name
from equipose.separation.distances import (
    consensus,
    feature_distance,
    own_error,
    peer_distance,
    reliability,
)
from equipose.separation.readings import Readings

_SMALLEST = 1e-9


@dataclass(frozen=True)
class Reference:
    """What samples are compared with.

    Attributes:
        typical: median own error of each sensor, metres.
        bank: trusted samples, or None where there are none.
        neighbours: k of the feature distance.
    """

    typical: Float[Tensor, " modality"]
    bank: Readings | None = None
    neighbours: int = 10


def reference_of(readings: Readings, trusted: Readings | None = None, neighbours: int = 10) -> Reference:
    """Typical errors of the trusted samples where there are some, else of the samples themselves."""
    return Reference(reliability(readings if trusted is None else trusted), trusted, neighbours)


@dataclass(frozen=True)
class Score:
    """One way to suspect.

    Attributes:
        about: one line.
        uses_label: whether a wrong label alone can raise it.
        of: the function; higher is more suspicious.
    """

    about: str
    uses_label: bool
    of: Callable[[Readings, Reference], Tensor]


def robust_z(values: Float[Tensor, " sample *rest"]) -> Float[Tensor, " sample *rest"]:
    """(x - median) / (1.4826 median|x - median|) over samples, NaN left out; float64."""
    values = values.double()
    centred = values - values.nanmedian(0).values
    spread = 1.4826 * centred.abs().nanmedian(0).values
    return centred / spread.clamp(min=_SMALLEST)


def log_z(distances: Float[Tensor, " sample *rest"]) -> Float[Tensor, " sample *rest"]:
    """``robust_z`` of the logarithm."""
    return robust_z(distances.double().clamp(min=_SMALLEST).log())


def harm(readings: Readings) -> Float[Tensor, "sample modality"]:
    """Minus each cell's exact Shapley value of the sample's negative error, metres; NaN where a cell is not alive."""
    contribution = shapley_values(-readings.coalition_errors.double().T).T
    return torch.where(readings.alive, -contribution, torch.nan)


def error(readings: Readings, reference: Reference) -> Float[Tensor, "sample modality"]:
    """r_m: distance of the sensor's own pose to the label."""
    return log_z(own_error(readings))


def disagreement(readings: Readings, reference: Reference) -> Float[Tensor, "sample modality"]:
    """d_m: distance of the sensor's own pose to the consensus of the others; needs no label."""
    distance = peer_distance(readings.poses, readings.alive, reference.typical)
    return log_z(torch.where(readings.alive, distance, torch.nan))


def both(readings: Readings, reference: Reference) -> Float[Tensor, "sample modality"]:
    """min(r_m, d_m): far from the label and from the other sensors; r_m where there is no other."""
    near, peers = error(readings, reference), disagreement(readings, reference)
    return torch.where(peers.isnan(), near, torch.minimum(near, peers))


def odd(readings: Readings, reference: Reference) -> Float[Tensor, "sample modality"]:
    """Two-sided k-nearest-neighbour distance of the feature to trusted ones: too far or too near."""
    return _against_bank(readings, reference).abs()


def far(readings: Readings, reference: Reference) -> Float[Tensor, "sample modality"]:
    """One-sided k-nearest-neighbour distance: too far. Blind to dead sensors."""
    return _against_bank(readings, reference)


def masking(readings: Readings, reference: Reference) -> Float[Tensor, "sample modality"]:
    """How much smaller the fused error is without the sensor: minus its leave-one-out contribution."""
    errors = readings.coalition_errors.double()
    count = len(readings.modalities)
    full = 2**count - 1
    gain = torch.stack([errors[:, full] - errors[:, full - 2**m] for m in range(count)], 1)
    return robust_z(torch.where(readings.alive, gain, torch.nan))


def shapley(readings: Readings, reference: Reference) -> Float[Tensor, "sample modality"]:
    """Minus the sensor's Shapley value of the sample's negative error over all 2^M coalitions."""
    return robust_z(harm(readings))


def both_and_shapley(readings: Readings, reference: Reference) -> Float[Tensor, "sample modality"]:
    """The sum of both: what a sensor says alone, and what it does to the others."""
    return both(readings, reference) + shapley(readings, reference)


def fused(readings: Readings, reference: Reference) -> Float[Tensor, "sample modality"]:
    """Error of the fused pose, the same for every sensor of a sample."""
    z = log_z(readings.coalition_errors[:, -1])
    return torch.where(readings.alive, z[:, None], torch.nan)


def label_fused(readings: Readings, reference: Reference) -> Float[Tensor, " sample"]:
    """Distance of the label to the fused pose (small-loss)."""
    return log_z(readings.coalition_errors[:, -1])


def label_nearest(readings: Readings, reference: Reference) -> Float[Tensor, " sample"]:
    """min_m r_m: distance of the label to the nearest sensor, each in its own units."""
    z = error(readings, reference)
    return torch.where(z.isnan(), torch.inf, z).amin(1).masked_fill(z.isnan().all(1), torch.nan)


def label_median(readings: Readings, reference: Reference) -> Float[Tensor, " sample"]:
    """Distance of the label to the median of the sensors' poses, coordinate by coordinate."""
    poses = torch.where(readings.alive[..., None, None], readings.poses.double(), torch.nan)
    return log_z(torch.linalg.vector_norm(poses.nanmedian(1).values - readings.target, dim=-1).mean(-1))


def label_consensus(readings: Readings, reference: Reference) -> Float[Tensor, " sample"]:
    """Distance of the label to the precision-weighted mean of what all sensors say alone."""
    pose = consensus(readings.poses, readings.alive, reference.typical)
    return log_z(torch.linalg.vector_norm(pose - readings.target, dim=-1).mean(-1))


SCORES: Mapping[str, Score] = {
    "both": Score("min(own error, disagreement)", True, both),
    "both_and_shapley": Score("min(own error, disagreement) minus Shapley contribution", True, both_and_shapley),
    "error": Score("own error r", True, error),
    "disagreement": Score("distance to the other sensors d", False, disagreement),
    "odd": Score("feature distance to trusted samples, both ends", False, odd),
    "far": Score("feature distance to trusted samples, upper end", False, far),
    "masking": Score("minus leave-one-out contribution", True, masking),
    "shapley": Score("minus Shapley contribution of the sample", True, shapley),
    "fused": Score("error of the fused pose", True, fused),
}
"""Name -> score of sensor cells, (sample, modality)."""

LABEL_SCORES: Mapping[str, Score] = {
    "fused": Score("distance of the label to the fused pose", True, label_fused),
    "nearest": Score("distance of the label to the nearest sensor", True, label_nearest),
    "median": Score("distance of the label to the sensors' median", True, label_median),
    "consensus": Score("distance of the label to the sensors' consensus", True, label_consensus),
}
"""Name -> score of labels, (sample,)."""


def score(name: str, readings: Readings, reference: Reference) -> Float[Tensor, "sample modality"]:
    """One of ``SCORES`` by name.

    Raises:
        UsageError: if there is none of that name.
    """
    if name not in SCORES:
        raise unknown_name("score", name, SCORES)
    return SCORES[name].of(readings, reference)


def _against_bank(readings: Readings, reference: Reference) -> Tensor:
    """Logarithm of the feature distance, less the bank's median over its median absolute deviation."""
    if reference.bank is None:
        return torch.full(readings.present.shape, torch.nan, dtype=torch.float64)
    k = reference.neighbours
    theirs = feature_distance(reference.bank, reference.bank, k).clamp(min=_SMALLEST).log()
    ours = feature_distance(readings, reference.bank, k).clamp(min=_SMALLEST).log()
    centre = theirs.nanmedian(0).values
    spread = 1.4826 * (theirs - centre).abs().nanmedian(0).values
    return (ours - centre) / spread.clamp(min=_SMALLEST)
