"""Files of recorded motion: ``.bvh``, ``.amc`` with its ``.asf``, and joint positions in ``.npz``.

An ``.npz`` holds ``joints`` (time, joint, 3), ``fps`` and, unless the joints are the 17 of MM-Fi in order, ``names``.
Several sets may be in one file, told apart by what follows the word: ``joints31`` goes with ``names31``. The largest
named set is used.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from equipose.errors import DataError, UsageError
from equipose.simulate.asf import find_asf, read_amc
from equipose.simulate.bvh import read_bvh
from equipose.simulate.motion_clip import Clip, digest_of, read_bytes
from equipose.skeleton import H36M17

SUFFIXES = (".bvh", ".amc", ".asf", ".npz")
_RATES = ("fps", "frame_rate", "frame_rate_hz")
MAX_FRAME_RATE_HZ = 1000.0


def read_motion(files: Sequence[Path], frame_rate: float | None = None) -> list[Clip]:
    """All clips that the files hold, in their order.

    Args:
        files: .bvh, .amc, .asf and .npz. An .asf is the skeleton of the .amc files, and need not be given where it
            lies beside them.
        frame_rate: of all clips, in place of what the files say.

    Raises:
        UsageError: no motion among the files, a file of another kind, or one given twice.
        DataError: a file is missing, damaged, holds numbers that are not finite, or fewer than two frames.
    """
    if frame_rate is not None and not 0 < frame_rate <= MAX_FRAME_RATE_HZ:
        raise UsageError(f"--motion-fps: found {frame_rate:g}, expected frames per second, up to {MAX_FRAME_RATE_HZ:g}")
    paths = [Path(file) for file in files]
    for path in paths:
        if path.suffix.lower() not in SUFFIXES:
            raise UsageError(f"--motion: found {path}, expected files that end in {', '.join(SUFFIXES)}")
    skeletons = [path for path in paths if path.suffix.lower() == ".asf"]
    motions = [path for path in paths if path.suffix.lower() != ".asf"]
    if not motions:
        raise UsageError("--motion: found no motion, expected at least one .bvh, .amc or .npz (an .asf is a skeleton)")
    seen: dict[str, Path] = {}
    clips = []
    for path in motions:
        clip = _read(path, skeletons, frame_rate)
        if clip.digest in seen:
            raise UsageError(f"--motion: {path} is the same motion as {seen[clip.digest]}; give each clip once")
        seen[clip.digest] = path
        clips.append(_checked(clip))
    return clips


def _read(path: Path, skeletons: list[Path], frame_rate: float | None) -> Clip:
    suffix = path.suffix.lower()
    if suffix == ".bvh":
        return read_bvh(path, frame_rate)
    if suffix == ".amc":
        return read_amc(path, find_asf(path, skeletons), frame_rate)
    return read_npz(path, frame_rate)


def read_npz(path: Path, frame_rate: float | None = None) -> Clip:
    """Read joint positions.

    Args:
        path: an .npz as described at the top of this module.
        frame_rate: in place of the file's own.

    Raises:
        DataError: the file is damaged or holds no joints, no names for them, or no frame rate.
    """
    content = read_bytes(path)
    try:
        with np.load(io.BytesIO(content)) as file:
            arrays = {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        raise DataError(f"{path} is not a readable .npz file ({error}). It is damaged or cut off.") from None
    except Exception as error:  # zlib.error and whatever else a damaged archive raises
        raise DataError(f"{path} is not a readable .npz file ({type(error).__name__}). It is damaged.") from None
    joints, names = _joints(arrays, path)
    rates = [arrays[key] for key in _RATES if key in arrays]
    if frame_rate is None and not rates:
        raise DataError(
            f"{path} does not say how fast it was recorded: found {_shapes(arrays)}, expected an entry 'fps'. "
            "Type for instance: --motion-fps 30"
        )
    rate = frame_rate if frame_rate is not None else _rate(rates[0], path)
    return Clip(path.stem, path, names, joints.astype(np.float64), rate, "npz", digest_of([content]))


def _joints(arrays: dict[str, Any], path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """The largest named set of joints, else one of 17 joints without names."""
    found = []
    for key, values in arrays.items():
        if not key.startswith("joints") or values.ndim != 3 or values.shape[2] != 3 or values.dtype.kind not in "fiu":
            continue
        names = arrays.get("names" + key.removeprefix("joints"))
        if names is not None and names.dtype.kind in "US" and names.shape == (values.shape[1],):
            words = [name.decode() if isinstance(name, bytes) else str(name) for name in names.tolist()]
            found.append((len(words), True, values, tuple(words)))
        elif names is None and values.shape[1] == len(H36M17):
            found.append((0, False, values, H36M17.joints))
    if not found:
        raise DataError(
            f"{path}: found {_shapes(arrays)}, expected 'joints' of shape (time, 17, 3) in MM-Fi's order, or "
            "'joints' of shape (time, joint, 3) with 'names' of shape (joint,)"
        )
    _, _, values, chosen = max(found, key=lambda one: one[0])
    return values, chosen


def _rate(value: Any, path: Path) -> float:
    if np.size(value) != 1 or value.dtype.kind not in "fiu":
        raise DataError(f"{path}: fps is {value!r}, expected one number. Type for instance: --motion-fps 30")
    return float(np.ravel(value)[0])


def _shapes(arrays: dict[str, Any]) -> str:
    return ", ".join(f"{key} {tuple(values.shape)}" for key, values in arrays.items()) or "nothing"


def _checked(clip: Clip) -> Clip:
    """Several frames of finite numbers at a possible frame rate, or a DataError."""
    count = clip.positions.shape[0]
    if not 0 < clip.frame_rate <= MAX_FRAME_RATE_HZ:
        raise DataError(
            f"{clip.path}: {clip.frame_rate:g} frames per second, expected more than 0 and at most "
            f"{MAX_FRAME_RATE_HZ:g}. Type for instance: --motion-fps 30"
        )
    if count < 2:
        raise DataError(f"{clip.path}: found {count} frame{'s'[: count != 1]}, expected a motion of at least two")
    wrong = ~np.isfinite(clip.positions).all(-1)
    if wrong.any():
        frame, joint = np.argwhere(wrong)[0].tolist()
        raise DataError(
            f"{clip.path}: {int(wrong.any(1).sum())} of {count} frames hold numbers that are not finite, the first "
            f"is frame {frame + 1}, joint {clip.names[joint]}. Cut these frames out, or fill them by interpolation."
        )
    if len(set(clip.names)) < len(clip.names):
        return replace(clip, names=_unique(clip.names))
    return clip


def _unique(names: tuple[str, ...]) -> tuple[str, ...]:
    """The first of several joints of one name keeps it."""
    return tuple(name if name not in names[:i] else f"{name}_{i}" for i, name in enumerate(names))
