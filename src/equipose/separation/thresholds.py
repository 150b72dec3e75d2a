"""From scores to decisions: conformal p-values, and a two-component mixture with a gate.

A plain two-component mixture always splits, also where nothing is wrong: with clean data it sets a third to a half of
the cells aside. The gate asks whether there are two components at all. Conformal p-values need trusted samples and have
a known rate of false alarms.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.isotonic import IsotonicRegression
from sklearn.mixture import GaussianMixture
from torch import Tensor

_ENOUGH = 20  # distances of a person among which one is judged
_MANY = 20_000  # samples on which a mixture is fitted


def conformal_p(
    calibration: Float[Tensor, " trusted"], scores: Float[Tensor, " sample"], upper: bool = True, own: bool = False
) -> Float[Tensor, " sample"]:
    """Share of trusted clean samples that look at least as bad.

    ::

        p = (1 + #{calibration >= score}) / (n + 1)

    For a clean sample exchangeable with the trusted ones P(p <= a) <= a, whatever the distribution: Vovk, Gammerman,
    Shafer, *Algorithmic learning in a random world*, 2005; for outliers Bates et al., Annals of Statistics 2023.

    Args:
        calibration: scores of trusted samples; NaN are left out.
        scores: higher is worse, or lower where not ``upper``.
        upper: which end is bad.
        own: the scores are the calibration's own; each is left out of its own rank.

    Returns:
        float64; NaN where the score is NaN, 1 where there is no calibration.
    """
    sign = 1.0 if upper else -1.0
    ordered = (sign * calibration[~calibration.isnan()].double()).sort().values
    values = (sign * scores.double()).contiguous()
    below = torch.searchsorted(ordered, values.nan_to_num(torch.inf))
    p = (1.0 - own + len(ordered) - below.double()) / max(1.0 - own + len(ordered), 1.0)
    return torch.where(values.isnan(), torch.nan, p)


def two_sided(upper: Float[Tensor, "*shape"], lower: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Twice the smaller of two p-values, at most 1."""
    return (2 * torch.minimum(upper, lower)).clamp(max=1.0)


def own_tail(values: Float[Tensor, " sample"], both_ends: bool = True) -> Float[Tensor, " sample"]:
    """Gaussian tail about the shortest half of the values themselves; NaN stays NaN.

    The shortest interval that holds half of the values (the shorth) gives centre and scale (half its width over
    0.6745); up to half of the values may be outliers at either end.

    Args:
        values: of which each is judged by all.
        both_ends: are bad; else the upper one is.
    """
    ordered = values[~values.isnan()].double().sort().values
    half = len(ordered) // 2 + 1
    if len(ordered) < 3:
        return torch.where(values.isnan(), torch.nan, 1.0).double()
    widths = ordered[half - 1 :] - ordered[: len(ordered) - half + 1]
    start = int(widths.argmin())
    centre = (ordered[start] + ordered[start + half - 1]) / 2
    scale = (widths[start] / 2 / 0.6745).clamp(min=1e-12)
    z = (values.double() - centre) / scale
    return 2 * torch.special.ndtr(-z.abs()) if both_ends else torch.special.ndtr(-z)


def among_own(
    distance: Float[Tensor, "sample column"], person: Int[Tensor, " sample"]
) -> Float[Tensor, "sample column"]:
    """Upper tail of each log distance among those of the same person in its column; NaN where they are few."""
    logs = distance.clamp(min=1e-12).log().double()
    out = torch.full_like(logs, torch.nan)
    for one in sorted(set(person.tolist())):
        mine = person == one
        for column in range(distance.shape[1]):
            if int((~logs[mine, column].isnan()).sum()) >= _ENOUGH:
                out[mine, column] = own_tail(logs[mine, column], both_ends=False)
    return out


@dataclass(frozen=True)
class Mixture:
    """Two Gaussian components of a score, and whether they are two.

    Attributes:
        means: of the lower and the upper component.
        deviations: of both.
        shares: of both; they sum to 1.
        gain: BIC with one component less BIC with two.
        gate: gain > 10 ln n and separation > 2.
    """

    means: tuple[float, float]
    deviations: tuple[float, float]
    shares: tuple[float, float]
    gain: float
    gate: bool

    @property
    def separation(self) -> float:
        """Distance of the means over sqrt((s_1^2 + s_2^2) / 2)."""
        (a, b), (s, t) = self.means, self.deviations
        return (b - a) / float(np.sqrt((s**2 + t**2) / 2))

    def clean(self, scores: Float[Tensor, " sample"]) -> Float[Tensor, " sample"]:
        """Probability of the lower component; 1 below its mean, where a wide upper one would claim the tail."""
        logs = [
            np.log(share) - np.log(deviation) - (scores.double() - mean) ** 2 / (2 * deviation**2)
            for mean, deviation, share in zip(self.means, self.deviations, self.shares, strict=True)
        ]
        lower = torch.sigmoid(logs[0] - logs[1])
        return torch.where(scores <= self.means[0], 1.0, lower)


def fit_mixture(scores: Float[Tensor, " sample"]) -> Mixture:
    """Fit one and two components; deterministic, and the global random state is not used.

    Args:
        scores: higher is worse; not finite ones are left out, evenly spaced quantiles stand for very many.
    """
    values = np.sort(scores[scores.isfinite()].double().numpy())
    if len(values) > _MANY:
        values = np.quantile(values, (np.arange(_MANY) + 0.5) / _MANY)
    if len(values) < 10 or values[-1] - values[0] < 1e-12:
        return Mixture((0.0, float("inf")), (1.0, 1.0), (0.5, 0.5), 0.0, False)
    column = values[:, None]
    one = GaussianMixture(1, reg_covar=5e-4, random_state=0).fit(column)
    # The components start from the two ends: no draw, and no local optimum from an unlucky one.
    ends = np.quantile(values, [0.25, 0.98])[:, None]
    two = GaussianMixture(2, tol=1e-4, reg_covar=5e-4, max_iter=200, means_init=ends, random_state=0).fit(column)
    low, high = np.argsort(two.means_[:, 0])
    deviation = np.sqrt(two.covariances_[:, 0, 0])
    gain = float(one.bic(column) - two.bic(column))
    mixture = Mixture(
        means=(float(two.means_[low, 0]), float(two.means_[high, 0])),
        deviations=(float(deviation[low]), float(deviation[high])),
        shares=(float(two.weights_[low]), float(two.weights_[high])),
        gain=gain,
        gate=False,
    )
    return replace(mixture, gate=bool(gain > 10 * np.log(len(values)) and mixture.separation > 2))


def clean_posterior(p: Float[Tensor, " sample"]) -> Float[Tensor, " sample"]:
    """Probability that each sample is clean, from p-values alone: the local false discovery rate.

    ::

        q(p) = min(1, c / f(p)),     c = min(1, 2 #{p > 1/2} / n)

    with f the decreasing density of the p-values that fits best (Grenander's estimator, the slope of the least concave
    majorant of their distribution; as Strimmer, BMC Bioinformatics 2008) and c the share of clean samples (Storey,
    JRSS B 2002), whose p-values are uniform. With nothing wrong q is near 1 even for a small p-value.

    Args:
        p: NaN stays NaN.
    """
    known = ~p.isnan()
    if int(known.sum()) < 10:
        return torch.where(known, 1.0, torch.nan).double()
    values = p[known].double().numpy()
    ends, counts = np.unique(values, return_counts=True)
    widths = np.diff(ends, prepend=0.0).clip(1e-12)
    fit = IsotonicRegression(increasing=False).fit(ends, counts / widths / len(values), sample_weight=widths)
    density = fit.predict(ends)
    share = min(1.0, 2 * float((values > 0.5).mean()))
    q = np.interp(p.double().nan_to_num(1.0).numpy(), ends, np.clip(share / density, 0.0, 1.0))
    return torch.where(known, torch.from_numpy(q), torch.nan)
