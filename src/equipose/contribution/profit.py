"""What a coalition of sensors is worth for a regression: one number from pooled statistics.

``Pearson`` is the paper's profit (arXiv 2501.05264, version B):

    v(S) = sum over the 3J coordinates of rho(y_i, yhat_i(S)),   rho = cov / (sigma_y sigma_yhat),   0 where a
    sigma is 0

A collapsed sensor, whose prediction is constant, supplies the mean pose and so lowers every error; an
error-based profit ranks it high, correlation gives it 0. The others answer what Pearson does not see: it
ignores scale and offset (``Concordance`` does not) and weighs a still hip like a waving wrist
(``WeightedPearson`` does not).

A profit is a pure function of ``Statistics``: leading axes of its result are those of the statistics.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from equipose.contribution.statistics import Statistics
from equipose.errors import UsageError
from equipose.registry import PROFITS

RELATIVE_ZERO = 1e-5
"""A prediction whose standard deviation is below this fraction of the truth's counts as constant: float32
arithmetic alone makes a constant prediction waver by about 1e-6 of it."""


class Profit:
    """Base of the profits.

    Attributes:
        name: its name in results and in ``PROFITS``.
        unit: unit of the values.
    """

    name: ClassVar[str]
    unit: ClassVar[str]

    def value(self, sums: Statistics) -> Float[Tensor, "group coalition"]:
        """Worth of every coalition in every group; float64."""
        raise NotImplementedError

    def per_joint(self, sums: Statistics) -> Float[Tensor, "group coalition joint"]:
        """Worth of every coalition for every joint alone; float64."""
        raise NotImplementedError


class Pearson(Profit):
    """Sum over all coordinates of Pearson's correlation, -3J to 3J; the joints add up to the total."""

    name = "pearson"
    unit = "sum of correlations"

    def value(self, sums: Statistics) -> Float[Tensor, "group coalition"]:
        """See ``Profit``."""
        return correlation(sums).sum((-1, -2))

    def per_joint(self, sums: Statistics) -> Float[Tensor, "group coalition joint"]:
        """See ``Profit``."""
        return correlation(sums).sum(-1)


class WeightedPearson(Profit):
    """Pearson with every coordinate weighted by the variance of its truth (weights add up to 3J)."""

    name = "weighted_pearson"
    unit = "sum of correlations"

    def value(self, sums: Statistics) -> Float[Tensor, "group coalition"]:
        """See ``Profit``."""
        return self.per_joint(sums).sum(-1)

    def per_joint(self, sums: Statistics) -> Float[Tensor, "group coalition joint"]:
        """See ``Profit``."""
        variance = _truth_variance(sums)
        total = variance.sum((-1, -2), keepdim=True)
        weight = variance * variance[0].numel() / total.clamp_min(torch.finfo(variance.dtype).tiny)
        return (correlation(sums) * weight[:, None]).sum(-1)


class Concordance(Profit):
    """Sum over all coordinates of Lin's concordance correlation (1989), which scale and offset errors lower.

    2 cov / (var_y + var_yhat + (mean_y - mean_yhat)^2); 0 where the prediction is constant.
    """

    name = "concordance"
    unit = "sum of concordance correlations"

    def value(self, sums: Statistics) -> Float[Tensor, "group coalition"]:
        """See ``Profit``."""
        return self.per_joint(sums).sum(-1)

    def per_joint(self, sums: Statistics) -> Float[Tensor, "group coalition joint"]:
        """See ``Profit``."""
        covariance, predicted, truth, alive = _moments(sums)
        n = _per_sample(sums.count)
        offset = sums.predicted / n[:, None] - (sums.truth / n)[:, None]
        below = torch.where(alive, predicted + truth + offset * offset, 1.0)
        return torch.where(alive, 2.0 * covariance / below, _dead(sums)).sum(-1)


class NegativeMpjpe(Profit):
    """Minus the mean joint position error in millimetres; the joints' values average to the total."""

    name = "mpjpe"
    unit = "mm"

    def value(self, sums: Statistics) -> Float[Tensor, "group coalition"]:
        """See ``Profit``."""
        return self.per_joint(sums).mean(-1)

    def per_joint(self, sums: Statistics) -> Float[Tensor, "group coalition joint"]:
        """See ``Profit``."""
        return -1000.0 * sums.error / _per_sample(sums.count)


