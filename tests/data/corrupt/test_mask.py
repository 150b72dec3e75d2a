"""What is corrupt: purity, exact masks, rates, coherence in time, nesting."""

from __future__ import annotations

import pickle
from dataclasses import fields

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from equipose.config import DataSettings
from equipose.data.corrupt import (
    KIND_NAMES,
    CorruptedDataset,
    CorruptedStore,
    CorruptionPlan,
    Truth,
    corruptions_of,
)
from equipose.data.dataset import PoseDataset, batches
from equipose.data.store import open_store
from equipose.data.view import HiddenSensors
from equipose.data.writer import PackedWriter
from equipose.errors import UsageError
from equipose.skeleton import H36M17
from equipose.types import Cloud

SENSORS = ("rgb", "lidar", "mmwave", "wifi")
EVERY = [(what, name) for what in (*SENSORS, "label") for name in corruptions_of(what)]


def plan(**options):
    return CorruptionPlan(
        **{"sensor_rate": 0.3, "label_rate": 0.2, "severity": "mixed", "burst_seconds": 0.8} | options
    )


def only(what, name, **options):
    if what == "label":
        return plan(sensor_rate=0.0, label_rate=0.4, labels=(name,), **options)
    return plan(sensor_rate=0.4, label_rate=0.0, sensors={what: (name,)}, **options)


def same_cell(a, b, name, i):
    """Whether sample i of two batches has the same bits of one sensor."""
    m = a.modalities.index(name)
    one, other = a.inputs[name], b.inputs[name]
    return bool(a.present[i, m] == b.present[i, m]) and all(
        torch.equal(getattr(one, f.name)[i], getattr(other, f.name)[i]) for f in fields(one)
    )


def same(a, b):
    return (
        torch.equal(a.target, b.target)
        and torch.equal(a.present, b.present)
        and all(same_cell(a, b, name, i) for name in a.modalities for i in range(len(a)))
    )


