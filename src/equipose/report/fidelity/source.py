"""The two folders: a simulated data set and the real recordings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from equipose.data.mmfi import Recording, index
from equipose.errors import DataError, UsageError
from equipose.simulate.mmfi_writer import RECORD, read_record

VARIABLE = "EQUIPOSE_REAL_DATA"
FRAME_LIMIT = 12_000
"""Frames read of a larger simulation: statistics do not change, time does."""

REAL_FILES = {
    "mmfi_statistics/E01_profile.csv": "mean and standard deviation of MM-Fi's CSI amplitude per subcarrier",
    "atheros_csi/ath_csi_1_parsed.npz": "packets of a real Atheros receiver",
    "mars": "the MARS radar recordings",
    "ouster_os1_32/os1_32_frame.npz": "a sweep of a real OS1-32",
    "cmu_mocap": "clips of the CMU motion capture",
}


@dataclass(frozen=True)
class Simulation:
    """A simulated data set, or an even choice of its recordings.

    Attributes:
        root: its folder.
        record: contents of ``simulation.json``.
        recordings: those that are read.
        total: recordings there are.
    """

    root: Path
    record: Mapping[str, Any]
    recordings: tuple[Recording, ...]
    total: int

    @property
    def modalities(self) -> tuple[str, ...]:
        """Sensors simulated."""
        return tuple(self.record["modalities"])

    @property
    def num_frames(self) -> int:
        """Frames read."""
        return sum(len(recording.frames) for recording in self.recordings)


def open_simulation(root: Path, frame_limit: int = FRAME_LIMIT) -> Simulation:
    """A simulated MM-Fi folder.

    Args:
        root: written by ``equipose simulate``.
        frame_limit: of a larger one, as many recordings as hold this many frames are chosen at random (fixed seed).

    Raises:
        DataError: no such folder, or it is no simulation.
    """
    if not root.is_dir():
        raise DataError(f"no folder at {root}; expected a simulated data set: equipose simulate {root}")
    if not (root / RECORD).is_file():
        raise DataError(
            f"{root} holds no {RECORD}, so it is not a simulated data set in MM-Fi's layout (packed folders do not "
            "keep what is compared here); make one with: equipose simulate FOLDER"
        )
    record = read_record(root)
    found = [recording for recording in index(root) if recording.frames]
    if not found:
        raise DataError(f"{root} holds no recording with ground truth; complete it: equipose simulate {root}")
    frames = sum(len(recording.frames) for recording in found)
    count = max(1, len(found) * min(frame_limit, frames) // frames)
    chosen = np.sort(np.random.default_rng(0).permutation(len(found))[:count])
    return Simulation(root, record, tuple(found[i] for i in chosen), len(found))


def real_folder(given: Path | None) -> Path:
    """The folder of real recordings: ``given``, else the one that EQUIPOSE_REAL_DATA names.

    Raises:
        UsageError: neither is given.
        DataError: the folder or one of its parts is missing.
    """
    named = os.environ.get(VARIABLE)
    if given is None and not named:
        raise UsageError(
            f"no folder of real recordings: give --real FOLDER or set {VARIABLE}. "
            f"It holds {', '.join(sorted({name.split('/')[0] for name in REAL_FILES}))}."
        )
    folder = given if given is not None else Path(str(named))
    if not folder.is_dir():
        raise DataError(f"no folder at {folder}; expected the real recordings: give --real FOLDER or set {VARIABLE}")
    missing = [name for name in REAL_FILES if not (folder / name).exists()]
    if missing:
        raise DataError(
            f"{folder} holds no {missing[0]}; expected {REAL_FILES[missing[0]]}. "
            f"Give the folder that holds {', '.join(sorted({name.split('/')[0] for name in REAL_FILES}))} with --real."
        )
    return folder


def load_npz(path: Path, *names: str) -> tuple[np.ndarray, ...]:
    """Arrays of a file of real recordings.

    Raises:
        DataError: the file is damaged or lacks one.
    """
    try:
        with np.load(path) as file:
            return tuple(file[name] for name in names)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: {error}; expected the arrays {', '.join(names)}") from None
