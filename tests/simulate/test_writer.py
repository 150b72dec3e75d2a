from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from scipy.io import loadmat

from equipose.cli.simulate import simulate
from equipose.data.audit import audit
from equipose.data.readers import read_confidence, read_depth, read_joints2d
from equipose.errors import DataError, UsageError
from equipose.modality import DEFAULT_MODALITIES, MODALITIES
from equipose.simulate.matfile import csi_file, npy_file
from equipose.simulate.mmfi_writer import RECORD, Job, simulate_recording, write_mmfi
from equipose.simulate.presets import PRESETS, environment_of, preset
from equipose.simulate.recording_jobs import DISK_BYTES, PICTURES, Extras

SELECTION = {"subjects": (2, 11), "actions": (12, 13), "frames": 6, "seed": 5, "progress": False}
SENSORS = ("rgb", "infra1", "infra2", "depth", "lidar", "mmwave", "wifi")


def contents(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("frame*.*")} | {
        p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("ground_truth.npy")
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("simulated") / "one-job"
    summary = write_mmfi(root, jobs=1, modalities=SENSORS, **SELECTION)
    return root, summary


def test_folders_and_files_are_those_of_mmfi(written):
    root, summary = written
    assert (summary.recordings, summary.skipped, summary.frames) == (4, 0, 24)
    recordings = sorted(p.relative_to(root).as_posix() for p in root.glob("E*/S*/A*"))
    assert recordings == ["E01/S02/A12", "E01/S02/A13", "E02/S11/A12", "E02/S11/A13"]
    for recording in recordings:
        folder = root / recording
        truth = np.load(folder / "ground_truth.npy")
        assert truth.shape == (6, 17, 3) and truth.dtype == np.float32
        for name in SENSORS:
            spec = MODALITIES[name]
            files = sorted(p.name for p in (folder / spec.folder).iterdir())
            assert files == [f"frame{n:03d}{spec.suffix}" for n in range(1, 7)]
        for name in ("rgb", "infra1", "infra2"):
            assert np.load(folder / name / "frame001.npy").shape == (17, 2)
        depth = read_depth(folder / "depth" / "frame002.png")
        assert depth.dtype == np.uint16 and 0.9 < (depth > 0).mean() < 1.0
        pelvis = truth[1, 0]
        row, column = (int(240 + 615 * pelvis[1] / pelvis[2]), int(320 + 615 * pelvis[0] / pelvis[2]))
        trunk = depth[row - 15 : row + 5, column - 4 : column + 4]
        assert -350 < np.median(trunk[trunk > 0]) - 1000 * pelvis[2] < 100  # the skin is before the joint
        lidar = (folder / "lidar" / "frame002.bin").read_bytes()
        assert len(lidar) % 24 == 0 and 300 < len(lidar) // 24 < 3000
        assert len((folder / "mmwave" / "frame003.bin").read_bytes()) % 40 == 0
        csi = loadmat(folder / "wifi-csi" / "frame001.mat")
        assert (folder / "wifi-csi" / "frame001.mat").stat().st_size == 54_992
        for key in ("CSIamp", "CSIphase"):
            assert csi[key].shape == (3, 114, 10) and csi[key].dtype == np.float64
    record = json.loads((root / RECORD).read_text())
    assert record["simulated"] is True and record["seed"] == 5 and record["subjects"] == [2, 11]
    assert not (root / ".partial").exists()


def test_bytes_depend_neither_on_jobs_nor_on_order_nor_on_company(written, tmp_path):
    root, _ = written
    write_mmfi(tmp_path / "s", jobs=2, modalities=SENSORS, **{**SELECTION, "subjects": (11,)})
    summary = write_mmfi(tmp_path / "s", jobs=2, modalities=SENSORS[::-1], **SELECTION)
    assert (summary.recordings, summary.skipped) == (2, 2)
    assert contents(tmp_path / "s") == contents(root)


def test_an_interrupted_run_is_completed(written, tmp_path):
    root, _ = written
    copy = tmp_path / "s"
    shutil.copytree(root, copy)
    shutil.rmtree(copy / "E02" / "S11" / "A12")
    (copy / ".partial" / "E02-S11-A12-1").mkdir(parents=True)  # what a killed worker leaves
    summary = write_mmfi(copy, jobs=1, modalities=SENSORS, **SELECTION)
    assert (summary.recordings, summary.skipped) == (1, 3)
    assert contents(copy) == contents(root)
    assert not (copy / ".partial").exists()


def test_sensors_do_not_influence_each_other(written):
    root, _ = written
    alone = simulate_recording(Job(5, 11, 13, 6, ("mmwave",)))
    folder = root / "E02" / "S11" / "A13" / "mmwave"
    assert alone["mmwave"] == [(folder / f"frame{n:03d}.bin").read_bytes() for n in range(1, 7)]


def test_extras_are_added_and_change_nothing_else(written, tmp_path):
    root, _ = written
    copy = tmp_path / "s"
    one = {**SELECTION, "subjects": (11,), "actions": (13,)}
    write_mmfi(copy, jobs=1, modalities=("rgb", "infra1", "lidar"), extras=Extras(True, True), **one)
    here, there = copy / "E02" / "S11" / "A13", root / "E02" / "S11" / "A13"
    for name in ("rgb", "infra1"):
        path = here / name / "frame003.npy"
        assert np.load(path).shape == (17, 3) and np.load(path).dtype == np.float32
        assert read_joints2d(path).tobytes() == (read_joints2d(there / name / "frame003.npy")).tobytes()
        confidence = read_confidence(path)
        assert confidence.shape == (17,) and 0 < confidence.min() < confidence.max() <= 1
        assert read_confidence(there / name / "frame003.npy") is None
    assert (here / "lidar" / "frame001.bin").read_bytes() == (there / "lidar" / "frame001.bin").read_bytes()
    pictures = sorted((here / "rgb_img").iterdir())
    assert [p.name for p in pictures] == [f"frame{n:03d}.png" for n in range(1, 7)]
    header = pictures[0].read_bytes()[:26]
    assert header[16:26] == (640).to_bytes(4, "big") + (480).to_bytes(4, "big") + bytes([8, 2])
    assert not audit(copy, jobs=1).has_errors
    for name, folder in (("depth", there / "depth"), (PICTURES, here / "rgb_img")):
        used = np.mean([p.stat().st_blocks * 512 for p in folder.iterdir()])
        assert 0.7 < DISK_BYTES[name] / used < 1.4


@pytest.mark.parametrize(
    ("extras", "words"),
    [
        (Extras(confidence=True), "confidence False, and this one has True.*Choose another folder"),
        (Extras(images=True), "images False, and this one has True.*Choose another folder"),
    ],
)
def test_other_extras_in_the_same_folder_are_refused(written, extras, words):
    root, _ = written
    before = contents(root)
    with pytest.raises(UsageError, match=words):
        write_mmfi(root, jobs=1, modalities=SENSORS, extras=extras, **SELECTION)
    assert contents(root) == before


@pytest.mark.parametrize("change", [{"seed": 6}, {"frames": 7}, {"modalities": ("rgb",)}])
def test_other_settings_in_the_same_folder_are_refused(written, change):
    root, _ = written
    before = contents(root)
    with pytest.raises(UsageError, match=rf"{next(iter(change))}.*Choose another folder"):
        write_mmfi(root, jobs=1, **{"modalities": SENSORS, **SELECTION, **change})
    assert contents(root) == before


def test_a_folder_that_is_no_simulation_is_refused(tmp_path):
    (tmp_path / "E01").mkdir()
    with pytest.raises(DataError, match="not empty"):
        write_mmfi(tmp_path, **SELECTION)
    (tmp_path / RECORD).write_text("{")
    with pytest.raises(DataError, match=RECORD):
        write_mmfi(tmp_path, **SELECTION)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"subjects": (41,)}, "subjects: found 41, expected 1 to 40"),
        ({"actions": (0,)}, "actions: found 0, expected 1 to 27"),
        ({"frames": 0}, "frames: found 0"),
        ({"environments": (3,)}, "nothing to simulate"),
        ({"modalities": ("rbg",)}, "Did you mean 'rgb'"),
        ({"modalities": ("lidar",), "extras": Extras(confidence=True)}, "add one of rgb, infra1, infra2"),
    ],
)
def test_wrong_selections_are_explained(tmp_path, change, message):
    with pytest.raises(UsageError, match=message):
        write_mmfi(tmp_path / "s", **{**SELECTION, **change})
    assert not (tmp_path / "s").exists()


