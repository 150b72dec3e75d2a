"""What a data set looks like to the code above it, whether it is packed or a folder of files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from equipose.errors import DataError, UsageError
from equipose.skeleton import Skeleton


@dataclass(frozen=True, eq=False)
class RecordingTable:
    """One row per recording; every column is (recording,) int64.

    Attributes:
        environment: 1 for E01.
        subject: 1 for S01.
        action: 1 for A01.
        start: index of the recording's first frame row.
        length: number of its frame rows.
        split: ``train``, ``validation`` or ``test`` for each recording, where whoever packed the data gave it;
            empty otherwise. Recordings of different sides may share environment, subject and action.
    """

    environment: NDArray[np.int64]
    subject: NDArray[np.int64]
    action: NDArray[np.int64]
    start: NDArray[np.int64]
    length: NDArray[np.int64]
    split: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.start)

    @property
    def keys(self) -> NDArray[np.int64]:
        """(recording, 3): environment, subject, action."""
        return np.stack((self.environment, self.subject, self.action), axis=1)

    @property
    def num_frames(self) -> int:
        """Frame rows in all."""
        return int(self.length.sum())


def recording_table(
    environment: Sequence[int],
    subject: Sequence[int],
    action: Sequence[int],
    length: Sequence[int],
    split: Sequence[str] = (),
) -> RecordingTable:
    """A table of recordings stored one after the other."""
    lengths = np.asarray(length, np.int64)
    return RecordingTable(
        np.asarray(environment, np.int64),
        np.asarray(subject, np.int64),
        np.asarray(action, np.int64),
        np.cumsum(lengths) - lengths,
        lengths,
        tuple(split),
    )


@runtime_checkable
class FrameStore(Protocol):
    """Frames of a data set by row.

    A row is one frame of one recording; rows of a recording are consecutive. Values are those of the source files in
    the sensor's own coordinates; nothing is cleaned. Thread-safe for reading, picklable, opened lazily.

    Attributes:
        modalities: the sensors it holds, in the order of ``MODALITIES``.
        skeleton: joints of the targets.
        simulated: which of the modalities are simulated.
        frame_rate_hz: frames per second.
        action_names: what the action numbers stand for.
        recordings: one row per recording.
        frame_recording: (N,) int32 recording of each row.
        frame_number: (N,) int32 number in the frame's file name.
        labelled: (N,) bool which rows have a finite target.
        present: modality -> (N,) bool which rows have a frame; a raw folder counts files it has not read yet.
    """

    @property
    def modalities(self) -> tuple[str, ...]:
        """Sensors."""
        ...

    @property
    def skeleton(self) -> Skeleton:
        """Joints of the targets."""
        ...

    @property
    def simulated(self) -> frozenset[str]:
        """Simulated sensors."""
        ...

    @property
    def frame_rate_hz(self) -> float:
        """Frames per second."""
        ...

    @property
    def action_names(self) -> Mapping[int, str]:
        """Action number -> words."""
        ...

    @property
    def recordings(self) -> RecordingTable:
        """One row per recording."""
        ...

    @property
    def frame_recording(self) -> NDArray[np.int32]:
        """(N,) recording of each row."""
        ...

    @property
    def frame_number(self) -> NDArray[np.int32]:
        """(N,) number in the file name."""
        ...

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """(N,) rows with a finite target."""
        ...

    @property
    def present(self) -> dict[str, NDArray[np.bool_]]:
        """Modality -> (N,) rows with a frame."""
        ...

    def target(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """(n, joint, 3) metres, camera frame."""
        ...

    def dense(self, modality: str, rows: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Frames of equal shape.

        Returns:
            values (n, *shape) float32, which the caller may change, and valid (n,); rows without a frame are zero.
        """
        ...

    def cloud(
        self, modality: str, rows: NDArray[Any]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_]]:
        """Point clouds, one after the other.

        Returns:
            points (P, channel) float32, counts (n,) points per row with sum P, and valid (n,).
        """
        ...


def open_store(path: Path | str, modalities: Sequence[str] | None = None) -> FrameStore:
    """Open a packed folder or a raw MM-Fi folder.

    Args:
        path: either of the two; a packed folder holds ``meta.json``.
        modalities: the sensors wanted; all there are by default.

    Raises:
        DataError: if it is neither.
        UsageError: if a wanted sensor is not in it.
    """
    from equipose.data.packed import PackedStore
    from equipose.data.raw import RawStore

    path = Path(path)
    if not path.is_dir():
        partial = path.with_name(path.name + ".partial")
        hint = (
            f" Its packing did not finish; run the same `equipose data pack ... {path}` again to continue."
            if partial.is_dir()
            else " Expected a folder packed by `equipose data pack` or an MM-Fi folder with E01, E02, ..."
        )
        raise DataError(f"{path} is not a folder.{hint}")
    if (path / "meta.json").is_file():
        return PackedStore(path, modalities)
    return RawStore(path, modalities)


def digest_of(store: FrameStore) -> str:
    """Tells data sets apart: the recordings, their lengths, the first and last true poses, and the sensors."""
    table = store.recordings
    parts = [table.environment, table.subject, table.action, table.start, table.length]
    ends = np.unique([0, len(store.frame_number) - 1])
    digest = hashlib.sha256(json.dumps([each.tolist() for each in parts]).encode())
    digest.update(store.target(ends).tobytes())
    digest.update(",".join(store.modalities).encode())
    return digest.hexdigest()


def chosen_modalities(wanted: Sequence[str] | None, available: tuple[str, ...], path: Path | str) -> tuple[str, ...]:
    """``wanted`` in the order of ``available``.

    Raises:
        UsageError: if one is not available.
    """
    if wanted is None:
        return available
    missing = [name for name in wanted if name not in available]
    if missing:
        raise UsageError(
            f"{path} has no {', '.join(missing)}; it has {', '.join(available) or 'no sensor'}. "
            f"Type --modalities {' '.join([n for n in wanted if n in available] or available) or '...'}"
        )
    return tuple(name for name in available if name in wanted)
