"""Files that are complete or not there at all: a reader sees the old one or the new one, never half of one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from equipose.errors import DataError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a place beside ``path`` to write to; it becomes ``path`` when the context ends without an exception."""
    temporary = path.with_name(path.name + ".part")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 in one piece."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_npz(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write a compressed ``.npz`` in one piece; ``path`` is used as it is, whatever its suffix."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def write_product(path: Path, text: str) -> None:
    """Write a page or table that the user asked for, and the folder it goes to.

    Raises:
        DataError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}; choose another place with --out") from None
