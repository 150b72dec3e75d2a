"""The folder of a benchmark: what is in it, what is finished, and that only one benchmark works in it.

::

    DIR/benchmark.yaml   the recipe with every method's candidates filled in
    DIR/data.json        which data folder, and a digest of what it holds
    DIR/cells/           a JSON file per finished cell
    DIR/failed/          a text file per failed cell, removed when it succeeds
    DIR/runs/            run folders as `equipose train` makes them
    DIR/logs/            what the cells printed
    DIR/results.csv, DIR/benchmark.md, DIR/benchmark.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel

from equipose.benchmark.loop import Outcome
from equipose.benchmark.plan import wanted
from equipose.benchmark.recipe import BenchmarkRecipe
from equipose.benchmark.results import CellResult, read_cell, read_failure
from equipose.config import dump_yaml, validate
from equipose.data.store import digest_of, open_store
from equipose.errors import DataError, UsageError
from equipose.files import write_text

_LOCK = ".lock"
RECIPES = ("benchmark.yaml", "continual.yaml")
"""Recipe of a folder by the kind of benchmark it holds."""
T = TypeVar("T", bound=BaseModel)


State = Outcome[CellResult]
"""What is known about the cells of a benchmark."""


def validation_errors(state: State) -> dict[str, float | None]:
    """Validation error of every cell that is done, None for those that failed."""
    return {
        **{name: result.validation_mpjpe_mm for name, result in state.done.items()},
        **dict.fromkeys(state.failed),
    }


def saved_recipe(out: Path) -> BenchmarkRecipe:
    """The recipe of a benchmark folder.

    Raises:
        DataError: the folder is none.
    """
    return saved(out, BenchmarkRecipe, "benchmark.yaml", "equipose benchmark")


def saved(out: Path, kind: type[T], file: str, command: str) -> T:
    """The recipe of a folder, of either kind of benchmark.

    Args:
        out: the folder.
        kind: what the recipe is.
        file: one of ``RECIPES``.
        command: that writes such folders.

    Raises:
        DataError: the folder is none.
    """
    path = out / file
    if not path.is_file():
        raise DataError(f"no benchmark at {out}: expected {file} in it, as `{command}` writes it")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is damaged ({error}); repeat the benchmark with its recipe") from None
    return validate(kind, values, str(path))


def check_folder(out: Path, file: str = "benchmark.yaml") -> None:
    """UsageError if the folder holds something else than a benchmark whose recipe is ``file``."""
    if out.is_file() or (out.is_dir() and not (out / "data.json").is_file() and _foreign(out)):
        raise UsageError(f"{out} exists and holds no benchmark; choose an empty or new folder with --out DIR")
    other = next((name for name in RECIPES if name != file and (out / name).is_file()), None)
    if other is not None:
        raise UsageError(f"{out} holds another kind of benchmark ({other}); choose another --out")


def _foreign(out: Path) -> bool:
    return any(path.name != _LOCK for path in out.iterdir())


def prepare(out: Path, recipe: BaseModel, data: Path, file: str = "benchmark.yaml") -> None:
    """Write down what the folder holds.

    Args:
        out: the folder.
        recipe: of the benchmark.
        data: the data folder.
        file: name of the recipe there.

    Raises:
        UsageError: the folder holds a benchmark on other data.
    """
    digest = digest_of(open_store(data))
    note = out / "data.json"
    if note.is_file():
        found = json.loads(note.read_text(encoding="utf-8"))
        if found.get("digest") != digest:
            raise UsageError(
                f"{out} holds a benchmark on {found.get('data')}, whose content differs from {data}; results on two "
                "data sets cannot be compared: choose another --out"
            )
    out.mkdir(parents=True, exist_ok=True)
    write_text(note, json.dumps({"data": str(data.resolve()), "digest": digest}, indent=1) + "\n")
    write_text(out / file, dump_yaml(recipe))


def known(out: Path, recipe: BenchmarkRecipe, failures: bool = False) -> State:
    """Every finished cell of the recipe that the folder has.

    Args:
        out: the benchmark's folder.
        recipe: with all candidates filled in.
        failures: take failed cells as failed; otherwise as not done yet, so that they are tried again.
    """
    state = State()
    while True:
        before = len(state.done) + len(state.failed)
        for cell in wanted(recipe, validation_errors(state)):
            if cell.name in state.done or cell.name in state.failed:
                continue
            result = read_cell(out, cell.name)
            why = read_failure(out, cell.name) if failures else None
            if result is not None:
                state.done[cell.name] = result
            elif why is not None:
                state.failed[cell.name] = why
        if len(state.done) + len(state.failed) == before:
            return state


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Only one benchmark works in a folder.

    Raises:
        UsageError: another one does.
    """
    import fcntl

    out.mkdir(parents=True, exist_ok=True)
    with (out / _LOCK).open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(f"another benchmark is at work in {out}; wait for it, or choose another --out") from None
        yield
