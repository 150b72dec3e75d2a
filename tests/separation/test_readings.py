"""Readings leave no trace, do not depend on batches, and mean what they say."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from equipose.errors import UsageError
from equipose.separation.distances import (
    consensus,
    feature_distance,
    label_distance,
    own_error,
    peer_distance,
    reliability,
)
from equipose.separation.readings import collect
from equipose.separation.reasons import Reason
from equipose.separation.ridge import cross_fitted
from separation.toy import NOISE, SENSORS, corrupted, refused, toy, toy_model, trusted_toy


def test_batches_and_order_do_not_matter(model, clean):
    data = toy()
    again = collect(model, data, batch_size=77)
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    shuffled = collect(model, data.permuted(order))
    for name in ("poses", "features", "coalition_errors", "integrity", "fused"):
        assert torch.allclose(getattr(again, name).double(), getattr(clean, name).double(), atol=1e-6)
        assert torch.allclose(getattr(shuffled, name).double(), getattr(clean, name)[order].double(), atol=1e-6)


def test_model_and_random_state_stay_as_they_were():
    model = toy_model().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(3)
    np.random.seed(3)
    state, other = torch.get_rng_state(), np.random.get_state()[1].copy()
    collect(model, toy(2))
    assert model.training and model.fusion.noise.training
    assert torch.equal(state, torch.get_rng_state()) and np.array_equal(other, np.random.get_state()[1])
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_a_sensor_alone_says_what_it_measured(clean):
    data = toy()
    said = data.values["depth"].reshape(-1, 5, 3) + torch.tensor([0.0, 0.0, 3.0])
    assert torch.allclose(clean.poses[:, SENSORS.index("depth")], said, atol=1e-5)


def test_errors_rank_the_sensors_by_their_noise(clean):
    typical = reliability(clean)
    assert typical.tolist() == sorted(typical.tolist())
    assert float(typical[3] / typical[0]) == pytest.approx(NOISE["wifi"] / NOISE["rgb"], rel=0.1)


def test_coalition_errors_are_those_of_the_model_without_the_others(model, clean):
    again = refused(clean)
    assert torch.allclose(again.coalition_errors, clean.coalition_errors, atol=1e-5)
    assert torch.allclose(again.fused, clean.fused, atol=1e-5)
    trust = torch.tensor([True, False, True, False]).expand_as(clean.alive)
    assert torch.equal(label_distance(clean, trust), clean.coalition_errors[:, 0b0101].double())
    assert label_distance(clean, torch.zeros_like(trust)).isnan().all()


def test_consensus_by_hand():
    poses = torch.zeros(2, 3, 1, 3)
    poses[:, 1] = 1.0
    poses[:, 2] = 4.0
    trust = torch.tensor([[True, True, False], [False, False, False]])
    mixed = consensus(poses, trust, torch.tensor([1.0, 2.0, 1.0]))
    assert mixed[0, 0].tolist() == pytest.approx([0.2] * 3) and mixed[1].isnan().all()
    distance = peer_distance(poses, torch.ones(2, 3, dtype=torch.bool), torch.ones(3))
    assert distance[0].tolist() == pytest.approx([2.5 * 3**0.5, 1.0 * 3**0.5, 3.5 * 3**0.5])


def test_feature_distance_is_the_kth_nearest_of_other_people(clean, trusted):
    ours = feature_distance(clean, trusted, 10)[:, 1]
    exact = torch.cdist(clean.features[:, 1].double(), trusted.features[:, 1].double()).sort(1).values
    assert torch.allclose(ours, exact[:, 9])  # no person in common
    own = feature_distance(trusted, trusted, 10)[:, 1]
    i = 17
    others = trusted.subject != trusted.subject[i]
    k = int(np.ceil(10 * int(others.sum()) / len(trusted)))
    exact = (trusted.features[others, 1].double() - trusted.features[i, 1].double()).norm(dim=1).sort().values
    assert float(own[i]) == pytest.approx(float(exact[k - 1]))


def test_dead_cells_are_not_measured(model):
    readings = collect(model, corrupted(toy(3), "zero", 0.3))
    assert (readings.integrity[~readings.alive] == Reason.ZERO).all()
    assert torch.equal(own_error(readings).isnan(), ~readings.alive)


def test_stale_frames_are_found_between_samples(model):
    data = toy(2)
    wifi = data.values["wifi"].clone()
    wifi[31:34] = wifi[30]
    readings = collect(model, replace(data, values={**data.values, "wifi": wifi}))
    stale = (readings.integrity == Reason.STALE).nonzero()
    assert stale.tolist() == [[31, 3], [32, 3], [33, 3]]


def test_ridge_reads_any_feature_and_holds_the_label_out(model):
    data, reference = toy(), trusted_toy()
    mixing = torch.linalg.qr(torch.randn(15, 15, generator=torch.Generator().manual_seed(0))).Q
    readings, trusted = (
        replace(r, features=r.features @ mixing, poses=torch.zeros_like(r.poses))
        for r in (collect(model, data), collect(model, reference))
    )
    read, trusted_read = cross_fitted(readings, trusted)
    assert float(own_error(read).median(0).values.max()) < 0.12
    ratio = own_error(trusted_read).median(0).values / own_error(read).median(0).values
    assert ((ratio - 1).abs() < 0.1).all()
    # Wrong labels of one half of the recordings change only what the other half's heads say.
    target = torch.where((readings.recording % 2 == 0)[:, None, None], readings.target + 0.5, readings.target)
    moved = cross_fitted(replace(readings, target=target))[0]
    even = readings.recording % 2 == 0
    assert torch.allclose(moved.poses[even], read.poses[even], atol=1e-6)
    assert not torch.allclose(moved.poses[~even], read.poses[~even], atol=1e-2)


def test_refuses_other_sensors_and_no_samples(model):
    with pytest.raises(UsageError, match="sensors"):
        collect(model, toy(1, sensors=("rgb", "wifi")))
    with pytest.raises(UsageError, match="no sample"):
        collect(model, toy(1), np.array([], np.int64))
