"""Packing: bit-equal, atomic, resumable after a kill and a full disk, independent of the number of processes."""

from __future__ import annotations

import errno
import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from equipose.data import mmfi
from equipose.data import writer as writer_module
from equipose.data.packed import PackedStore, PackedWriter, pack
from equipose.data.raw import RawStore
from equipose.data.store import open_store
from equipose.errors import DataError, UsageError
from equipose.skeleton import H36M17


def contents(folder):
    """Every file's bytes; the source path in meta.json may differ."""
    found = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    meta = json.loads(found.pop("meta.json"))
    return found, {k: v for k, v in meta.items() if k != "source"}


def test_source_dtype_is_bit_equal_to_the_files(small_root, tmp_path):
    pack(small_root, tmp_path / "p", jobs=1, dtype="source")
    recordings = mmfi.index(small_root)
    rgb, wifi = np.load(tmp_path / "p" / "rgb.npy"), np.load(tmp_path / "p" / "wifi.npy")
    clouds = {m: np.load(tmp_path / "p" / f"{m}_points.npy") for m in ("lidar", "mmwave")}
    offsets = {m: np.load(tmp_path / "p" / f"{m}_offsets.npy") for m in ("lidar", "mmwave")}
    target = np.load(tmp_path / "p" / "target.npy")
    row = 0
    for recording in recordings:
        truth = mmfi.read_ground_truth(recording.path / "ground_truth.npy")
        for number in recording.frames:
            files = {m: mmfi.frame_path(str(recording.path), m, number) for m in ("rgb", "lidar", "mmwave", "wifi")}
            assert rgb[row].tobytes() == mmfi.read_joints2d(files["rgb"]).tobytes()
            frame = mmfi.read_csi(files["wifi"])
            assert wifi[row].tobytes() == frame.amplitude_db.tobytes() + frame.phase.tobytes()
            for m, read in (("lidar", mmfi.read_lidar), ("mmwave", mmfi.read_mmwave)):
                assert clouds[m][offsets[m][row] : offsets[m][row + 1]].tobytes() == read(files[m]).tobytes()
            assert target[row].tobytes() == truth[number - 1].tobytes()
            row += 1
    assert row == len(target) == 72


def test_packed_equals_raw(small_root, small_packed):
    packed, raw = PackedStore(small_packed), RawStore(small_root)
    assert packed.modalities == raw.modalities == ("rgb", "lidar", "mmwave", "wifi")
    assert np.array_equal(packed.frame_number, raw.frame_number)
    assert np.array_equal(packed.frame_recording, raw.frame_recording)
    assert np.array_equal(packed.recordings.keys, raw.recordings.keys)
    assert np.array_equal(packed.labelled, raw.labelled)
    rows = np.array([5, 5, 71, 0, 30])
    assert np.array_equal(packed.target(rows), raw.target(rows))
    for name in ("rgb", "wifi"):
        for a, b in zip(packed.dense(name, rows), raw.dense(name, rows), strict=True):
            assert a.dtype == b.dtype and np.array_equal(a, b)
    for name in ("lidar", "mmwave"):
        assert np.array_equal(packed.present[name], raw.present[name])
        for a, b in zip(packed.cloud(name, rows), raw.cloud(name, rows), strict=True):
            assert a.dtype == b.dtype and np.array_equal(a, b)
        points, counts, valid = packed.cloud(name, np.array([], np.int64))
        assert points.shape[0] == len(counts) == len(valid) == 0


def test_jobs_do_not_change_the_result(small_root, small_packed, tmp_path):
    pack(small_root, tmp_path / "two", jobs=2)
    assert contents(tmp_path / "two") == contents(small_packed)
    assert not (tmp_path / "two.partial").exists()


