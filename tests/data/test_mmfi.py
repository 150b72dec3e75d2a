"""The index: by frame number, from listings alone, with whatever part of MM-Fi is there."""

from __future__ import annotations

import builtins
import os
from pathlib import Path

import numpy as np
import pytest

from equipose.data import mmfi
from equipose.data.raw import RawStore
from equipose.errors import DataError, UsageError


def test_keys_lengths_and_files(small_root):
    recordings = mmfi.index(small_root)
    assert [(r.environment, r.subject, r.action) for r in recordings] == [
        (e, s, a) for e, subjects in ((1, (1, 2, 3)), (2, (11, 12, 13))) for s in subjects for a in (1, 2)
    ]
    first = recordings[0]
    assert first.frames == (1, 2, 3, 4, 5, 6)
    assert set(first.files) == {"rgb", "lidar", "mmwave", "wifi"}
    assert first.files["wifi"].tolist() == [1, 2, 3, 4, 5, 6]
    assert first.name == "E01/S01/A01"
    assert mmfi.modalities_of(recordings) == ("rgb", "lidar", "mmwave", "wifi")


def test_one_environment_and_one_sensor_will_do(writer):
    writer.recording(environment=3, subject=25, action=9, modalities=("mmwave",))
    (recording,) = mmfi.index(writer.root)
    assert (recording.environment, recording.subject, recording.action) == (3, 25, 9)
    assert set(recording.files) == {"mmwave"}


def test_modalities_argument(small_root):
    assert set(mmfi.index(small_root, ("lidar",))[0].files) == {"lidar"}
    with pytest.raises(UsageError, match=r"Did you mean 'lidar'"):
        mmfi.index(small_root, ("lida",))


def test_frames_are_aligned_by_number_not_position(writer):
    writer.recording(frames=6)
    kept = {n: mmfi.read_lidar(writer.frame("lidar", n)) for n in (1, 2, 4, 5, 6)}
    writer.frame("lidar", 3).unlink()
    assert mmfi.index(writer.root)[0].files["lidar"].tolist() == [1, 2, 4, 5, 6]
    store = RawStore(writer.root)
    assert store.present["lidar"].tolist() == [True, True, False, True, True, True]
    points, counts, valid = store.cloud("lidar", np.array([3, 2]))
    assert valid.tolist() == [True, False] and counts.tolist() == [len(kept[4]), 0]
    assert np.array_equal(points, kept[4].astype(np.float32))  # row 3 is frame 4, although it is listed third


def test_foreign_names_are_not_frames(writer):
    folder = writer.recording(frames=2, modalities=("rgb",)) / "rgb"
    for name in ("frame1.npy", "frame0001.npy", "frame003.txt", "Frame004.npy", "frame005.npy.part", "frame.npy"):
        (folder / name).write_bytes(b"")
    (folder / "frame000.npy").write_bytes(b"")
    assert mmfi.index(writer.root)[0].files["rgb"].tolist() == [1, 2]


@pytest.mark.parametrize("damage", ["missing", "truncated", "shape", "empty"])
def test_damaged_ground_truth_leaves_a_recording_without_frames(writer, damage):
    writer.recording(action=1)
    path = writer.recording(action=2) / "ground_truth.npy"
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-5])
    elif damage == "shape":
        np.save(path, np.zeros((6, 14, 3), np.float32))
    else:
        path.write_bytes(b"")
    good, bad = mmfi.index(writer.root)
    assert good.frames and not good.problem
    assert bad.frames == () and "ground_truth.npy" in bad.problem
    assert len(RawStore(writer.root).recordings) == 1


def test_no_stat_and_no_open_per_frame(small_root, monkeypatch):
    calls = {"stat": 0, "open": 0}

    def counted(name, function):
        def call(*args, **kwargs):
            calls[name] += 1
            return function(*args, **kwargs)

        return call

    monkeypatch.setattr(os, "stat", counted("stat", os.stat))
    monkeypatch.setattr(os, "lstat", counted("stat", os.lstat))
    monkeypatch.setattr(Path, "stat", counted("stat", Path.stat))
    monkeypatch.setattr(os.path, "exists", counted("stat", os.path.exists))
    monkeypatch.setattr(builtins, "open", counted("open", builtins.open))
    recordings = mmfi.index(small_root)
    frames = sum(len(numbers) for r in recordings for numbers in r.files.values())
    assert frames == 12 * 6 * 4
    assert calls["stat"] == 0
    assert calls["open"] == len(recordings)  # one ground truth header each


def test_wrong_folders_say_what_was_found_and_expected(small_root, tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"Found: holiday.jpg. Expected: E01/S01/A01/ground_truth.npy"):
        mmfi.index(tmp_path)
    with pytest.raises(DataError, match=r"cannot be listed"):
        mmfi.index(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"Did you mean .*mmfi"):
        mmfi.index(small_root.parent)
    for inner in ("E01", "E01/S01", "E01/S01/A01"):
        with pytest.raises(DataError, match=f"Did you mean the root: {small_root}"):
            mmfi.index(small_root / inner)


def test_simulated_modalities(tmp_path):
    assert mmfi.simulated_modalities(tmp_path) == frozenset()
    (tmp_path / "simulation.json").write_text('{"modalities": ["rgb", "wifi"]}')
    assert mmfi.simulated_modalities(tmp_path) == {"rgb", "wifi"}
    (tmp_path / "simulation.json").write_text("{")
    with pytest.raises(DataError, match=r"damaged"):
        mmfi.simulated_modalities(tmp_path)
