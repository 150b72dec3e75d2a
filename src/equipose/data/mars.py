"""Read MARS: real 77 GHz radar point clouds with Kinect V2 skeletons.

An and Ogras, "MARS: mmWave-based Assistive Rehabilitation System for Smart Healthcare", ACM Transactions on
Embedded Computing Systems 20(5s):72, 2021. A subject folder holds, for each official part (``train``,
``validate``, ``test``), one file of radar points (a row per point) and one of Kinect labels (a row per frame,
25 joints).

What the files leave to be found out, and how it is found here:

* **Frames.** Consecutive rows of equal ``Frame #`` are one frame. ``# Obj`` counts points before the authors'
  box filter and is not the number of rows. Frames that the filter emptied are missing, so numbers skip.
* **Movements.** Each part holds the ten movements one after the other, unlabelled. ``Frame #`` counts through
  the whole session and a part takes one stretch of each movement, so the number jumps by more than 1,000
  between movements and by at most a few within one: a jump above ``MOVEMENT_GAP`` starts the next movement.
* **Axes.** MARS has x to the right seen from the sensor, y away from it and z up, both for radar and labels:
  the left shoulder has the larger x, the head the larger z, and labels and points lie at the same distance.
  In the camera frame (x right, y down, z forward) that is (x, -z, y).
* **Intensity** is a linear integer without a unit; it is stored as ``10 log10(intensity)``, decibel of one
  count, so that it has the range of MM-Fi's radar SNR.

The radar sits about 0.15 m beside the Kinect; like MM-Fi, MARS publishes no calibration and none is applied.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from equipose.errors import DataError

FRAME_RATE_HZ = 10
MOVEMENT_GAP = 100
"""Largest jump of ``Frame #`` inside one movement; measured: at most 6 inside and at least 1,099 between."""
NUM_MOVEMENTS = 10
MOVEMENTS = (
    "left upper limb extension",
    "right upper limb extension",
    "both upper limb extension",
    "left front lunge",
    "right front lunge",
    "squat",
    "left side lunge",
    "right side lunge",
    "left limb extension",
    "right limb extension",
)
"""Names of movements 1 to 10 in recording order, from the release; the labels show the same limbs moving."""

PARTS = {"train": "train", "validate": "validation", "test": "test"}
"""Word in the official file names -> name of the part in this package."""

RADAR_COLUMNS = ("Frame #", "# Obj", "X", "Y", "Z", "Doppler", "Intensity", "Abs Time")
_KINECT_NAMES = (
    *("SpineBase", "SpineMid", "Neck", "Head"),
    *("ShoulderLeft", "ElbowLeft", "WristLeft", "HandLeft"),
    *("ShoulderRight", "ElbowRight", "WristRight", "HandRight"),
    *("HipLeft", "KneeLeft", "AnkleLeft", "FootLeft"),
    *("HipRight", "KneeRight", "AnkleRight", "FootRight"),
    *("SpineShoulder", "HandTipLeft", "ThumbLeft", "HandTipRight", "ThumbRight"),
)
KINECT_COLUMNS = tuple(f"{joint}_{axis}" for axis in "XYZ" for joint in _KINECT_NAMES)

_HINT = "give the folder with subject1, subject2, ...: synced_data/wooutlier of https://github.com/SizheAn/MARS"


@dataclass(frozen=True)
class MarsRecording:
    """One movement of one subject in one official part: a contiguous stretch of frames.

    Attributes:
        subject: number in the folder name.
        part: ``train``, ``validation`` or ``test``.
        movement: 1 to 10 in recording order; see ``MOVEMENTS``.
        frames: (T,) int64, increasing; the radar's ``Frame #``, 10 per second.
        joints: (T, 25, 3) float32, metres, camera frame (x right, y down, z forward); order of ``KINECT25``.
        points: (P, 5) float32, all frames one after the other, in the columns and axes of MM-Fi's radar:
            forward, right, down in metres, SNR in decibel, Doppler in metres per second.
        counts: (T,) int64, points per frame; sums to P.
    """

    subject: int
    part: str
    movement: int
    frames: NDArray[np.int64]
    joints: NDArray[np.float32]
    points: NDArray[np.float32]
    counts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.frames)


def read_mars(root: Path) -> list[MarsRecording]:
    """All recordings below ``root``, by subject, part and movement.

    Args:
        root: folder with ``subject<N>`` folders.

    Raises:
        DataError: no subject folder, half of a pair of files, a file that is not what its name says, or a
            part without ten movements.
    """
    subjects = _subject_folders(root)
    recordings = []
    for subject, folder in subjects:
        pairs = [(part, *_pair(folder, word)) for word, part in PARTS.items()]
        found = [(part, radar, kinect) for part, radar, kinect in pairs if radar.exists() or kinect.exists()]
        if not found:
            raise DataError(
                f"{folder} holds no radar_data_<part>.csv; expected radar_data_<part>.csv and "
                f"kinect_data_<part>.csv for at least one part of {', '.join(PARTS)}: {_HINT}"
            )
        for part, radar, kinect in found:
            recordings.extend(read_part(radar, kinect, subject, part))
    return recordings


