"""How much corruption costs, in one number: mean corruption error and resilience.

Errors are any that are lower for a better model, such as MPJPE in millimetres, one for each corruption and severity.
The corruption error is that of Hendrycks and Dietterich (ICLR 2019); resilience is the ratio that Robo3D (Kong et al.,
ICCV 2023) and MultiCorrupt take of scores, here of errors and so turned over.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from equipose.errors import UsageError


def corruption_error(
    error: Float[ndarray, "corruption severity"], baseline: Float[ndarray, "_ _"]
) -> Float[ndarray, " corruption"]:
    """``CE_c = sum_s E_cs / sum_s E_base,cs``: below 1 is better than the baseline model.

    Args:
        error: errors of the model.
        baseline: errors of the model it is compared with, in the same order and shape.

    Raises:
        UsageError: if the shapes differ or a value is not finite or not positive.
    """
    _check("error", error)
    _check("baseline", baseline)
    if error.shape != baseline.shape:
        raise UsageError(f"error has the shape {error.shape} and baseline {baseline.shape}; expected the same")
    return error.sum(axis=1, dtype=np.float64) / baseline.sum(axis=1, dtype=np.float64)


def mean_corruption_error(error: Float[ndarray, "corruption severity"], baseline: Float[ndarray, "_ _"]) -> float:
    """``mCE``, the mean of ``corruption_error`` over the corruptions."""
    return float(corruption_error(error, baseline).mean())


def relative_resilience(
    error: Float[ndarray, "corruption severity"], baseline: Float[ndarray, "_ _"]
) -> Float[ndarray, " corruption"]:
    """``RRA_c = 1 - CE_c``: above 0 is better than the baseline model."""
    return 1.0 - corruption_error(error, baseline)


def resilience(error: Float[ndarray, "corruption severity"], clean: float) -> Float[ndarray, " corruption"]:
    """``RR_c = mean_s E_clean / E_cs``: 1 is unharmed, 0 is lost. Says nothing about how good the clean model is.

    Args:
        error: errors of the model under corruption.
        clean: its error on clean data.

    Raises:
        UsageError: if a value is not finite or not positive.
    """
    _check("error", error)
    _check("clean", np.array([[clean]], np.float64))
    return (clean / error.astype(np.float64)).mean(axis=1)


def mean_resilience(error: Float[ndarray, "corruption severity"], clean: float) -> float:
    """``mRR``, the mean of ``resilience`` over the corruptions."""
    return float(resilience(error, clean).mean())


def _check(name: str, values: Float[ndarray, "corruption severity"]) -> None:
    if values.size == 0:
        raise UsageError(f"{name} is empty, expected one row per corruption and one column per severity")
    bad = ~(np.isfinite(values) & (values > 0))
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        raise UsageError(f"{name} holds {values[where]} at {where}; expected positive, finite errors")
