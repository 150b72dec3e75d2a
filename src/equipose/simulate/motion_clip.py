"""A clip of recorded motion as a file holds it: named joints, in the file's own unit and axes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from equipose.errors import DataError


@dataclass(frozen=True, eq=False)
class Clip:
    """Recorded joints.

    Attributes:
        name: the file's name without its suffix.
        path: the file.
        names: of the joints, as in the file; the end of a chain in a .bvh is its last joint's name plus ``_end``.
        positions: (time, joint, 3) in the file's unit and axes; all finite.
        frame_rate: per second.
        kind: ``asf`` where a joint is the far end of the bone it is named after, ``bvh`` where it is the near end, and
            ``npz`` where the file does not say.
        digest: SHA-256 of the bytes of the file or files, hexadecimal.
        assumed: what the reader had to assume, in words.
    """

    name: str
    path: Path
    names: tuple[str, ...]
    positions: Float64[np.ndarray, "time joint 3"]
    frame_rate: float
    kind: str
    digest: str
    assumed: tuple[str, ...] = ()


def read_bytes(path: Path) -> bytes:
    """The file's contents; DataError if it is not there."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"found no file {path}; expected a .bvh, .amc or .npz file after --motion") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; expected a .bvh, .amc or .npz file") from None


def digest_of(contents: Iterable[bytes]) -> str:
    """SHA-256 of several files, hexadecimal."""
    found = hashlib.sha256()
    for content in contents:
        found.update(len(content).to_bytes(8, "little") + content)
    return found.hexdigest()


def numbers(words: list[str], where: str) -> Float64[np.ndarray, " _"]:
    """Words as numbers.

    Raises:
        DataError: one of them is none.
    """
    try:
        return np.array(words, np.float64)
    except ValueError:
        wrong = next(word for word in words if not _is_number(word))
        raise DataError(f"{where}: found {wrong!r}, expected a number. The file is damaged or cut off.") from None


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def axis_rotation(axis: str, degrees: np.ndarray) -> Float64[np.ndarray, "*batch 3 3"]:
    """Right-handed rotation about ``x``, ``y`` or ``z``, for column vectors."""
    angle = np.radians(degrees)
    cos, sin, zero, one = np.cos(angle), np.sin(angle), np.zeros_like(angle), np.ones_like(angle)
    rows = {
        "x": (one, zero, zero, zero, cos, -sin, zero, sin, cos),
        "y": (cos, zero, sin, zero, one, zero, -sin, zero, cos),
        "z": (cos, -sin, zero, sin, cos, zero, zero, zero, one),
    }[axis]
    return np.stack(rows, axis=-1).reshape(*np.shape(angle), 3, 3).astype(np.float64)
