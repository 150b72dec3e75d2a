"""Read run folders. Everything the report knows comes through here; numpy only, and no pickles.

``config.yaml`` and ``metrics.json`` must be there. The other files are optional: a run without them is shown with a
sentence that says what is missing and which command makes it.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml
from pydantic import BaseModel, ValidationError

from equipose.errors import DataError
from equipose.report.run import Estimate, FinalContributions, Predictions, Run, Scene
from equipose.report.schema import EpochRecord, Metrics

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

CONTRIBUTIONS_FORMAT = "equipose-contributions-1"


def load_run(folder: Path) -> Run:
    """Read one run folder.

    Raises:
        DataError: it is no evaluated run folder, or one of its files is damaged.
    """
    if not folder.is_dir():
        raise DataError(
            f"found no folder at {folder}; expected a run folder such as runs/<time>_<strategy>_s<seed>. "
            "Make one with: equipose train"
        )
    names = sorted(path.name for path in folder.iterdir())
    if "config.yaml" not in names:
        raise DataError(
            f"{folder} is not a run folder: found {', '.join(names[:6]) or 'nothing'} in it, expected config.yaml and "
            "metrics.json. Make a run folder with: equipose train"
        )
    if "metrics.json" not in names:
        raise DataError(
            f"{folder} has not been evaluated: found no metrics.json. Write it with: equipose evaluate {folder}"
        )
    config = _mapping(folder / "config.yaml", _parsed(folder / "config.yaml", yaml.safe_load, "equipose train"))
    again = f"equipose evaluate {folder}"
    metrics = _checked(Metrics, _parsed(folder / "metrics.json", json.loads, again), folder / "metrics.json", again)
    missing: list[str] = []

    def optional(name: str, read: Callable[[Path], T], default: T, what: str, command: str) -> T:
        if name in names:
            return read(folder / name)
        missing.append(f"{name} ({what}); make it with: {command}")
        return default

    contribution_command = f"equipose contributions {folder}"
    return Run(
        folder=folder,
        config=config,
        env=optional(
            "env.json", lambda p: _json_mapping(p, "equipose train"), {}, "versions and command line", "equipose train"
        ),
        status=_json_mapping(folder / "status.json", "equipose train") if "status.json" in names else {},
        metrics=metrics,
        epochs=optional("metrics.jsonl", _read_epochs, (), "curves over the epochs", "equipose train"),
        predictions=optional("predictions.npz", _read_predictions, None, "paired differences, body picture", again),
        contributions=optional(
            "contributions.npz",
            lambda p: _read_contributions(p, contribution_command),
            None,
            "contributions with intervals",
            contribution_command,
        ),
        scenes=optional("scenes.npz", _read_scenes, (), "3D clips", again),
        missing=tuple(missing),
    )


def _damaged(path: Path, why: object, command: str) -> DataError:
    return DataError(f"{path} is damaged: {why}. Write it again with: {command}")


def _parsed(path: Path, parse: Callable[[str], Any], command: str) -> Any:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise _damaged(path, str(error).splitlines()[0], command) from None


def _mapping(path: Path, value: Any, command: str = "equipose train") -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _damaged(path, f"found {type(value).__name__}, expected a mapping", command)
    return value


def _json_mapping(path: Path, command: str) -> dict[str, Any]:
    return _mapping(path, _parsed(path, json.loads, command), command)


def _checked(model: type[M], value: Any, path: Path, command: str) -> M:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "(top)"
        raise _damaged(path, f"{where}: {first['msg']} ({error.error_count()} problem(s))", command) from None


def _read_epochs(path: Path) -> tuple[EpochRecord, ...]:
    command = f"equipose resume {path.parent}"
    lines = [line for line in _parsed(path, str.splitlines, command) if line.strip()]
    records = []
    for number, line in enumerate(lines, 1):
        try:
            value = json.loads(line)
        except ValueError:
            if number == len(lines):
                break  # the last line of a run that is being written
            raise _damaged(path, f"line {number} is not JSON", command) from None
        records.append(_checked(EpochRecord, value, path, command))
    return tuple(records)


def _arrays(path: Path, command: str) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise _damaged(path, str(error).splitlines()[0] if str(error) else "not an npz file", command) from None


def _array(
    arrays: Mapping[str, np.ndarray], name: str, shape: tuple[int | None, ...], path: Path, command: str
) -> np.ndarray:
    """An array after checking that it is there, numeric and of the shape; None in ``shape`` is any length."""
    if name not in arrays:
        raise _damaged(path, f"no array {name!r}, found {', '.join(sorted(arrays)[:8]) or 'none'}", command)
    array = arrays[name]
    fits = array.ndim == len(shape) and all(want in (None, have) for want, have in zip(shape, array.shape, strict=True))
    if not fits or array.dtype.kind not in "fiu":
        wanted = " x ".join("any" if n is None else str(n) for n in shape)
        raise _damaged(path, f"{name} is {array.dtype} {array.shape}, expected numbers {wanted}", command)
    return array


def _read_predictions(path: Path) -> Predictions:
    command = f"equipose evaluate {path.parent}"
    arrays = _arrays(path, command)
    joints = _array(arrays, "joints", (None, None, 3), path, command)
    target = _array(arrays, "target", joints.shape, path, command)
    columns = [
        _array(arrays, name, (len(joints),), path, command)
        for name in ("environment", "subject", "action", "frame", "recording")
    ]
    return Predictions(joints, target, np.stack(columns, axis=1).astype(np.int64))


def _read_scenes(path: Path) -> tuple[Scene, ...]:
    command = f"equipose evaluate {path.parent}"
    arrays = _arrays(path, command)
    numbers = sorted(int(m[1]) for m in (re.fullmatch(r"scene(\d{1,4})_name", key) for key in arrays) if m)
    return tuple(_scene(arrays, f"scene{number}_", path, command) for number in numbers)


def _scene(arrays: Mapping[str, np.ndarray], prefix: str, path: Path, command: str) -> Scene:
    frames = _array(arrays, prefix + "frames", (None,), path, command)
    target = _array(arrays, prefix + "target", (len(frames), None, 3), path, command)
    clouds = {
        name.removeprefix(prefix): _array(arrays, name, (None, 4), path, command)
        for name in sorted(arrays)
        if name.startswith(prefix) and name.removeprefix(prefix) not in ("name", "frames", "target", "joints")
    }
    return Scene(
        name=str(arrays[prefix + "name"]),
        frames=frames,
        target=target,
        joints=_array(arrays, prefix + "joints", target.shape, path, command),
        clouds=clouds,
    )


def _read_contributions(path: Path, command: str) -> FinalContributions:
    """Read the file that ``contribution.result.save_npz`` writes (its keys are listed there)."""
    arrays = _arrays(path, command)
    if str(arrays.get("format", "")) != CONTRIBUTIONS_FORMAT:
        raise _damaged(
            path,
            f"its format is {str(arrays.get('format', 'not named'))!r}, expected {CONTRIBUTIONS_FORMAT!r}",
            command,
        )
    names = [str(name) for name in arrays.get("modalities", np.array([])).ravel()]
    count = len(names)

    def estimates(key: str) -> dict[str, Estimate]:
        values = _array(arrays, key, (count,), path, command)
        ends = _array(arrays, f"{key}_interval", (count, 2), path, command)
        return {
            name: Estimate(float(v), (float(low), float(high)) if np.isfinite([low, high]).all() else None)
            for name, v, (low, high) in zip(names, values, ends, strict=True)
        }

    pairs = _array(arrays, "interactions", (count, count), path, command) if "interactions" in arrays else None
    profits = [str(name) for name in arrays.get("profits", np.array([])).ravel()]
    others = _array(arrays, "phi_by_profit", (len(profits), count), path, command) if profits else np.zeros((0, count))
    return FinalContributions(
        unit=str(arrays.get("unit", "")),
        baseline=str(arrays.get("baseline", "")),
        phi=estimates("phi"),
        share=estimates("share"),
        interaction_index=str(arrays.get("interaction_index", "")),
        interactions={(names[i], names[j]): float(pairs[i, j]) for i in range(count) for j in range(i + 1, count)}
        if pairs is not None
        else {},
        phi_by_profit={
            profit: dict(zip(names, map(float, row), strict=True)) for profit, row in zip(profits, others, strict=True)
        },
    )
