"""P-values, mixtures and posteriors against what they promise."""

import numpy as np
import pytest
import torch
from scipy.stats import binom, norm

from equipose.separation.thresholds import among_own, clean_posterior, conformal_p, fit_mixture, own_tail, two_sided


def test_p_value_counts_trusted_samples_that_look_as_bad():
    p = conformal_p(torch.tensor([1.0, 2.0, 3.0, torch.nan]), torch.tensor([0.0, 2.0, 4.0, torch.nan]))
    assert p[:3].tolist() == [1.0, 0.75, 0.25] and p[3].isnan()


def test_lower_end_mirrors_the_upper():
    calibration, scores = torch.randn(50), torch.randn(20)
    assert torch.equal(conformal_p(calibration, scores, upper=False), conformal_p(-calibration, -scores))


def test_own_ranks_leave_each_sample_out():
    values = torch.tensor([3.0, 1.0, 2.0])
    expected = [float(conformal_p(values[values != v], v[None])) for v in values]
    assert conformal_p(values, values, own=True).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("alpha", [0.02, 0.05, 0.2])
def test_false_alarms_of_exchangeable_samples_stay_below_alpha(alpha):
    # One sample per calibration set makes the alarms independent: binomial.
    generator = torch.Generator().manual_seed(0)
    trials = 2000
    alarms = sum(
        bool(
            conformal_p(torch.randn(99, generator=generator).exp(), torch.randn(1, generator=generator).exp()) <= alpha
        )
        for _ in range(trials)
    )
    assert binom.ppf(1e-4, trials, alpha) <= alarms <= binom.ppf(1 - 1e-4, trials, alpha)


def test_two_sided_sees_both_ends():
    calibration = torch.linspace(0, 1, 101)
    scores = torch.tensor([-5.0, 0.5, 5.0])
    p = two_sided(conformal_p(calibration, scores), conformal_p(calibration, scores, upper=False))
    assert p[0] < 0.05 and p[2] < 0.05 and p[1] > 0.9


def test_among_a_persons_own_a_level_of_their_own_is_usual_and_an_outlier_is_not():
    z = torch.randn(3, 500, generator=torch.Generator().manual_seed(0)).double()
    logs = 0.2 * z + torch.tensor([[0.0], [2.0], [-1.0]])  # people who differ by far more than their frames
    logs[1, 7] += 3.0
    person = torch.arange(3).repeat_interleave(500)
    distance = torch.stack([logs.flatten().exp(), logs.flatten().exp()], 1)
    distance[3, 0] = torch.nan
    p = among_own(distance, person)
    assert p[507].max() < 1e-6 and bool(p[3, 0].isnan())
    others = p[torch.arange(1500) != 507]
    assert 0.06 < float((others.nan_to_num(1.0) < 0.1).double().mean()) < 0.14
    assert among_own(distance[:19], person[:19]).isnan().all(), "nobody is usual among a few"


def test_own_tail_is_the_gaussian_one_and_survives_outliers():
    values = torch.from_numpy(norm.ppf((np.arange(2000) + 0.5) / 2000))
    assert own_tail(values).numpy() == pytest.approx(2 * norm.sf(np.abs(values.numpy())), abs=0.05)
    assert own_tail(values, both_ends=False).numpy() == pytest.approx(norm.sf(values.numpy()), abs=0.05)
    mixed = torch.cat([values, torch.full((800,), 30.0), torch.tensor([torch.nan])])
    p = own_tail(mixed)
    assert (p[2000:2800] < 1e-6).all() and p[-1].isnan() and (p[:2000] < 0.01).double().mean() < 0.02


def test_mixture_finds_two_components():
    generator = torch.Generator().manual_seed(1)
    scores = torch.cat([torch.randn(800, generator=generator), 6 + torch.randn(200, generator=generator)])
    mixture = fit_mixture(scores)
    assert mixture.gate and mixture.means == pytest.approx((0, 6), abs=0.2)
    assert mixture.separation == pytest.approx(6, abs=0.4)
    bad = mixture.clean(scores) < 0.5
    assert (bad == (torch.arange(1000) >= 800)).float().mean() > 0.99


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", ["normal", "skewed"])
def test_gate_stays_shut_where_there_is_one_component(seed, kind):
    values = torch.randn(2000, generator=torch.Generator().manual_seed(seed))
    assert not fit_mixture(values if kind == "normal" else (0.3 * values).exp()).gate


def test_mixture_never_calls_the_lower_tail_bad():
    generator = torch.Generator().manual_seed(1)
    scores = torch.cat([0.3 * torch.randn(500, generator=generator), 1 + 3 * torch.randn(500, generator=generator)])
    mixture = fit_mixture(scores)
    assert (mixture.clean(torch.tensor([-50.0, -5.0])) == 1).all()


def test_mixture_leaves_the_random_state_alone():
    before = np.random.get_state()[1].copy()
    state = torch.get_rng_state()
    fit_mixture(torch.linspace(0, 1, 200) ** 3)
    assert np.array_equal(before, np.random.get_state()[1]) and torch.equal(state, torch.get_rng_state())


def test_mixture_of_constant_or_few_scores_is_shut():
    assert not fit_mixture(torch.ones(100)).gate and not fit_mixture(torch.randn(3)).gate


def ranks(scores, n=300, seed=0):
    calibration = torch.randn(n, generator=torch.Generator().manual_seed(seed))
    return conformal_p(calibration, scores)


def test_posterior_is_one_where_nothing_is_wrong():
    scores = torch.randn(3000, generator=torch.Generator().manual_seed(4))
    assert clean_posterior(ranks(scores)).mean() > 0.95


def test_posterior_is_calibrated_on_a_known_mixture():
    generator = torch.Generator().manual_seed(5)
    scores = torch.randn(4000, generator=generator)
    corrupt = torch.arange(4000) < 800
    scores[corrupt] += 2.5
    q = clean_posterior(ranks(scores, n=2000))
    exact = 0.8 * norm.pdf(scores) / (0.8 * norm.pdf(scores) + 0.2 * norm.pdf(scores - 2.5))
    assert np.abs(q.numpy() - exact).mean() < 0.06
    assert abs(float(q.mean()) - 0.8) < 0.05


def test_posterior_falls_with_the_p_value_and_keeps_nan():
    p = torch.cat([torch.rand(500), torch.full((100,), 0.001), torch.tensor([torch.nan])])
    q = clean_posterior(p)
    order = p[:600].argsort()
    assert (q[:600][order].diff() >= -1e-9).all() and q[-1].isnan()
