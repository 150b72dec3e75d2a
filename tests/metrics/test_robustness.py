"""Corruption errors and resilience, by hand."""

import numpy as np
import pytest

from equipose.errors import UsageError
from equipose.metrics.robustness import (
    corruption_error,
    mean_corruption_error,
    mean_resilience,
    relative_resilience,
    resilience,
)

ERROR = np.array([[100.0, 200.0, 300.0], [50.0, 100.0, 250.0]])
BASE = np.array([[200.0, 400.0, 600.0], [100.0, 100.0, 200.0]])


def test_by_hand():
    assert np.allclose(corruption_error(ERROR, BASE), [0.5, 1.0])
    assert mean_corruption_error(ERROR, BASE) == pytest.approx(0.75)
    assert np.allclose(relative_resilience(ERROR, BASE), [0.5, 0.0])
    assert np.allclose(resilience(ERROR, 50.0), [(1 / 2 + 1 / 4 + 1 / 6) / 3, (1 + 1 / 2 + 1 / 5) / 3])
    assert mean_resilience(ERROR, 50.0) == pytest.approx((11 / 36 + 17 / 30) / 2)


def test_a_model_is_its_own_baseline_and_an_unharmed_one_is_resilient():
    assert np.allclose(corruption_error(ERROR, ERROR), 1.0) and not relative_resilience(ERROR, ERROR).any()
    assert mean_resilience(np.full((4, 3), 80.0), 80.0) == pytest.approx(1.0)


def test_the_unit_does_not_matter():
    assert mean_corruption_error(ERROR / 1000, BASE / 1000) == pytest.approx(0.75)
    assert mean_resilience(ERROR.astype(np.float32), 50.0) == pytest.approx(
        mean_resilience(ERROR / 1000, 0.05), rel=1e-6
    )


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_values_that_are_no_errors(bad):
    broken = ERROR.copy()
    broken[1, 2] = bad
    for call in (lambda: corruption_error(broken, BASE), lambda: resilience(broken, 50.0)):
        with pytest.raises(UsageError, match=r"error holds .* at \(1, 2\)"):
            call()
    with pytest.raises(UsageError, match=r"baseline holds"):
        relative_resilience(ERROR, broken)
    with pytest.raises(UsageError, match=r"clean holds"):
        mean_resilience(ERROR, bad)


def test_shapes_that_do_not_match():
    with pytest.raises(UsageError, match=r"\(2, 3\) and baseline \(1, 3\)"):
        mean_corruption_error(ERROR, BASE[:1])
    with pytest.raises(UsageError, match="empty"):
        resilience(np.zeros((0, 3)), 50.0)
