"""Distances, tolerances and verdicts on made-up samples whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import wasserstein_distance

from equipose.report.fidelity.distances import among, between, rms_difference, spread, wasserstein
from equipose.report.fidelity.rows import Parts, compare

SAMPLES = arrays(np.float64, st.integers(1, 30), elements=st.floats(-100, 100))


@pytest.mark.parametrize("shift", [0.0, 0.3, -2.0])
def test_wasserstein_of_a_shifted_sample_is_the_shift(shift):
    sample = np.random.default_rng(0).normal(size=500)
    assert wasserstein(sample, sample + shift) == pytest.approx(abs(shift), abs=1e-12)


def test_wasserstein_of_two_points_and_of_a_widened_sample():
    assert wasserstein(np.array([0.0]), np.array([3.0, 5.0])) == pytest.approx(4.0)
    values = np.linspace(-1, 1, 2001)
    assert wasserstein(values, 3 * values) == pytest.approx(2 * np.abs(values).mean())


@given(SAMPLES, SAMPLES)
def test_wasserstein_equals_scipys_and_is_symmetric(first, second):
    expected = wasserstein_distance(first, second)
    assert wasserstein(first, second) == pytest.approx(expected, abs=1e-9)
    assert wasserstein(second, first) == pytest.approx(expected, abs=1e-9)


def test_rms_difference_of_curves():
    assert rms_difference(np.zeros(4), np.array([1.0, -1.0, 1.0, -1.0])) == 1.0
    assert rms_difference(np.arange(5.0), np.arange(5.0) + 2.5) == 2.5


def test_distance_to_the_real_parts_and_spread_among_them():
    assert between([1.0, 3.0], [0.0], lambda a, b: abs(a - b)) == 2.0
    pairs = among([0.0, 1.0, 4.0], lambda a, b: abs(a - b))
    assert pairs == [1.0, 3.0, 4.0]
    assert spread(pairs) == pytest.approx(3.8)
    assert spread([2.0]) == 2.0


def row(simulated, real, **options):
    parts = Parts(tuple(map(str, range(len(real)))), "two rooms", tuple(real))
    return compare("key", "name", "m", [simulated], parts, "difference", **options)


def test_the_verdict_turns_at_the_spread_of_the_real_parts():
    assert row(0.5, [0.0, 1.0]).within  # mean distance 0.5, tolerance 1
    assert not row(2.0, [0.0, 1.0]).within  # mean distance 1.5
    assert row(2.0, [0.0, 1.0]).ratio == pytest.approx(1.5)
    assert row(2.0, [0.0, 1.0]).reason == "distance between two rooms"


def test_the_tolerance_depends_on_the_real_data_alone():
    tolerances = {row(simulated, [0.0, 1.0, 5.0]).tolerance for simulated in (-100.0, 0.0, 3.0, 1e6)}
    assert len(tolerances) == 1


def test_the_floor_takes_over_only_where_the_real_parts_agree_better():
    shown = row(0.3, [1.0, 1.0], floor=1.0, floor_reason="one in ten")
    assert (shown.tolerance, shown.reason, shown.within) == (1.0, "one in ten", True)
    assert row(0.3, [0.0, 2.0], floor=1.0, floor_reason="one in ten").reason == "distance between two rooms"


def test_real_parts_that_agree_exactly_tolerate_nothing():
    same, other = row(1.0, [1.0, 1.0]), row(1.1, [1.0, 1.0])
    assert same.within and same.ratio == 0.0
    assert not other.within and other.ratio == float("inf")
    assert same.reason == "two rooms agree exactly"
