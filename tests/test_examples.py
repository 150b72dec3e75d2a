"""The examples run as they stand, and stay as short as they say."""

import importlib.util
import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
LIGHTNING = importlib.util.find_spec("lightning") is not None
NEEDS = {"lightning_callback": pytest.mark.skipif(not LIGHTNING, reason="Lightning is not installed")}
BALANCED = [path for path in sorted(EXAMPLES.glob("*.py")) if path.stem != "live_stream"]
FILES = [pytest.param(path, marks=NEEDS.get(path.stem, ()), id=path.stem) for path in BALANCED]


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


@pytest.mark.filterwarnings("ignore")
def test_the_live_example_finds_the_camera_and_the_room(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["live_stream.py"])
    runpy.run_path(str(EXAMPLES / "live_stream.py"), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    flags = {
        int(line.split(":")[0].split()[1]): eval(line.split("flagged ")[1].split("}")[0] + "}") for line in lines[:-2]
    }
    assert flags[125]["camera"] >= 3 and sum(flags[115].values()) <= 2
    assert [event[0] for event in eval(lines[-1].split(":", 1)[1])] == ["label shift"]
    assert 160 <= next(number for number in flags if number % 10 != 5) <= 165


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_the_users_part_is_under_twenty_lines(path):
    part = path.read_text().split("# From here on")[1].split("if __name__")[0]
    lines = [line for line in part.splitlines()[1:] if line.strip()]
    assert 5 < len(lines) < 20
