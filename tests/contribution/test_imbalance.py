import math

import numpy as np
import pytest

from equipose.contribution.imbalance import alarms, effective_number, normalised_entropy, positive_share


def test_known_values():
    share = np.array([0.7, 0.2, 0.07, 0.03])
    assert float(normalised_entropy(share)) == pytest.approx(0.62, abs=0.005)
    assert float(effective_number(share)) == pytest.approx(1.87, abs=0.005)
    assert float(normalised_entropy(np.full(4, 0.25))) == pytest.approx(1.0)
    assert float(effective_number(np.full(4, 0.25))) == pytest.approx(4.0)
    assert float(normalised_entropy(np.array([1.0, 0.0]))) == 0.0
    assert float(normalised_entropy(np.array([1.0]))) == 0.0


def test_share_leaves_negative_contributions_out():
    np.testing.assert_allclose(positive_share(np.array([3.0, -5.0, 1.0])), [0.75, 0.0, 0.25])
    np.testing.assert_allclose(positive_share(np.array([-3.0, -5.0])), [0.0, 0.0])
    assert positive_share(np.ones((7, 4))).shape == (7, 4)
    assert not math.isnan(float(normalised_entropy(np.zeros(3))))
    assert float(effective_number(np.zeros(3))) == 0.0


def test_alarms():
    assert alarms({"a": 0.5, "b": 0.5}, {"a": 0.9, "b": 0.3}) == ()
    found = alarms({"a": 0.9, "b": 0.1, "c": 0.0}, {"a": 0.9, "b": 0.3, "c": 0.01})
    assert len(found) == 2
    assert "c has collapsed" in found[0]
    assert "a dominates" in found[1]
    assert alarms({"a": 1.0}, {"a": 0.9}) == ()
    assert "no sensor contributes" in alarms({"a": 0.0, "b": 0.0}, {"a": 0.5, "b": 0.5})[0]
