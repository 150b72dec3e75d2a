"""The whole job on a very small folder."""

import queue

import pytest

from equipose.cli import quickstart
from equipose.cli.main import main
from equipose.config import load_recipe
from equipose.train.run_dir import RunDir


@pytest.mark.slow
def test_quickstart_makes_the_page_and_continues_where_it_was_stopped(tmp_path, capsys):
    root, out = tmp_path / "mmfi", tmp_path / "demo"
    assert main(["simulate", str(root), "--preset", "tiny"]) == 0
    words = ["quickstart", "--out", str(out), "--data", str(root), "--epochs", "1"]
    assert main(words) == 0
    page = (out / "report.html").read_text()
    assert "joint" in page and "awc" in page.lower()
    for name in ("joint", "awc"):
        assert RunDir.open(out / "runs" / name).status["state"] == "finished"
    weights = (out / "runs" / "joint" / "checkpoints" / "last" / "model.safetensors").read_bytes()

    assert main(words) == 2, "a finished demo is not overwritten"
    assert "report.html exists already" in capsys.readouterr().err

    (out / "report.html").unlink()
    assert main([*words[:-1], "2"]) == 2, "a run of other settings is not taken for this one"
    assert "begun with other settings" in capsys.readouterr().err
    (out / "runs" / "awc" / "metrics.json").unlink()
    assert main(words) == 0
    assert (out / "runs" / "awc" / "metrics.json").is_file()
    assert (out / "runs" / "joint" / "checkpoints" / "last" / "model.safetensors").read_bytes() == weights


@pytest.mark.slow
def test_an_error_in_a_training_process_reaches_the_user(tmp_path, capsys):
    root = tmp_path / "mmfi"
    assert main(["simulate", str(root), "--preset", "tiny", "--subjects", "5"]) == 0
    assert main(["quickstart", "--out", str(tmp_path / "demo"), "--data", str(root), "--epochs", "1"]) == 2
    error = capsys.readouterr().err
    assert "at least three subjects" in error and "Traceback" not in error


@pytest.mark.parametrize(("raised", "code"), [(KeyboardInterrupt(), 130), (OSError(28, "No space left"), 3)])
def test_a_training_process_ends_without_a_traceback(raised, code, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise raised

    monkeypatch.setattr("equipose.train.fit.train", fail)
    errors = queue.Queue()
    with pytest.raises(SystemExit) as stop:
        quickstart._train_one(load_recipe(None).model_dump(), tmp_path, tmp_path, "joint", None, errors)
    assert stop.value.code == code
    assert errors.empty() == (code == 130)


def test_an_interrupted_demo_says_how_to_continue_with_the_same_settings(tmp_path, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(quickstart, "_data", lambda *_: tmp_path)
    monkeypatch.setattr(quickstart, "_train_all", interrupt)
    assert main(["quickstart", "--out", str(tmp_path / "demo"), "--epochs", "3", "--seed", "5"]) == 130
    assert f"equipose quickstart --out {tmp_path / 'demo'} --epochs 3 --seed 5" in capsys.readouterr().err
