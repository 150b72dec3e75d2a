"""The MM-Fi folder layout: which recordings, sensors and frames a folder holds.

    <root>/E01/S01/A01/ground_truth.npy
    <root>/E01/S01/A01/{rgb,infra1,infra2,depth,lidar,mmwave,wifi-csi}/frame001.<suffix> ...

Frames are aligned by the number in the file name, never by their position in a listing: frame n belongs to row n - 1
of the ground truth. Indexing lists folders and opens one ground truth header per recording; it never touches a frame.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipose.data.readers import (
    EXPECTED,
    CsiFrame,
    FileError,
    check_ground_truth_shape,
    read_csi,
    read_depth,
    read_frame,
    read_ground_truth,
    read_joints2d,
    read_lidar,
    read_mmwave,
)
from equipose.errors import DataError, unknown_name
from equipose.modality import MODALITIES

__all__ = [
    "CsiFrame",
    "FileError",
    "Recording",
    "frame_path",
    "index",
    "modalities_of",
    "read_csi",
    "read_depth",
    "read_frame",
    "read_ground_truth",
    "read_joints2d",
    "read_lidar",
    "read_mmwave",
    "simulated_modalities",
]

GROUND_TRUTH = "ground_truth.npy"
SIMULATION_FILE = "simulation.json"
"""Written by the simulator into the root it fills; real recordings have none."""
FRAME_RATE_HZ = 10.0


@dataclass(frozen=True, eq=False)
class Recording:
    """One subject doing one action in one environment.

    Attributes:
        environment: 1 for E01.
        subject: 1 for S01.
        action: 1 for A01.
        path: its folder.
        frames: numbers of the frames that have ground truth, 1 to the length of ``ground_truth.npy``; empty when that
            file is missing or damaged.
        files: modality -> (frame,) int32 ascending numbers of the frame files. A modality without a folder is absent.
        problem: why ``frames`` is empty, otherwise "".
    """

    environment: int
    subject: int
    action: int
    path: Path
    frames: tuple[int, ...]
    files: Mapping[str, NDArray[np.int32]]
    problem: str = ""

    @property
    def name(self) -> str:
        """Like ``E01/S02/A03``."""
        return f"E{self.environment:02d}/S{self.subject:02d}/A{self.action:02d}"


def index(root: Path | str, modalities: Sequence[str] | None = None) -> list[Recording]:
    """Every recording below an MM-Fi root, ordered by environment, subject and action.

    Args:
        root: the folder that holds E01, E02 and so on; any part of MM-Fi will do.
        modalities: the sensors to look for; all known ones by default.

    Raises:
        DataError: if the folder is missing or holds nothing of the layout.
        UsageError: for an unknown modality.
    """
    root = Path(root)
    names = tuple(MODALITIES) if modalities is None else tuple(modalities)
    for name in names:
        if name not in MODALITIES:
            raise unknown_name("modality", name, MODALITIES)
    found = [
        _recording(Path(action_path), e, s, a, names)
        for e, e_path in numbered_folders(root, "E")
        for s, s_path in numbered_folders(e_path, "S")
        for a, action_path in numbered_folders(s_path, "A")
    ]
    if not found:
        raise wrong_folder(root)
    return found


def modalities_of(recordings: Iterable[Recording]) -> tuple[str, ...]:
    """The modalities that at least one recording has, in the order of ``MODALITIES``."""
    present = {name for recording in recordings for name, numbers in recording.files.items() if len(numbers)}
    return tuple(name for name in MODALITIES if name in present)


def frame_path(folder: str, modality: str, number: int) -> str:
    """Path of one frame below a recording's folder."""
    spec = MODALITIES[modality]
    return f"{folder}/{spec.folder}/frame{number:03d}{spec.suffix}"


def simulated_modalities(root: Path | str) -> frozenset[str]:
    """The modalities that the simulator wrote into this root; none for real recordings.

    Raises:
        DataError: if the simulator's file is damaged.
    """
    path = Path(root) / SIMULATION_FILE
    try:
        text = path.read_text()
    except FileNotFoundError:
        return frozenset()
    try:
        return frozenset(json.loads(text)["modalities"])
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{path} is damaged: expected a JSON object with a list 'modalities'") from None


