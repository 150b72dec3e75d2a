from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from balance.analytic import Rehearsal
from equipose.balance.base import Setup
from equipose.balance.resampling import ModalityResampling, ModalityResamplingSettings, SampleResampling, _draw
from equipose.balance.resampling import ResamplingSettings as Settings
from equipose.train.losses import mpjpe_loss
from equipose.types import PoseOutput

TWO = ("rgb", "lidar")
COPIES = {-0.5: 3, 0.0: 2, 0.5: 1, 1.0: 0, 1.5: 0}
"""The published number of copies, at the values that two sensors can have."""


def lattice(make_model, make_batch, monkeypatch):
    """Two sensors, one sample for each way in which rgb, lidar and both can be right or wrong."""
    cases = list(product([0, 1], repeat=3))
    model, batch = make_model(modalities=TWO), make_batch(len(cases), modalities=TWO)
    right = torch.tensor([[0, rgb, lidar, both] for rgb, lidar, both in cases], dtype=torch.float32).T

    def decode_coalitions(features, coalitions, present, baseline=None):
        offset = torch.zeros(4, len(features["rgb"]), 3, 3)
        offset[..., 0] = (1.0 - right)[..., None]  # a wrong pose is 1 m off
        return batch.target + offset

    monkeypatch.setattr(model, "decode_coalitions", decode_coalitions)
    return cases, model, batch


def measured(strategy, model, batch):
    strategy.setup(model, Setup(mpjpe_loss, num_samples=len(batch)))
    features = model.encode(batch)
    strategy.objective(model, features, model.decode(features, batch.present), batch, torch.zeros(()))
    return strategy._store.settled().value.numpy()


def published_values(cases):
    """(v(m) + v(both) - v(other)) / 2 with v = the number of sensors where the class is right."""
    return np.array([[(rgb + 2 * both - lidar) / 2, (lidar + 2 * both - rgb) / 2] for rgb, lidar, both in cases])


def test_with_two_sensors_values_and_copies_are_the_published_ones(make_model, make_batch, monkeypatch):
    cases, model, batch = lattice(make_model, make_batch, monkeypatch)
    strategy = SampleResampling(Settings(value="hit", tau_mm=100.0), TWO)
    phi = measured(strategy, model, batch)
    np.testing.assert_allclose(phi, published_values(cases))
    copies = strategy._weights(torch.from_numpy(phi), torch.ones(len(cases), 2, dtype=torch.bool)).numpy()
    np.testing.assert_allclose(copies, [[COPIES[value] for value in row] for row in phi])


def test_with_two_sensors_the_gap_is_the_published_one(make_model, make_batch, monkeypatch):
    strategy = ModalityResampling(ModalityResamplingSettings(), TWO)
    phi = torch.from_numpy(np.random.default_rng(0).uniform(-0.5, 1.5, (50, 2)))
    weights = strategy._weights(phi, torch.ones(50, 2, dtype=torch.bool))
    g_a, g_b = (1 - phi.mean(0)).tolist()
    stronger = 0 if g_a < g_b else 1
    np.testing.assert_allclose(weights[:, stronger], 2 / 3 * abs(g_a - g_b))
    assert not weights[:, 1 - stronger].any()


def test_skill_is_one_where_every_sensor_does_its_share(make_model, make_batch, monkeypatch):
    cases, model, batch = lattice(make_model, make_batch, monkeypatch)
    phi = measured(SampleResampling(Settings(), TWO), model, batch)
    both = cases.index((1, 1, 1))
    np.testing.assert_allclose(phi[both], 1.0)
    assert np.isfinite(phi).all()


@pytest.mark.parametrize("value", ["skill", "hit"])
def test_a_model_no_better_than_the_mean_pose_gives_finite_values(value, make_model, make_batch):
    model, batch = make_model(), make_batch(8)
    with torch.no_grad():
        model.fusion.bias.fill_(50.0)
    phi = measured(SampleResampling(Settings(value=value), model.modalities), model, batch)
    assert np.isfinite(phi).all()
    assert value == "hit" or not phi.any()


