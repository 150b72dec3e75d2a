from __future__ import annotations

import numpy as np
import pytest

from equipose.simulate.actions import ACTIONS, CHANNELS, CURVES
from equipose.simulate.body import CAPSULES, capsule_ends, interpolate, landmarks, make_body
from equipose.simulate.motion import make_style, perform, repetitions
from equipose.simulate.presets import ALL_ACTIONS, ALL_SUBJECTS
from equipose.skeleton import H36M17

# Median repetition lengths in MM-Fi's action segments, frames at 10 Hz, A01 to A27.
PERIODS = (7, 32, 30, 19, 18, 12, 26, 25, 19, 19, 25, 20, 20, 20, 27, 25, 14, 14, 22, 25, 25, 22, 22, 18, 18, 10, 22)
PLACE, FLOOR = np.array([0.1, 3.2]), 0.83


def bone_lengths(joints):
    return np.stack([np.linalg.norm(joints[:, c] - joints[:, p], axis=-1) for p, c in H36M17.bones], axis=-1)


@pytest.mark.parametrize("action", ALL_ACTIONS)
def test_bones_keep_their_length_and_feet_stay_above_the_floor(action):
    joints = perform(make_body(0, 7), action, 90, 0, PLACE, FLOOR)
    assert joints.shape == (90, 17, 3) and joints.dtype == np.float32
    lengths = bone_lengths(joints)
    assert np.abs(lengths - lengths[0]).max() < 2e-6
    assert joints[..., 1].max() < FLOOR
    assert joints[:, [3, 6], 1].max() > FLOOR - 0.12  # somebody stands on the floor


def test_both_sides_of_a_body_are_equal_and_bodies_differ():
    lengths = np.stack([bone_lengths(perform(make_body(0, s), 12, 2, 0, PLACE, FLOOR))[0] for s in ALL_SUBJECTS])
    by_child = {child: lengths[:, i] for i, (_, child) in enumerate(H36M17.bones)}
    for child, length in by_child.items():
        assert np.allclose(length, by_child[H36M17.mirror[child]], atol=2e-6)
    assert len({body.stature for body in (make_body(0, s) for s in ALL_SUBJECTS)}) == 40
    # MM-Fi's own bones, metres: upper arm, forearm, half hip; then thigh, shin and shoulders of adults.
    expected = {
        12: (0.25, 0.01),
        13: (0.25, 0.01),
        4: (0.11, 0.005),
        5: (0.42, 0.02),
        6: (0.42, 0.02),
        11: (0.175, 0.01),
    }
    for child, (mean, margin) in expected.items():
        assert by_child[child].mean() == pytest.approx(mean, abs=margin), child
        assert 0.03 < by_child[child].std() / mean < 0.1, child


def test_subjects_right_has_the_smaller_x_and_the_face_looks_at_the_camera():
    for subject in ALL_SUBJECTS:
        joints = perform(make_body(0, subject), 13, 20, 0, PLACE, FLOOR)
        assert (joints[:, 1, 0] < joints[:, 4, 0]).all()  # hips
        assert (joints[:, 14, 0] < joints[:, 11, 0]).all()  # shoulders
        assert (joints[:, 9, 2] < joints[:, 8, 2]).all()  # nose before the neck
        assert (joints[:, 10, 1] < joints[:, 0, 1]).all()  # head above pelvis, y down


@pytest.mark.parametrize(("action", "left"), [(13, True), (14, False), (17, True), (18, False)])
def test_left_actions_raise_the_left_hand(action, left):
    joints = perform(make_body(0, 2), action, 60, 0, PLACE, FLOOR)
    highest_left, highest_right = joints[:, 13, 1].min(), joints[:, 16, 1].min()
    assert (highest_left < highest_right - 0.2) == left
    assert (highest_right < highest_left - 0.2) == (not left)


@pytest.mark.parametrize("action", ALL_ACTIONS)
def test_periods_are_those_of_mmfi(action):
    script = ACTIONS[action]
    assert script.period == PERIODS[action - 1]
    progress, _ = repetitions(script, 1.0, 5000, np.random.default_rng(0))
    assert 4999 / (progress[-1] - progress[0]) == pytest.approx(script.period, rel=0.03)


