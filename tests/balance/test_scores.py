import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from balance.short_training import in_two
from equipose.balance.epoch_means import EpochMeans
from equipose.balance.lots import Lots, survivors
from equipose.balance.scores import (
    LOWEST_SKILL,
    RunningMean,
    RunningMedian,
    SensorScores,
    errors_alone,
    excess_over_others,
    exp_score,
    present_means,
    present_weights,
    ratio_to_others,
    skill,
)
from equipose.types import PoseOutput


def one(tensor):
    return tensor


def test_closed_forms():
    errors = torch.tensor([0.0, 1.0, 2.0])
    np.testing.assert_allclose(exp_score(errors, 2.0).numpy(), np.exp([0.0, -0.5, -1.0]), rtol=1e-6)
    assert skill(0.2, 0.8) == pytest.approx(0.75)
    assert skill(9.0, 0.8) == LOWEST_SKILL == skill(0.0, 0.0)


@given(st.lists(st.floats(1e-3, 1.0), min_size=2, max_size=2))
def test_two_sensors_have_the_published_ratio(scores):
    a, b = scores
    ratio = ratio_to_others({"a": a, "b": b})
    assert ratio == pytest.approx({"a": a / b, "b": b / a}, rel=1e-6)
    assert excess_over_others({"a": a, "b": b}) == pytest.approx({"a": a - b, "b": b - a})


def test_more_sensors_are_compared_with_the_mean_of_the_others():
    scores = {"a": 0.6, "b": 0.3, "c": 0.1, "d": 0.2}
    assert ratio_to_others(scores)["a"] == pytest.approx(0.6 / 0.2)
    assert excess_over_others(scores)["c"] == pytest.approx(0.1 - 1.1 / 3)
    assert ratio_to_others({"a": 0.4}) == pytest.approx({"a": 1.0})
    assert excess_over_others({"a": 0.4}) == {"a": 0.0}
    assert np.isfinite(list(ratio_to_others({"a": 0.0, "b": 0.0}).values())).all()


def test_the_running_median_finds_the_median_and_follows_it():
    generator = torch.Generator().manual_seed(0)
    median = RunningMedian()
    for centre in (0.5, 0.05):  # an error that falls by an order of magnitude
        for _ in range(120):
            errors = centre * torch.exp(0.4 * torch.randn(64, generator=generator))
            median.start(errors, one)
            median.move(float(median.signs(errors).mean()))
        assert median.value == pytest.approx(centre, rel=0.15)


def test_the_running_mean_starts_at_the_first_value():
    mean = RunningMean(0.75)
    assert mean.update(4.0) == 4.0
    assert mean.update(8.0) == 5.0


def test_what_is_not_there_does_not_count():
    present = torch.tensor([[True, False, False], [True, True, False]])
    values = torch.tensor([[1.0, math.nan, math.inf], [3.0, 7.0, math.nan]])
    assert present_means(values, present, one) == [2.0, 7.0, None]
    weights = present_weights(present, one)
    assert weights.tolist() == [[0.5, 0.0, 0.0], [0.5, 1.0, 0.0]]


def test_weights_of_two_processes_give_the_mean_over_both():
    present = torch.tensor([[True, True], [False, True], [False, True], [True, False]])
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 9.0], [7.0, 8.0]])

    def compute(mean, rank):
        mine = slice(rank, None, 2)
        return (present_weights(present[mine], mean) * values[mine]).sum(0), present_means(
            values[mine], present[mine], mean
        )

    (first, means), (second, again) = in_two(compute)
    assert ((first + second) / 2).tolist() == [4.0, 5.0] == means == again


def test_scores_alone_equal_their_equation(make_model, make_batch):
    model, batch = make_model(), make_batch(16)
    features = model.encode(batch)
    output = model.decode(features, batch.present)
    fused = (output.joints.detach() - batch.target).double().norm(dim=-1).mean(-1).numpy()
    scores = SensorScores("exp").update(model, features, output, batch, one)
    for m, name in enumerate(model.modalities):
        only = torch.zeros_like(batch.present)
        only[:, m] = True
        joints = model.decode(features, only).joints.detach()
        error = (joints - batch.target).double().norm(dim=-1).mean(-1).numpy()
        assert scores[name] == pytest.approx(np.exp(-error / fused.mean()).mean(), rel=1e-5)
    skills = SensorScores("skill").update(model, features, output, batch, one)
    empty = model.decode(features, torch.zeros_like(batch.present)).joints.detach()
    baseline = (empty - batch.target).norm(dim=-1).mean()
    for name, error in errors_alone(model, features, batch).items():
        assert skills[name] == pytest.approx(max(1 - float(error.mean() / baseline), LOWEST_SKILL), rel=1e-4)


