from __future__ import annotations

import json
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from equipose.cli.main import main
from equipose.data.audit import audit
from equipose.data.mmfi import index, simulated_modalities
from equipose.errors import DataError, UsageError
from equipose.simulate import recording_jobs
from equipose.simulate.body import make_body
from equipose.simulate.mmfi_writer import RECORD, write_mmfi
from equipose.simulate.motion import perform
from equipose.simulate.motion_writer import MOTION_RECORD, write_motion
from equipose.simulate.numbering import assign, person_of
from equipose.skeleton import H36M17

SENSORS = ("rgb", "lidar", "mmwave", "wifi")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Three files of two people, 30 Hz, 20 frames each."""
    folder = tmp_path_factory.mktemp("clips")
    paths = []
    for name, action in (("07_01", 2), ("07_02", 12), ("55_01", 22)):
        joints = perform(make_body(0, 3), action, 20, 0, np.array([0.0, 3.0]), 0.8)
        paths.append(folder / f"{name}.npz")
        np.savez(paths[-1], joints=joints, fps=30)
    return paths


@pytest.fixture(scope="module")
def written(clips, tmp_path_factory):
    root = tmp_path_factory.mktemp("motion") / "root"
    lines = []
    summary = write_motion(root, clips, modalities=SENSORS, jobs=1, progress=False, tell=lines.append)
    return root, summary, lines


def contents(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def recordings(root):
    return {name: data for name, data in contents(root).items() if name.startswith("E")}


def test_clips_become_recordings_of_mmfi(written):
    root, summary, lines = written
    assert (summary.recordings, summary.skipped, summary.frames) == (3, 0, 21)
    found = index(root)
    assert [r.name for r in found] == ["E01/S01/A01", "E01/S07/A01", "E01/S07/A02"]  # person 55 has no place of its own
    assert all(set(r.files) == set(SENSORS) and len(r.frames) == 7 for r in found)
    assert simulated_modalities(root) == frozenset(SENSORS)
    record = json.loads((root / MOTION_RECORD).read_text())
    where = {entry["clip"]: entry["recording"] for entry in record["clips"]}
    assert where == {"07_01": "E01/S07/A01", "07_02": "E01/S07/A02", "55_01": "E01/S01/A01"}
    assert "unit m assumed" in lines[0] and "-y is up, assumed" in lines[0] and "E01/S07/A01" in lines[0]
    assert not [p for p in audit(root, jobs=1).problems if p.severity == "error"]
    truth = np.load(root / "E01/S07/A02/ground_truth.npy")
    bones = [np.linalg.norm(truth[:, c] - truth[:, p], axis=-1) for p, c in H36M17.bones]
    assert max(np.ptp(length) for length in bones) < 5e-5


def test_bytes_depend_on_the_clip_and_the_room_alone(written, clips, tmp_path):
    root, _, _ = written
    other = tmp_path / "s"
    write_motion(other, clips[1:2], modalities=SENSORS, subjects=(30,), jobs=1, progress=False)
    ours, theirs = recordings(other), recordings(root)
    assert len(ours) == 7 * 4 + 1
    for name, data in ours.items():
        assert data == theirs[name.replace("S30/A01", "S07/A02")]
    write_motion(tmp_path / "t", clips[1:2], modalities=("lidar",), environments=(2,), jobs=1, progress=False)
    name = "E02/S07/A01/lidar/frame001.bin"
    assert recordings(tmp_path / "t")[name] != theirs["E01/S07/A02/lidar/frame001.bin"]


def test_a_run_is_completed_and_extended(written, clips, tmp_path):
    root, _, _ = written
    copy = tmp_path / "s"
    write_motion(copy, clips[1:2], modalities=SENSORS, jobs=1, progress=False)
    assert json.loads((copy / MOTION_RECORD).read_text())["clips"][0]["recording"] == "E01/S07/A01"
    summary = write_motion(copy, clips, modalities=SENSORS, jobs=2, progress=False)
    assert (summary.recordings, summary.skipped) == (2, 1)
    where = {e["clip"]: e["recording"] for e in json.loads((copy / MOTION_RECORD).read_text())["clips"]}
    assert where == {"07_02": "E01/S07/A01", "07_01": "E01/S07/A02", "55_01": "E01/S01/A01"}
    with pytest.raises(UsageError, match="S07 is subject 7 in this folder; give subject 55 another"):
        write_motion(copy, clips[2:], modalities=SENSORS, subjects=(7,), progress=False)
    resumed = tmp_path / "r"
    shutil.copytree(root, resumed)
    shutil.rmtree(resumed / "E01" / "S07" / "A01")
    summary = write_motion(resumed, clips[:1], modalities=SENSORS, jobs=1, progress=False)
    assert (summary.recordings, summary.skipped) == (1, 0)
    assert contents(resumed) == contents(root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "seed 0, and this one has 1"),
        ({"frames": 5}, "frames not set, and this one has 5"),
        ({"place": "keep"}, "place auto"),
        ({"modalities": ("rgb",)}, "modalities"),
        ({"frame_rate": 25.0}, "07_01 with (frames|frame_rate_hz)"),
    ],
)
def test_other_settings_in_the_same_folder_are_refused(written, clips, change, message):
    root, _, _ = written
    before = contents(root)
    with pytest.raises(UsageError, match=message):
        write_motion(root, clips, **{"modalities": SENSORS, "jobs": 1, "progress": False, **change})
    assert contents(root) == before


def test_motion_and_scripts_do_not_mix(written, clips, tmp_path):
    root, _, _ = written
    with pytest.raises(UsageError, match="source motion, and this one has not set"):
        write_mmfi(root, subjects=(1,), actions=(1,), frames=2, progress=False)
    write_mmfi(tmp_path / "s", subjects=(1,), actions=(1,), frames=2, modalities=("rgb",), jobs=1, progress=False)
    with pytest.raises(UsageError, match="source not set, and this one has motion"):
        write_motion(tmp_path / "s", clips, progress=False)
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "thesis.txt").write_text("precious")
    with pytest.raises(DataError, match="not empty"):
        write_motion(tmp_path / "t", clips, progress=False)
    assert contents(tmp_path / "t") == {"thesis.txt": b"precious"}
    with pytest.raises(DataError, match="is a file"):
        write_motion(tmp_path / "t" / "thesis.txt", clips, progress=False)


def test_too_little_disk_is_said_before_anything_is_written(clips, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(recording_jobs.shutil, "disk_usage", lambda place: usage(10**9, 0, 1_000_000))
    root = tmp_path / "deep" / "root"
    with pytest.raises(DataError, match=r"21 frames need about 0\.00 GB.*0\.00 GB free. Nothing was written"):
        write_motion(root, clips, progress=False)
    with pytest.raises(DataError, match=r"320760 frames need about 31\.\d\d GB"):
        write_mmfi(root, frames=297, progress=False)
    assert not root.parent.exists()


def test_disk_estimate_is_near_the_truth(written):
    root, summary, _ = written
    used = sum(p.stat().st_blocks * 512 for p in root.rglob("frame*") if p.is_file())
    estimate = summary.frames * sum(recording_jobs.DISK_BYTES[name] for name in SENSORS)
    assert 0.8 < estimate / used < 1.3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"environments": (5,)}, "environments: found 5"),
        ({"subjects": (41, 2)}, "subjects: found 41"),
        ({"subjects": (3,)}, "--subjects: found 1 numbers, expected a different one for each of 2 people"),
        ({"frames": 1}, "frames: found 1, expected 2 to 999"),
        ({"modalities": ("rbg",)}, "Did you mean 'rgb'"),
        ({"place": "here"}, "--motion-place"),
    ],
)
def test_wrong_selections_are_explained(clips, tmp_path, change, message):
    with pytest.raises(UsageError, match=message):
        write_motion(tmp_path / "s", clips, progress=False, **change)
    assert not (tmp_path / "s").exists()


def test_more_clips_than_actions_roll_over_to_the_next_subject():
    many = [(f"03_{i:02d}", Path(f"/x/03_{i:02d}.bvh"), f"three {i}") for i in range(1, 31)]
    other = [("04_01", Path("/x/04_01.bvh"), "four"), ("walk", Path("/x/walk.bvh"), "walk")]
    slots, told = assign([*many, *other], (1, 2))
    numbers = [(slots[f"three {i}", 2].subject, slots[f"three {i}", 2].action) for i in range(1, 31)]
    assert numbers[:27] == [(3, a) for a in range(1, 28)] and numbers[27:] == [(2, 1), (2, 2), (2, 3)]
    assert slots["four", 1].subject == 4 and slots["walk", 1].subject == 1
    assert len(told) == 1 and "more than 27 clips: from 03_28 on they are filed under S02" in told[0]
    assert len(set(slots.values())) == 64 and all(slots[d, 1].subject == slots[d, 2].subject for d, _ in slots)
    with pytest.raises(UsageError, match="more clips than fit"):
        assign([(f"{i:03d}_01", Path("/x/a"), str(i)) for i in range(1, 42)], (1,))


def test_people_are_told_apart_by_name():
    assert person_of("02_01_30hz", Path("a/x.npz")) == "subject 2"
    assert person_of("walk1_subject5", Path("a/x.bvh")) == "subject 5"
    assert person_of("dance", Path("/data/anna/dance.bvh")) == "folder anna"


def test_command_line(clips, tmp_path, capsys):
    words = ["simulate", str(tmp_path / "s"), "--motion", *map(str, clips[:2]), "--modalities", "rgb", "--jobs", "1"]
    assert main([*words, "--frames", "4"]) == 0
    out = capsys.readouterr().out
    assert "07_01 -> E01/S07/A01: 4 frames from 30 Hz; unit m assumed" in out and "2 recordings, 8 frames" in out
    assert main([*words, "--preset", "tiny"]) == 2
    assert main(["simulate", str(tmp_path / "t"), "--motion-unit", "cm"]) == 2
    assert main(["simulate", str(tmp_path / "t"), "--motion", str(tmp_path / "none.bvh")]) == 3
    errors = capsys.readouterr().err
    assert "leave out --preset" in errors and "give its files by --motion" in errors and "found no file" in errors
    assert not (tmp_path / "t").exists()


@pytest.mark.data
def test_all_real_clips_are_simulated(real_data, tmp_path):
    files = sorted((real_data / "cmu_mocap").glob("*_30hz.npz"))
    lines = []
    root = tmp_path / "cmu"
    summary = write_motion(
        root, files, frames=3, modalities=("rgb", "lidar"), jobs=1, progress=False, tell=lines.append
    )
    assert (summary.recordings, summary.frames) == (23, 69) and len(lines) == 23
    assert {r.subject for r in index(root)} == {1, 2, 3}
    for recording in index(root):
        clouds = [np.fromfile(p).reshape(-1, 3) for p in sorted((recording.path / "lidar").iterdir())]
        pixels = np.load(recording.path / "rgb" / "frame001.npy")
        assert min(map(len, clouds)) > 300 and (pixels > 0).all() and (pixels < [640, 480]).all()


@pytest.mark.data
def test_a_real_walk_is_seen_by_all_sensors(real_data, tmp_path):
    files = [real_data / "cmu_mocap" / "raw" / "02_01.amc"]
    write_motion(tmp_path / "s", files, modalities=SENSORS, jobs=1, progress=False)
    (recording,) = index(tmp_path / "s")
    assert recording.name == "E01/S02/A01" and len(recording.frames) == 29
    assert all(len(recording.files[name]) == 29 for name in SENSORS)
    points = [np.fromfile(p).reshape(-1, 5) for p in sorted((recording.path / "mmwave").iterdir())]
    assert np.mean([len(cloud) for cloud in points]) > 5
    entry = json.loads((tmp_path / "s" / MOTION_RECORD).read_text())["clips"][0]
    assert entry["unit"] == "cmu" and entry["place"] == "centre" and entry["in_field"] == 1.0
    assert json.loads((tmp_path / "s" / RECORD).read_text())["source"] == "motion"
