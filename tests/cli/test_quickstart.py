"""The whole job on a very small folder."""

import pytest

from equipose.cli.main import main
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
    assert "data.split=manual" in error and "Traceback" not in error
