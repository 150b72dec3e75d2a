"""The README's commands, run as they stand, on less data."""

import re
import shlex
from pathlib import Path

import pytest

from equipose.cli.main import main

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```bash\n(.*?)```", README.read_text(), re.DOTALL)
SHORTER = {"demo": "tiny", "12": "1"}


def commands(block):
    return [shlex.split(line)[1:] for line in block.splitlines() if line.startswith("equipose ")]


@pytest.mark.slow
def test_the_step_by_step_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = commands(BLOCKS[0])
    assert [command[0] for command in words[:3]] == ["simulate", "data", "data"]
    for command in words:
        shorter = [SHORTER.get(word, word) for word in command]
        assert main(shorter) == 0, " ".join(command)
    assert (tmp_path / "report.html").stat().st_size > 1_000_000


@pytest.mark.slow
@pytest.mark.data
def test_the_mars_commands(tmp_path, monkeypatch, real_data):
    monkeypatch.chdir(tmp_path)
    for command in commands(BLOCKS[1]):
        words = [str(real_data / "mars") if word == "MARS_FOLDER" else word for word in command]
        if words[0] == "train":
            words += ["--set", "data.frame_stride=10", "--epochs", "1"]
        assert main(words) == 0, " ".join(command)
    assert (tmp_path / "runs" / "radar" / "checkpoints" / "best").is_dir()


def test_every_file_the_readme_links_to_exists():
    text = README.read_text()
    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert links
    for link in links:
        assert (README.parent / link).exists(), link