def test_report_counts_missing_and_unreadable(writer, tmp_path):
    writer.recording(frames=6)
    writer.frame("rgb", 2).unlink()
    writer.frame("wifi", 3).write_bytes(b"x")
    writer.recording(action=2).joinpath("ground_truth.npy").unlink()
    report = pack(writer.root, tmp_path / "p", jobs=1)
    assert (report.recordings, report.frames) == (1, 6)
    assert report.missing == {"rgb": 1, "lidar": 0, "mmwave": 0, "wifi": 0}
    assert report.unreadable == {"rgb": 0, "lidar": 0, "mmwave": 0, "wifi": 1}
    assert "frame003.mat" in report.examples[0] and "A02/ground_truth.npy is missing" in report.skipped[0]
    store = PackedStore(tmp_path / "p")
    assert store.present["rgb"].tolist() == [True, False, True, True, True, True]
    values, valid = store.dense("wifi", np.arange(6))
    assert valid.tolist() == [True, True, False, True, True, True] and not values[2].any()


def test_depth_only_when_asked_for(writer, tmp_path):
    folder = writer.recording(frames=1, modalities=("rgb",))
    (folder / "depth").mkdir()
    (folder / "depth" / "frame001.png").write_bytes(b"")
    assert pack(writer.root, tmp_path / "a", jobs=1).modalities == ("rgb",)
    assert pack(writer.root, tmp_path / "b", jobs=1, modalities=("depth",)).modalities == ("depth",)
    assert np.load(tmp_path / "b" / "depth.npy").dtype == np.uint16
    with pytest.raises(UsageError, match=r"has no lidar"):
        pack(writer.root, tmp_path / "c", jobs=1, modalities=("lidar",))


def test_simulated_is_kept(writer, tmp_path):
    writer.recording()
    (writer.root / "simulation.json").write_text('{"modalities": ["wifi"]}')
    pack(writer.root, tmp_path / "p", jobs=1)
    assert PackedStore(tmp_path / "p").simulated == RawStore(writer.root).simulated == {"wifi"}


def test_refuses_to_overwrite(small_root, small_packed):
    before = contents(small_packed)
    with pytest.raises(UsageError, match=r"exists already.*rm -r"):
        pack(small_root, small_packed, jobs=1)
    assert contents(small_packed) == before


def test_wrong_folders(small_packed, small_root, tmp_path):
    with pytest.raises(DataError, match=r"not a packed folder"):
        PackedStore(small_root)
    with pytest.raises(DataError, match=r"not a folder"):
        open_store(tmp_path / "nothing")
    with pytest.raises(UsageError, match=r"has no depth.*--modalities rgb$"):
        PackedStore(small_packed, ("rgb", "depth"))
    for meta, words in (
        ("{", "not valid JSON"),
        ("[]", "not a packed folder"),
        ('{"format": "other"}', "'other'"),
        ('{"format": "equipose-packed", "version": 99}', "version 99.*Update"),
        ('{"format": "equipose-packed", "version": 1, "skeleton": "cat"}', "cat"),
    ):
        (tmp_path / "meta.json").write_text(meta)
        with pytest.raises(DataError, match=words):
            PackedStore(tmp_path)


def test_incomplete_and_damaged_arrays(small_root, tmp_path):
    out = tmp_path / "p"
    pack(small_root, out, jobs=1)
    target = (out / "target.npy").read_bytes()
    (out / "target.npy").write_bytes(target[:1000])
    with pytest.raises(DataError, match=r"target.npy is damaged.*Pack the source folder again"):
        PackedStore(out).target(np.array([0]))
    np.save(out / "target.npy", np.zeros((5, 17, 3), np.float32))
    with pytest.raises(DataError, match=r"has 5 rows, expected 72"):
        PackedStore(out).target(np.array([0]))
    (out / "wifi.npy").unlink()
    with pytest.raises(DataError, match=r"wifi.npy is missing"):
        PackedStore(out)
    PackedStore(out, ("rgb", "lidar"))  # what is not wanted is not needed


