"""The data commands through the command line, and what they import."""

from __future__ import annotations

import subprocess
import sys

import pytest

from equipose.cli.main import main


def test_check_and_pack_end_to_end(small_root, tmp_path, capsys):
    assert main(["data", "check", str(small_root), "--jobs", "1"]) == 0
    assert main(["data", "check", str(tmp_path)]) == 3
    assert "holds no MM-Fi recording" in capsys.readouterr().err
    packed = str(tmp_path / "packed")
    assert main(["data", "pack", str(small_root), packed, "--jobs", "1", "--modalities", "rgb", "mmwave"]) == 0
    assert "12 recordings, 72 frames of rgb, mmwave" in capsys.readouterr().out
    assert main(["data", "pack", str(small_root), packed]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["data", "check", packed]) == 3
    assert "This is a packed folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["data", "pack", "ROOT", "ROOT/inside"], "which is only read"),
        (["data", "pack", "ROOT", "OUT", "--modalities", "depth"], "Type --modalities rgb"),
        (["train", "ROOT", "--dry-run", "--modalities", "depth"], "Type --modalities rgb"),
        (["data", "pack", "ROOT", "OUT", "--jobs", "0"], "--jobs: found 0"),
        (["data", "check", "ROOT", "--jobs", "-1"], "--jobs: found -1"),
        (["data", "check", "ROOT", "--limit", "-1"], "--limit: found -1"),
    ],
)
def test_an_impossible_request_is_refused_and_writes_nothing(words, expected, small_root, tmp_path, capsys):
    before = sorted(small_root.iterdir())
    places = {"ROOT": str(small_root), "OUT": str(tmp_path / "out")}
    for name, path in places.items():
        words = [word.replace(name, path) for word in words]
    assert main(words) == 2
    assert expected in capsys.readouterr().err
    assert sorted(small_root.iterdir()) == before and not list(tmp_path.iterdir())


def test_a_report_that_cannot_be_kept_is_still_shown(small_root, tmp_path, capsys):
    out = tmp_path / "nowhere" / "report.json"
    assert main(["data", "check", str(small_root), "--jobs", "1", "--out", str(out)]) == 3
    shown = capsys.readouterr()
    assert "12 recordings" in shown.out
    assert str(out) in shown.err and "fault of the program" not in shown.err


def test_checking_and_packing_need_no_torch():
    modules = "equipose.cli.data, equipose.data.audit, equipose.data.packed, equipose.data.raw, equipose.data.splits"
    script = f"import sys, {modules}; print('torch' in sys.modules, 'scipy.io' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