class Skill(Profit):
    """1 - error / error of a constant: 0 is no better than it, 1 is perfect; no unit.

    Args:
        against: ``mean_pose``: the reference pose of the statistics, in this program the mean training pose.
            ``empty``: the model's own prediction without any sensor.
    """

    name = "skill"
    unit = "1"

    def __init__(self, against: Literal["mean_pose", "empty"] = "mean_pose") -> None:
        self.against = against

    def value(self, sums: Statistics) -> Float[Tensor, "group coalition"]:
        """See ``Profit``."""
        return self._skill(sums.error.sum(-1), self._constant(sums).sum(-1))

    def per_joint(self, sums: Statistics) -> Float[Tensor, "group coalition joint"]:
        """See ``Profit``."""
        return self._skill(sums.error, self._constant(sums))

    def _constant(self, sums: Statistics) -> Tensor:
        return sums.error[:, 0] if self.against == "empty" else sums.reference_error

    @staticmethod
    def _skill(error: Tensor, constant: Tensor) -> Tensor:
        constant = constant[:, None]
        ratio = error / torch.where(constant > 0, constant, 1.0)
        return torch.where(constant > 0, 1.0 - ratio, 0.0)


def correlation(sums: Statistics) -> Float[Tensor, "group coalition joint 3"]:
    """Pearson's correlation of every coordinate; exactly 0 where the prediction or the truth is constant."""
    covariance, predicted, truth, alive = _moments(sums)
    spread = torch.where(alive, predicted * truth, 1.0).sqrt()
    return torch.where(alive, covariance / spread, _dead(sums)).clamp(-1.0, 1.0)


def deviation_ratio(sums: Statistics) -> Float[Tensor, "group coalition joint 3"]:
    """Standard deviation of the prediction over that of the truth; NaN where the truth is constant."""
    _, predicted, truth, _ = _moments(sums)
    return torch.where(truth > 0, (predicted / torch.where(truth > 0, truth, 1.0)).sqrt(), torch.nan)


def profit_named(profit: str | Profit) -> Profit:
    """The profit registered under a name; a ``Profit`` is returned as it is.

    Raises:
        UsageError: for an unknown name.
    """
    if isinstance(profit, Profit):
        return profit
    found = PROFITS[profit]()
    if not isinstance(found, Profit):
        raise UsageError(f"profit {profit!r} is registered as {type(found).__name__}, expected a subclass of Profit")
    return found


def _per_sample(count: Tensor) -> Tensor:
    """(group,) counts as divisors of (group, ., .); a group without samples gives NaN."""
    return torch.where(count > 0, count, torch.nan)[:, None, None]


def _dead(sums: Statistics) -> Tensor:
    """What a constant is worth: 0; NaN in a group without samples."""
    return torch.where(sums.count > 0, 0.0, torch.nan).double()[:, None, None, None]


def _truth_variance(sums: Statistics) -> Tensor:
    """(group, joint, 3); 0 where only rounding makes it differ from 0."""
    n = _per_sample(sums.count)
    variance = (sums.truth_square / n - (sums.truth / n) ** 2).clamp_min(0.0)
    return torch.where(variance > 1e-12 * sums.truth_square / n, variance, torch.zeros_like(variance))


def _moments(sums: Statistics) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Covariance, variance of the prediction, variance of the truth, and where both are alive."""
    n = _per_sample(sums.count)
    truth = _truth_variance(sums)[:, None]
    mean = sums.predicted / n[:, None]
    predicted = (sums.predicted_square / n[:, None] - mean**2).clamp_min(0.0)
    covariance = sums.product / n[:, None] - mean * (sums.truth / n)[:, None]
    floor = torch.maximum(RELATIVE_ZERO**2 * truth, 1e-12 * sums.predicted_square / n[:, None])
    return covariance, predicted, truth, (truth > 0) & ~(predicted <= floor)
