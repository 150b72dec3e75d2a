"""Signals of simulated people: what is found without a network, and that clean data are left alone."""

import numpy as np
import pytest
import torch

from equipose.data.corrupt.dataset import CorruptedDataset
from equipose.data.corrupt.plan import CorruptionPlan
from equipose.separation.settings import SeparationSettings
from equipose.separation.signal import statistics_of
from equipose.separation.signal_verdict import (
    judge_signals,
    readable,
)
from separation.room import signals_of, truth_of
from separation.toy import toy


def test_nothing_wrong_is_next_to_nothing_found(room):
    found = signals_of(*room)
    assert found.sensor.double().mean(0).max() <= 0.02 and found.misfit.double().mean(0).max() <= 0.02
    assert found.label.double().mean() <= 0.02 and not found.shifted.any()
    assert found.alpha.tolist() == [0.005, 0.005, 0.01]  # WiFi has no place in space
    assert found.p_misfit[:, 2].isnan().all() and not found.p_sensor.isnan().any()


@pytest.mark.parametrize("severity", [1, 3])
def test_swapped_joints_of_labels_are_found(room, severity):
    data, trusted = room
    data = CorruptedDataset(data, CorruptionPlan(label_rate=0.2, severity=severity, labels=("joint_swap",), seed=2))
    found, truth = signals_of(data, trusted), truth_of(data)
    assert truth.label.double().mean() > 0.1
    assert found.label[truth.label].double().mean() > 0.95 and found.label[~truth.label].double().mean() < 0.02


def test_a_label_elsewhere_is_beside_the_image_and_the_points(room):
    data, trusted = room
    data = CorruptedDataset(data, CorruptionPlan(label_rate=0.2, severity=3, labels=("offset",), seed=2))
    found, truth = signals_of(data, trusted), truth_of(data)
    assert found.misfit[truth.label, 0].double().mean() > 0.6  # a body aside is still near its points
    assert found.p_misfit[truth.label, 1].median() < 0.1 < found.p_misfit[~truth.label, 1].quantile(0.1)
    assert (found.misfit[~truth.label].double().mean(0) < 0.02).all() and not found.label.any()
    step = found.offset[truth.label, 0].nanmean(1).norm(dim=-1)  # .2 m in any direction
    assert 0.05 < step.median() < 0.21 and found.offset[~truth.label, 0].nanmean(1).norm(dim=-1).median() < 0.03


@pytest.mark.parametrize(
    ("sensor", "fault", "column"),
    [
        ("rgb", "jitter", "sensor"),
        ("wifi", "awgn", "sensor"),
        ("lidar", "fog", "sensor"),
        ("rgb", "wrong_person", "misfit"),
    ],
)
def test_faults_of_a_sensor_are_found_in_its_own_column(room, sensor, fault, column):
    data, trusted = room
    data = CorruptedDataset(data, CorruptionPlan(sensor_rate=0.2, severity=3, sensors={sensor: (fault,)}, seed=2))
    found, truth = signals_of(data, trusted), truth_of(data)
    m = data.modalities.index(sensor)
    flags = getattr(found, column)
    assert flags[truth.sensor[:, m], m].double().mean() > 0.9
    assert flags[~truth.touched[:, m], m].double().mean() < 0.02
    others = [k for k in range(3) if k != m]
    assert found.sensor[:, others].double().mean() < 0.02 and found.misfit[:, others].double().mean() < 0.02
    i = int((found.sensor[:, m]).nonzero()[0]) if column == "sensor" else -1
    assert i < 0 or found.statistic(i, m, sensor) in [s.name for s in statistics_of(sensor)]
    clean = int((~found.sensor[:, m]).nonzero()[0])
    assert found.statistic(clean, m, sensor) is None


def test_a_sensor_of_which_most_would_be_flagged_is_an_event_and_keeps_its_cells(room):
    data, trusted = room
    data = CorruptedDataset(data, CorruptionPlan(sensor_rate=0.25, severity=3, sensors={"rgb": ("jitter",)}, seed=2))
    found = signals_of(data, trusted, SeparationSettings(shift=0.15))
    assert 0.15 < found.shifted[0] < 0.4 and not found.sensor[:, 0].any()
    assert not found.shifted[1:].any()


def test_the_order_of_samples_does_not_matter(room):
    data, trusted = room
    plan = CorruptionPlan(sensor_rate=0.2, label_rate=0.1, severity="mixed", seed=4)
    data = CorruptedDataset(data, plan)
    order = np.random.default_rng(0).permutation(len(data))
    one, other = signals_of(data, trusted), signals_of(data.subset(order), trusted)
    for name in ("sensor", "misfit", "label"):
        assert torch.equal(getattr(one, name)[order], getattr(other, name)) and getattr(one, name).any()
    torch.testing.assert_close(one.p_sensor[order], other.p_sensor, equal_nan=True)


def test_what_cannot_be_judged_is_not(room):
    data, trusted = room
    assert signals_of(data, trusted, SeparationSettings(signal_alpha=0.0)) is None
    settings = SeparationSettings()
    assert judge_signals(data, trusted, np.arange(99), data.modalities, settings) is None
    assert judge_signals(data, trusted, np.arange(100), data.modalities, settings) is not None
    assert readable(data) and not readable(toy(1)) and not readable(None)
