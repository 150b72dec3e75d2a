"""Rulers: distances of sensor cells and labels in p-values.

Three methods, one form: the decision table sees p-values and thresholds only. Conformal p-values are ranks among
trusted samples; without those, a p-value is the Gaussian tail of the robust z of a log distance, and the threshold
comes from a mixture (``gmm``, ``gmm_gate``) or is three standard deviations (``z3``).
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from equipose.separation.distances import (
    distance_to_others,
    label_distance,
    measured,
    own_error,
    peer_distance,
    reliability,
)
from equipose.separation.readings import Readings
from equipose.separation.scores import harm, log_z
from equipose.separation.settings import SeparationSettings
from equipose.separation.thresholds import clean_posterior, conformal_p, fit_mixture, own_tail, two_sided

_ENOUGH = 20  # trusted samples with the same sensors; all of them are used where there are fewer
_LARGEST_Z = 12.0


class Ruler:
    """Measures distances of readings in p-values. This one: the Gaussian tail of the robust z of the log distance."""

    def __init__(self, readings: Readings, settings: SeparationSettings, typical: Float[Tensor, " modality"]) -> None:
        self.readings, self.settings, self.typical = readings, settings, typical

    def error(self) -> Float[Tensor, "sample modality"]:
        """P-value of every cell's distance to the label."""
        return _tail(log_z(own_error(self.readings)))

    def odd(self) -> Float[Tensor, "sample modality"]:
        """P-value of every feature's distance to trusted ones."""
        return torch.ones(self.readings.present.shape, dtype=torch.float64)

    def contribution(self, trust: Bool[Tensor, "sample modality"]) -> Float[Tensor, "sample modality"]:
        """P-value of every cell's Shapley contribution to its sample; NaN: a mixture of it has no two components."""
        return torch.full(self.readings.present.shape, torch.nan, dtype=torch.float64)

    def peers(self, trust: Bool[Tensor, "sample modality"]) -> Float[Tensor, "sample modality"]:
        """P-value of every cell's distance to the consensus of the others in ``trust``; NaN without others."""
        return _tail(log_z(peer_distance(self.readings.poses, trust, self.typical)))

    def label(self, trust: Bool[Tensor, "sample modality"]) -> Float[Tensor, " sample"]:
        """P-value of the label's distance to what ``trust`` says; NaN without any."""
        return _tail(log_z(label_distance(self.readings, trust)))

    def combined(self, judged: Bool[Tensor, "sample modality"], p: Float[Tensor, "sample modality"]) -> Tensor:
        """Combined p-values on a scale of their own; here as they are."""
        return p

    def alpha(self, p: Float[Tensor, "sample modality"], default: float) -> Float[Tensor, " modality"]:
        """Threshold of each column of p-values."""
        return torch.stack([_mixture_decision(column, self.settings.method)[0] for column in p.T])

    def clean(self, p: Float[Tensor, "sample modality"]) -> Float[Tensor, "sample modality"]:
        """Probability that each is clean; NaN where p is."""
        return torch.stack([_mixture_decision(column, self.settings.method)[1] for column in p.T], 1)


class ConformalRuler(Ruler):
    """Ranks among trusted samples that have the same sensors: a consensus of two sensors is worse than one of four."""

    def __init__(
        self,
        readings: Readings,
        settings: SeparationSettings,
        typical: Float[Tensor, " modality"],
        trusted: Readings,
        own: bool = False,
    ) -> None:
        super().__init__(readings, settings, typical)
        self.trusted, self._own = trusted, own

    def error(self) -> Float[Tensor, "sample modality"]:
        """Rank of the distance to the label."""
        return _columns(own_error(self.trusted), own_error(self.readings), own=self._own)

    def odd(self) -> Float[Tensor, "sample modality"]:
        """Two-sided rank of the feature distance, and its tail among the samples' own; the larger p-value.

        The trusted part has few people, and features differ between people and rooms: by ranks alone all of a new
        person may be odd. So a feature must also stand out among those it came with.
        """
        theirs, ours = _nearest(self.trusted), _nearest(self.readings)
        ranks = two_sided(_columns(theirs, ours, own=self._own), _columns(theirs, ours, upper=False, own=self._own))
        own = torch.stack([own_tail(column) for column in ours.clamp(min=1e-12).log().T], 1)
        return torch.maximum(ranks, own)

    def contribution(self, trust: Bool[Tensor, "sample modality"]) -> Float[Tensor, "sample modality"]:
        """Rank of the Shapley contribution; NaN where the label is doubted: to it every contribution is wrong."""
        ranks = _columns(harm(self.trusted), harm(self.readings), own=self._own)
        doubted = self.label(trust).nan_to_num(1.0) < self.settings.label_alpha
        return torch.where(doubted[:, None], torch.nan, ranks)

    def peers(self, trust: Bool[Tensor, "sample modality"]) -> Float[Tensor, "sample modality"]:
        """Rank of the distance to the others, among distances to the same others."""
        ours = peer_distance(self.readings.poses, trust, self.typical)
        p = torch.full_like(ours, torch.nan)
        for m in range(ours.shape[1]):
            others = trust.clone()
            others[:, m] = False
            for rows, subset in _by_subset(others):
                wanted = subset.clone()
                wanted[m] = True
                theirs = self._same_sensors(wanted)
                theirs_distance = distance_to_others(theirs.poses, m, theirs.alive & subset, self.typical)
                p[rows, m] = conformal_p(theirs_distance, ours[rows, m], own=self._own)
        return p

    def label(self, trust: Bool[Tensor, "sample modality"]) -> Float[Tensor, " sample"]:
        """Rank of the label's distance to what the sensors say, among trusted samples with the same sensors."""
        ours = label_distance(self.readings, trust)
        p = torch.full_like(ours, torch.nan)
        for rows, subset in _by_subset(trust):
            theirs = self._same_sensors(subset)
            p[rows] = conformal_p(label_distance(theirs, theirs.alive & subset), ours[rows])
        return p

    def combined(self, judged: Bool[Tensor, "sample modality"], p: Float[Tensor, "sample modality"]) -> Tensor:
        """Rank of the combined p-value among those of the trusted samples, each ranked among the others."""
        theirs = ConformalRuler(self.trusted, self.settings, self.typical, self.trusted, own=True)
        sensors = judged.any(0)
        alive = self.trusted.alive & sensors
        combined, *_ = combine(
            theirs.error(), theirs.peers(alive), theirs.odd(), theirs.contribution(alive), self.settings
        )
        return _columns(torch.where(alive, combined, torch.nan), p, upper=False)

    def alpha(self, p: Float[Tensor, "sample modality"], default: float) -> Float[Tensor, " modality"]:
        """The rate of false alarms asked for."""
        return torch.full((p.shape[1],), default, dtype=torch.float64)

    def clean(self, p: Float[Tensor, "sample modality"]) -> Float[Tensor, "sample modality"]:
        """Posterior of the p-values of each column."""
        return torch.stack([clean_posterior(column) for column in p.T], 1)

    def _same_sensors(self, wanted: Bool[Tensor, " modality"]) -> Readings:
        having = (self.trusted.alive | ~wanted).all(1)
        return self.trusted.select(having) if int(having.sum()) >= _ENOUGH else self.trusted