def test_mat_file_keeps_every_value(tmp_path):
    random = np.random.default_rng(0)
    amplitude, phase = random.normal(size=(2, 3, 114, 10))
    amplitude[1, 2, 3] = -np.inf
    path = tmp_path / "x.mat"
    path.write_bytes(csi_file(amplitude, phase))
    read = loadmat(path)
    assert np.array_equal(read["CSIamp"], amplitude) and np.array_equal(read["CSIphase"], phase)


@pytest.mark.parametrize("shape", [(17, 2), (5, 17, 3)])
def test_npy_file_equals_numpys(tmp_path, shape):
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    np.save(tmp_path / "x.npy", values)
    assert npy_file(values) == (tmp_path / "x.npy").read_bytes()


def test_presets():
    assert preset("demo").num_frames == 7680
    assert preset("mmfi-full").num_frames == 320_760
    assert PRESETS["demo"].modalities == DEFAULT_MODALITIES
    assert [environment_of(s) for s in (1, 10, 11, 40)] == [1, 1, 2, 4]
    with pytest.raises(UsageError, match="Did you mean 'demo'"):
        preset("dmeo")


def test_command_writes_the_tiny_preset(tmp_path, capsys):
    root = tmp_path / "tiny"
    assert simulate(root, preset="tiny", jobs=1, subjects=(1,), frames=4) == 0
    printed = capsys.readouterr()
    assert "2 recordings, 8 frames" in printed.out and "simulating" in printed.err
    assert simulate(root, preset="tiny", jobs=1, subjects=(1,), frames=4) == 0
    assert "2 recordings were there already" in capsys.readouterr().out
    assert len(list(root.glob("E01/S01/A*/wifi-csi/*.mat"))) == 8