def test_the_mask_is_exact(dataset):
    """A cell that is not touched is the clean one bit for bit; a flagged one differs, and so does a flagged label."""
    bad = CorruptedDataset(dataset, plan())
    positions = np.arange(len(bad))
    clean, dirty, truth = dataset.batch(positions), bad.batch(positions), bad.truth(positions)
    assert torch.equal(clean.target, truth.target)
    assert torch.equal((dirty.target != clean.target).any(2).any(1), truth.label)
    assert truth.touched[truth.sensor].all()
    for m, name in enumerate(SENSORS):
        for i in range(len(bad)):
            if not truth.touched[i, m]:
                assert same_cell(clean, dirty, name, i), (name, i)
    assert ((truth.kind >= 0) == truth.sensor).all() and ((truth.severity > 0) == truth.sensor).all()
    assert ((truth.label_kind >= 0) == truth.label).all()
    assert set(truth.severity.unique().tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize(("what", "name"), EVERY)
@pytest.mark.parametrize("timing", ["burst", "frame"])
def test_each_corruption_changes_exactly_the_flagged_frames(clean, one, equal, what, name, timing):
    bad = CorruptedStore(clean, only(what, name, timing=timing))
    rows = np.arange(clean.recordings.num_frames)
    truth = bad.truth(rows)
    flagged = truth.label if what == "label" else truth.sensor[:, SENSORS.index(what)]
    if what == "label":
        rows = rows[clean.labelled]
    changed = np.array([not equal(one(clean, what, row), one(bad, what, row)) for row in rows])
    assert np.array_equal(changed, flagged[rows])
    assert abs(changed.mean() - 0.4) < 0.08, changed.mean()
    for other in SENSORS:
        if other != what:
            assert all(equal(one(clean, other, row), one(bad, other, row)) for row in range(0, 720, 37))


def test_missing_empty_and_damaged_frames_stay_as_they_are(clean, one, equal):
    bad = CorruptedStore(
        clean,
        plan(
            sensor_rate=1.0,
            label_rate=1.0,
            severity=3,
            sensors={"lidar": ("range_noise",), "mmwave": ("ghosts",), "wifi": ("awgn",)},
            labels=("offset",),
        ),
    )
    truth = bad.truth(np.arange(40))
    assert np.flatnonzero(~truth.sensor[:, 1]).tolist() == [3]
    assert np.flatnonzero(~truth.sensor[:, 2]).tolist() == [5, 6]
    assert np.flatnonzero(~truth.sensor[:, 3]).tolist() == [7]
    assert not truth.sensor[:, 0].any()  # not named
    assert np.flatnonzero(~truth.label).tolist() == [9]
    for name, row in (("lidar", 3), ("mmwave", 5), ("mmwave", 6), ("wifi", 7)):
        assert equal(one(clean, name, row), one(bad, name, row))
    assert np.array_equal(bad.labelled, clean.labelled)


def test_dead_frames_are_not_present(clean):
    bad = CorruptedStore(clean, only("wifi", "dead"))
    truth = bad.truth(np.arange(720))
    gone = ~bad.present["wifi"] & clean.present["wifi"]
    assert (gone >= truth.sensor[:, 3]).all() and gone.mean() > 0.3
    assert not bad.dense("wifi", np.flatnonzero(gone))[1].any()


def test_pure_in_batch_order_and_process(dataset):
    bad = CorruptedDataset(dataset, plan())
    rng = np.random.default_rng(0)
    order = rng.permutation(len(bad))[:60]
    whole, truth = bad.batch(order), bad.truth(order)
    copy = pickle.loads(pickle.dumps(bad))
    again = CorruptedDataset(dataset, plan())
    for i in (0, 7, 31, 59):
        index = torch.tensor([i])
        for source in (bad, copy, again):
            assert same(source.batch(order[i : i + 1]), whole.select(index))
            alone = source.truth(order[i : i + 1])
            assert all(torch.equal(getattr(alone, f.name), getattr(truth.select(index), f.name)) for f in fields(Truth))
    part = bad.subset(order)
    assert isinstance(part, CorruptedDataset) and same(part.batch(np.arange(60)), whole)
    assert torch.equal(part.truth(np.arange(60)).sensor, truth.sensor)
    assert len(list(batches(bad, 100))) == -(-len(bad) // 100)
    assert same(bad[3], bad.batch([3]))
    seeded = (bad.batch(order, np.random.default_rng(1)) for _ in range(2))
    assert same(*seeded)


def test_it_does_not_matter_which_sensors_are_loaded_or_what_happens_in_other_rooms(folder, dataset):
    bad = CorruptedDataset(dataset, plan())
    alone = PoseDataset(open_store(folder, ("wifi",)), dataset.rows, DataSettings(modalities=("wifi",)))
    wifi = CorruptedDataset(alone, plan())
    positions = np.arange(0, len(bad), 11)
    assert torch.equal(wifi.batch(positions).inputs["wifi"].values, bad.batch(positions).inputs["wifi"].values)
    assert torch.equal(wifi.truth(positions).kind[:, 0], bad.truth(positions).kind[:, 3])


def test_a_room_is_corrupt_alike_without_the_other_rooms(tmp_path, clean):
    with PackedWriter(tmp_path / "room", skeleton=H36M17, modalities=("rgb",)) as writer:
        for r in np.flatnonzero(clean.recordings.environment == 2):
            rows = clean.recordings.start[r] + np.arange(40)
            key = clean.recordings.keys[r].tolist()
            writer.add(*key, target=clean.target(rows), frames={"rgb": list(clean.dense("rgb", rows)[0])})
    jitter = plan(sensors={"rgb": ("jitter", "stuck")})
    room, both = CorruptedStore(open_store(tmp_path / "room"), jitter), CorruptedStore(clean, jitter)
    assert np.array_equal(room.dense("rgb", np.arange(360))[0], both.dense("rgb", np.arange(360, 720))[0])


def test_other_seeds_and_sensors_are_independent(clean):
    def flagged(**options):
        return CorruptedStore(clean, plan(**options)).truth(np.arange(720))

    first, second = flagged(timing="frame"), flagged(timing="frame", seed=1)
    assert not np.array_equal(first.sensor, second.sensor)
    both = np.c_[first.sensor, first.label].astype(float)
    assert abs(np.corrcoef(both.T) - np.eye(5)).max() < 0.15


@pytest.mark.parametrize("timing", ["burst", "frame"])
@pytest.mark.parametrize("rate", [0.0, 0.05, 0.2, 0.5, 1.0])
def test_rates(clean, timing, rate):
    """The rate is met within a block in each room; a lower rate's frames are among a higher one's."""
    sensors = {"rgb": ("jitter",), "lidar": ("range_noise",), "mmwave": ("points_lost",), "wifi": ("awgn",)}
    settings = {"timing": timing, "sensors": sensors, "labels": ("offset",), "severity": 2}
    bad = CorruptedStore(clean, plan(sensor_rate=rate, label_rate=rate, **settings))
    more = CorruptedStore(clean, plan(sensor_rate=min(1.0, rate + 0.1), label_rate=min(1.0, rate + 0.1), **settings))
    truth, wider = (store.truth(np.arange(720)) for store in (bad, more))
    usable = np.ones((720, 4), bool)
    for column, gone in ((1, (3,)), (2, (5, 6)), (3, (7,))):
        usable[np.isin(np.arange(720) % 40, gone), column] = False
    for room in (slice(0, 360), slice(360, 720)):
        for m in range(4):
            found = truth.sensor[room, m][usable[room, m]].mean()
            assert abs(found - rate) <= (0.03 if timing == "burst" else 0.01), (m, found)
        assert abs(truth.label[room][clean.labelled[room]].mean() - rate) <= 0.03
    assert (truth.sensor <= wider.sensor).all() and (truth.label <= wider.label).all()
    if rate == 0.0:
        assert not truth.sensor.any() and not truth.label.any()
    if rate == 1.0:
        assert truth.sensor[usable].all()


def test_where_does_not_depend_on_the_severity(clean):
    found = [
        CorruptedStore(clean, plan(severity=s, sensors={"rgb": ("jitter",), "wifi": ("awgn", "zero")})).truth(
            np.arange(720)
        )
        for s in (1, 2, 3)
    ]
    assert all(np.array_equal(t.sensor, found[0].sensor) and np.array_equal(t.kind, found[0].kind) for t in found)
    assert [int(t.severity.max()) for t in found] == [1, 2, 3]


def test_bursts_last_and_what_is_broken_stays_broken(clean):
    bad = CorruptedStore(clean, only("rgb", "joints_missing", severity=2))
    mask = bad.truth(np.arange(720)).sensor[:, 0].reshape(18, 40)
    edges = (np.diff(mask.astype(int), axis=1) != 0).sum()
    assert edges <= 18 * 4  # blocks of 8 frames: at most 4 borders in 40 frames
    values = bad.dense("rgb", np.arange(720))[0].reshape(18, 40, 17, 2)
    burst = bad.schedule("rgb").burst.reshape(18, 40)
    patterns = set()
    for r in range(18):
        for start in np.unique(burst[r][mask[r]]):
            gone = (values[r][(burst[r] == start) & mask[r]] == 0).all(axis=2)
            assert len(gone) == 8 and (gone == gone[0]).all()
            patterns.add(tuple(gone[0]))
    assert len(patterns) > 5


def test_a_window_in_a_burst_is_corrupt_throughout(dataset):
    bad = CorruptedDataset(dataset, only("rgb", "zero", burst_seconds=2.0))
    truth = bad.truth(np.arange(len(bad)))
    batch = bad.batch(np.arange(len(bad)))
    inside = [i for i in range(len(bad)) if (batch.inputs["rgb"].values[i] == 0).all()]
    middle = batch.inputs["rgb"].values[:, 4].flatten(1).eq(0).all(1)
    assert torch.equal(middle, truth.sensor[:, 0])
    assert truth.sensor[inside, 0].all() and len(inside) > 0.4 * int(truth.sensor[:, 0].sum())
    assert truth.touched[:, 0].sum() > truth.sensor[:, 0].sum()


def test_stuck_holds_the_frame_before_the_burst(clean):
    bad = CorruptedStore(clean, only("rgb", "stuck"))
    schedule, rgb = bad.schedule("rgb"), clean.dense("rgb", np.arange(720))[0]
    shown = bad.dense("rgb", np.arange(720))[0]
    for row in np.flatnonzero(schedule.kind >= 0):
        start = schedule.burst[row]
        held = start if start % 40 == 0 else start - 1
        assert held // 40 == row // 40 and np.array_equal(shown[row], rgb[held])
    assert (schedule.kind[::40] < 0).all()  # the first frame of a recording has nothing before it


def test_no_frame_or_label_comes_from_a_recording_outside_the_data_set(dataset):
    train = dataset.subset(~np.isin(dataset.subject, (5, 15)))
    swaps = plan(
        sensor_rate=1.0, label_rate=1.0, sensors={"rgb": ("swapped", "wrong_person")}, labels=("subject_swap",)
    )
    bad = CorruptedDataset(train, swaps)
    for what in ("rgb", "label"):
        source = bad.store.schedule(what).source[train.rows]
        there = dataset.store.recordings.subject[dataset.store.frame_recording[source]]
        own = dataset.store.recordings.subject[dataset.store.frame_recording[train.rows]]
        assert not np.isin(there, (5, 15)).any() and (there != own).mean() > 0.5


def test_the_recording_that_is_swapped_in(clean):
    table = clean.recordings
    for severity in (1, 2, 3):
        bad = CorruptedStore(clean, plan(sensor_rate=1.0, severity=severity, sensors={"rgb": ("swapped",)}))
        source = bad.schedule("rgb").source
        here, there = clean.frame_recording, clean.frame_recording[source]
        assert (here != there).all()
        assert np.array_equal(source - table.start[there], np.arange(720) - table.start[here])  # the same time
        same_room = table.environment[here] == table.environment[there]
        same_action = table.action[here] == table.action[there]
        if severity == 1:
            assert (same_room & same_action).all() and (table.subject[here] != table.subject[there]).all()
        elif severity == 2:
            assert same_room.all() and not same_action.any()
        else:
            assert not same_room.any()


def test_radar_columns_the_other_way_round(clean):
    still = only("mmwave", "zero_doppler", severity=3)
    bad = CorruptedStore(clean, still, radar_columns=("doppler", "snr"))
    row = int(np.flatnonzero(bad.truth(np.arange(720)).sensor[:, 2])[0])
    points = bad.cloud("mmwave", np.array([row]))[0]
    assert not points[:, 3].any() and points[:, 4].any()


def test_nothing_is_corrupt_at_rate_zero(dataset):
    bad = CorruptedDataset(dataset, CorruptionPlan())
    positions = np.arange(0, len(bad), 5)
    assert same(bad.batch(positions), dataset.batch(positions))
    truth = bad.truth(positions)
    assert not truth.sensor.any() and not truth.label.any() and not truth.touched.any()
    assert truth.to("cpu").kind.eq(-1).all()


def test_hidden_sensors_cannot_be_corrupt(clean, dataset):
    hidden = PoseDataset(HiddenSensors(clean, ("rgb",)), dataset.rows, dataset.settings)
    batch = hidden.batch(np.arange(30))
    assert batch.present[:, 0].all() and not batch.present[:, 1:].any()
    assert isinstance(batch.inputs["lidar"], Cloud) and not batch.inputs["wifi"].values.any()
    truth = CorruptedDataset(hidden, plan(sensor_rate=1.0)).truth(np.arange(30))
    assert truth.sensor[:, 0].float().mean() > 0.8 and not truth.sensor[:, 1:].any()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"sensor_rate": 1.2}, "less than or equal to 1"),
        ({"label_rate": -0.1}, "greater than or equal to 0"),
        ({"severity": 4}, "1, 2, 3 or 'mixed'"),
        ({"timing": "always"}, "'burst' or 'frame'"),
        ({"burst_seconds": 0}, "greater than 0"),
        ({"sensors": {"lidar": ("awgn",)}}, "unknown corruption of lidar 'awgn'.*Known: .*fog"),
        ({"sensors": {"lidr": ("fog",)}}, "unknown sensor 'lidr'. Did you mean 'lidar'"),
        ({"sensors": {"label": ("offset",)}}, "label is no sensor"),
        ({"sensors": {"lidar": ()}}, "lidar has an empty list"),
        ({"labels": ("ofset",)}, "Did you mean 'offset'"),
        ({"labels": ()}, "found no label corruption"),
        ({"speed": 1}, "Extra inputs"),
    ],
)
def test_settings_that_make_no_sense(options, expected):
    with pytest.raises(ValidationError, match=expected):
        CorruptionPlan(**options)