def numbered_folders(folder: Path | str, letter: str) -> list[tuple[int, str]]:
    """(number, path) of the subfolders named like E01, ascending.

    Raises:
        DataError: if the folder does not exist or cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            found = [
                (int(entry.name[1:]), entry.path)
                for entry in entries
                if re.fullmatch(letter + r"\d\d|" + letter + r"[1-9]\d\d", entry.name) and entry.is_dir()
            ]
    except OSError as error:
        raise DataError(f"{folder} cannot be listed: {error.strerror}. Expected a folder with E01, E02, ...") from None
    return sorted(found)


def frame_number(name: str, suffix: str) -> int:
    """The number in ``frame017.bin``; 0 for any other name."""
    digits = name[5 : -len(suffix)]
    if not (name.startswith("frame") and name.endswith(suffix) and digits.isascii() and digits.isdigit()):
        return 0
    number = int(digits)
    return number if digits == f"{number:03d}" else 0


def list_frames(folder: str, suffix: str) -> NDArray[np.int32] | None:
    """Ascending frame numbers in a modality folder, or None if there is no such folder."""
    try:
        names = os.listdir(folder)  # noqa: PTH208 (names only; Path objects cost five times more)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DataError(f"{folder} cannot be listed: {error.strerror}") from None
    numbers = sorted(number for number in (frame_number(name, suffix) for name in names) if number)
    return np.array(numbers, np.int32)


def ground_truth_length(path: str) -> int:
    """Number of poses by the header of ``ground_truth.npy``.

    Raises:
        DataError: if the file is missing, cut off or of another shape.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123 (one per recording, path is a str)
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
            size = os.fstat(file.fileno()).st_size - file.tell()
    except OSError as error:
        found = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise FileError(path, found, EXPECTED["ground_truth"]) from None
    except ValueError as error:
        raise FileError(path, f"is not a readable .npy file ({error})", EXPECTED["ground_truth"]) from None
    check_ground_truth_shape(path, shape, dtype)
    expected = int(np.prod(shape)) * dtype.itemsize
    if size != expected:
        raise FileError(path, f"holds {size} bytes of poses", f"{expected} bytes for its shape {shape}")
    return shape[0]


def wrong_folder(root: Path) -> DataError:
    """The error for a folder that holds no recording: what was found, what was expected."""
    inside = sorted(entry.name for entry in root.iterdir())
    shown = ", ".join(inside[:8]) + (f", ... ({len(inside)} in all)" if len(inside) > 8 else "")
    hint = ""
    if (root / "meta.json").is_file():
        hint = " This is a packed folder: train from it, but check and pack the folder it was made from."
    elif (above := _root_above(root.absolute())) is not None:
        hint = f" Did you mean the root: {above}?"
    else:
        below = [p for p in root.iterdir() if p.is_dir() and numbered_folders(p, "E")]
        hint = f" Did you mean {below[0]}?" if below else ""
    return DataError(
        f"{root} holds no MM-Fi recording. Found: {shown or 'nothing'}. "
        f"Expected: E01/S01/A01/{GROUND_TRUTH} and sensor folders beside it, or a packed folder with meta.json.{hint}"
    )


def _root_above(path: Path) -> Path | None:
    """The folder above E01 if the path ends in E01, E01/S01 or E01/S01/A01."""
    for folder, letters in ((path, "E"), (path.parent, "ES"), (path.parent.parent, "ESA")):
        parts = path.parts[len(folder.parent.parts) :]
        if len(parts) == len(letters) and all(
            re.fullmatch(letter + r"\d\d+", part) for letter, part in zip(letters, parts, strict=True)
        ):
            return folder.parent
    return None


def _recording(path: Path, environment: int, subject: int, action: int, names: tuple[str, ...]) -> Recording:
    files: dict[str, Any] = {}
    for name in names:
        spec = MODALITIES[name]
        numbers = list_frames(f"{path}/{spec.folder}", spec.suffix)
        if numbers is not None:
            files[name] = numbers
    problem = ""
    try:
        length = ground_truth_length(f"{path}/{GROUND_TRUTH}")
    except DataError as error:
        length, problem = 0, str(error)
    return Recording(environment, subject, action, path, tuple(range(1, length + 1)), files, problem)
