"""`equipose corrupt` end to end, its folder read by numpy alone, and `equipose list corruptions`."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from equipose.cli.main import main
from equipose.config import DataSettings
from equipose.data.corrupt import CorruptionPlan, FrameTruth, corruptions_of, read_truth
from equipose.data.corrupt.writing import corrupt_folder
from equipose.data.dataset import datasets
from equipose.data.store import open_store
from equipose.data.writer import PackedWriter
from equipose.errors import DataError
from equipose.skeleton import H36M17

WORDS = ["--sensor-rate", "0.3", "--label-rate", "0.2", "--severity", "mixed", "--seed", "3", "--burst-seconds", "1"]


@pytest.fixture(scope="module")
def made(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "corrupt"
    assert main(["corrupt", str(folder), "--out", str(out), *WORDS]) == 0
    return out


def test_read_by_numpy_alone(folder, made):
    """The mask says of every frame whether the two packed folders differ there."""
    with np.load(made / "corruption.npz", allow_pickle=False) as file:
        truth = dict(file)
    assert truth["modalities"].tolist() == ["rgb", "lidar", "mmwave", "wifi"]
    frames = len(truth["label"])
    assert frames == 720 and abs(truth["label"].mean() - 0.2) < 0.03
    assert (abs(truth["sensor"].mean(axis=0) - 0.3) < 0.05).all()
    target = np.load(folder / "target.npy")
    assert np.array_equal(truth["target"], target, equal_nan=True)
    wrong = (np.load(made / "target.npy") != target) & np.isfinite(target)
    assert np.array_equal(wrong.any(axis=(1, 2)), truth["label"])
    assert np.array_equal(np.load(made / "labelled.npy"), np.load(folder / "labelled.npy"))
    for m, name in enumerate(truth["modalities"]):
        differs = np.load(made / f"present_{name}.npy") != np.load(folder / f"present_{name}.npy")
        if name in ("lidar", "mmwave"):
            clouds = []
            for place in (made, folder):
                points, ends = np.load(place / f"{name}_points.npy"), np.load(place / f"{name}_offsets.npy")
                clouds.append([points[a:b].tobytes() for a, b in itertools.pairwise(ends)])
            differs |= np.array([a != b for a, b in zip(*clouds, strict=True)])
        else:
            a, b = np.load(made / f"{name}.npy"), np.load(folder / f"{name}.npy")
            differs |= np.array([x.tobytes() != y.tobytes() for x, y in zip(a, b, strict=True)])
        assert np.array_equal(differs, truth["sensor"][:, m]), name
    names = truth["kind_names"]
    for what, kinds in (("lidar", truth["kind"][:, 1]), ("label", truth["label_kind"])):
        assert set(names[kinds[kinds >= 0]]) <= set(corruptions_of(what)) and (kinds >= 0).any()
    meta = json.loads((folder / "meta.json").read_text())["recordings"]
    lengths = meta["length"]
    for column in ("environment", "subject", "action"):
        assert np.array_equal(truth[column], np.repeat(meta[column], lengths))
    assert np.array_equal(truth["frame"], np.load(folder / "frame_number.npy"))
    plan = json.loads(str(truth["plan"]))
    assert plan["sensor_rate"] == 0.3 and plan["severity"] == "mixed" and plan["seed"] == 3
    assert not [path.name for path in made.parent.iterdir() if path.name != made.name]  # no leftovers


def test_it_is_a_data_set_with_a_truth(folder, made):
    settings = DataSettings()
    corrupt, clean = datasets(made, settings), datasets(folder, settings)
    assert {k: len(v) for k, v in corrupt.items()} == {k: len(v) for k, v in clean.items()}
    truth = read_truth(made)
    train = corrupt["train"]
    mask, before = truth.sensor[train.rows], clean["train"].batch(np.arange(len(train)))
    batch = train.batch(np.arange(len(train)))
    changed = (batch.inputs["rgb"].values[:, 4] != before.inputs["rgb"].values[:, 4]).flatten(1).any(1)
    assert np.array_equal(changed.numpy(), mask[:, 0])
    assert np.array_equal(truth.target[train.rows], before.target.numpy())
    assert open_store(made).simulated == {"rgb"}


def test_same_call_same_bytes_and_it_continues(folder, made, tmp_path, monkeypatch):
    again = tmp_path / "again"
    writing = sys.modules["equipose.data.corrupt.writing"]
    write, calls = writing._write_recording, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        write(*arguments)

    monkeypatch.setattr(writing, "_write_recording", interrupted)
    words = ["corrupt", str(folder), "--out", str(again), *WORDS]
    assert main(words) == 130 and not again.exists()
    assert main(words) == 0 and len(calls) == 4 + 15
    for path in made.iterdir():
        if path.suffix == ".npz":
            first, second = read_truth(made), read_truth(again)
            assert all(
                np.array_equal(getattr(first, f.name), getattr(second, f.name), equal_nan=f.name == "target")
                for f in fields(FrameTruth)
            )
        else:
            assert path.read_bytes() == (again / path.name).read_bytes(), path.name


def test_chosen_corruptions_and_sensors(folder, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["--corruptions", "lidar.fog", "wifi.all", "label.offset", "--modalities", "rgb", "lidar", "wifi"]
    assert main(["corrupt", str(folder), "--out", str(out), "--timing", "frame", "--label-rate", "0.1", *words]) == 0
    shown = capsys.readouterr().out
    assert "rgb: 0.0% of 720 frames corrupt" in shown and "lidar: 20" in shown
    truth = read_truth(out)
    assert truth.modalities == ("rgb", "lidar", "wifi")
    with np.load(out / "corruption.npz") as file:
        names = file["kind_names"]
    assert not truth.sensor[:, 0].any()
    assert set(names[truth.kind[truth.sensor[:, 1], 1]]) == {"fog"}
    assert len(set(names[truth.kind[truth.sensor[:, 2], 2]])) > 5
    assert set(names[truth.label_kind[truth.label]]) == {"offset"}
    assert set(truth.severity[truth.sensor]) == {2}


def test_a_split_given_with_the_data_is_kept_apart(tmp_path):
    rng = np.random.default_rng(0)
    with PackedWriter(tmp_path / "in", skeleton=H36M17, modalities=("rgb",)) as writer:
        for subject, side in ((1, "train"), (2, "train"), (3, "validation"), (4, "test"), (4, "test")):
            pixels = list(np.full((8, 17, 2), 100.0 * subject) + rng.uniform(0, 1, (8, 17, 2)))
            writer.add(1, subject, 1, target=rng.normal(size=(8, 17, 3)), frames={"rgb": pixels}, split=side)
    plan = CorruptionPlan(sensor_rate=1.0, sensors={"rgb": ("swapped",)}, severity=1)
    corrupt_folder(tmp_path / "in", tmp_path / "out", plan)
    store = open_store(tmp_path / "out")
    assert store.recordings.split == ("train", "train", "validation", "test", "test")
    shown = (store.dense("rgb", np.arange(40))[0][:, 0, 0] // 100).reshape(5, 8)
    assert [set(row) for row in shown.tolist()] == [{2}, {1}, {3}, {4}, {4}]  # validation has no partner


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--sensor-rate", "1.5"], "sensor_rate: Input should be less than or equal to 1 (found 1.5)"),
        (["--label-rate", "-1"], "label_rate: Input should be greater than or equal to 0"),
        (["--burst-seconds", "0"], "burst_seconds: Input should be greater than 0"),
        (["--corruptions", "lidar.fgo"], "unknown corruption of lidar 'fgo'. Did you mean 'fog'?"),
        (["--corruptions", "lidar.awgn"], "equipose list corruptions"),
        (["--corruptions", "sonar.fog"], "unknown sensor 'sonar'"),
        (["--corruptions", "fog"], "expected SENSOR.NAME such as lidar.points_lost"),
        (["--corruptions", "depth.dead"], "the plan corrupts depth, and the data has rgb, lidar, mmwave, wifi"),
        (["--modalities", "depth"], "has no depth; it has rgb, lidar, mmwave, wifi"),
        (["--seed", "-1"], "seed: Input should be greater than or equal to 0"),
    ],
)
def test_an_impossible_request_is_refused_and_writes_nothing(words, expected, folder, tmp_path, capsys):
    assert main(["corrupt", str(folder), "--out", str(tmp_path / "out"), *words]) == 2
    assert expected in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_severity_that_is_none_and_a_folder_that_is_none(folder, made, tmp_path, capsys):
    assert main(["corrupt", str(folder), "--out", str(tmp_path / "out"), "--severity", "4"]) == 2
    assert main(["corrupt", str(tmp_path / "no"), "--out", str(tmp_path / "out")]) == 3
    assert main(["corrupt", str(folder), "--out", str(folder / "in")]) == 2
    assert "which is only read" in capsys.readouterr().err
    assert main(["corrupt", str(folder), "--out", str(made)]) == 2
    assert "exists already" in capsys.readouterr().err
    with pytest.raises(DataError, match=r"corruption.npz cannot be read.*equipose corrupt DATA --out DIR"):
        read_truth(folder)
    (tmp_path / "corruption.npz").write_bytes(b"PK\x03\x04 no")
    with pytest.raises(DataError, match=r"cannot be read"):
        read_truth(tmp_path)


def test_every_corruption_is_listed_and_on_its_page(capsys):
    assert main(["list", "corruptions"]) == 0
    listed = capsys.readouterr().out
    page = (Path(__file__).parents[3] / "docs" / "corruption.md").read_text()
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("|")]
    for what in ("rgb", "lidar", "mmwave", "wifi", "label"):
        for name, corruption in corruptions_of(what).items():
            assert f"  {what}.{name} " in listed and corruption.severities in listed
            place = what if name not in corruptions_of("depth") else "any"
            assert any(row[:1] == [f"{place}.{name}"] and row[2] == corruption.severities for row in rows), name


def test_it_needs_no_torch():
    script = "import sys, equipose.cli.corrupt, equipose.data.corrupt.writing; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