def test_a_plan_that_does_not_fit_the_data(folder, tmp_path):
    with pytest.raises(UsageError, match=r"corrupts lidar, and the data has rgb, wifi"):
        CorruptedStore(open_store(folder, ("rgb", "wifi")), plan(sensors={"lidar": ("fog",)}))
    rng = np.random.default_rng(0)
    with PackedWriter(tmp_path / "one", skeleton=H36M17, modalities=("rgb",)) as writer:
        writer.add(1, 1, 1, target=rng.normal(size=(1, 17, 3)), frames={"rgb": [rng.uniform(0, 400, (17, 2))]})
    store = open_store(tmp_path / "one")
    with pytest.raises(UsageError, match=r"rgb.swapped shows another recording, and the data has only one"):
        CorruptedStore(store, plan(sensors={"rgb": ("jitter", "swapped")}))
    with pytest.raises(UsageError, match=r"label.subject_swap shows another subject"):
        CorruptedStore(store, plan(labels=("subject_swap",)))
    for seed in range(20):  # one recording of one frame: whatever is left must not fail
        bad = CorruptedStore(store, plan(sensor_rate=1.0, label_rate=1.0, seed=seed))
        truth = bad.truth(np.zeros(1, int))
        assert KIND_NAMES[truth.kind[0, 0]] not in ("swapped", "wrong_person") or truth.kind[0, 0] == -1
        bad.dense("rgb", np.zeros(1, int)), bad.target(np.zeros(1, int))