def test_store_is_lazy_and_picklable(small_packed):
    store = PackedStore(small_packed)
    assert not store._maps
    rows = np.array([3, 60])
    expected = store.dense("wifi", rows)[0], store.cloud("lidar", rows)[0]
    state = pickle.dumps(store)
    assert len(state) < 10_000  # no array travels
    copy = pickle.loads(state)
    assert np.array_equal(copy.dense("wifi", rows)[0], expected[0])
    assert np.array_equal(copy.cloud("lidar", rows)[0], expected[1])


def test_returned_values_belong_to_the_caller(small_packed):
    store = PackedStore(small_packed)
    before = store.dense("rgb", np.array([0]))[0].copy()
    store.dense("rgb", np.array([0]))[0][:] = 7
    store.target(np.array([0]))[:] = 7
    assert np.array_equal(store.dense("rgb", np.array([0]))[0], before)


KILLED = """
import sys, time
from equipose.data import packing, writer
commit = writer.PackedWriter.commit
def slow(self, *key):
    commit(self, *key)
    if len(self.done) == 5:
        self.append(target=__import__("numpy").zeros((3, 17, 3)), frames={})  # half a recording
        print("ready", flush=True)
        time.sleep(60)
writer.PackedWriter.commit = slow
packing.pack(sys.argv[1], sys.argv[2], jobs=1)
"""


