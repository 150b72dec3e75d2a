"""MARS: parsing, axes, segments, and the real recordings where they are at hand."""

from __future__ import annotations

import numpy as np
import pytest

from equipose.data.mars import (
    MOVEMENTS,
    group_frames,
    read_mars,
    segment,
    to_camera,
    to_radar_columns,
)
from equipose.errors import DataError
from equipose.skeleton import KINECT25

# ---- grouping, segmenting, axes ----


def test_a_frame_is_a_run_of_equal_numbers_whatever_the_object_count_says():
    numbers, counts = group_frames(np.array([5.0, 5, 6, 9, 9, 9]))
    assert numbers.tolist() == [5, 6, 9]
    assert counts.tolist() == [2, 1, 3]


def test_only_large_or_backward_jumps_start_a_new_stretch():
    assert segment(np.array([1, 2, 8, 9, 1300, 1301, 4, 5])).tolist() == [1, 1, 1, 1, 2, 2, 3, 3]


def test_axes_turn_right_away_up_into_right_down_forward():
    assert to_camera(np.array([0.1, 2.0, 0.5])).tolist() == [0.1, -0.5, 2.0]


def test_camera_axes_are_a_rotation_so_left_and_right_are_not_swapped():
    assert np.linalg.det(to_camera(np.eye(3))) == pytest.approx(1.0)


def test_radar_columns_agree_with_camera_axes():
    row = np.array([[7, 3, 0.1, 2.0, 0.5, -0.356, 100, 1e9]])
    forward, right, down, snr, doppler = to_radar_columns(row)[0]
    assert (right, down, forward) == tuple(to_camera(row[0, 2:5]))
    assert snr == pytest.approx(20.0)
    assert doppler == -0.356


# ---- a small made-up copy of the layout ----


def test_made_up_files_come_back_value_for_value(mars_folder):
    found = read_mars(mars_folder.root)
    assert [(r.subject, r.part, r.movement) for r in found] == [
        (s, part, m) for s in (1, 3) for part in ("validation", "test") for m in range(1, 11)
    ]
    for r in found:
        frames, joints, points = mars_folder.truth[r.subject, r.part, r.movement]
        np.testing.assert_array_equal(r.frames, frames)
        np.testing.assert_allclose(r.joints[..., [0, 2, 1]] * [1, 1, -1], joints, atol=1e-5)
        assert r.counts.tolist() == [len(p) for p in points]
        stacked = np.concatenate(points)
        np.testing.assert_allclose(r.points[:, [1, 0, 2]] * [1, 1, -1], stacked[:, :3], atol=1e-5)
        np.testing.assert_allclose(10 ** (r.points[:, 3] / 10), stacked[:, 3], rtol=1e-4)
        np.testing.assert_allclose(r.points[:, 4], stacked[:, 4], atol=1e-6)


def test_the_release_has_the_files_one_folder_deeper(mars_folder):
    flat = read_mars(mars_folder.root)
    for subject in (1, 3):
        folder = mars_folder.root / f"subject{subject}"
        (folder / "timesplit").mkdir()
        for path in folder.glob("*.csv"):
            path.rename(folder / "timesplit" / path.name)
    deep = read_mars(mars_folder.root)
    assert len(deep) == len(flat)
    assert all((a.points == b.points).all() for a, b in zip(flat, deep, strict=True))


def test_wrong_folder_says_what_to_give(tmp_path):
    (tmp_path / "E01").mkdir()
    with pytest.raises(DataError, match=r"holds no subject<N> folder \(found E01\); expected subject1"):
        read_mars(tmp_path)
    with pytest.raises(DataError, match="no folder at"):
        read_mars(tmp_path / "nowhere")


def test_missing_half_of_a_pair_is_named(mars_folder):
    (mars_folder.root / "subject1" / "kinect_data_test.csv").unlink()
    with pytest.raises(DataError, match=r"no file at .*subject1/kinect_data_test\.csv; expected Kinect labels \(75"):
        read_mars(mars_folder.root)


def test_empty_subject_folder_is_named(mars_folder):
    (mars_folder.root / "subject9").mkdir()
    with pytest.raises(DataError, match=r"subject9 holds no radar_data_<part>\.csv"):
        read_mars(mars_folder.root)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda lines: [lines[0].replace("Doppler", "Velocity"), *lines[1:]],
            "column 6 is 'Velocity', expected 'Doppler'",
        ),
        (
            lambda lines: [",".join(line.split(",")[:5]) for line in lines],
            "has 5 columns .* expected radar points with 8",
        ),
        (lambda lines: lines[:1], "holds a header and no rows"),
        (lambda lines: [*lines[:3], lines[3].replace(",", ",x", 1), *lines[4:]], "is damaged"),
        (lambda lines: [*lines[:3], "nan" + lines[3], *lines[4:]], "is damaged"),
        (
            lambda lines: [*lines[:1], "nan" + lines[1][lines[1].index(",") :], *lines[2:]],
            "row 2: .*not finite",
        ),
        (lambda lines: lines[: len(lines) // 2], "label rows; expected one label per frame"),
    ],
    ids=[
        "renamed column",
        "fewer columns",
        "no rows",
        "not a number",
        "two numbers run together",
        "nan",
        "cut",
    ],
)
def test_damaged_radar_file_is_refused_by_name(mars_folder, damage, message):
    path = mars_folder.root / "subject1" / "radar_data_validate.csv"
    path.write_text("\n".join(damage(path.read_text().splitlines())) + "\n")
    with pytest.raises(DataError, match=message) as caught:
        read_mars(mars_folder.root)
    assert "radar_data_validate.csv" in str(caught.value)


