"""The run folder: everything a run wrote, under relative paths, so that it can be moved or zipped.

::

    config.yaml     the recipe                      metrics.jsonl     one line per epoch
    env.json        versions, machine, command      metrics.json      the test split, by `equipose evaluate`
    status.json     state, epoch, data folder       contributions.npz predictions.npz scenes.npz
    checkpoints/{last,best}/                        log.txt           report.html
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from equipose.config import Recipe, dump_yaml, load_recipe, load_settings
from equipose.errors import DataError, UsageError
from equipose.files import write_text

R = TypeVar("R", bound=Recipe)
_PACKAGES = ("equipose", "torch", "numpy", "scipy", "lightning-fabric", "safetensors", "plotly")


@dataclass(frozen=True)
class RunDir:
    """A run folder that exists."""

    path: Path

    @classmethod
    def create(cls, parent: Path, name: str, recipe: Recipe, data: Path) -> RunDir:
        """Make a new run folder; never writes into one that exists.

        Args:
            parent: folder of all runs, made if missing.
            name: ``{time}``, ``{strategy}`` and ``{seed}`` are filled in.
            recipe: written to ``config.yaml``.
            data: the data folder, remembered for `resume` and `evaluate`.

        Raises:
            UsageError: the folder exists already.
        """
        path = parent / run_name(name, recipe)
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            raise UsageError(
                f"{path} exists already and a run is never overwritten; choose another --out or --name, or continue "
                f"that run with: equipose resume {path}"
            ) from None
        run = cls(path)
        write_text(path / "config.yaml", dump_yaml(recipe))
        run.write_json("env.json", environment())
        run.set_status(state="created", data=str(data.resolve()))
        return run

    @classmethod
    def open(cls, path: Path) -> RunDir:
        """An existing run folder.

        Raises:
            DataError: the folder is not a run folder.
        """
        if not (path / "config.yaml").is_file() or not (path / "status.json").is_file():
            what = "does not exist" if not path.exists() else "has no config.yaml and status.json"
            raise DataError(
                f"{path} {what}; expected a run folder as `equipose train` makes it (runs/<time>_<strategy>_s<seed>)"
            )
        return cls(path)

    @property
    def recipe(self) -> Recipe:
        """The recipe the run was made with."""
        return load_recipe(self.path / "config.yaml")

    def recipe_of(self, kind: type[R]) -> R:
        """The recipe of a run that has more settings than a training.

        Raises:
            UsageError: the run has other settings.
        """
        return load_settings(kind, self.path / "config.yaml")

    @property
    def status(self) -> dict[str, Any]:
        """State, epoch, step and data folder."""
        expected = 'expected a mapping; to use the run all the same, write {"state": "interrupted"} into it'
        try:
            found = self.read_json("status.json")
        except DataError as error:
            raise DataError(f"{error}: {expected}") from None
        if not isinstance(found, dict) or "state" not in found:
            raise DataError(f"{self.path / 'status.json'} is damaged: found {found!r}, {expected}")
        return found

    def set_status(self, **values: Any) -> None:
        """Update fields of ``status.json``."""
        old = self.status if (self.path / "status.json").is_file() else {}
        self.write_json("status.json", {**old, **values})

    def data_path(self, override: Path | None = None) -> Path:
        """The data folder: ``override``, or where the run found it.

        Raises:
            DataError: it is not there any more.
        """
        path = override if override is not None else Path(self.status.get("data", ""))
        if path == Path():
            raise DataError(f"{self.path / 'status.json'} names no data folder; name it with --data FOLDER")
        if not path.is_dir():
            raise DataError(f"the run's data folder {path} does not exist; name its new place with --data FOLDER")
        return path

    def check_data(self, digest: str) -> None:
        """Refuse another data set than the run was trained on; a run that does not know its own takes any.

        Args:
            digest: of the data at hand, see ``data.store.digest_of``.

        Raises:
            UsageError: it is another.
        """
        if self.status.get("data_digest", digest) != digest:
            raise UsageError(
                f"{self.path.name} was trained on {self.status.get('data')}, and the data folder now holds other "
                "recordings; name the place of its own data with --data FOLDER"
            )

    def checkpoint(self, which: str) -> Path:
        """Folder of the checkpoint ``last`` or ``best``."""
        return self.path / "checkpoints" / which

    def read_json(self, name: str) -> Any:
        """Content of a JSON file of the run."""
        try:
            return json.loads((self.path / name).read_text())
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise DataError(f"{self.path / name} is damaged ({error}); expected JSON") from None

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file in one piece."""
        write_text(self.path / name, json.dumps(value, indent=1))

    def log(self, text: str) -> None:
        """Add a line to ``log.txt``."""
        with (self.path / "log.txt").open("a") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def epochs(self) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl``."""
        path = self.path / "metrics.jsonl"
        lines = []
        for i, line in enumerate(path.read_text(errors="replace").splitlines() if path.is_file() else ()):
            try:
                lines.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise DataError(
                    f"line {i + 1} of {path} is damaged ({error}); expected one epoch as JSON. Remove that line, or "
                    "everything from there on"
                ) from None
        return lines

    def write_epochs(self, lines: list[dict[str, Any]]) -> None:
        """Replace ``metrics.jsonl``."""
        write_text(self.path / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))


def run_name(name: str, recipe: Recipe) -> str:
    """``name`` with ``{time}``, ``{strategy}`` and ``{seed}`` filled in; UsageError if it asks for anything else."""
    values = {"time": time.strftime("%Y%m%d-%H%M%S"), "strategy": recipe.balance.name, "seed": recipe.train.seed}
    try:
        return name.format(**values)
    except (KeyError, IndexError, ValueError, AttributeError):
        raise UsageError(
            f"--name {name!r} cannot be filled in; only {{time}}, {{strategy}} and {{seed}} may stand in braces"
        ) from None


def environment() -> dict[str, Any]:
    """Versions, machine and command line: what a reader needs to repeat the run."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    import torch

    return {
        "versions": {"python": platform.python_version(), **versions},
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        },
        "command": ["equipose", *sys.argv[1:]],
        "started": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def _processor() -> str:
    """The processor's name as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        found = re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE)
        if found:
            return found[1]
    return platform.processor() or platform.machine()