def test_resumes_after_a_kill(small_root, small_packed, tmp_path, monkeypatch):
    out = tmp_path / "p"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(small_root), str(out)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout.readline() == b"ready\n"
    with pytest.raises(UsageError, match=r"being written by another process"):
        pack(small_root, out, jobs=1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not out.exists() and (tmp_path / "p.partial").is_dir()
    with pytest.raises(DataError, match=r"packing did not finish"):
        open_store(out)
    with pytest.raises(UsageError, match=r"other dtype.*rm -r"):
        pack(small_root, out, jobs=1, dtype="source")
    added = []
    commit = PackedWriter.commit
    monkeypatch.setattr(PackedWriter, "commit", lambda self, *key: (added.append(key), commit(self, *key))[1])
    pack(small_root, out, jobs=1)
    assert len(added) == 7  # five of twelve were kept
    assert contents(out) == contents(small_packed)


@pytest.mark.parametrize("torn", ["last line", "lost bytes", "lost journal"])
def test_resumes_from_a_torn_journal(small_root, small_packed, tmp_path, torn):
    out = tmp_path / "p"
    with pytest.raises(KeyboardInterrupt):
        interrupted(small_root, out, after=4)
    partial = tmp_path / "p.partial"
    journal = partial / "journal.jsonl"
    if torn == "last line":
        journal.write_bytes(journal.read_bytes()[:-10])
    elif torn == "lost bytes":  # the journal reached the disk and the last frames did not
        os.truncate(partial / "wifi.npy", (partial / "wifi.npy").stat().st_size - 100)
    else:
        journal.write_bytes(b"")
    pack(small_root, out, jobs=1)
    assert contents(out) == contents(small_packed)


def interrupted(root, out, after):
    commit = PackedWriter.commit

    def stop(self, *key):
        commit(self, *key)
        if len(self.done) == after:
            raise KeyboardInterrupt

    PackedWriter.commit = stop
    try:
        pack(root, out, jobs=1)
    finally:
        PackedWriter.commit = commit


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_then_resume(small_root, small_packed, tmp_path, monkeypatch, code):
    out = tmp_path / "p"
    written = 0
    write = os.write

    def full(file, data):
        nonlocal written
        if written + len(data) > 800_000:
            half = min(len(data) // 2, 800_000 - written)
            if half > 0:
                written += half
                return write(file, data[:half])  # a full disk takes what still fits
            raise OSError(code, "No space left on device")
        written += len(data)
        return write(file, data)

    with monkeypatch.context() as patch:
        patch.setattr(writer_module.os, "write", full)
        with pytest.raises(DataError, match=r"the disk is full.*recordings are safe.*repeat the same command"):
            pack(small_root, out, jobs=1)
    assert not out.exists()
    pack(small_root, out, jobs=1)
    assert contents(out) == contents(small_packed)


def test_full_disk_in_the_last_step(small_root, small_packed, tmp_path, monkeypatch):
    def full(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(writer_module.os, "fsync", full)
        with pytest.raises(DataError, match=r"the disk is full.*12 recordings are safe"):
            pack(small_root, tmp_path / "p", jobs=1)
    pack(small_root, tmp_path / "p", jobs=1)
    assert contents(tmp_path / "p") == contents(small_packed)


def test_real_file_size_limit(small_root, tmp_path):
    script = (
        "import resource, sys; from equipose.data.packing import pack; from equipose.errors import DataError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))\n"
        "try: pack(sys.argv[1], sys.argv[2], jobs=1)\n"
        "except DataError as error: print(error)"
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    done = subprocess.run(
        [sys.executable, "-c", script, str(small_root), str(tmp_path / "p")], capture_output=True, text=True
    )
    assert done.stdout.startswith("the disk is full: wifi"), done.stderr
    pack(small_root, tmp_path / "p", jobs=1)


def test_writer_with_chunks_gaps_and_own_frame_numbers(tmp_path):
    rng = np.random.default_rng(0)
    target = rng.normal(size=(5, 17, 3)).astype(np.float32)
    target[1, 3] = np.nan
    clouds = [rng.normal(size=(n, 5)) for n in (4, 0, 3)]
    with PackedWriter(tmp_path / "p", skeleton=H36M17, modalities=("rgb", "mmwave"), simulated=("rgb",)) as made:
        made.append(target=target[:3], frames={"mmwave": [*clouds[:2], None]}, frame_number=[2, 3, 7])
        made.append(target=target[3:], frames={"mmwave": [None, clouds[2]]}, frame_number=[8, 9])
        made.commit(1, 2, 3)
        assert made.done == {(1, 2, 3)}
    store = PackedStore(tmp_path / "p")
    assert store.frame_number.tolist() == [2, 3, 7, 8, 9]
    assert store.labelled.tolist() == [True, False, True, True, True]
    assert store.present["mmwave"].tolist() == [True, True, False, False, True]
    assert not store.present["rgb"].any() and store.simulated == {"rgb"}
    points, counts, valid = store.cloud("mmwave", np.array([4, 0, 1, 2]))
    assert counts.tolist() == [3, 4, 0, 0] and valid.tolist() == [True, True, True, False]
    assert np.array_equal(points, np.concatenate((clouds[2], clouds[0])).astype(np.float32))


def test_nothing_to_pack(writer, tmp_path):
    (writer.recording() / "ground_truth.npy").unlink()
    with pytest.raises(DataError, match=r"no recording with a usable ground_truth.npy"):
        pack(writer.root, tmp_path / "p", jobs=1)
    with (
        pytest.raises(DataError, match=r"nothing was written"),
        PackedWriter(tmp_path / "q", skeleton=H36M17, modalities=("rgb",)),
    ):
        pass


def test_the_source_folder_is_not_written_to(small_root, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in small_root.rglob("*")}
    pack(small_root, tmp_path / "p", jobs=1)
    assert {path: path.stat().st_mtime_ns for path in small_root.rglob("*")} == before


def test_opening_many_recordings_is_quick(tmp_path):
    with PackedWriter(tmp_path / "p", skeleton=H36M17, modalities=("rgb", "lidar", "mmwave", "wifi")) as made:
        for i in range(1080):
            made.add(1, i // 27 + 1, i % 27 + 1, target=np.zeros((1, 17, 3)), frames={})
    start = time.perf_counter()
    store = PackedStore(tmp_path / "p")
    store.target(np.array([0]))
    assert time.perf_counter() - start < 0.5
    assert len(store.recordings) == 1080
