"""Streams: who trains and tests in which experience, in which order, with which sensors."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from equipose.config import DataSettings
from equipose.data.corrupt import CorruptedDataset, CorruptionPlan
from equipose.data.store import open_store
from equipose.data.stream import ACTION_GROUPS, StreamSettings, stream
from equipose.data.writer import PackedWriter
from equipose.errors import DataError, UsageError
from equipose.skeleton import H36M17

SIDES = ("train", "validation", "test")
SENSORS = ("rgb", "lidar")
DATA = DataSettings(modalities=SENSORS)


def write(path, people, actions=(2, 3, 6, 9), frames=6, absent=(), split=None):
    """``people``: room -> subjects. ``absent``: (room, sensor) that recorded nothing."""
    with PackedWriter(path, skeleton=H36M17, modalities=SENSORS) as writer:
        for room, subjects in people.items():
            for subject in subjects:
                for action in actions:
                    rng = np.random.default_rng((room, subject, action))
                    sensors = {
                        "rgb": list(rng.uniform(50, 400, (frames, 17, 2))),
                        "lidar": list(rng.normal((3.0, 0, 0), 0.3, (frames, 20, 3))),
                    }
                    for name in SENSORS:
                        if (room, name) in absent:
                            sensors[name] = [None] * frames
                    target = rng.normal((0, 0, 3.0), 0.3, (frames, 17, 3))
                    side = split(subject) if split else None
                    writer.add(room, subject, action, target=target, frames=sensors, split=side)
    return path


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    """Two rooms of four people, the test subjects of S2 among them."""
    return write(tmp_path_factory.mktemp("four") / "p", {1: (1, 2, 3, 5), 2: (11, 12, 13, 15)})


def experiences(path, data=DATA, **settings):
    return stream(path, data, StreamSettings(**settings))


def check(made):
    """What holds for every stream: whole recordings on one side, one sample list for all sensors, no sample twice."""
    for side in SIDES:
        for other in SIDES:
            if side != other:
                for a in made:
                    for b in made:
                        assert not set(getattr(a, side).recording) & set(getattr(b, other).recording)
    for e in made:
        for side in SIDES:
            rows = getattr(e, side).rows
            assert len(rows) and (np.diff(rows) > 0).all()
            assert getattr(e, side).modalities == SENSORS
        if e.apart == "subject":
            people = [set(getattr(e, side).subject) for side in SIDES]
            assert not (people[0] & people[1] or people[0] & people[2] or people[1] & people[2])
            used = [e.train.rows, e.validation.rows, e.test.rows]
            assert len(np.unique(np.concatenate(used))) == sum(map(len, used))


@pytest.mark.parametrize("blur", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["rooms", "subjects", "actions", "protocols"])
def test_every_kind_parts_its_sides(four, kind, blur):
    check(experiences(four, kind=kind, blur=blur, subjects_per_experience=1))


def test_rooms(four):
    made = experiences(four)
    assert [e.name for e in made] == ["E01", "E02"]
    for e, room, test in ((made[0], 1, 5), (made[1], 2, 15)):
        assert all(set(getattr(e, side).environment) == {room} for side in SIDES)
        assert set(e.test.subject) == {test} and e.apart == "subject" and e.modalities == SENSORS
        assert len(set(e.validation.subject)) == 1 and len(set(e.train.subject)) == 2
        assert sum(len(getattr(e, side)) for side in SIDES) == 4 * 4 * 6
    assert [e.name for e in experiences(four, order=("E02", "E01"))] == ["E02", "E01"]


def test_the_sides_do_not_depend_on_the_order_or_on_sensors(four):
    forth, back = experiences(four), experiences(four, order=("E02", "E01"))
    for a, b in zip(forth, reversed(back), strict=True):
        assert all(np.array_equal(getattr(a, side).rows, getattr(b, side).rows) for side in SIDES)
    alone = experiences(four, DataSettings(modalities=("lidar",)))
    for a, b in zip(forth, alone, strict=True):
        assert all(np.array_equal(getattr(a, side).rows, getattr(b, side).rows) for side in SIDES)


def test_subjects_of_one_room_by_whole_recordings(four):
    made = experiences(four, kind="subjects", subjects_per_experience=2)
    assert [e.name for e in made] == ["S01+S02", "S03+S05"]
    for e in made:
        assert e.apart == "recording"
        people = set(e.train.subject)
        assert len(people) == 2 and people == set(e.validation.subject) == set(e.test.subject)
        for side in SIDES:
            assert len(getattr(e, side)) == 6 * len(set(getattr(e, side).recording))  # whole ones
    assert {e.name for e in experiences(four, kind="subjects", room=2)} == {"S11+S12", "S13+S15"}


def test_actions_and_protocols(four):
    made = experiences(four, kind="actions")
    assert [e.name for e in made] == ["arms", "squat", "dynamic"]
    for e in made:
        assert all(set(getattr(e, side).action) <= set(ACTION_GROUPS[e.name]) for side in SIDES)
        assert set(e.test.subject) == {5, 15}
    own = experiences(four, kind="actions", groups={"a": (2, 9), "b": (3,)}, order=("b", "a"))
    assert [e.name for e in own] == ["b", "a"] and set(own[1].train.action) == {2, 9}
    first, second = experiences(four, kind="protocols")
    assert (first.name, second.name) == ("P1", "P2")
    assert set(first.train.action) == {2, 3} and set(second.train.action) == {6, 9}
    assert set(first.train.subject) == set(second.train.subject)


def test_sensors_arrive_and_are_lost(four):
    made = experiences(four, kind="sensors", order=("rgb", "rgb+lidar", "lidar"))
    assert [e.modalities for e in made] == [("rgb",), ("rgb", "lidar"), ("lidar",)]
    for side in SIDES:
        rows = [getattr(e, side).rows for e in made]
        assert np.array_equal(rows[0], rows[1]) and np.array_equal(rows[1], rows[2])
    batches = [e.train.batch(np.arange(8)) for e in made]
    assert [b.present.all(0).tolist() for b in batches] == [[True, False], [True, True], [False, True]]
    assert not batches[2].inputs["rgb"].values.any() and not batches[0].inputs["lidar"].mask.any()
    assert [e.name for e in experiences(four, kind="sensors")] == ["rgb", "rgb+lidar"]


def test_blurred_borders(four):
    sharp, soft = experiences(four), experiences(four, blur=0.25)
    everything = np.sort(np.concatenate([e.train.rows for e in sharp]))
    assert np.array_equal(np.sort(np.concatenate([e.train.rows for e in soft])), everything)
    for a, b, room in zip(sharp, soft, (1, 2), strict=True):
        assert np.mean(b.train.environment != room) == 0.25
        assert np.array_equal(a.test.rows, b.test.rows) and np.array_equal(a.validation.rows, b.validation.rows)
    again, other = experiences(four, blur=0.25), experiences(four, blur=0.25, seed=1)
    assert np.array_equal(again[0].train.rows, soft[0].train.rows)
    assert not np.array_equal(other[0].train.rows, soft[0].train.rows)


@pytest.mark.parametrize("people", [(1, 2), (1, 2, 3), (1, 5), (5, 10)])
def test_few_people_in_a_room(tmp_path, people):
    """Two will do: one is tested on, recordings of the other validate."""
    path = write(tmp_path / "p", {1: people, 2: tuple(s + 10 for s in people)})
    if people == (5, 10):  # both are test subjects of S2
        with pytest.raises(UsageError, match=r"E01 \(S05, S10\) has 0 recording\(s\) besides its test subjects"):
            experiences(path)
        path_settings = DataSettings(modalities=SENSORS, split="manual", test_subjects=(5, 15))
        made = experiences(path, path_settings)
    else:
        made = experiences(path)
    check(made)
    assert all(len(set(e.test.subject)) == 1 and not set(e.test.subject) & set(e.train.subject) for e in made)
    assert {e.apart for e in made} == ({"subject"} if len(people) == 3 else {"recording"})


def test_a_person_in_two_rooms_is_on_one_side(tmp_path):
    made = experiences(write(tmp_path / "p", {1: (1, 2, 3, 4), 2: (1, 2, 3, 4)}))
    test, train = ({s for e in made for s in getattr(e, side).subject} for side in ("test", "train"))
    assert test == {4} and not test & train
    check(made)


def test_a_split_of_the_data_s_own(tmp_path):
    path = write(tmp_path / "p", {1: (1, 2, 3), 2: (11, 12, 13)}, split=lambda s: SIDES[s % 10 - 1])
    made = experiences(path, DataSettings(modalities=SENSORS, split="given"))
    check(made)
    assert [set(getattr(made[1], side).subject) for side in SIDES] == [{11}, {12}, {13}]


def test_a_room_without_a_sensor(tmp_path):
    people = {1: (1, 2, 3), 2: (11, 12, 13)}
    path = write(tmp_path / "p", people, absent=((2, "lidar"),))
    made = experiences(path)
    assert [e.modalities for e in made] == [("rgb", "lidar"), ("rgb",)]
    assert made[1].train.modalities == SENSORS  # the network's inputs stay
    path = write(tmp_path / "q", people, absent=((2, "lidar"), (2, "rgb")))
    with pytest.raises(DataError, match=r"experience E02 has no sensor: not one training frame of rgb, lidar"):
        experiences(path)


def test_corrupt_experiences(four):
    made = experiences(open_store(four), blur=0.1)
    bad = CorruptedDataset(made[1].train, CorruptionPlan(sensor_rate=0.5, timing="frame"))
    assert abs(bad.truth(np.arange(len(bad))).sensor.float().mean() - 0.5) < 0.1


def test_stride_keeps_the_sides(four):
    few = experiences(four, DataSettings(modalities=SENSORS, frame_stride=3))
    for a, b in zip(experiences(four), few, strict=True):
        assert set(b.test.rows) < set(a.test.rows) and set(b.test.frame) == {1, 4}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"order": ("E01",)}, r"rooms stream has 1 experience \(E01\), expected at least two.*equipose train"),
        ({"order": ("E01", "E03")}, r"unknown experience of the rooms stream 'E03'.*Known: E01, E02"),
        ({"order": ("E01", "E01")}, r"names E01 twice"),
        ({"kind": "subjects", "room": 3}, r"stream.room: found 3, the data has 1, 2"),
        ({"kind": "subjects", "subjects_per_experience": 4}, r"subjects_per_experience=1"),
        ({"kind": "actions", "groups": {"a": (2, 3)}}, r"actions stream has 1 experience"),
        ({"kind": "actions", "groups": {"a": (2, 3), "b": (3,)}}, r"action 3 is in a and in b"),
        ({"kind": "sensors", "order": ("rgb", "rgb+sonar")}, r"unknown sensor in the experience 'rgb\+sonar'"),
        ({"kind": "sensors", "order": ("rgb", "")}, r"unknown sensor in the experience ''"),
        ({"kind": "sensors", "blur": 0.1}, r"blur does not fit the sensors stream"),
    ],
)
def test_streams_that_make_no_sense(four, settings, expected):
    with pytest.raises(UsageError, match=expected):
        experiences(four, **settings)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"split": "S1"}, r"split S1 tests each action on other subjects.*data.split=S2"),
        ({"split": "S3"}, r"split S3 tests on one room alone"),
        ({"split": "given"}, r"has no split of its own"),
        ({"split": "manual", "test_subjects": (7,)}, r"no subject \[7\]"),
        ({"split": "manual", "test_subjects": (1,), "train_subjects": (1,)}, r"\[1\] named in both"),
        ({"split": "manual", "test_subjects": (5,), "actions": (27,)}, r"no recording has an action"),
    ],
)
def test_splits_that_make_no_sense(four, settings, expected):
    with pytest.raises(UsageError, match=expected):
        experiences(four, DataSettings(modalities=SENSORS, **settings))


def test_data_that_is_too_small(tmp_path):
    single = write(tmp_path / "one", {1: (1,), 2: (11,)})
    with pytest.raises(UsageError, match=r"experience E01 has no test subject: found S01. Expected at least two"):
        experiences(single)
    short = write(tmp_path / "short", {1: (1, 2, 3), 2: (11, 12, 13)}, actions=(2,), frames=1)
    with pytest.raises(DataError, match=r"E01 has 1 train frame\(s\) with a label, expected at least 2"):
        experiences(short)
    with pytest.raises(UsageError, match=r"S01 has 1 recording\(s\), expected at least three"):
        experiences(short, kind="subjects", subjects_per_experience=1)
    pair = write(tmp_path / "pair", {1: (1, 2), 2: (11, 12)}, actions=(2,))
    with pytest.raises(UsageError, match=r"has 1 recording\(s\) besides its test subjects, expected at least two"):
        experiences(pair)


def test_settings_that_are_out_of_range():
    for bad in ({"kind": "weather"}, {"blur": 1.0}, {"test_fraction": 0.0}, {"subjects_per_experience": 0}, {"x": 1}):
        with pytest.raises(ValidationError):
            StreamSettings(**bad)
