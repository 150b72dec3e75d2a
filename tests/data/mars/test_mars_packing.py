"""MARS as a packed folder: sides, joint mapping, simulated sensors, the command."""

from __future__ import annotations

import json

import numpy as np
import pytest

from equipose.cli.main import main
from equipose.config import DataSettings
from equipose.data.dataset import datasets
from equipose.data.mars import MOVEMENTS, read_mars
from equipose.data.mars_joints import H36M_FROM_KINECT, INTERPOLATED, kinect_to_h36m
from equipose.data.mars_packing import pack_mars, with_sides
from equipose.data.packed import PackedStore
from equipose.errors import UsageError
from equipose.skeleton import H36M17, KINECT25

GIVEN = DataSettings(modalities=("mmwave",), split="given", windows={"mmwave": 9})


@pytest.fixture
def packed(mars_folder, tmp_path):
    out = tmp_path / "packed"
    pack_mars(with_sides(read_mars(mars_folder.root), 0.3), out, "kinect25")
    return out


# ---- joints ----


def test_mapping_names_every_joint_once_and_knows_its_sources():
    assert tuple(H36M_FROM_KINECT) == H36M17.joints
    assert all(source in KINECT25.joints for sources in H36M_FROM_KINECT.values() for source in sources)
    assert INTERPOLATED == ("pelvis", "face")


def test_mapping_commutes_with_the_mirror():
    joints = np.random.default_rng(0).normal(size=(4, 25, 3)).astype(np.float32)
    mirrored = joints[:, list(KINECT25.mirror)] * np.float32([-1, 1, 1])
    expected = kinect_to_h36m(joints)[:, list(H36M17.mirror)] * np.float32([-1, 1, 1])
    np.testing.assert_allclose(kinect_to_h36m(mirrored), expected, atol=1e-6)


def test_mapping_takes_the_named_joint():
    joints = np.arange(25 * 3, dtype=np.float32).reshape(25, 3)
    mapped = kinect_to_h36m(joints)
    assert mapped.dtype == np.float32
    wrist = mapped[H36M17.joints.index("right_wrist")]
    assert wrist.tolist() == joints[KINECT25.joints.index("right_wrist")].tolist()
    hips = joints[[KINECT25.joints.index("left_hip"), KINECT25.joints.index("right_hip")]]
    assert mapped[0].tolist() == hips.mean(0).tolist()


# ---- sides ----


def test_without_a_train_file_the_end_of_each_validation_movement_is_held_out(mars_folder):
    official = read_mars(mars_folder.root)
    sides = with_sides(official, 0.3)
    frames = {}
    for r in sides:
        frames.setdefault((r.subject, r.movement, r.part), []).append(r.frames)
        assert r.counts.sum() == len(r.points)
    for r in official:
        if r.part == "test":
            (test,) = frames[r.subject, r.movement, "test"]
            np.testing.assert_array_equal(test, r.frames)
            continue
        (train,), (held,) = (frames[r.subject, r.movement, side] for side in ("train", "validation"))
        np.testing.assert_array_equal(np.concatenate([train, held]), r.frames)
        assert len(held) == 2


def test_with_a_train_file_the_official_parts_stay(mars_folder):
    folder = mars_folder.root / "subject3"
    for kind in ("radar", "kinect"):
        (folder / f"{kind}_data_validate.csv").rename(folder / f"{kind}_data_train.csv")
    sides = with_sides(read_mars(mars_folder.root), 0.3)
    assert {r.part for r in sides if r.subject == 3} == {"train", "test"}
    assert all(len(r) == 6 for r in sides if r.subject == 3)


def test_hold_out_must_be_a_share(mars_folder):
    with pytest.raises(UsageError, match=r"found a hold-out share of 1\.0, expected one above 0 and below 1"):
        with_sides(read_mars(mars_folder.root), 1.0)


# ---- the packed folder ----


def test_packed_folder_keeps_points_labels_and_names(mars_folder, packed):
    store = PackedStore(packed)
    assert store.skeleton is KINECT25
    assert store.modalities == ("mmwave",)
    assert store.simulated == frozenset()
    assert store.action_names[6] == "squat" == MOVEMENTS[5]
    written = with_sides(read_mars(mars_folder.root), 0.3)
    assert store.recordings.split == tuple(r.part for r in written)
    np.testing.assert_array_equal(store.recordings.action, [r.movement for r in written])
    rows = np.arange(store.recordings.num_frames)
    np.testing.assert_array_equal(store.target(rows), np.concatenate([r.joints for r in written]))
    points, counts, valid = store.cloud("mmwave", rows)
    np.testing.assert_array_equal(points, np.concatenate([r.points for r in written]))
    np.testing.assert_array_equal(counts, np.concatenate([r.counts for r in written]))
    assert valid.all()
    np.testing.assert_array_equal(store.frame_number, np.concatenate([r.frames for r in written]))


