"""How `equipose benchmark` and `equipose continual` end: what failed, how to go on, and the exit code."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path


def again(verb: str, recipe: Path, data: Path, out: Path, seeds: tuple[int, ...]) -> str:
    """The command that goes on with a grid."""
    words = ["equipose", verb, str(recipe), str(data), "--out", str(out)]
    return shlex.join([*words, *(["--seeds", *map(str, seeds)] if seeds else [])])


def tell_failures(failed: Mapping[str, str]) -> None:
    """Name every cell that failed, and why."""
    for name, why in failed.items():
        print(f"failed: {name}: {why}", file=sys.stderr)


def exit_code(stopped: bool, failures: int, what: str, out: Path, command: str) -> int:
    """0 all is finished, 1 some failed, 130 interrupted; says how to go on.

    Args:
        stopped: whether the work was interrupted.
        failures: how many failed.
        what: how they are called, such as ``cells``.
        out: the folder of the grid.
        command: see ``again``.
    """
    if stopped:
        print(f"stopped; everything is saved. Continue with: {command}", file=sys.stderr)
        return 130
    if failures:
        print(f"{failures} {what} failed; tracebacks are in {out / 'failed'}. Again: {command}", file=sys.stderr)
        return 1
    return 0
