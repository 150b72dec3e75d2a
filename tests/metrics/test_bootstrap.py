import numpy as np
import pytest

from equipose.errors import UsageError
from equipose.metrics.bootstrap import bootstrap_difference, bootstrap_mean, percentile_interval


def rng(seed=0):
    return np.random.default_rng(seed)


def test_equals_resampling_the_frames_by_hand():
    values, subject = rng(1).normal(size=40), rng(2).integers(10, 15, size=40)
    groups = np.unique(subject)
    weights = rng(5).multinomial(len(groups), np.full(len(groups), 1 / len(groups)), size=200)
    means = [
        np.concatenate([np.repeat(values[subject == g], n) for g, n in zip(groups, row, strict=True)]).mean()
        for row in weights
    ]
    expected = np.quantile(means, [0.05, 0.95])
    np.testing.assert_allclose(bootstrap_mean(values, subject, 200, rng(5), level=0.9), expected)


def test_columns_are_independent_statistics_of_the_same_resamples():
    values, subject = rng(1).normal(size=(60, 3)), np.arange(60) // 6
    together = bootstrap_mean(values, subject, 300, rng(3))
    assert together.shape == (2, 3)
    for column in range(3):
        np.testing.assert_allclose(together[:, column], bootstrap_mean(values[:, column], subject, 300, rng(3)))


def test_about_95_percent_of_intervals_hold_the_true_mean():
    held = 0
    for trial in range(300):
        draw = rng([7, trial])
        subject = np.repeat(np.arange(30), 5)
        values = draw.normal(size=30)[subject] + 0.3 * draw.normal(size=150) + 2.0
        low, high = bootstrap_mean(values, subject, 300, draw)
        held += low <= 2.0 <= high
    assert 0.88 <= held / 300 <= 0.985


def test_frames_of_a_subject_are_not_independent():
    subject = np.repeat(np.arange(8), 100)
    values = rng(0).normal(size=8)[subject] + 0.01 * rng(1).normal(size=800)
    by_subject = np.ptp(bootstrap_mean(values, subject, 500, rng(2)))
    by_frame = np.ptp(bootstrap_mean(values, np.arange(800), 500, rng(2)))
    assert by_subject > 5 * by_frame


def test_pairing_cancels_what_both_share():
    subject = np.arange(200) // 20
    shared = 5.0 * rng(0).normal(size=10)[subject]
    first, second = shared + 0.1 * rng(1).normal(size=200) + 0.5, shared + 0.1 * rng(2).normal(size=200)
    low, high = bootstrap_difference(first, second, subject, 500, rng(3))
    assert 0.0 < low < 0.5 < high < 1.0
    assert np.ptp(bootstrap_mean(first, subject, 500, rng(3))) > 1.0
    np.testing.assert_array_equal(bootstrap_difference(first, first, subject, 100, rng(3)), [0.0, 0.0])


def test_seed_and_nothing_to_resample():
    values, subject = rng(1).normal(size=40), np.arange(40) // 4
    same = [bootstrap_mean(values, subject, 100, rng(9)) for _ in range(2)]
    np.testing.assert_array_equal(*same)
    assert np.isnan(bootstrap_mean(values, np.zeros(40, dtype=int), 100, rng())).all()
    assert np.isnan(bootstrap_mean(values, subject, 0, rng())).all()


def test_mistakes_are_told():
    with pytest.raises(UsageError, match="one per sample"):
        bootstrap_mean(np.zeros(3), np.zeros(2, dtype=int), 10, rng())
    with pytest.raises(UsageError, match="at least one"):
        bootstrap_mean(np.zeros(0), np.zeros(0, dtype=int), 10, rng())
    with pytest.raises(UsageError, match="level"):
        bootstrap_mean(np.zeros(3), np.arange(3), 10, rng(), level=95.0)
    with pytest.raises(UsageError, match="same samples"):
        bootstrap_difference(np.zeros(3), np.zeros(2), np.arange(3), 10, rng())


def test_percentiles_leave_undefined_estimates_out():
    draws = np.array([[1.0, np.nan], [2.0, np.nan], [np.nan, np.nan], [3.0, np.nan]])
    found = percentile_interval(draws, 0.5)
    np.testing.assert_allclose(found[:, 0], [1.5, 2.5])
    assert np.isnan(found[:, 1]).all()