def test_sides_are_disjoint_and_windows_stay_inside(packed):
    sides = datasets(packed, GIVEN)
    keys = {name: set(zip(d.subject.tolist(), d.frame.tolist(), strict=True)) for name, d in sides.items()}
    assert not keys["train"] & keys["validation"]
    assert not (keys["train"] | keys["validation"]) & keys["test"]
    assert {name: len(d) for name, d in sides.items()} == {"train": 80, "validation": 40, "test": 120}
    for dataset in sides.values():
        batch = dataset.batch(np.arange(len(dataset)))
        seconds = batch.inputs["mmwave"].points[..., -1].numpy()
        number = dataset.frame[:, None] + np.round(10 * seconds)
        for i, numbers in enumerate(number):
            seen = set(numbers[batch.inputs["mmwave"].mask[i].numpy()].astype(int).tolist())
            assert seen <= set(dataset.frame[dataset.recording == dataset.recording[i]].tolist())


def test_camera_frame_points_equal_the_files_axes(mars_folder, packed):
    batch = datasets(packed, DataSettings(modalities=("mmwave",), split="given", windows={"mmwave": 1}))["test"][0]
    x, y, z, snr, doppler, seconds = batch.inputs["mmwave"].points[0][batch.inputs["mmwave"].mask[0]].numpy().T
    truth = mars_folder.truth[1, "test", 1][2][0]
    np.testing.assert_allclose(np.stack([x, z, -y], 1), truth[:, :3], atol=1e-5)
    np.testing.assert_allclose(10 ** (snr / 10), truth[:, 3], rtol=1e-4)
    np.testing.assert_allclose(doppler, truth[:, 4], atol=1e-6)
    assert (seconds == 0).all()


def test_subjects_and_actions_narrow_the_given_split(packed):
    sides = datasets(packed, GIVEN.model_copy(update={"train_subjects": (1,), "test_subjects": (3,), "actions": (6,)}))
    assert {name: (set(d.subject.tolist()), set(d.action.tolist())) for name, d in sides.items()} == {
        "train": ({1}, {6}),
        "validation": ({1}, {6}),
        "test": ({3}, {6}),
    }
    with pytest.raises(
        UsageError, match="leaves nothing on the train side: the data has 20 train, 20 validation, 20 test"
    ):
        datasets(packed, GIVEN.model_copy(update={"train_subjects": (9,)}))


def test_another_split_points_to_the_given_one(packed):
    with pytest.raises(UsageError, match=r"split of its own\. Type.*: --split given"):
        datasets(packed, DataSettings(modalities=("mmwave",), split="S2"))


def test_interrupted_packing_continues_to_the_same_bytes(mars_folder, packed, tmp_path):
    recordings = with_sides(read_mars(mars_folder.root), 0.3)
    out = tmp_path / "again"

    def breaks(recording, joints):
        if recording.movement == 4 and recording.subject == 3:
            raise KeyboardInterrupt
        return {}

    with pytest.raises(KeyboardInterrupt):
        pack_mars(recordings, out, "kinect25", breaks)
    assert not out.exists()
    pack_mars(recordings, out, "kinect25")
    assert sorted(p.name for p in out.iterdir()) == sorted(p.name for p in packed.iterdir())
    for path in packed.iterdir():
        assert (out / path.name).read_bytes() == path.read_bytes(), path.name


# ---- the command ----


def test_command_packs_real_radar_with_simulated_sensors(mars_folder, tmp_path, capsys):
    out = tmp_path / "four"
    assert main(["data", "prepare", "mars", str(mars_folder.root), str(out), "--simulate", "rgb", "lidar", "wifi"]) == 0
    said = capsys.readouterr().err
    assert "120 test frames" in said
    assert f"next: equipose train {out} --split given --modalities rgb lidar wifi mmwave" in said
    modalities = json.loads((out / "meta.json").read_text())["modalities"]
    assert {name: m["simulated"] for name, m in modalities.items()} == {
        "rgb": True,
        "lidar": True,
        "mmwave": False,
        "wifi": True,
    }
    settings = DataSettings(split="given", crop={"lidar": (-1.25, 1.25, -1.4, 1.3, 1.0, 4.6)})
    test = datasets(out, settings)["test"]
    assert test.skeleton is H36M17
    assert test.store.simulated == {"rgb", "lidar", "wifi"}
    batch = test.batch(np.arange(len(test)))
    assert batch.present.all()
    u, v = batch.inputs["rgb"].values[:, 4].numpy().transpose(2, 0, 1)
    x, y, z = batch.target.numpy().transpose(2, 0, 1)
    assert np.median(abs(u - (320 + 615 * x / z))) < 10
    assert np.median(abs(v - (240 + 615 * y / z))) < 10


