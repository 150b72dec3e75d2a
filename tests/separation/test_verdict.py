"""The decision table case by case, false alarms, and what is found."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from equipose.separation.quality import verdict_quality
from equipose.separation.readings import collect
from equipose.separation.reasons import WORDS, Reason
from equipose.separation.separator import spread
from equipose.separation.settings import SeparationSettings
from equipose.separation.verdict import Event, judge
from separation.toy import SENSORS, corrupted, refused, toy, trusted_toy

FRAMES = SeparationSettings(in_time="off")
FAR = torch.tensor([0.6, -0.6, 0.6])


def moved(readings, sample, sensors=(), by=FAR, label=None):
    """One sample whose sensors say something else, or whose label does."""
    poses, target = readings.poses.clone(), readings.target.clone()
    for k, m in enumerate(sensors):
        poses[sample, m] = poses[sample, m] + (by[k] if isinstance(by, list) else by)
    if label is not None:
        target[sample] = target[sample] + label
    return refused(replace(readings, poses=poses, target=target))


@pytest.fixture(scope="module")
def quiet(clean, trusted):
    """A sample at which nothing is found, and the readings."""
    verdict, _ = judge(clean, trusted, FRAMES)
    nothing = (verdict.reason == 0).all(1) & (verdict.label_reason == 0) & (verdict.p > 0.3).all(1)
    return clean, int(nothing.nonzero()[0])


def codes(readings, trusted, sample):
    verdict, events = judge(readings, trusted, FRAMES)
    assert not events
    return verdict.reason[sample].tolist(), int(verdict.label_reason[sample]), verdict


def test_one_sensor_far_from_peers_and_label(quiet, trusted):
    readings, i = quiet
    reason, label, verdict = codes(moved(readings, i, [2]), trusted, i)
    assert reason == [0, 0, Reason.FAR, 0] and label == 0
    assert verdict.masked[i].tolist() == [False, False, True, False]
    assert verdict.clean[i].tolist() == [True, True, False, True]


def test_all_sensors_agree_and_the_label_is_far(quiet, trusted):
    readings, i = quiet
    reason, label, verdict = codes(moved(readings, i, label=FAR), trusted, i)
    assert reason == [0] * 4 and label == Reason.LABEL and verdict.bad_label[i]
    error = (verdict.consensus[i] - readings.target[i]).norm(dim=-1).mean()
    assert error < 0.05  # the consensus is the true pose, which was the label


def test_one_sensor_near_the_label_against_peers_that_agree(quiet, trusted):
    readings, i = quiet
    reason, label, verdict = codes(moved(readings, i, [1, 2, 3]), trusted, i)
    assert label == Reason.LOOK_AGAIN and not verdict.masked[i].any() and not verdict.quarantined[i]
    assert set(reason) <= {0, int(Reason.LOOK_AGAIN)} and Reason.LOOK_AGAIN in reason


def test_nobody_agrees(quiet, trusted):
    readings, i = quiet
    everywhere = [FAR, -FAR, FAR.roll(1) * 2, -FAR.roll(1) * 2]
    reason, label, verdict = codes(moved(readings, i, range(4), everywhere), trusted, i)
    assert reason == [Reason.QUARANTINE] * 4 and label == Reason.QUARANTINE
    assert verdict.quarantined[i] and not verdict.masked[i].any() and not verdict.clean[i].any()


def test_bad_sensor_and_bad_label_at_once(quiet, trusted):
    readings, i = quiet
    reason, label, _ = codes(moved(readings, i, [3], by=-FAR, label=FAR), trusted, i)
    assert reason == [0, 0, 0, Reason.FAR] and label == Reason.LABEL


def test_two_bad_sensors_leave_the_two_that_agree(quiet, trusted):
    readings, i = quiet
    reason, label, _ = codes(moved(readings, i, [0, 3], [FAR, -FAR]), trusted, i)
    assert reason == [Reason.FAR, 0, 0, Reason.FAR] and label == 0


def test_an_odd_feature_alone(quiet, trusted):
    readings, i = quiet
    features = readings.features.clone()
    features[i, 1] += 5.0
    reason, label, _ = codes(replace(readings, features=features), trusted, i)
    assert reason == [0, Reason.ODD, 0, 0] and label == 0


def test_dead_and_absent_cells_keep_their_reason(quiet, trusted):
    readings, i = quiet
    integrity = readings.integrity.clone()
    integrity[i] = torch.tensor([Reason.ZERO, Reason.ABSENT, 0, 0])
    reason, label, verdict = codes(replace(readings, integrity=integrity), trusted, i)
    assert reason == [Reason.ZERO, Reason.ABSENT, 0, 0] and label == 0
    assert verdict.masked[i].tolist() == [True, False, False, False]
    assert verdict.sensor_clean[i, :2].tolist() == [0.0, 1.0]


def test_every_reason_has_words():
    assert set(WORDS) == set(Reason)


@pytest.mark.parametrize("method", ["conformal", "gmm_gate"])
def test_nothing_wrong_flags_next_to_nothing(model, method):
    shares, labels = [], []
    for seed in range(5):
        data = trusted_toy(1000 + seed)
        trusted = collect(model, data, spread(len(data), 300))
        readings = collect(model, toy(8, seed=seed))
        verdict, events = judge(readings, trusted, SeparationSettings(method=method))
        shares.append(float(verdict.masked.double().mean()))
        labels.append(float((verdict.bad_label | verdict.quarantined).double().mean()))
        assert not events
    assert sum(shares) / 5 <= 0.03 and max(shares) <= 0.05
    assert sum(labels) / 5 <= 0.02


@pytest.mark.parametrize("burst", [False, True])
@pytest.mark.parametrize("kind, floor", [("swap", 0.85), ("gaussian", 0.85), ("zero", 0.9), ("damped", 0.75)])
def test_corruption_is_found(model, trusted, kind, floor, burst):
    data = corrupted(toy(), kind, 0.2, 0.1, burst=burst)
    verdict, events = judge(collect(model, data), trusted, SeparationSettings())
    found = verdict_quality(verdict, data.corrupt, data.label_corrupt, data.present, SENSORS)
    assert found["all sensors"].f1 > floor and found["label"].f1 > 0.85
    assert found["all sensors"].purity > 0.94 and not events


def test_new_people_have_other_features_and_are_not_flagged(model, trusted):
    data = toy()
    person = torch.from_numpy(np.random.default_rng(0).normal(size=(8, 15))).float()[data.subject]
    readings = collect(model, data)
    features = readings.features + 0.3 * person[:, None]  # all features of a person lie elsewhere
    verdict, events = judge(replace(readings, features=features), trusted, FRAMES)
    assert verdict.masked.double().mean() < 0.05 and not events


def test_posteriors_tell_clean_from_corrupt(model, trusted):
    data = corrupted(toy(), "swap", 0.2, 0.1)
    verdict, _ = judge(collect(model, data), trusted, FRAMES)
    assert verdict.sensor_clean[data.corrupt].mean() < 0.2 < 0.8 < verdict.sensor_clean[~data.corrupt].mean()
    assert verdict.label_clean[data.label_corrupt].mean() < 0.1 < 0.9 < verdict.label_clean[~data.label_corrupt].mean()


def test_contributions_help_and_wrong_labels_do_not_make_sensors_bad(model, trusted):
    data = corrupted(toy(), "damped", 0.2)
    recall = {}
    for used in (True, False):
        verdict, _ = judge(collect(model, data), trusted, SeparationSettings(in_time="off", contribution=used))
        recall[used] = float(verdict.masked[data.corrupt].double().mean())
        assert bool((verdict.reason == Reason.HARM).any()) == used
    assert recall[True] > recall[False] + 0.03
    labels = corrupted(toy(), "swap", 0.0, 0.3)
    verdict, _ = judge(collect(model, labels), trusted, FRAMES)
    assert verdict.masked[labels.label_corrupt].double().mean() < 0.04
    assert verdict.bad_label[labels.label_corrupt].double().mean() > 0.85


def test_persistence_in_time_removes_false_alarms(model, trusted):
    data = corrupted(toy(), "damped", 0.2, 0.0, burst=True)
    readings = collect(model, data)
    alarms, f1 = {}, {}
    for mode in ("off", "auto"):
        verdict, _ = judge(readings, trusted, SeparationSettings(in_time=mode))
        found = verdict_quality(verdict, data.corrupt, data.label_corrupt, data.present, SENSORS)["all sensors"]
        alarms[mode], f1[mode] = found.false_alarms, found.f1
    assert alarms["auto"] < 0.7 * alarms["off"] and f1["auto"] > f1["off"] + 0.01


def test_a_filter_that_fits_the_flags_spares_single_frames(model, trusted):
    data = corrupted(toy(), "swap", 0.1)
    readings = collect(model, data)
    recall = {}
    for mode in ("on", "auto"):
        verdict, _ = judge(readings, trusted, SeparationSettings(in_time=mode))
        recall[mode] = verdict_quality(verdict, data.corrupt, data.label_corrupt, data.present, SENSORS)[
            "all sensors"
        ].recall
    assert recall["on"] < 0.1 and recall["auto"] > 0.95


@pytest.mark.parametrize("method", ["conformal"])
def test_a_shift_of_a_whole_sensor_is_an_event_and_flags_nothing(model, trusted, method):
    data = toy()
    wifi = data.values["wifi"] * 0.2 + 0.7
    readings = collect(model, replace(data, values={**data.values, "wifi": wifi}))
    verdict, events = judge(readings, trusted, SeparationSettings(method=method))
    assert [(e.kind, e.subject) for e in events] == [("modality shift", "wifi")] and events[0].share > 0.6
    assert (verdict.reason[:, 3] == Reason.SHIFT).all() and not verdict.masked[:, 3].any()
    assert verdict.masked[:, :3].double().mean() < 0.04 and verdict.bad_label.double().mean() < 0.03


def test_a_shift_of_all_labels_is_an_event(clean, trusted):
    verdict, events = judge(refused(replace(clean, target=clean.target + 0.5)), trusted, FRAMES)
    assert Event("label shift", "label", 1.0) in events and not verdict.bad_label.any()


def test_the_order_of_samples_does_not_matter(model, trusted):
    data = corrupted(toy(6), "swap", 0.2, 0.1, burst=True)
    readings = collect(model, data)
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(2))
    straight, _ = judge(readings, trusted, SeparationSettings())
    shuffled, _ = judge(readings.select(order), trusted, SeparationSettings())
    assert torch.equal(straight.reason[order], shuffled.reason)
    assert torch.equal(straight.label_reason[order], shuffled.label_reason)
    assert torch.allclose(straight.sensor_clean[order], shuffled.sensor_clean)


@pytest.mark.parametrize("sensors", [("rgb",), ("rgb", "wifi"), ("rgb", "depth", "wifi")])
def test_fewer_sensors(sensors):
    from separation.toy import toy_model

    model = toy_model(sensors)
    reference = trusted_toy(sensors=sensors)
    trusted = collect(model, reference, spread(len(reference), 300))
    data = corrupted(toy(sensors=sensors), "swap", 0.1)
    verdict, _ = judge(collect(model, data), trusted, FRAMES)
    found = verdict_quality(verdict, data.corrupt, data.label_corrupt, data.present, sensors)["all sensors"]
    assert found.recall > (0.9 if len(sensors) > 1 else 0.7)
    assert len(sensors) > 1 or verdict.masked.double().mean() < 0.03  # one sensor cannot be told from its label
