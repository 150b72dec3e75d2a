from __future__ import annotations

import json

import numpy as np

from equipose.cli.main import main

FEW = ["--preset", "tiny", "--subjects", "1", "--actions", "12", "--frames", "2", "--jobs", "1"]


def test_depth_confidence_and_images_are_asked_for_by_flags(tmp_path, capsys):
    root = tmp_path / "s"
    words = ["simulate", str(root), *FEW, "--modalities", "depth", "rgb", "--confidence", "--images"]
    assert main(words) == 0
    recording = root / "E01" / "S01" / "A12"
    assert sorted(p.name for p in recording.iterdir()) == ["depth", "ground_truth.npy", "rgb", "rgb_img"]
    assert np.load(recording / "rgb" / "frame001.npy").shape == (17, 3)
    record = json.loads((root / "simulation.json").read_text())
    assert record["modalities"] == ["rgb", "depth"] and record["confidence"] is True and record["images"] is True
    assert main(words[:-2]) == 2
    assert "confidence True, and this one has False" in capsys.readouterr().err
    assert main(["data", "check", str(root)]) == 0


def test_mmfis_own_files_by_default(tmp_path):
    root = tmp_path / "s"
    assert main(["simulate", str(root), *FEW]) == 0
    recording = root / "E01" / "S01" / "A12"
    assert sorted(p.name for p in recording.iterdir()) == ["ground_truth.npy", "lidar", "mmwave", "rgb", "wifi-csi"]
    assert np.load(recording / "rgb" / "frame001.npy").shape == (17, 2)


def test_flags_without_sense_are_refused(tmp_path, capsys):
    root = tmp_path / "s"
    assert main(["simulate", str(root), *FEW, "--modalities", "lidar", "--confidence"]) == 2
    assert main(["simulate", str(root), *FEW, "--furniture-drift", "-1"]) == 2
    error = capsys.readouterr().err
    assert "add one of rgb" in error and "expected metres from 0 to 1" in error
    assert not root.exists()


def test_labels_are_fitted_or_exact_and_a_folder_has_one_kind(tmp_path, capsys):
    exact, fitted, drift = tmp_path / "exact", tmp_path / "fitted", tmp_path / "drift"
    words = ["--subjects", "1", "--actions", "12", "--frames", "3", "--jobs", "1", "--modalities", "wifi"]
    assert main(["simulate", str(exact), *words, "--labels", "exact"]) == 0
    assert main(["simulate", str(fitted), *words]) == 0
    assert main(["simulate", str(drift), *words, "--furniture-drift", "0.05"]) == 0
    truth, labels = (np.load(root / "E01" / "S01" / "A12" / "ground_truth.npy") for root in (exact, fitted))
    error = np.linalg.norm(truth - labels, axis=-1)
    assert 0.005 < error.mean() < 0.15
    csi = [(root / "E01" / "S01" / "A12" / "wifi-csi" / "frame001.mat").read_bytes() for root in (exact, fitted, drift)]
    assert csi[0] == csi[1] != csi[2]  # sensors see the truth
    assert main(["simulate", str(fitted), *words, "--labels", "exact"]) == 2
    assert "labels fitted, and this one has exact" in capsys.readouterr().err
