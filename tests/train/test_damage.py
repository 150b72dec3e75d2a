"""Run folders that were damaged, replaced or stopped early: an answer for each, and nothing lost."""

import json
import os
import pickle
import shutil

import pytest
import torch
from safetensors import SafetensorError

from equipose.cli.main import main
from equipose.errors import DataError
from equipose.train import checkpoint, fit
from equipose.train.run_dir import RunDir


@pytest.fixture(scope="module")
def finished(packed, tmp_path_factory):
    """A run of one epoch."""
    words = ["--epochs", "1", "--batch-size", "8", "--modalities", "rgb", "--accelerator", "cpu"]
    settings = ["--set", "contribution.bootstrap=10", "--set", "model.width=16"]
    out = tmp_path_factory.mktemp("finished")
    assert main(["train", str(packed), *words, *settings, "--out", str(out), "--name", "run"]) == 0
    return out / "run"


@pytest.fixture
def run(finished, tmp_path):
    """A copy of it to damage, marked as interrupted."""
    path = shutil.copytree(finished, tmp_path / "run")
    RunDir.open(path).set_status(state="interrupted")
    return path


class _Payload:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


@pytest.mark.parametrize(
    ("file", "content", "verb", "expected"),
    [
        ("status.json", b"{", "evaluate", "expected a mapping"),
        ("status.json", b"[1]", "resume", "expected a mapping"),
        ("status.json", b'{"state": "interrupted"}', "resume", "--data FOLDER"),
        ("status.json", b'{"state": "interrupted"}', "evaluate", "--data FOLDER"),
        ("metrics.jsonl", b'{"epoch": 0}\n{"epo', "resume", "line 2 of"),
        ("checkpoints/best/model.safetensors", b"rubbish", "evaluate", "not a readable safetensors file"),
        ("checkpoints/last/training_state/state.pt", b"rubbish", "resume", "train this run from its start"),
        ("checkpoints/last/training_state/state.pt", pickle.dumps(_Payload()), "resume", "was not loaded"),
    ],
)
def test_a_damaged_file_is_named(file, content, verb, expected, run, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (run / file).write_bytes(content)
    assert main([verb, str(run)]) == 3
    error = capsys.readouterr().err
    assert expected in error and file.split("/")[-1] in error
    assert "weights_only" not in error  # torch's own text advises to run the file's code
    assert not (tmp_path / "pwned").exists()


def test_a_state_that_is_not_ours_is_refused(run):
    torch.save({"a": torch.zeros(3)}, run / "checkpoints/last/training_state/state.pt")
    with pytest.raises(DataError, match="expected optimizer, progress"):
        fit.resume(RunDir.open(run))


def test_weights_of_another_network_are_refused_in_one_line(run, capsys):
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("width: 16", "width: 8"))
    assert main(["evaluate", str(run)]) == 3
    error = capsys.readouterr().err
    assert "differences, the first: size mismatch" in error and len(error.splitlines()) == 1


def test_a_run_without_a_checkpoint_says_how_to_get_one(run, capsys):
    shutil.rmtree(run / "checkpoints" / "best")
    assert main(["evaluate", str(run)]) == 3
    error = capsys.readouterr().err
    assert f"equipose resume {run}" in error and "--checkpoint last" in error
    shutil.rmtree(run / "checkpoints")
    assert main(["evaluate", str(run)]) == 3
    assert "--checkpoint" not in capsys.readouterr().err


@pytest.mark.parametrize("error", [SafetensorError("I/O error: No space left"), OSError(28, "No space left")])
def test_a_full_disk_leaves_the_checkpoint_before_it(error, run, monkeypatch):
    opened = RunDir.open(run)
    last = opened.checkpoint("last")
    before = {path: path.read_bytes() for path in last.rglob("*") if path.is_file()}

    def fail(*_):
        raise error

    monkeypatch.setattr(checkpoint, "save_file", fail)
    with pytest.raises(DataError, match=f"Make room.*equipose resume {run}"):
        checkpoint.save_checkpoint(last, torch.nn.Linear(2, 2), opened.recipe, None)
    assert {path: path.read_bytes() for path in last.rglob("*") if path.is_file()} == before
    assert not last.with_name("last.new").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--devices", "3"], "--batch-size 66"),
        (["--set", "balance.settings.alpha=1"], "unknown setting"),
        (["--set", "model.encoders.rgb=csi_network"], "reads csi"),
    ],
)
@pytest.mark.parametrize("dry", [True, False])
def test_a_dry_run_refuses_what_training_refuses_and_neither_leaves_a_folder(
    words, expected, dry, packed, tmp_path, capsys
):
    rest = ["--dry-run"] if dry else []
    assert main(["train", str(packed), "--out", str(tmp_path / "runs"), *words, *rest]) == 2
    assert expected in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_one_subject_on_the_test_side_has_no_interval(packed, tmp_path, capsys):
    words = ["--split", "manual", "--set", "data.test_subjects=[11]", "--modalities", "rgb", "--epochs", "1"]
    assert main(["train", str(packed), *words, "--out", str(tmp_path), "--name", "run"]) == 0
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    assert "one subject" in capsys.readouterr().out
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert all(row["interval"] is None for row in metrics["coalitions"])
    assert main(["contributions", str(tmp_path / "run")]) == 0
    assert main(["report", str(tmp_path / "run")]) == 0