def test_visits_follow_their_weights_and_an_epoch_keeps_its_length():
    generator = np.random.default_rng(0)
    weights = generator.uniform(0, 3, (500, 3)) * (generator.random((500, 1)) < 0.5)
    picks = np.concatenate([_draw(weights, generator) for _ in range(200)])
    assert len(picks) == 200 * 500
    expected = np.insert(weights, 0, 1.0, axis=1).ravel()
    expected *= 500 / expected.sum()
    counts = np.bincount(picks, minlength=2000) / 200
    np.testing.assert_allclose(counts, expected, atol=0.2)
    assert counts.sum() == pytest.approx(500)
    np.testing.assert_allclose(counts.reshape(500, 4).sum(0), expected.reshape(500, 4).sum(0), rtol=0.02)


def test_without_masked_visits_every_sample_is_visited_once():
    picks = _draw(np.zeros((40, 3)), np.random.default_rng(0))
    assert picks.tolist() == list(range(0, 160, 4))


def test_equal_weights_do_not_fall_into_step_with_the_draw():
    kinds = _draw(np.ones((3000, 3)), np.random.default_rng(0)) % 4
    np.testing.assert_allclose(np.bincount(kinds) / 3000, 0.25, atol=0.03)


def test_only_whole_visits_are_measured_and_lone_sensors_never_masked(make_model, make_batch):
    model, batch = make_model(), make_batch(6)
    present = torch.tensor([[1, 1, 1], [1, 1, 0], [0, 0, 1], [1, 1, 1], [1, 1, 1], [1, 1, 1]]).bool()
    batch = replace(batch, present=present)
    strategy = SampleResampling(Settings(warmup=0.0, strength=9.0), model.modalities)
    value = measured(strategy, model, batch)
    assert np.array_equal(~np.isnan(value), present.numpy())
    before = strategy._store.total.clone()
    masked = replace(batch, present=present & torch.tensor([True, False, False]))
    features = model.encode(masked)
    strategy.objective(model, features, PoseOutput(masked.target), masked, torch.zeros(()))
    assert torch.equal(strategy._store.total, before)
    plan = Rehearsal("sample_resampling", model, [batch], warmup=0.0, strength=9.0).train(1, 1e-6).begin()
    positions, sensors = plan.strategy.visit(np.arange(6), 1)
    assert sensors[positions == 2].all(), "the sample with one sensor is only ever visited whole"
    assert (sensors & present.numpy()[positions]).any(1).all()


def test_a_visit_is_a_pure_function_of_the_order(make_model, make_batch):
    plan = Rehearsal("sample_resampling", make_model(), [make_batch(32)], warmup=0.0).train(1, 1e-6).begin().strategy
    order = np.random.default_rng(0).permutation(32)
    first, second = plan.visit(order, 1), plan.visit(order, 1)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert len(first[0]) == len(order)
    assert not first[1].all()


def test_warm_up_visits_everything_whole(make_model, make_batch):
    rehearsal = Rehearsal("sample_resampling", make_model(), [make_batch(32)], warmup=0.5, epochs=6)
    masked = []
    for _ in range(6):
        masked.append(rehearsal.train(1, 1e-6).strategy.visit(np.arange(32), 0)[1] is not None)
    assert masked == [False] * 3 + [True] * 3


def test_processes_pool_what_each_has_seen(make_model, make_batch):
    """Two halves, reduced by their mean, hold the values of the whole."""
    model, batch = make_model().eval(), make_batch(8)
    whole = SampleResampling(Settings(value="hit", tau_mm=1000.0), model.modalities)
    expected = measured(whole, model, batch)
    halves = []
    for rows in (torch.arange(4), torch.arange(4, 8)):
        half = SampleResampling(Settings(value="hit", tau_mm=1000.0), model.modalities)
        half.setup(model, Setup(mpjpe_loss, num_samples=8))
        part = batch.select(rows)
        half.objective(model, model.encode(part), PoseOutput(part.target), part, torch.zeros(()))
        halves.append(half._store)
    tensors = [(a + b) / 2 for a, b in zip(*(vars(store).values() for store in halves), strict=True)]
    pooled = type(halves[0])(*tensors).settled()
    np.testing.assert_allclose(pooled.value.numpy(), expected)