@pytest.mark.parametrize("kind", ["exp", "skill"])
def test_scores_do_not_know_the_unit(make_model, make_batch, kind):
    from dataclasses import replace

    found = []
    for unit in (1.0, 1000.0):
        model, batch = make_model(), make_batch(16)
        model.mean_pose.mul_(unit)
        with torch.no_grad():
            for p in model.shared_parameters():
                p.mul_(unit)
        batch = replace(batch, target=batch.target * unit)
        model.eval()
        features = model.encode(batch)
        scores = SensorScores(kind)
        for _ in range(3):
            result = scores.update(model, features, model.decode(features, batch.present), batch, one)
        found.append(result)
    assert found[0] == pytest.approx(found[1], rel=1e-4)


@pytest.mark.parametrize("kind", ["exp", "skill"])
def test_two_processes_score_like_one(make_model, make_batch, kind):
    model, batch = make_model().eval(), make_batch(16)
    batch.present[::3, 1] = False
    batch.present[:, 2] = False
    with torch.no_grad():
        features = model.encode(batch)

    def compute(mean, rank):
        part = batch.select(torch.arange(rank, 16, 2)) if rank is not None else batch
        mine = {name: f[rank::2] if rank is not None else f for name, f in features.items()}
        scores = SensorScores(kind)
        for _ in range(4):
            result = scores.update(model, mine, PoseOutput(model.decode(mine, part.present).joints), part, mean)
        return result, scores.state_dict()

    whole, state = compute(one, None)
    assert "wifi" not in whole
    for scores, own in in_two(compute):
        assert scores == pytest.approx(whole, rel=1e-5)
        assert own == pytest.approx(state, rel=1e-5)


def test_scoring_leaves_no_trace(make_model, make_batch):
    model, batch = make_model(), make_batch(4)
    features = model.encode(batch)
    state = torch.get_rng_state()
    SensorScores().update(model, features, model.decode(features, batch.present), batch, one)
    assert torch.equal(state, torch.get_rng_state())
    assert all(p.grad is None for p in model.parameters())


def test_lots_belong_to_the_sample(make_batch):
    batch = make_batch(16)
    whole = Lots(3, 5, 16).of(batch, 2)
    assert torch.equal(whole[5:9], Lots(3, 5, 100).of(batch.select(torch.arange(5, 9)), 2))
    assert torch.equal(whole, Lots(3, 5, 0).of(batch, 2)), "a table that grows holds the same numbers"
    for other in (Lots(4, 5, 16).of(batch, 2), Lots(3, 6, 16).of(batch, 2), Lots(3, 5, 16).of(batch, 3)):
        assert not torch.equal(whole, other)


@given(st.integers(0, 10_000), st.floats(0.0, 1.0))
def test_survivors_are_present_and_never_none(seed, rate):
    generator = torch.Generator().manual_seed(seed)
    lots = torch.rand(64, 3, generator=generator)
    present = torch.rand(64, 3, generator=generator) < 0.7
    kept = survivors(lots, torch.tensor([rate, 0.0, 0.5 * rate]), present)
    assert not (kept & ~present).any()
    assert torch.equal(kept.any(1), present.any(1))
    assert torch.equal(kept[:, 1], present[:, 1]), "a rate of zero drops nothing"


def test_survivors_come_at_their_rates():
    lots = torch.rand(20_000, 2, generator=torch.Generator().manual_seed(0))
    kept = survivors(lots, torch.tensor([0.6, 0.6]), torch.ones(20_000, 2, dtype=torch.bool))
    # both dropped with probability 0.36, and then one of them is saved
    np.testing.assert_allclose(kept.float().mean(0).numpy(), 0.4 + 0.18, atol=0.015)
    assert kept.all(1).float().mean() == pytest.approx(0.16, abs=0.015)


def test_epoch_means():
    means = EpochMeans()
    means.add("k", {"a": 1.0, "b": 4.0})
    means.add("k", {"a": 3.0})
    again = EpochMeans()
    again.load_state_dict(means.state_dict())
    means.add("k", {"a": 5.0})
    assert means.log() == {"k": {"a": 3.0, "b": 4.0}}
    assert again.log() == {"k": {"a": 2.0, "b": 4.0}}
    means.reset()
    assert means.log() == {}