def test_consistently_cut_pair_lacks_movements(mars_folder):
    folder = mars_folder.root / "subject1"
    labels = (folder / "kinect_data_test.csv").read_text().splitlines()
    frames, _, points = mars_folder.truth[1, "test", 1]
    (folder / "kinect_data_test.csv").write_text("\n".join(labels[: 1 + len(frames)]) + "\n")
    radar = (folder / "radar_data_test.csv").read_text().splitlines()
    (folder / "radar_data_test.csv").write_text("\n".join(radar[: 1 + sum(map(len, points))]) + "\n")
    with pytest.raises(DataError, match="holds 1 stretches of frames, expected 10"):
        read_mars(mars_folder.root)


# ---- the real recordings ----


@pytest.mark.data
class TestRealRecordings:
    def test_every_label_has_its_radar_frame(self, recordings):
        totals = {}
        for r in recordings:
            totals[r.subject, r.part] = totals.get((r.subject, r.part), 0) + len(r)
        assert totals == {
            (1, "validation"): 2365,
            (1, "test"): 2350,
            (3, "validation"): 1781,
            (3, "test"): 1769,
        }
        assert all(r.counts.min() >= 1 and r.counts.max() <= 64 for r in recordings)

    def test_ten_movements_of_about_twenty_seconds(self, recordings):
        assert len(recordings) == 40
        for r in recordings:
            assert 150 < len(r) < 300
            assert np.diff(r.frames).min() >= 1 and np.diff(r.frames).max() <= 10

    def test_parts_never_share_a_frame_and_test_follows_validation(self, recordings):
        by_key = {(r.subject, r.movement, r.part): r for r in recordings}
        for subject in (1, 3):
            for movement in range(1, 11):
                before, after = (by_key[subject, movement, part] for part in ("validation", "test"))
                assert before.frames[-1] < after.frames[0]

    def test_head_is_above_feet_and_person_faces_the_sensor(self, recordings):
        joint = {name: i for i, name in enumerate(KINECT25.joints)}
        joints = np.concatenate([r.joints for r in recordings])
        assert (joints[:, joint["head"], 1] < joints[:, joint["left_ankle"], 1]).all()
        assert (joints[:, joint["right_hip"], 0] < joints[:, joint["left_hip"], 0]).all()
        assert (joints[:, joint["right_shoulder"], 0] < joints[:, joint["left_shoulder"], 0]).mean() > 0.999
        assert 1.5 < np.median(joints[..., 2]) < 2.5
        # the toes of somebody who faces the sensor are nearer to it than the ankles
        assert joints[:, joint["left_foot"], 2].mean() < joints[:, joint["left_ankle"], 2].mean() - 0.05

    def test_radar_points_surround_the_body(self, recordings):
        for r in recordings:
            forward, right, down = np.median(r.points[:, :3], axis=0)
            x, y, z = np.median(r.joints.reshape(-1, 3), axis=0)
            assert abs(forward - z) < 0.25
            assert abs(right - x) < 0.55
            assert abs(down - y) < 0.65

    def test_radar_moves_to_the_side_of_the_moving_arm(self, recordings):
        left = np.concatenate(
            [r.points[:, 1] for r in recordings if MOVEMENTS[r.movement - 1].startswith("left upper")]
        )
        right = np.concatenate(
            [r.points[:, 1] for r in recordings if MOVEMENTS[r.movement - 1].startswith("right upper")]
        )
        assert left.mean() > right.mean() + 0.2

    def test_radar_follows_a_squatting_body_away(self, recordings):
        for subject in (1, 3):
            r = next(r for r in recordings if (r.subject, r.movement, r.part) == (subject, 4, "validation"))
            starts = np.concatenate([[0], np.cumsum(r.counts)[:-1]])
            depth = np.add.reduceat(r.points[:, 0], starts) / r.counts
            assert np.corrcoef(depth, r.joints[..., 2].mean(1))[0, 1] > 0.85

    def test_named_limbs_are_the_ones_that_move(self, recordings):
        joint = {name: i for i, name in enumerate(KINECT25.joints)}
        for r in recordings:
            travel = np.ptp(r.joints, axis=0).max(-1)
            name = MOVEMENTS[r.movement - 1]
            wrists = travel[joint["left_wrist"]], travel[joint["right_wrist"]]
            if "limb" in name:
                moving = {"left": (True, False), "right": (False, True), "both": (True, True)}[name.split()[0]]
                assert tuple(w > 0.4 for w in wrists) == moving
            if "squat" in name:
                assert np.ptp(r.joints[:, joint["spine_base"], 1]) > 0.35

    def test_doppler_has_the_steps_of_the_chirp(self, recordings):
        steps = np.concatenate([r.points[:, 4] for r in recordings]) / 0.356
        np.testing.assert_allclose(steps, np.round(steps), atol=0.01)
