"""The examples run as they stand, and stay as short as they say."""

import importlib.util
import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
LIGHTNING = importlib.util.find_spec("lightning") is not None
NEEDS = {"lightning_callback": pytest.mark.skipif(not LIGHTNING, reason="Lightning is not installed")}
FILES = [pytest.param(path, marks=NEEDS.get(path.stem, ()), id=path.stem) for path in sorted(EXAMPLES.glob("*.py"))]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", FILES)
def test_contributions_grow_while_the_example_trains(path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setattr(sys, "argv", [path.name])
    runpy.run_path(str(path), run_name="__main__")
    printed = dict(
        line.split(":", 1) for line in capsys.readouterr().out.splitlines() if line[:6] in ("before", "after:")
    )
    before, after = (eval(printed[name]) for name in ("before", "after"))
    assert set(before) == set(after) == {"camera", "radar"}
    assert all(after[name] > before[name] + 1.0 for name in before)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_the_users_part_is_under_twenty_lines(path):
    part = path.read_text().split("# From here on")[1].split("if __name__")[0]
    lines = [line for line in part.splitlines()[1:] if line.strip()]
    assert 5 < len(lines) < 20