def test_simulated_sensors_depend_on_seed_and_recording_alone(mars_folder, tmp_path):
    from equipose.simulate.beside import room_around, sensor_frames

    joints = kinect_to_h36m(read_mars(mars_folder.root)[0].joints)
    room = room_around(joints, 0)
    first, same = (sensor_frames(joints, ("rgb", "lidar", "wifi"), room, 0, (1, 2)) for _ in range(2))
    other = sensor_frames(joints, ("rgb",), room, 0, (1, 3))
    for name in first:
        for a, b in zip(first[name], same[name], strict=True):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(first["rgb"][0], sensor_frames(joints, ("rgb",), room, 0, (1, 2))["rgb"][0])
    assert not np.array_equal(first["rgb"][0], other["rgb"][0])
    with pytest.raises(UsageError, match="mmwave cannot be simulated beside real recordings; choose from rgb"):
        sensor_frames(joints, ("mmwave",), room, 0, (1,))


def test_simulated_room_stands_under_the_recorded_people(mars_folder):
    from equipose.simulate.beside import room_around

    joints = kinect_to_h36m(read_mars(mars_folder.root)[0].joints)
    room = room_around(joints, 0)
    assert 0.0 < room.camera_height - joints[:, [3, 6], 1].max() < 0.15
    assert (room.low < joints.min((0, 1))).all()
    assert (room.high > joints.max((0, 1))).all()
    for low, high in room.boxes:
        assert not ((joints > low) & (joints < high)).all(-1).any()


def test_command_reports_a_wrong_folder_with_exit_code_3(tmp_path, capsys):
    assert main(["data", "prepare", "mars", str(tmp_path), str(tmp_path / "out")]) == 3
    assert "expected subject1" in capsys.readouterr().err


def test_command_never_overwrites(mars_folder, packed, capsys):
    assert main(["data", "prepare", "mars", str(mars_folder.root), str(packed)]) == 2
    assert "exists already" in capsys.readouterr().err


# ---- the real recordings ----


@pytest.mark.data
def test_real_bone_lengths_are_plausible_and_steady(recordings):
    expected = {  # metres, adult
        "right_hip": (0.06, 0.13),
        "right_knee": (0.30, 0.45),
        "right_ankle": (0.30, 0.45),
        "spine": (0.26, 0.36),
        "thorax": (0.20, 0.27),
        "face": (0.11, 0.19),
        "head": (0.05, 0.11),
        "right_shoulder": (0.15, 0.25),
        "right_elbow": (0.18, 0.30),
        "right_wrist": (0.17, 0.28),
    }
    for subject in (1, 3):
        joints = kinect_to_h36m(np.concatenate([r.joints for r in recordings if r.subject == subject]))
        length = {H36M17.joints[c]: np.linalg.norm(joints[:, c] - joints[:, p], axis=-1) for p, c in H36M17.bones}
        for name, (low, high) in expected.items():
            assert low < np.median(length[name]) < high, name
            other = np.median(length[name.replace("right", "left")])
            assert abs(np.median(length[name]) - other) < 0.02, name
            assert np.std(length[name]) < 0.045, name


@pytest.mark.data
def test_real_mapped_people_are_upright_and_face_the_camera(recordings):
    joints = kinect_to_h36m(np.concatenate([r.joints for r in recordings]))
    by_name = dict(zip(H36M17.joints, joints.transpose(1, 0, 2), strict=True))
    for upper, lower in (("head", "face"), ("face", "thorax"), ("thorax", "spine"), ("spine", "pelvis")):
        assert (by_name[upper][:, 1] < by_name[lower][:, 1]).all(), (upper, lower)
    assert (by_name["right_hip"][:, 0] < by_name["left_hip"][:, 0]).all()


@pytest.mark.data
def test_real_sides(recordings):
    frames = {}
    for r in with_sides(recordings, 0.18):
        frames[r.part] = frames.get(r.part, 0) + len(r)
    assert frames == {"train": 3399, "validation": 747, "test": 4119}
