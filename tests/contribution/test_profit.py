import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from equipose.contribution.profit import (
    Concordance,
    NegativeMpjpe,
    Pearson,
    Profit,
    Skill,
    WeightedPearson,
    correlation,
    deviation_ratio,
    profit_named,
)
from equipose.contribution.shapley import shapley_values
from equipose.contribution.statistics import batch_statistics, zero_statistics
from equipose.errors import UsageError
from equipose.registry import PROFITS
from equipose.types import all_coalitions

CENTRE = torch.tensor([0.1, -0.2, 3.0])
ALL = [Pearson(), WeightedPearson(), Concordance(), NegativeMpjpe(), Skill(), Skill("empty")]


def poses(samples, coalitions=4, joints=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    target = 0.2 * torch.randn(samples, joints, 3, generator=generator) + CENTRE
    noise = 0.1 * torch.randn(coalitions, samples, joints, 3, generator=generator)
    mix = torch.linspace(0.0, 1.0, coalitions)[:, None, None, None]
    return mix * target + (1 - mix) * CENTRE + noise, target


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(0, 1000))
def test_statistics_do_not_depend_on_how_samples_are_cut_into_batches(sizes, seed):
    predicted, target = poses(sum(sizes), seed=seed)
    whole = batch_statistics(predicted, target, CENTRE.expand(3, 3))
    pooled = zero_statistics(1, 4, 3)
    start = 0
    for size in sizes:
        part = slice(start, start + size)
        pooled = pooled + batch_statistics(predicted[:, part], target[part], CENTRE.expand(3, 3))
        start += size
    for profit in ALL:
        torch.testing.assert_close(profit.value(pooled), profit.value(whole), rtol=1e-9, atol=1e-9)


def test_correlation_equals_numpy():
    predicted, target = poses(200)
    found = correlation(batch_statistics(predicted, target, torch.zeros(3, 3)))[0]
    for k in range(4):
        for j in range(3):
            for a in range(3):
                expected = np.corrcoef(predicted[k, :, j, a].double(), target[:, j, a].double())[0, 1]
                assert abs(float(found[k, j, a]) - expected) < 1e-9


def test_concordance_mpjpe_skill_and_weights_equal_numpy():
    predicted, target = poses(150)
    sums = batch_statistics(predicted, target, CENTRE.expand(3, 3))
    x, y = predicted.double().numpy(), target.double().numpy()
    mean_x, mean_y = x.mean(1), y.mean(0)
    covariance = ((x - mean_x[:, None]) * (y - mean_y)).mean(1)
    lin = 2 * covariance / (x.var(1) + y.var(0) + (mean_x - mean_y) ** 2)
    error = np.linalg.norm(x - y, axis=-1).mean(1)
    constant = np.linalg.norm(y - CENTRE.double().numpy(), axis=-1).mean(0)
    rho = covariance / np.sqrt(x.var(1) * y.var(0))
    weight = y.var(0) / y.var(0).mean()
    np.testing.assert_allclose(Concordance().per_joint(sums)[0], lin.sum(-1), rtol=1e-9)
    np.testing.assert_allclose(NegativeMpjpe().value(sums)[0], -1000 * error.mean(-1), rtol=1e-9)
    np.testing.assert_allclose(Skill().per_joint(sums)[0], 1 - error / constant, rtol=1e-9)
    np.testing.assert_allclose(Skill("empty").value(sums)[0], 1 - error.sum(-1) / error[0].sum(), rtol=1e-9)
    np.testing.assert_allclose(WeightedPearson().per_joint(sums)[0], (rho * weight).sum(-1), rtol=1e-9)
    np.testing.assert_allclose(deviation_ratio(sums)[0], x.std(1) / y.std(0), rtol=1e-9)


@given(st.floats(-1.0, 1.0), st.floats(0.01, 100.0), st.integers(0, 100))
def test_a_constant_has_correlation_exactly_zero_far_from_the_reference(offset, spread, seed):
    generator = torch.Generator().manual_seed(seed)
    target = spread * torch.randn(300, 2, 3, generator=generator) + 3.0
    constant = (3.0 + offset) * torch.ones(1, 300, 2, 3)
    wavering = constant * (1 + 1e-7 * torch.randn(1, 300, 2, 3, generator=generator).sign())
    for predicted in (constant, wavering * 0 + constant):
        sums = batch_statistics(predicted, target, torch.zeros(2, 3))
        assert (correlation(sums) == 0).all()
        assert (Concordance().value(sums) == 0).all()


