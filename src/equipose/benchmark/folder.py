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

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

from equipose.benchmark.plan import wanted
from equipose.benchmark.recipe import BenchmarkRecipe
from equipose.benchmark.results import CellResult, read_cell, read_failure
from equipose.config import dump_yaml, validate
from equipose.errors import DataError, UsageError
from equipose.files import write_text

_LOCK = ".lock"


@dataclass
class State:
    """What is known about the cells.

    Attributes:
        done: name -> result.
        failed: name -> why.
        stopped: whether the work was interrupted.
    """

    done: dict[str, CellResult] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    stopped: bool = False

    @property
    def validation(self) -> dict[str, float | None]:
        """Cell -> validation error in mm, None for a failed one."""
        return {
            **{name: result.validation_mpjpe_mm for name, result in self.done.items()},
            **dict.fromkeys(self.failed),
        }


def saved_recipe(out: Path) -> BenchmarkRecipe:
    """The recipe of a benchmark folder.

    Raises:
        DataError: the folder is none.
    """
    path = out / "benchmark.yaml"
    if not path.is_file():
        raise DataError(f"no benchmark at {out}: expected benchmark.yaml in it, as `equipose benchmark` writes it")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is damaged ({error}); repeat the benchmark with its recipe") from None
    return validate(BenchmarkRecipe, values, str(path))


def check_folder(out: Path) -> None:
    """UsageError if the folder holds something that no benchmark wrote."""
    if out.is_file() or (out.is_dir() and not (out / "data.json").is_file() and _foreign(out)):
        raise UsageError(f"{out} exists and holds no benchmark; choose an empty or new folder with --out DIR")


def _foreign(out: Path) -> bool:
    return any(path.name != _LOCK for path in out.iterdir())


def prepare(out: Path, recipe: BenchmarkRecipe, data: Path) -> None:
    """Write down what the folder holds.

    Raises:
        UsageError: the folder holds a benchmark on other data.
    """
    digest = data_digest(data)
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
    write_text(out / "benchmark.yaml", dump_yaml(recipe))


def data_digest(data: Path) -> str:
    """Tells data folders apart: the recordings, their lengths, and the first and last true poses."""
    from equipose.data.store import open_store

    store = open_store(data)
    table = store.recordings
    parts = [table.environment, table.subject, table.action, table.start, table.length]
    ends = np.unique([0, len(store.frame_number) - 1])
    digest = hashlib.sha256(json.dumps([each.tolist() for each in parts]).encode())
    digest.update(store.target(ends).tobytes())
    digest.update(",".join(store.modalities).encode())
    return digest.hexdigest()


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
        for cell in wanted(recipe, state.validation):
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