@pytest.mark.parametrize("action", [3, 6, 12, 13, 20, 22, 26, 27])
def test_joints_repeat_after_one_period(action):
    joints = perform(make_body(0, 5), action, 297, 0, PLACE, FLOOR).astype(float)
    period = round(ACTIONS[action].period * make_style(0, 5).tempo)
    moving = joints.reshape(297, -1)
    moving = moving - moving.mean(axis=0)
    path = moving[:, moving.std(axis=0).argmax()]
    lags = np.arange(max(3, int(0.6 * period)), int(1.4 * period) + 1)
    correlation = [np.corrcoef(path[:-lag], path[lag:])[0, 1] for lag in lags]
    assert abs(lags[int(np.argmax(correlation))] - period) <= max(1, 0.12 * period)


def test_scripts_use_known_channels_and_start_at_rest():
    for script in ACTIONS.values():
        for move in script.moves:
            assert move.channel in CHANNELS
    for name, curve in CURVES.items():
        values = curve(np.linspace(0, 1, 101)[:-1])
        assert np.abs(values).max() <= 1 + 1e-12
        assert name == "always" or abs(values[0]) < 1e-12


def test_motion_depends_on_seed_subject_action_only():
    first = perform(make_body(3, 4), 5, 20, 3, PLACE, FLOOR)
    assert np.array_equal(first, perform(make_body(3, 4), 5, 20, 3, PLACE, FLOOR))
    for seed, subject, action in ((4, 4, 5), (3, 5, 5), (3, 4, 6)):
        assert not np.allclose(first, perform(make_body(seed, subject), action, 20, seed, PLACE, FLOOR))


def test_capsules_follow_the_joints(person):
    joints, _ = person
    start, end = capsule_ends(joints)
    names = [name for name, *_ in CAPSULES]
    assert start.shape == end.shape == (12, 18, 3)
    assert np.array_equal(start[:, names.index("left_thigh")], joints[:, 4])
    toes = landmarks(joints)[:, 17:19]
    assert (toes[:, 0, 2] < joints[:, 3, 2]).all() and (toes[:, 1, 2] < joints[:, 6, 2]).all()  # towards the camera


def test_interpolation_is_exact_for_straight_motion_and_at_frames():
    time = np.arange(6.0)
    joints = (np.array([1.0, -2.0, 0.5]) * time[:, None])[:, None].repeat(17, axis=1)
    fine = interpolate(joints, 10, -0.45)
    when = (time[:, None] + np.arange(10) / 10 - 0.45).ravel()
    assert np.allclose(fine[:, 0], np.array([1.0, -2.0, 0.5]) * when[:, None])
    wild = np.random.default_rng(0).normal(size=(6, 17, 3))
    assert np.allclose(interpolate(wild, 4, 0.0)[::4], wild)


@pytest.mark.parametrize("action", [4, 12, 13])
def test_a_period_can_be_given(action):
    body, style = make_body(0, 5), make_style(0, 5)
    joints = perform(body, action, 600, 0, PLACE, FLOOR, period=40.0).astype(float)
    moving = (joints - joints.mean(axis=0)).reshape(600, -1)
    path = moving[:, moving.std(axis=0).argmax()]
    lags = np.arange(20, 70)
    best = lags[np.argmax([np.corrcoef(path[:-lag], path[lag:])[0, 1] for lag in lags])]
    assert abs(best - 40 * style.tempo) <= 5


def test_people_sway_over_standing_feet_and_never_stand_quite_still():
    for subject in (2, 9, 30):
        joints = perform(make_body(0, subject), 13, 300, 0, PLACE, FLOOR).astype(float)
        feet, pelvis = joints[:, [3, 6]], joints[:, 0]
        assert feet.std(axis=0).max() < 0.004  # of the arm's action, legs only hold
        assert 0.001 < pelvis[:, 0].std() < 0.015 and 0.001 < pelvis[:, 2].std() < 0.015
        speed = np.linalg.norm(np.diff(joints[:, 13] - pelvis, axis=0), axis=-1) * 10
        assert np.median(speed) > 0.005


def test_repetitions_and_sides_are_uneven():
    joints = perform(make_body(0, 6), 11, 400, 0, PLACE, FLOOR).astype(float)
    height = joints[:, 8, 1, None] - joints[:, [13, 16], 1]
    peaks = [height[i : i + 27].max(axis=0) for i in range(0, 378, 27)]
    assert np.std(peaks, axis=0).min() > 0.002
    assert np.abs(np.diff(peaks, axis=1)).mean() > 0.001
    styles = [make_style(0, subject) for subject in ALL_SUBJECTS]
    assert len({style.side for style in styles}) == 40
    assert all(0.003 <= style.sway <= 0.005 and 0 <= style.pause <= 0.12 for style in styles)
