"""The audit finds every planted fault, calls normal oddities notes, and never writes."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest

from equipose.cli.data import check
from equipose.cli.data import pack as pack_command
from equipose.data import audit as audit_module
from equipose.data.audit import audit, ranges
from equipose.errors import DataError


@pytest.fixture
def root(writer):
    for subject in (1, 2):
        for action in (1, 2):
            writer.recording(subject=subject, action=action)
    return writer


def errors(report):
    return {(p.kind, p.path, p.frames) for p in report.problems if p.severity == "error"}


def only(report):
    (problem,) = [p for p in report.problems if p.severity == "error"]
    return problem


def test_a_good_folder_has_no_problem(small_root):
    report = audit(small_root, jobs=1)
    assert report.problems == () and report.exit_code == 0
    assert (report.recordings, report.frames, report.files) == (12, 72, 288)
    assert report.modalities == ("rgb", "lidar", "mmwave", "wifi")
    assert "No problem found" in report.to_text()


def wifi(**kinds):
    amplitude, phase = np.full((3, 114, 10), 40.0), np.zeros((3, 114, 10))
    if "tone" in kinds:
        amplitude[0, 3, 2] = -np.inf
    if "packet" in kinds:
        amplitude[:, :, 4] = -np.inf
    if "dead" in kinds:
        amplitude[:] = -np.inf
    if "nan" in kinds:
        amplitude[1, 1, 1] = np.nan
    if "loud" in kinds:
        amplitude[1, 1, 1] = 300.0
    if "degrees" in kinds:
        phase[1, 1, 1] = 90.0
    return amplitude, phase


LIDAR = np.random.default_rng(0).uniform((2.5, -0.5, -0.8), (3.5, 0.5, 0.8), (300, 3))
RADAR = np.c_[LIDAR[:30], np.full(30, 20.0), np.zeros(30)]


def with_value(values, value):
    values = np.array(values)
    values.flat[7] = value
    return values


BAD_FRAMES = {
    "lidar not a multiple of 24": ("lidar", LIDAR.tobytes()[:-1], "damaged file", "not a multiple of 24", "missing"),
    "radar not a multiple of 40": ("mmwave", RADAR.tobytes()[:-8], "damaged file", "not a multiple of 40", "missing"),
    "lidar float32": ("lidar", LIDAR.astype("<f4").tobytes(), "damaged file", "float32", "missing"),
    "radar float32": ("mmwave", RADAR.astype("<f4").tobytes(), "damaged file", "float32", "missing"),
    "lidar nan": ("lidar", with_value(LIDAR, np.nan).tobytes(), "not finite", "NaN", "missing"),
    "radar infinite": ("mmwave", with_value(RADAR, np.inf).tobytes(), "not finite", "infinity", "missing"),
    "lidar far": ("lidar", with_value(LIDAR, 500.0).tobytes(), "implausible values", "exceeds 200", "left out"),
    "lidar empty": ("lidar", b"", "empty file", "0 bytes", "no data"),
    "rgb empty": ("rgb", b"", "empty file", "0 bytes", "missing"),
    "wifi empty": ("wifi", b"", "empty file", "0 bytes", "missing"),
    "wifi truncated": ("wifi", b"MATLAB 5.0 MAT-file" * 10, "damaged file", "MATLAB v5", "missing"),
    "wifi all zero": ("wifi", wifi(dead=1), "no WiFi packet", "all 10 packets", "missing"),
    "wifi nan": ("wifi", wifi(nan=1), "not finite", "NaN", "missing"),
    "wifi loud": ("wifi", wifi(loud=1), "implausible values", "amplitude exceeds", "as they are"),
    "wifi degrees": ("wifi", wifi(degrees=1), "implausible values", "phase exceeds pi", "as they are"),
    "rgb nan": ("rgb", np.full((17, 2), np.nan), "not finite", "NaN", "missing"),
    "rgb shape": ("rgb", np.zeros((17, 4)), "damaged file", "(17, 4)", "missing"),
    "rgb normalised": ("rgb", np.full((17, 2), 0.5), "implausible values", "normalised", "as they are"),
    "rgb far": ("rgb", np.full((17, 2), 9000.0), "implausible values", "3000 pixels", "as they are"),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
def test_one_bad_frame(root, name):
    modality, content, kind, words, consequence = BAD_FRAMES[name]
    path = root.frame(modality, 4, subject=2)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        root.save(path, modality, content)
    report = audit(root.root, jobs=1)
    problem = only(report)
    assert report.exit_code == 3
    assert problem.kind == kind and problem.frames == (4,)
    assert problem.path == str(path.relative_to(root.root))
    assert words in problem.found and consequence in problem.consequence and problem.expected
    assert str(path.relative_to(root.root)) in report.to_text()


def test_missing_frames_and_folders(root):
    for number in (2, 3, 6):
        root.frame("rgb", number).unlink()
    shutil.rmtree(root.folder(1, 2, 2) / "wifi-csi")
    assert errors(audit(root.root, jobs=1)) == {
        ("missing frame", "E01/S01/A01/rgb", (2, 3, 6)),
        ("missing sensor", "E01/S02/A02/wifi-csi", ()),
    }
    assert "[frames 2 to 3, 6]" in audit(root.root, jobs=1).to_text()


def test_a_sensor_that_no_recording_has_is_no_problem(writer):
    writer.recording(modalities=("mmwave",))
    report = audit(writer.root, jobs=1)
    assert report.modalities == ("mmwave",) and not report.problems


def poses(change):
    def edit(path):
        truth = np.load(path)
        np.save(path, change(truth))

    return edit


BAD_TRUTH = {
    "missing": (os.unlink, "ground truth", "missing", "skipped"),
    "truncated": (lambda p: p.write_bytes(p.read_bytes()[:-4]), "ground truth", "bytes of poses", "skipped"),
    "14 joints": (poses(lambda t: t[:, :14]), "ground truth", "(6, 14, 3)", "skipped"),
    "integers": (poses(lambda t: t.astype(int)), "ground truth", "int64", "skipped"),
    "short": (poses(lambda t: t[:4]), "ground truth length", "4 poses", "Frames 5 to 6 have no pose"),
    "long": (poses(lambda t: np.concatenate((t, t))), "ground truth length", "12 poses", "no sensor"),
    "millimetres": (poses(lambda t: t * 1000), "coordinate frame", "millimetres", "as they are"),
    "y up": (poses(lambda t: t * np.float32((1, -1, 1))), "coordinate frame", "y seems to point up", "as they are"),
    "z up": (poses(lambda t: t[..., [0, 2, 1]]), "coordinate frame", "z should be the distance", "as they are"),
    "nan": (poses(lambda t: with_value(t, np.nan)), "ground truth not finite", "1 poses", "not used"),
}


@pytest.mark.parametrize("name", BAD_TRUTH)
def test_bad_ground_truth(root, name):
    edit, kind, words, consequence = BAD_TRUTH[name]
    edit(root.folder(1, 2, 1) / "ground_truth.npy")
    found = [p for p in audit(root.root, jobs=1).problems if p.kind == kind]
    assert len(found) == 1 and found[0].severity == "error"
    assert found[0].path == "E01/S02/A01/ground_truth.npy"
    assert words in found[0].found and consequence in found[0].consequence


@pytest.mark.parametrize("modality, order", [("lidar", [1, 2, 0]), ("mmwave", [1, 2, 0, 3, 4])])
def test_a_cloud_in_the_wrong_coordinate_frame(root, modality, order):
    for number in range(1, 7):
        path = root.frame(modality, number)
        values = np.frombuffer(path.read_bytes()).reshape(-1, len(order))
        root.save(path, modality, values[:, order])
    problem = only(audit(root.root, jobs=1))
    assert (problem.kind, problem.path) == ("coordinate frame", f"E01/S01/A01/{modality}")


def test_normal_oddities_are_notes(root):
    root.frame("mmwave", 2).write_bytes(b"")
    root.save(root.frame("wifi", 1), "wifi", wifi(tone=1))
    root.save(root.frame("wifi", 3), "wifi", wifi(tone=1))
    root.save(root.frame("wifi", 2), "wifi", wifi(packet=1))
    (root.folder(1, 1, 1) / "rgb" / "Thumbs.db").write_bytes(b"")
    (root.folder(1, 1, 1) / "notes.txt").write_bytes(b"")
    (root.root / "readme.md").write_bytes(b"")
    for number in range(1, 7):
        path = root.frame("mmwave", number, subject=2)
        values = np.frombuffer(path.read_bytes()).reshape(-1, 5)
        root.save(path, "mmwave", values[:, [0, 1, 2, 4, 3]])
    report = audit(root.root, jobs=1)
    assert report.exit_code == 0 and not report.has_errors
    assert report.counts == {
        ("note", "empty radar frame"): 1,
        ("note", "zero WiFi tone"): 2,
        ("note", "zero WiFi packet"): 1,
        ("note", "foreign file"): 3,
        ("note", "radar columns"): 1,
    }
    assert "data.radar_columns=[doppler,snr]" in report.to_text()
    tones = next(p for p in report.problems if p.kind == "zero WiFi tone")
    assert tones.frames == (1, 3) and tones.path == "E01/S01/A01/wifi-csi"


def test_empty_folders(root):
    (root.root / "E04" / "S31").mkdir(parents=True)
    assert errors(audit(root.root, jobs=1)) == {("empty folder", "E04/S31", ())}


def test_wrong_folder(tmp_path):
    with pytest.raises(DataError, match=r"Found: nothing. Expected: E01/S01/A01"):
        audit(tmp_path, jobs=1)


def test_processes_find_the_same_and_nothing_is_written(root):
    root.frame("rgb", 2).unlink()
    root.frame("lidar", 2, subject=2).write_bytes(b"abc")
    before = {path: path.stat().st_mtime_ns for path in root.root.rglob("*")}
    one, two = audit(root.root, jobs=1), audit(root.root, jobs=2)
    assert one.problems == two.problems and one.counts == two.counts and len(errors(one)) == 2
    assert {path: path.stat().st_mtime_ns for path in root.root.rglob("*")} == before


def test_many_problems_are_all_counted(root, monkeypatch):
    monkeypatch.setattr(audit_module, "MAX_LISTED", 3)
    for number in range(1, 7):
        root.frame("lidar", number).write_bytes(b"abc")
    report = audit(root.root, jobs=1)
    assert len(report.problems) == 3 and report.unlisted == 3
    assert report.counts == {("error", "damaged file"): 6}
    assert "and 5 more" in report.to_text(limit=1)


def test_ranges():
    assert ranges((3,)) == "frame 3"
    assert ranges((1, 2, 3, 7, 9, 10)) == "frames 1 to 3, 7, 9 to 10"
    assert ranges(tuple(range(1, 40, 2))).endswith("... (20 in all)")


def test_check_command(root, capsys, tmp_path):
    assert check(root.root, jobs=1) == 0
    assert "4 recordings" in capsys.readouterr().out
    root.frame("lidar", 2).write_bytes(b"abc")
    out = tmp_path / "report.json"
    assert check(root.root, jobs=1, json=True, out=out) == 3
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(out.read_text())
    assert printed["exit_code"] == 3
    assert printed["problems"][0]["path"] == "E01/S01/A01/lidar/frame002.bin"
    assert printed["counts"] == [{"severity": "error", "kind": "damaged file", "count": 1}]


def test_pack_command(root, capsys, tmp_path):
    root.frame("lidar", 2).write_bytes(b"abc")
    assert pack_command(root.root, tmp_path / "a", jobs=1) == 0
    captured = capsys.readouterr()
    assert "4 recordings, 24 frames" in captured.out and "lidar: 0 frames missing, 1 unreadable" in captured.out
    assert "frame002.bin" in captured.err and "equipose data check" in captured.err
    assert pack_command(root.root, tmp_path / "b", jobs=1, json=True, modalities=("rgb",)) == 0
    assert json.loads(capsys.readouterr().out)["modalities"] == ["rgb"]