def test_rounding_of_a_constant_prediction_is_no_signal():
    generator = torch.Generator().manual_seed(0)
    target = 0.2 * torch.randn(500, 2, 3, generator=generator) + 3.0
    waver = torch.randint(-2, 3, (1, 500, 2, 3), generator=generator) * 2.4e-7  # last bits of float32 at 3 m
    sums = batch_statistics(3.1 + waver, target, torch.zeros(2, 3))
    assert (correlation(sums) == 0).all()


def test_a_constant_truth_gives_zero_and_no_nan():
    target = torch.full((50, 2, 3), 3.3)
    predicted = torch.randn(4, 50, 2, 3)
    sums = batch_statistics(predicted, target, torch.zeros(2, 3))
    for profit in ALL:
        assert profit.value(sums).isfinite().all()
    assert (Pearson().value(sums) == 0).all()
    assert (WeightedPearson().value(sums) == 0).all()


def test_one_sample_is_no_correlation():
    predicted, target = poses(1)
    assert (Pearson().value(batch_statistics(predicted, target, CENTRE.expand(3, 3))) == 0).all()


def test_far_reference_loses_nothing():
    predicted, target = poses(400)
    near = correlation(batch_statistics(predicted, target, CENTRE.expand(3, 3)))
    far = correlation(batch_statistics(predicted, target, torch.full((3, 3), 50.0)))
    torch.testing.assert_close(near, far, rtol=0, atol=1e-8)


def test_tiny_but_true_signal_survives():
    _, target = poses(400)
    sums = batch_statistics(CENTRE + 1e-3 * (target - CENTRE)[None], target, CENTRE.expand(3, 3))
    assert (correlation(sums) > 0.999).all()
    assert (Concordance().value(sums) < 0.05).all()


def test_the_papers_argument():
    """A constant sensor that carries most of the mean pose is first by error and nothing by correlation."""
    generator = torch.Generator().manual_seed(1)
    motion = torch.randn(600, 3, 3, generator=generator) * 0.2
    mean = torch.tensor([0.4, 0.3, 2.0]).expand(3, 3)
    target = mean + motion
    parts = [0.6 * mean.expand(600, 3, 3), 0.4 * mean + 0.7 * motion, 0.3 * motion]
    members = all_coalitions(3)
    predicted = torch.stack([sum((p for p, i in zip(parts, m, strict=True) if i), 0 * target) for m in members])
    sums = batch_statistics(predicted, target, mean)
    by_error = shapley_values(NegativeMpjpe().value(sums)[0])
    by_correlation = shapley_values(Pearson().value(sums)[0])
    assert by_error.argmax() == 0
    assert by_correlation[0].abs() < 1e-9
    assert by_correlation.argmax() == 1


def test_combining_groups_equals_pooling_their_samples():
    predicted, target = poses(90)
    group = torch.arange(90) % 3
    membership = (torch.arange(3)[:, None] == group).double()
    grouped = batch_statistics(predicted, target, CENTRE.expand(3, 3), membership)
    for g in range(3):
        alone = batch_statistics(predicted[:, group == g], target[group == g], CENTRE.expand(3, 3))
        for profit in ALL:
            torch.testing.assert_close(profit.value(grouped)[g], profit.value(alone)[0], rtol=1e-9, atol=1e-9)
    twice = torch.cat([torch.arange(90)[group == 0], torch.arange(90)[group == 0], torch.arange(90)[group == 2]])
    resample = grouped.combine(torch.tensor([[2.0, 0.0, 1.0]]))
    again = batch_statistics(predicted[:, twice], target[twice], CENTRE.expand(3, 3))
    for profit in ALL:
        torch.testing.assert_close(profit.value(resample), profit.value(again), rtol=1e-9, atol=1e-9)


def test_joints_add_up_where_they_should():
    sums = batch_statistics(*poses(80), CENTRE.expand(3, 3))
    for profit in (Pearson(), WeightedPearson(), Concordance()):
        torch.testing.assert_close(profit.per_joint(sums).sum(-1), profit.value(sums))
    torch.testing.assert_close(NegativeMpjpe().per_joint(sums).mean(-1), NegativeMpjpe().value(sums))


def test_every_registered_profit_works_and_is_best_for_the_truth():
    _, target = poses(60)
    predicted = torch.stack([target * 0 + CENTRE, target])
    sums = batch_statistics(predicted, target, CENTRE.expand(3, 3))
    for name in PROFITS:
        profit = profit_named(name)
        assert isinstance(profit, Profit)
        assert profit.name == name
        worst, best = profit.value(sums)[0].tolist()
        assert best > worst
    torch.testing.assert_close(Pearson().value(sums)[0, 1], torch.tensor(9.0, dtype=torch.float64))


def test_a_mistyped_profit_is_refused():
    with pytest.raises(UsageError, match="Did you mean 'pearson'"):
        profit_named("pearsen")
