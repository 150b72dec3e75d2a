"""The Python examples of the documentation run as they stand, and its links and commands exist."""

import re
import shlex
from pathlib import Path

import pytest

from equipose.cli.main import VERBS

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_examples_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "example"}
    for number, block in enumerate(blocks(page, "python")):
        exec(compile(block, f"{page.name} example {number + 1}", "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_and_named_files_exist(page):
    text = page.read_text()
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (page.parent / link).exists(), link
    for name in re.findall(r"benchmarks/[\w/]+\.(?:py|json)", text):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_exist(page):
    for line in "\n".join(blocks(page, "bash")).splitlines():
        for command in re.findall(r"equipose [^;|#]*", line):
            words = shlex.split(command)[1:]
            assert any(" ".join(words[:n]) in VERBS for n in (1, 2, 3)), command
