"""Splits against the published lists, and the validation side carved by subject."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equipose.config import DataSettings
from equipose.data.splits import ACTION_NAMES, PROTOCOLS, s1_test_subjects, split
from equipose.errors import UsageError

# Validation subjects of split S1 by seed, as published with the MM-Fi toolbox's rule.
S1_TABLE = """
0: 1 4 7 10 20 22 24 39 | 9: 2 23 28 29 30 34 39 40 | 18: 3 6 9 18 20 25 35 39
1: 1 6 9 10 12 13 16 38 | 10: 1 10 16 26 29 30 34 37 | 19: 3 6 11 20 23 30 32 35
2: 8 9 12 16 19 23 32 36 | 11: 8 13 14 17 18 26 28 34 | 20: 10 16 21 27 29 32 36 39
3: 1 4 9 11 20 22 25 34 | 12: 3 4 7 12 13 23 28 36 | 21: 5 9 10 11 16 21 35 36
4: 1 2 4 6 9 10 24 31 | 13: 3 11 14 17 19 26 27 35 | 22: 1 5 9 19 21 30 32 37
5: 9 10 15 17 28 31 36 38 | 14: 8 11 13 17 23 25 27 29 | 23: 10 13 20 26 27 28 32 39
6: 2 10 11 16 17 21 26 36 | 15: 1 6 8 9 12 13 28 29 | 24: 1 2 4 16 18 24 35 36
7: 4 5 15 20 24 26 29 36 | 16: 2 5 6 17 31 32 33 38 | 25: 5 9 16 24 26 27 29 40
8: 4 6 9 11 20 21 22 27 | 17: 5 7 8 16 21 23 32 38 | 26: 2 5 7 14 18 20 27 33
"""
FULL = np.array([((s - 1) // 10 + 1, s, a) for s in range(1, 41) for a in range(1, 28)])
FRAMES = {
    ("P1", "S1"): (133056, 33264),
    ("P2", "S1"): (123552, 30888),
    ("P3", "S1"): (256608, 64152),
    ("P1", "S2"): (133056, 33264),
    ("P2", "S2"): (123552, 30888),
    ("P3", "S2"): (256608, 64152),
    ("P3", "S3"): (240570, 80190),
}


def test_s1_table():
    cells = [cell for line in S1_TABLE.strip().splitlines() for cell in line.split("|")]
    table = {int(c.split(":")[0]): tuple(map(int, c.split(":")[1].split())) for c in cells}
    assert sorted(table) == list(range(27))
    assert {seed: s1_test_subjects(seed) for seed in table} == table


def test_protocols():
    assert [len(PROTOCOLS[p]) for p in ("P1", "P2", "P3")] == [14, 13, 27]
    assert (
        sorted(PROTOCOLS["P1"] + PROTOCOLS["P2"]) == list(PROTOCOLS["P3"]) == list(range(1, 28)) == sorted(ACTION_NAMES)
    )


@pytest.mark.parametrize("protocol, name", FRAMES)
def test_nominal_frames(protocol, name):
    sides = split(FULL, DataSettings(protocol=protocol, split=name))
    train, test = FRAMES[protocol, name]
    assert (len(sides.train) + len(sides.validation)) * 297 == train
    assert len(sides.test) * 297 == test


def test_s1_seed_is_the_position_in_the_protocol():
    for protocol, action, position in (("P1", 13, 4), ("P2", 15, 8), ("P3", 13, 12)):
        sides = split(FULL, DataSettings(protocol=protocol, split="S1"))
        tested = FULL[sides.test]
        assert tuple(tested[tested[:, 2] == action, 1]) == s1_test_subjects(position)


def test_s2_and_s3_subjects():
    assert set(FULL[split(FULL, DataSettings(split="S2")).test, 1]) == {5, 10, 15, 20, 25, 30, 35, 40}
    assert set(FULL[split(FULL, DataSettings(split="S3")).test, 1]) == set(range(31, 41))


@pytest.mark.parametrize("name", ["S1", "S2", "S3"])
@pytest.mark.parametrize("seed", [0, 1])
def test_sides_are_disjoint_and_validation_is_by_subject(name, seed):
    sides = split(FULL, DataSettings(split=name, split_seed=seed))
    parts = [set(side.tolist()) for side in (sides.train, sides.validation, sides.test)]
    assert sum(map(len, parts)) == len(FULL) == len(set.union(*parts))
    train, validation = FULL[sides.train], FULL[sides.validation]
    assert not set(train[:, 1]) & set(validation[:, 1])
    assert set(validation[:, 0]) == set(train[:, 0])  # every environment gives a subject
    if name != "S1":
        assert not set(validation[:, 1]) & set(FULL[sides.test, 1])


def test_validation_follows_the_seed_and_is_stable_per_environment():
    def held_out(keys, seed):
        return set(keys[split(keys, DataSettings(split="S2", split_seed=seed)).validation, 1].tolist())

    assert held_out(FULL, 0) == held_out(FULL, 0)
    assert len({tuple(sorted(held_out(FULL, seed))) for seed in range(6)}) > 1
    two = FULL[FULL[:, 0] <= 2]
    assert held_out(two, 0) == {s for s in held_out(FULL, 0) if s <= 20}


def test_small_folders():
    keys = np.array([(e, 10 * (e - 1) + s, a) for e in (1, 2) for s in (1, 5) for a in (1, 2)])
    sides = split(keys, DataSettings(split="S2"))
    assert set(keys[sides.test, 1]) == {5, 15}
    assert {*keys[sides.train, 1], *keys[sides.validation, 1]} == {1, 11}
    assert len(set(keys[sides.validation, 1])) == 1  # one of two environments gives its only subject


@pytest.mark.parametrize(
    "keys, options, words",
    [
        (FULL[FULL[:, 1] <= 30], {"split": "S3"}, r"E04.*--split manual --set data.test_subjects=\[10,20,30\]"),
        (FULL[FULL[:, 1] > 30], {"split": "S3"}, "nothing to train on"),
        (FULL[FULL[:, 1] % 5 != 0], {"split": "S2"}, r"S05.*test_subjects=\[9,19,29,39\]"),
        (FULL[FULL[:, 1] % 5 == 0], {"split": "S2"}, "nothing to train on"),
        (FULL[(FULL[:, 1] == 4) | (FULL[:, 1] == 5)], {"split": "S2"}, "one subject only"),
        (FULL[FULL[:, 1] == 4], {"split": "S2"}, "S04 only, expected at least three subjects"),
        (FULL[np.isin(FULL[:, 1], (1, 2, 11, 21))], {"split": "S2"}, r"test_subjects=\[21\]"),
        (FULL[FULL[:, 2] == 1], {"protocol": "P1"}, "--protocol P3"),
        (FULL, {"split": "manual"}, "data.test_subjects"),
        (FULL, {"split": "manual", "test_subjects": (41,)}, "S41"),
        (FULL, {"split": "manual", "test_subjects": (1, 2), "train_subjects": (2, 3, 4)}, "S02 named in both"),
    ],
)
def test_impossible_splits_say_what_to_type(keys, options, words):
    with pytest.raises(UsageError, match=words) as error:
        split(keys, DataSettings(**options))
    assert error.value.exit_code == 2


def test_the_suggested_manual_split_works():
    keys = FULL[FULL[:, 1] % 5 != 0]
    sides = split(keys, DataSettings(split="manual", test_subjects=(9, 19, 29, 39)))
    assert set(keys[sides.test, 1]) == {9, 19, 29, 39}
    sides = split(keys, DataSettings(split="manual", test_subjects=(9,), train_subjects=(1, 2, 3), actions=(5,)))
    assert {*keys[sides.train, 1], *keys[sides.validation, 1]} == {1, 2, 3}
    assert set(keys[np.concatenate((sides.train, sides.validation, sides.test)), 2]) == {5}


@settings(max_examples=60, deadline=None)
@given(
    st.sets(st.sampled_from([tuple(map(int, key)) for key in FULL[::3]]), min_size=1, max_size=60),
    st.sampled_from(["S1", "S2", "S3"]),
    st.sampled_from(["P1", "P2", "P3"]),
    st.integers(0, 3),
)
def test_any_part_splits_cleanly_or_says_why(part, name, protocol, seed):
    keys = np.array(sorted(part))
    options = DataSettings(split=name, protocol=protocol, split_seed=seed)
    try:
        sides = split(keys, options)
    except UsageError as error:
        assert "Add recordings" in str(error) or "Type" in str(error) or "--set" in str(error)
        return
    assert len(sides.train) and len(sides.validation) and len(sides.test)
    assert not set(keys[sides.train, 1]) & set(keys[sides.validation, 1])
    whole = split(FULL, options)  # the test side is that of the full data set, cut to what is there
    assert {tuple(k) for k in keys[sides.test]} == part & {tuple(k) for k in FULL[whole.test].tolist()}
