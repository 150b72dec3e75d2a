"""The object a trainer holds."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch

from equipose.errors import UsageError
from equipose.separation.reasons import Reason
from equipose.separation.separator import Separator, spread
from equipose.separation.settings import SeparationSettings
from separation.toy import SENSORS, corrupted, toy, toy_model, trusted_toy


@pytest.fixture(scope="module")
def data():
    return corrupted(toy(), "swap", 0.2, 0.1)


@pytest.fixture(scope="module")
def reference():
    return trusted_toy()


@pytest.fixture(scope="module")
def scored(model, data, reference):
    separator = Separator(SeparationSettings(), SENSORS)
    assert separator.update(model, data, reference, 1) == ()
    return separator


def everything(data):
    return data.batch(np.arange(len(data)))


def test_cleans_what_is_known_to_be_corrupt(scored, data):
    batch, weight = scored.apply(everything(data))
    assert (batch.present & data.corrupt).double().mean() < 0.02
    assert (batch.present & ~data.corrupt).sum() > 0.9 * (~data.corrupt).sum()
    before = (data.target - data.truth).norm(dim=-1).mean(-1)
    after = (batch.target - data.truth).norm(dim=-1).mean(-1)
    assert (weight * after).sum() / weight.sum() < 0.1 * before.mean()
    assert batch.present.any(1).all() and (weight >= 0).all() and (weight <= 1).all()
    assert torch.equal(batch.meta.sample, torch.arange(len(data)))


def test_weights_say_what_was_done(scored, data):
    verdict = scored.verdict
    batch, weight = scored.apply(everything(data))
    assert (weight[verdict.quarantined] == 0).all()
    assert (weight[verdict.bad_label] <= 0.5).all() and weight[verdict.bad_label].mean() > 0.4
    untouched = ~verdict.quarantined & ~verdict.bad_label
    assert (weight[untouched] == 1).all() and torch.equal(batch.target[untouched], data.target[untouched])


def test_down_weighting_leaves_labels_alone(model, data, reference):
    separator = Separator(SeparationSettings(bad_label="down_weight"), SENSORS)
    separator.update(model, data, reference, 1)
    batch, weight = separator.apply(everything(data))
    assert torch.equal(batch.target, data.target)
    assert weight[data.label_corrupt].mean() < 0.1 and weight[~data.label_corrupt].mean() > 0.9


def test_batches_do_not_matter_and_the_input_stays(scored, data):
    positions = np.array([5, 900, 17])
    batch = data.batch(positions)
    present = batch.present.clone()
    part, weight = scored.apply(batch)
    whole, all_weights = scored.apply(everything(data))
    assert torch.equal(part.present, whole.present[positions]) and torch.equal(weight, all_weights[positions])
    assert torch.equal(part.target, whole.target[positions]) and torch.equal(batch.present, present)


def test_the_last_sensor_stays_unless_it_is_dead(scored, data):
    rows = torch.arange(len(data))
    bad = scored.verdict.masked
    i = int((bad.sum(1) == 1).nonzero()[0])
    only = torch.zeros_like(data.present)
    only[rows, bad.int().argmax(1)] = True  # every sample has only its worst sensor left
    batch, _ = scored.apply(replace(everything(data), present=only))
    assert batch.present[i].any() and torch.equal(batch.present[i], only[i])


def test_a_dead_last_sensor_goes_and_the_sample_counts_nothing(model, reference):
    data = toy(4)
    values = dict(data.values)
    for name in SENSORS:
        values[name] = values[name].clone()
        values[name][7] = 0.0
    data = replace(data, values=values)
    separator = Separator(SeparationSettings(), SENSORS)
    for epoch in (0, 1):
        separator.update(model, data, reference, epoch)
        batch, weight = separator.apply(data.batch([6, 7]))
        assert batch.present[0].any() and weight[0] == 1 and not batch.present[1].any() and weight[1] == 0


def test_nothing_is_flagged_in_the_first_epoch_of_an_experience(model, data, reference):
    separator = Separator(SeparationSettings(), SENSORS)
    separator.update(model, data, reference, 1)
    assert separator.verdict is not None
    assert separator.update(model, toy(3, seed=9), reference, 0) == ()
    assert separator.verdict is None and separator.log() == []
    batch, weight = separator.apply(everything(data))
    assert batch.present.all() and (weight == 1).all() and torch.equal(batch.target, data.target)


def test_scores_every_k_epochs_until_told_to_stop(model, reference):
    data = toy(3)
    separator = Separator(SeparationSettings(every=2, warm_up=1, until=5), SENSORS)
    scored = []
    for epoch in range(8):
        separator.update(model, data, reference, epoch)
        scored.append(separator.summary()["scored"])
    assert scored == [None, 1, 1, 3, 3, 3, 3, 3]


def test_predictions_are_averaged_over_passes(reference):
    data = toy(3)
    separator = Separator(SeparationSettings(every=1, memory=0.75), SENSORS)
    model = toy_model()
    separator.update(model, data, reference, 1)
    first = separator.state_dict()["averages"]["samples.poses"]
    with torch.no_grad():
        model.fusion.scale.fill_(3.0)
    separator.update(model, data, reference, 2)
    second = separator.state_dict()["averages"]["samples.poses"]
    centre = torch.tensor([0.0, 0.0, 3.0])
    assert torch.allclose(second - centre, (first - centre) * (0.75 + 0.25 * 3), atol=1e-5)


def test_state_round_trip_is_exact(model, data, reference):
    settings = SeparationSettings(every=1)
    one = Separator(settings, SENSORS)
    one.update(model, data, reference, 1)
    two = Separator(settings, SENSORS)
    stored = io.BytesIO()
    torch.save(one.state_dict(), stored)
    stored.seek(0)
    two.load_state_dict(torch.load(stored, weights_only=True))
    assert one.log() == two.log() and one.summary() == two.summary()
    for each in (one, two):
        each.update(model, data, reference, 2)
    pairs = zip(*(s.verdict.tensors().values() for s in (one, two)), strict=True)
    assert all(torch.equal(a.nan_to_num(-1), b.nan_to_num(-1)) for a, b in pairs)
    (batch, weight), (other, other_weight) = (s.apply(everything(data)) for s in (one, two))
    assert torch.equal(batch.present, other.present) and torch.equal(weight, other_weight)
    assert torch.equal(batch.target, other.target)


def test_log_rows_name_every_cell_that_is_set_aside(scored, data):
    rows = scored.log()
    cells = {(row["sample"], row["sensor"]) for row in rows if row["sensor"] != "label" and row["reason"] == "far"}
    expected = (scored.verdict.reason == Reason.FAR).nonzero().tolist()
    assert cells == {(i, SENSORS[m]) for i, m in expected}
    row = rows[0]
    assert set(row) == {"sample", "recording", "frame", "sensor", "reason", "words", "statistic", "score", "p"}
    assert all(row["statistic"] is None for row in rows)  # nobody read signals
    assert row["frame"] == int(data.frame[row["sample"]]) and row["recording"] == int(data.recording[row["sample"]])


def test_rates_are_those_of_the_verdict(scored, data):
    rate = scored.noise_rate()
    assert all(abs(rate[name] - 0.2) < 0.06 for name in SENSORS) and abs(rate["label"] - 0.1) < 0.04


def test_too_few_trusted_samples_fall_back_and_say_so(model, data):
    for few in (None, trusted_toy(recordings=1)):
        separator = Separator(SeparationSettings(), SENSORS)
        events = separator.update(model, data, few, 1)
        assert [event.kind for event in events] == ["too few trusted samples"]
        assert separator.noise_rate()["rgb"] > 0.1  # the mixture with its gate found them


def test_random_state_and_model_are_left_alone(data, reference):
    model = toy_model().train()
    torch.manual_seed(1)
    state, other = torch.get_rng_state(), np.random.get_state()[1].copy()
    Separator(SeparationSettings(readout="ridge"), SENSORS).update(model, data, reference, 1)
    assert torch.equal(state, torch.get_rng_state()) and np.array_equal(other, np.random.get_state()[1])
    assert model.training


def test_ridge_read_outs_find_swaps_too(model, data, reference):
    separator = Separator(SeparationSettings(readout="ridge"), SENSORS)
    separator.update(model, data, reference, 1)
    assert (separator.verdict.masked & data.corrupt).sum() > 0.8 * data.corrupt.sum()


def test_mistakes_are_explained(scored, model, reference):
    with pytest.raises(UsageError, match="begin_experience"):
        scored.update(model, toy(2), reference, 2)
    with pytest.raises(UsageError, match="replayed"):
        scored.apply(toy(30).batch([1700]))
    with pytest.raises(UsageError, match="made for"):
        scored.update(toy_model(("rgb", "wifi")), toy(2), reference, 2)
    with pytest.raises(UsageError, match="update"):
        Separator(SeparationSettings(), SENSORS).of(toy(1).batch([0]))


def test_spread_covers_all_recordings():
    chosen = spread(3000, 300)
    assert len(chosen) == 300 and chosen[0] == 0 and chosen[-1] == 2990 and (np.diff(chosen) == 10).all()
    assert spread(5, 300).tolist() == [0, 1, 2, 3, 4]