def read_part(radar: Path, kinect: Path, subject: int, part: str) -> list[MarsRecording]:
    """The ten movements of one pair of files.

    Args:
        radar: ``radar_data_<part>.csv``.
        kinect: ``kinect_data_<part>.csv``.
        subject: number to write into the recordings.
        part: name to write into the recordings.

    Raises:
        DataError: as ``read_mars``.
    """
    table = _read_csv(radar, RADAR_COLUMNS, "radar points")
    labels = _read_csv(kinect, KINECT_COLUMNS, "Kinect labels")
    numbers, counts = group_frames(table[:, 0])
    if len(numbers) != len(labels):
        raise DataError(
            f"{radar} holds {len(numbers)} frames (runs of equal 'Frame #') but {kinect} holds {len(labels)} "
            f"label rows; expected one label per frame: take both files from the same release ({_HINT})"
        )
    movements = segment(numbers)
    if movements[-1] != NUM_MOVEMENTS:
        raise DataError(
            f"{radar} holds {movements[-1]} stretches of frames, expected {NUM_MOVEMENTS} (one per movement, "
            f"told apart by jumps of 'Frame #' above {MOVEMENT_GAP}): the file is cut or differs; {_HINT}"
        )
    joints = to_camera(labels.reshape(-1, 3, len(_KINECT_NAMES)).transpose(0, 2, 1)).astype(np.float32)
    points = to_radar_columns(table).astype(np.float32)
    point_movement = np.repeat(movements, counts)
    return [
        MarsRecording(
            subject=subject,
            part=part,
            movement=movement,
            frames=numbers[movements == movement],
            joints=joints[movements == movement],
            points=points[point_movement == movement],
            counts=counts[movements == movement],
        )
        for movement in range(1, NUM_MOVEMENTS + 1)
    ]


def group_frames(frame_column: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number and row count of each run of equal values.

    Args:
        frame_column: (P,) the ``Frame #`` of each point.

    Returns:
        (T,) frame numbers and (T,) points per frame.
    """
    starts = np.flatnonzero(np.concatenate([[True], np.diff(frame_column) != 0]))
    counts = np.diff(np.append(starts, len(frame_column)))
    return frame_column[starts].astype(np.int64), counts


def segment(frames: NDArray[np.int64], gap: int = MOVEMENT_GAP) -> NDArray[np.int64]:
    """1-based index of the contiguous stretch each frame belongs to.

    A stretch ends where the number jumps by more than ``gap``, or falls.
    """
    jump = np.diff(frames)
    return 1 + np.concatenate([[0], np.cumsum((jump > gap) | (jump < 0))])


def to_camera(xyz: NDArray[np.float64]) -> NDArray[np.float64]:
    """MARS axes (right, away, up) to camera axes (right, down, away); (..., 3) metres."""
    return np.stack([xyz[..., 0], -xyz[..., 2], xyz[..., 1]], axis=-1)


def to_radar_columns(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """MARS rows to the columns of MM-Fi's radar: forward, right, down, SNR in decibel, Doppler.

    Args:
        table: (P, 8) in the order of ``RADAR_COLUMNS``.

    Returns:
        (P, 5). An intensity below one count is taken as one.
    """
    snr = 10.0 * np.log10(np.maximum(table[:, 6], 1.0))
    return np.stack([table[:, 3], table[:, 2], -table[:, 4], snr, table[:, 5]], axis=1)


def _subject_folders(root: Path) -> list[tuple[int, Path]]:
    if not root.is_dir():
        raise DataError(f"no folder at {root}; expected the MARS folder with subject1, subject2, ...: {_HINT}")
    folders = [
        (int(path.name.removeprefix("subject")), path)
        for path in root.iterdir()
        if path.is_dir() and path.name.removeprefix("subject").isdigit() and path.name.startswith("subject")
    ]
    if not folders:
        names = sorted(path.name for path in root.iterdir())[:5]
        raise DataError(
            f"{root} holds no subject<N> folder (found {', '.join(names) or 'nothing'}); expected subject1, "
            f"subject2, ... with radar_data_*.csv and kinect_data_*.csv: {_HINT}"
        )
    return sorted(folders)


def _pair(folder: Path, word: str) -> tuple[Path, Path]:
    """The two files of a part; the release has them one folder deeper, in ``timesplit``."""
    if (folder / "timesplit").is_dir():
        folder = folder / "timesplit"
    return folder / f"radar_data_{word}.csv", folder / f"kinect_data_{word}.csv"


def _read_csv(path: Path, columns: Iterable[str], what: str) -> NDArray[np.float64]:
    """All rows below the header; (rows, columns) float64."""
    expected = list(columns)
    if not path.is_file():
        raise DataError(f"no file at {path}; expected {what} ({len(expected)} columns): {_HINT}")
    with path.open(encoding="utf-8-sig") as file:
        header = [name.strip() for name in file.readline().split(",")]
        _check_header(path, header, expected, what)
        rows = file.readlines()
        try:
            table = np.loadtxt(rows, delimiter=",", ndmin=2, dtype=np.float64) if rows else np.empty((0, 0))
        except ValueError as error:
            raise DataError(f"{path} is damaged: {error}; expected {len(expected)} numbers per row: {_HINT}") from None
    if table.size == 0:
        raise DataError(f"{path} holds a header and no rows, expected {what}: {_HINT}")
    if table.shape[1] != len(expected) or not np.isfinite(table).all():
        row = int(np.flatnonzero(~np.isfinite(table).all(axis=1))[0]) if table.shape[1] == len(expected) else 0
        raise DataError(
            f"{path} row {row + 2}: found {table.shape[1]} columns or a value that is not finite, expected "
            f"{len(expected)} finite numbers: {_HINT}"
        )
    return table


def _check_header(path: Path, found: list[str], expected: list[str], what: str) -> None:
    if found == expected:
        return
    if len(found) != len(expected):
        raise DataError(
            f"{path} has {len(found)} columns ({', '.join(found[:4])}, ...), expected {what} with "
            f"{len(expected)} ({', '.join(expected[:4])}, ...): {_HINT}"
        )
    i = next(i for i, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b)
    raise DataError(f"{path} column {i + 1} is {found[i]!r}, expected {expected[i]!r} ({what}): {_HINT}")
