"""The data commands through the command line, and what they import."""

from __future__ import annotations

import subprocess
import sys

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


def test_checking_and_packing_need_no_torch():
    modules = "equipose.cli.data, equipose.data.audit, equipose.data.packed, equipose.data.raw, equipose.data.splits"
    script = f"import sys, {modules}; print('torch' in sys.modules, 'scipy.io' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
