"""Signals in the separator: read before the first epoch, kept out of it, saved and restored."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch

from equipose.config import ModelSettings
from equipose.data.corrupt.dataset import CorruptedDataset
from equipose.data.corrupt.plan import CorruptionPlan
from equipose.errors import UsageError
from equipose.nn.model import build_model
from equipose.separation.integrity import dead
from equipose.separation.reasons import INTEGRITY, Reason
from equipose.separation.separator import Separator
from equipose.separation.settings import SeparationSettings
from equipose.separation.signal import statistics_of
from equipose.separation.signal_verdict import SignalVerdict
from separation.room import signals_of, truth_of
from separation.toy import SENSORS, toy, trusted_toy


@pytest.fixture(scope="module")
def noisy(room):
    """Training data with jitter, held frames, noise on the channel, and joints of labels exchanged."""
    plan = CorruptionPlan(
        sensor_rate=0.2,
        label_rate=0.15,
        severity=3,
        sensors={"rgb": ("jitter", "stuck"), "wifi": ("awgn",)},
        labels=("joint_swap",),
        seed=4,
    )
    return CorruptedDataset(room[0], plan)


@pytest.fixture(scope="module")
def small(room):
    data = room[0]
    mean = data.batch(np.arange(len(data))).target.mean(0)
    return build_model(ModelSettings(width=16), data.modalities, 17, 0, mean, data.settings.windows)


@pytest.fixture(scope="module")
def before(small, noisy, room):
    """State of a separator at the beginning of an experience."""
    separator = Separator(SeparationSettings(), noisy.modalities)
    assert separator.update(small, noisy, room[1], 0) == () and separator.verdict is None
    return separator.state_dict()


@pytest.fixture
def begun(before, noisy):
    separator = Separator(SeparationSettings(), noisy.modalities)
    separator.load_state_dict(before)
    return separator


def everything(data):
    return data.batch(np.arange(len(data)))


def test_signals_are_read_before_the_first_epoch_and_kept_out_of_it(begun, noisy, room):
    signals = SignalVerdict.from_tensors(begun.state_dict()["signals"])
    expected = signals_of(noisy, room[1])
    assert torch.equal(signals.sensor, expected.sensor) and torch.equal(signals.label, expected.label)
    batch = everything(noisy)
    kept, weight = begun.apply(batch)
    truth = truth_of(noisy)
    assert torch.equal(kept.present, batch.present & ~dead(batch) & ~signals.sensor)
    assert (kept.present & truth.sensor).double().sum() < 0.1 * truth.sensor.sum()
    assert torch.equal(weight == 0, signals.label | ~kept.present.any(1))
    assert (weight[truth.label] == 0).double().mean() > 0.95 and (weight[~truth.label] == 1).double().mean() > 0.95
    assert torch.equal(kept.target, batch.target)
    part, some = begun.apply(noisy.batch(np.array([300, 5])))
    assert torch.equal(part.present, kept.present[[300, 5]]) and torch.equal(some, weight[[300, 5]])


def test_samples_of_other_data_are_refused_before_the_first_scoring(begun, noisy):
    batch = noisy.batch(np.array([3]))
    for strange in (len(noisy), -4):
        replayed = replace(batch, meta=replace(batch.meta, sample=torch.tensor([strange])))
        with pytest.raises(UsageError, match="replayed"):
            begun.apply(replayed)


def test_the_first_scoring_sets_signals_aside_and_says_which(begun, small, noisy, room):
    begun.update(small, noisy, room[1], 1)
    verdict, truth = begun.verdict, truth_of(noisy)
    assert (verdict.reason == Reason.SIGNAL).any() and verdict.masked[truth.sensor].double().mean() > 0.9
    assert verdict.bad_label[truth.label].double().mean() > 0.95
    assert verdict.masked[~truth.touched].double().mean() < 0.06
    named = {row["statistic"] for row in begun.log() if row["reason"] == "signal"}
    assert None not in named and named <= {s.name for name in ("rgb", "lidar", "wifi") for s in statistics_of(name)}
    assert all(row["statistic"] is None for row in begun.log() if row["reason"] != "signal")
    signals = SignalVerdict.from_tensors(begun.state_dict()["signals"])
    assert (signals.sensor & (verdict.reason == Reason.STALE)).any()  # seen in both ways: the plain one is named
    kept, weight = begun.apply(everything(noisy))
    alone = ~kept.present & ~verdict.masked & everything(noisy).present
    assert not alone.any() and (weight[verdict.bad_label] <= 0.5).all()


def test_state_round_trip_is_exact(begun, small, noisy, room):
    separators = [begun, Separator(SeparationSettings(), noisy.modalities)]
    for epoch in (1, 3):
        stored = io.BytesIO()
        torch.save(separators[0].state_dict(), stored)
        stored.seek(0)
        separators[1].load_state_dict(torch.load(stored, weights_only=True))
        for name, tensor in separators[0].state_dict()["signals"].items():
            other = separators[1].state_dict()["signals"][name]
            assert torch.equal(tensor.nan_to_num(-1), other.nan_to_num(-1)) and tensor.dtype == other.dtype
        (batch, weight), (same, same_weight) = (s.apply(everything(noisy)) for s in separators)
        assert torch.equal(batch.present, same.present) and torch.equal(weight, same_weight)
        for each in separators:
            each.update(small, noisy, room[1], epoch)
        assert separators[0].log() == separators[1].log()


def test_new_data_are_read_again_and_others_not_at_all(begun, small, noisy, room):
    begun.update(small, room[0], room[1], 0)
    signals = SignalVerdict.from_tensors(begun.state_dict()["signals"])
    assert signals.sensor.double().mean() < 0.02 and not signals.label.any()
    begun.begin_experience()
    assert begun.state_dict()["signals"] is None
    for settings, trusted in ((SeparationSettings(method="z3"), room[1]), (SeparationSettings(), None)):
        separator = Separator(settings, noisy.modalities)
        separator.update(small, noisy, trusted, 0)
        assert separator.state_dict()["signals"] is None


def test_data_that_do_not_say_how_they_are_made_are_judged_as_before(model):
    separator = Separator(SeparationSettings(), SENSORS)
    data, reference = toy(3), trusted_toy()
    for epoch in (0, 1):
        separator.update(model, data, reference, epoch)
    assert separator.state_dict()["signals"] is None and not (separator.verdict.reason == Reason.SIGNAL).any()


def test_a_frame_that_is_missing_from_its_window_is_kept_out(small, room):
    data, trusted = room
    plan = CorruptionPlan(sensor_rate=0.2, sensors={"rgb": ("dead",)}, timing="frame", seed=5)
    data = CorruptedDataset(data, plan)
    truth = truth_of(data)
    separator = Separator(SeparationSettings(), data.modalities)
    separator.update(small, data, trusted, 0)
    lost = truth.sensor[:, 0] & everything(data).present[:, 0]  # the frames around it are there
    assert lost.any() and Reason.UNRECORDED in INTEGRITY
    assert not separator.apply(everything(data))[0].present[lost, 0].any()
    separator.update(small, data, trusted, 1)
    assert (separator.verdict.reason[lost, 0] == Reason.UNRECORDED).all() and separator.verdict.masked[lost, 0].all()
    assert not (separator.verdict.reason[~truth.sensor[:, 0], 0] == Reason.UNRECORDED).any()