def ruler(readings: Readings, trusted: Readings | None, settings: SeparationSettings) -> Ruler:
    """The ruler of the method; ``gmm_gate`` where conformal has too few trusted samples to reach its thresholds."""
    if settings.method == "conformal":
        if trusted is not None and enough(trusted, settings):
            k = settings.neighbours
            ours = readings if readings.nearest is not None else measured(readings, trusted, k)
            theirs = trusted if trusted.nearest is not None else measured(trusted, trusted, k)
            return ConformalRuler(ours, settings, reliability(trusted), theirs)
        settings = settings.model_copy(update={"method": "gmm_gate"})
    return Ruler(readings, settings, reliability(readings))


def enough(trusted: Readings, settings: SeparationSettings) -> bool:
    """Whether the smallest possible p-value, 1 / (n + 1), is below both thresholds."""
    return 1 / (len(trusted) + 1) < min(settings.alpha, settings.label_alpha)


def _columns(theirs: Tensor, ours: Tensor, upper: bool = True, own: bool = False) -> Tensor:
    return torch.stack([conformal_p(theirs[:, m], ours[:, m], upper, own) for m in range(ours.shape[1])], 1)


def combine(
    p_error: Tensor, p_peers: Tensor, p_odd: Tensor, p_contribution: Tensor, settings: SeparationSettings
) -> tuple[Tensor, Tensor, Tensor]:
    """min(fisher(max(p_error, p_peers), p_contribution), factor * p_odd), and what made it small.

    Fisher's combination of two p-values is q (1 - ln q) of their product q, uniform if they are independent; they are
    not, which ``ConformalRuler.combined`` sets right. Without p_contribution (NaN) the first stays as it is; other
    p-values that are not known are 1.

    Returns:
        the p-value, whether the feature made it what it is, and whether else the contribution made it smaller.
    """
    far = torch.maximum(p_error.nan_to_num(1.0), p_peers.nan_to_num(1.0))
    against = far
    if settings.contribution:
        q = (far * p_contribution).clamp(min=1e-300)
        against = torch.where(q.isnan(), far, q * (1 - q.log()))
    odd = settings.odd_factor * p_odd.nan_to_num(1.0)
    by_feature = odd < against
    return torch.minimum(against, odd).clamp(max=1.0), by_feature, ~by_feature & (against < far)


def _nearest(readings: Readings) -> Tensor:
    """Feature distances; NaN where they were not measured."""
    return torch.full(readings.present.shape, torch.nan) if readings.nearest is None else readings.nearest


def _by_subset(trust: Bool[Tensor, "sample modality"]) -> list[tuple[Tensor, Tensor]]:
    """The rows of each subset of sensors that occurs, but for the empty one."""
    subsets, which = torch.unique(trust, dim=0, return_inverse=True)
    return [((which == k).nonzero()[:, 0], subset) for k, subset in enumerate(subsets) if bool(subset.any())]


def _tail(z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Upper Gaussian tail; NaN stays."""
    return torch.special.ndtr(-z.clamp(max=_LARGEST_Z))


def _mixture_decision(p: Float[Tensor, " sample"], method: str) -> tuple[Tensor, Tensor]:
    """Threshold of p-values that are Gaussian tails, and the probability that each is clean; p = 1 says nothing."""
    known = ~p.isnan() & (p < 1)
    z = -torch.special.ndtri(p.clamp(1e-33, 1 - 1e-12).nan_to_num(0.5))
    if method == "z3":
        three = torch.special.ndtr(torch.tensor(-3.0, dtype=torch.float64))
        return three, torch.where(p.isnan(), torch.nan, (p >= three).double())
    mixture = fit_mixture(z[known])
    if method == "gmm_gate" and not mixture.gate:
        return torch.tensor(0.0, dtype=torch.float64), torch.where(p.isnan(), torch.nan, 1.0).double()
    clean = mixture.clean(z)
    bad = known & (clean < 0.5)
    # Between the largest bad p-value and the next: flagged means p < alpha.
    alpha = p[bad].max() * (1 + 1e-9) if bool(bad.any()) else torch.tensor(0.0, dtype=torch.float64)
    return alpha, torch.where(p.isnan(), torch.nan, torch.where(known, clean, 1.0))
