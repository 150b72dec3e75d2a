"""Writes a packed folder: atomic, resumable, in constant memory.

Everything is appended to ``OUT.partial/``. After each recording one line goes to ``journal.jsonl`` with the size of
every array file; whoever opens the partial folder again cuts the files back to the last complete recording and goes
on from there. ``finish`` writes the array headers and ``meta.json`` and renames the folder to ``OUT``, so a folder
called ``OUT`` is always complete.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equipose.data.packed_format import (
    FORMAT,
    HEADER_BYTES,
    VERSION,
    ArrayFile,
    array_files,
    complete_lines,
    npy_header,
)
from equipose.errors import DataError, UsageError
from equipose.modality import MODALITIES
from equipose.skeleton import Skeleton

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class PackedWriter:
    """Writes recordings one after the other into a packed folder.

    Use as a context manager; leaving it without an exception finishes the folder, with one keeps what was written so
    that the same call continues::

        with PackedWriter(out, skeleton=KINECT25, modalities=("mmwave",)) as writer:
            for key, target, clouds in recordings:
                if key not in writer.done:
                    writer.add(*key, target=target, frames={"mmwave": clouds})

    Args:
        out: the folder to make; must not exist.
        skeleton: joints of the targets.
        modalities: sensors to store.
        dtype: ``float32`` halves the size; ``source`` stores float64 and is bit-equal to MM-Fi's files.
        simulated: which modalities are simulated.
        frame_rate_hz: frames per second.
        action_names: what the action numbers stand for, where they are not MM-Fi's.
        source: anything that must be equal for a continued packing, such as the source folder and its recordings;
            plain JSON values.

    Attributes:
        done: (environment, subject, action) of the recordings that are complete.

    Raises:
        UsageError: if ``out`` exists, or an unfinished packing beside it has other settings or is being written.
        DataError: when the disk is full; what was written stays and can be continued.
    """

    def __init__(
        self,
        out: Path | str,
        *,
        skeleton: Skeleton,
        modalities: Sequence[str],
        dtype: Literal["float32", "source"] = "float32",
        simulated: Sequence[str] | frozenset[str] = (),
        frame_rate_hz: float = 10.0,
        action_names: Mapping[int, str] | None = None,
        source: Mapping[str, Any] | None = None,
    ) -> None:
        self.out = Path(out)
        self.partial = self.out.with_name(self.out.name + ".partial")
        self.skeleton = skeleton
        self.modalities = tuple(name for name in MODALITIES if name in modalities)
        self._header: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "skeleton": skeleton.name,
            "frame_rate_hz": frame_rate_hz,
            "modalities": {
                name: {
                    "kind": MODALITIES[name].kind,
                    "simulated": name in simulated,
                    "channels": list(MODALITIES[name].channels),
                    "unit": MODALITIES[name].unit,
                    "frame": MODALITIES[name].frame,
                }
                for name in self.modalities
            },
            "dtype": dtype,
            **({"action_names": {str(k): v for k, v in action_names.items()}} if action_names else {}),
            "source": dict(source or {}),
        }
        self._of = {name: array_files(name, dtype) for name in self.modalities}
        self._arrays = {
            array.name: array
            for array in (
                ArrayFile("target", "<f4", (len(skeleton), 3)),
                ArrayFile("frame_number", "<i4", ()),
                ArrayFile("labelled", "|b1", ()),
                *(array for arrays in self._of.values() for array in arrays.values()),
            )
        }
        self._recordings: list[dict[str, Any]] = []
        self._files: dict[str, int] = {}
        self._journal = -1
        self._pending = 0
        self._open()

    @property
    def done(self) -> frozenset[tuple[int, int, int]]:
        """Keys of the complete recordings."""
        return frozenset((r["environment"], r["subject"], r["action"]) for r in self._recordings)

    @property
    def num_done(self) -> int:
        """How many recordings are complete."""
        return len(self._recordings)

    def __enter__(self) -> PackedWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.finish()
        finally:
            self.close()

    def add(
        self,
        environment: int,
        subject: int,
        action: int,
        *,
        target: ArrayLike,
        frames: Mapping[str, Sequence[NDArray[Any] | None]],
        frame_number: ArrayLike | None = None,
        split: str | None = None,
    ) -> None:
        """Write one whole recording.

        Args:
            environment: 1 for E01.
            subject: 1 for S01.
            action: 1 for A01.
            target: (frame, joint, 3) metres, camera frame; NaN where a frame has no label.
            frames: modality -> one array per frame, in the source's form, or None where the frame is missing. A
                modality left out is missing throughout.
            frame_number: (frame,) numbers of the frames; 1, 2, ... by default.
            split: ``train``, ``validation`` or ``test``, for ``data.split=given``; for all recordings or none.
        """
        self.append(target=target, frames=frames, frame_number=frame_number)
        self.commit(environment, subject, action, split)

    def append(
        self,
        *,
        target: ArrayLike,
        frames: Mapping[str, Sequence[NDArray[Any] | None]],
        frame_number: ArrayLike | None = None,
    ) -> None:
        """Write some frames of the current recording; see ``add``. ``commit`` ends the recording."""
        poses = np.asarray(target, "<f4")
        assert poses.ndim == 3 and poses.shape[1:] == (len(self.skeleton), 3), poses.shape
        n = len(poses)
        numbers = np.arange(self._pending + 1, self._pending + n + 1) if frame_number is None else frame_number
        self._write("target", poses)
        self._write("frame_number", np.asarray(numbers, "<i4"))
        self._write("labelled", np.isfinite(poses).all(axis=(1, 2)))
        for name in self.modalities:
            values = frames.get(name) or (None,) * n
            assert len(values) == n, f"{name}: {len(values)} frames, expected {n}"
            self._write(self._of[name]["present"].name, np.array([value is not None for value in values], bool))
            if "points" in self._of[name]:
                self._append_cloud(name, values)
            else:
                self._append_dense(name, values)
        self._pending += n

    def commit(self, environment: int, subject: int, action: int, split: str | None = None) -> None:
        """Mark the frames appended since the last commit as one complete recording; see ``add``."""
        assert self._pending, "a recording needs at least one frame"
        assert split in (None, "train", "validation", "test"), split
        entry: dict[str, Any] = {"environment": environment, "subject": subject, "action": action}
        entry |= {"length": self._pending} if split is None else {"length": self._pending, "split": split}
        assert all(("split" in r) == ("split" in entry) for r in self._recordings), "a split for all or for none"
        sizes = {name: os.fstat(file).st_size for name, file in self._files.items()}
        line = json.dumps(entry | {"sizes": sizes}) + "\n"
        self._write_bytes(self._journal, "journal.jsonl", line.encode())
        self._recordings.append(entry)
        self._pending = 0

    def finish(self) -> None:
        """Complete the folder under its final name."""
        assert not self._pending, "commit the recording first"
        if not self._recordings:
            raise DataError(f"nothing was written to {self.partial}: there is no recording to pack")
        columns = {k: [r[k] for r in self._recordings] for k in self._recordings[0]}
        for name, array in self._arrays.items():
            items = (os.fstat(self._files[name]).st_size - HEADER_BYTES) // array.item_bytes
            try:
                os.pwrite(self._files[name], npy_header(array, items), 0)
                os.fsync(self._files[name])
            except OSError as error:
                raise self._failed(error, name) from None
        meta = json.dumps(self._header | {"recordings": columns}, indent=1)
        temporary = self.partial / "meta.json.new"
        try:
            temporary.write_text(meta)
            temporary.replace(self.partial / "meta.json")
        except OSError as error:
            raise self._failed(error, "meta.json") from None
        self.close()
        self.partial.replace(self.out)
        (self.out / "journal.jsonl").unlink(missing_ok=True)

    def close(self) -> None:
        """Close all files; the partial folder stays as it is."""
        for file in self._files.values():
            os.close(file)
        self._files = {}
        if self._journal >= 0:
            os.close(self._journal)
            self._journal = -1

    def _append_dense(self, name: str, values: Sequence[NDArray[Any] | None]) -> None:
        array = self._of[name]["values"]
        block = np.zeros((len(values), *array.shape), array.dtype)
        for row, value in zip(block, values, strict=True):
            if value is not None:
                row[...] = value
        self._write(array.name, block)

    def _append_cloud(self, name: str, values: Sequence[NDArray[Any] | None]) -> None:
        points, offsets = self._of[name]["points"], self._of[name]["offsets"]
        start = (os.fstat(self._files[points.name]).st_size - HEADER_BYTES) // points.item_bytes
        counts = [0 if value is None else len(value) for value in values]
        clouds = [value for value in values if value is not None and len(value)]
        if clouds:
            with np.errstate(over="ignore"):  # an absurd float64 becomes inf and is dropped when read
                self._write(points.name, np.concatenate(clouds).astype(points.dtype))
        self._write(offsets.name, start + np.cumsum(counts, dtype="<i8"))

    def _open(self) -> None:
        if self.out.exists():
            raise UsageError(
                f"{self.out} exists already and is not overwritten. Choose another folder, or remove it first: "
                f"rm -r {self.out}"
            )
        try:
            self.partial.mkdir(parents=True, exist_ok=True)
            self._journal = os.open(self.partial / "journal.jsonl", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise UsageError(f"{self.partial} cannot be made: {error.strerror}. Choose another folder") from None
        try:
            self._lock()
            self._resume()
        except BaseException:
            self.close()
            raise

    def _lock(self) -> None:
        try:
            import fcntl
        except ImportError:  # not on Windows; two writers into one folder are then not noticed
            return
        try:
            fcntl.flock(self._journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(
                f"{self.partial} is being written by another process; wait for it or choose another folder"
            ) from None

    def _resume(self) -> None:
        """Take over complete recordings of an earlier attempt and cut off what follows them."""
        lines, keep = complete_lines(self.partial / "journal.jsonl")
        header = json.loads(json.dumps(self._header))
        if lines and lines[0] != header:
            differs = [key for key in header if lines[0].get(key) != header[key]] or ["contents"]
            raise UsageError(
                f"{self.partial} is an unfinished packing with other {', '.join(differs)}. Repeat the original "
                f"command to continue it, or remove it to start again: rm -r {self.partial}"
            )
        os.ftruncate(self._journal, keep)
        if not lines:
            self._write_bytes(self._journal, "journal.jsonl", (json.dumps(header) + "\n").encode())
        entries = lines[1:]
        for name in self._arrays:
            path = self.partial / f"{name}.npy"
            self._files[name] = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        while entries and any(
            os.fstat(file).st_size < entries[-1]["sizes"][name] for name, file in self._files.items()
        ):
            entries.pop()  # the machine went down before these bytes reached the disk
        for name, file in self._files.items():
            if entries:
                os.ftruncate(file, entries[-1]["sizes"][name])
            else:
                os.ftruncate(file, 0)
                os.lseek(file, 0, os.SEEK_SET)
                self._write_bytes(file, name, b"\0" * HEADER_BYTES)
                if name.endswith("_offsets"):
                    self._write_bytes(file, name, bytes(8))
            os.lseek(file, 0, os.SEEK_END)
        if len(entries) != len(lines[1:]):
            self._rewrite_journal(header, entries)
        self._recordings = [{k: v for k, v in entry.items() if k != "sizes"} for entry in entries]

    def _rewrite_journal(self, header: dict[str, Any], entries: list[dict[str, Any]]) -> None:
        os.ftruncate(self._journal, 0)
        text = "".join(json.dumps(line) + "\n" for line in [header, *entries])
        self._write_bytes(self._journal, "journal.jsonl", text.encode())

    def _write(self, name: str, values: NDArray[Any]) -> None:
        self._write_bytes(self._files[name], name, np.ascontiguousarray(values, self._arrays[name].dtype))

    def _write_bytes(self, file: int, name: str, data: NDArray[Any] | bytes) -> None:
        view = memoryview(data if isinstance(data, bytes) else data.data).cast("B") if len(data) else memoryview(b"")
        try:
            while view:
                view = view[os.write(file, view) :]
        except OSError as error:
            raise self._failed(error, name) from None

    def _failed(self, error: OSError, name: str) -> DataError:
        if error.errno in _FULL:
            free = shutil.disk_usage(self.partial).free / 1e9
            return DataError(
                f"the disk is full: {name} could not be written to {self.partial} ({free:.2f} GB free). "
                f"{len(self._recordings)} recordings are safe. Make room and repeat the same command to continue, "
                f"or give up with: rm -r {self.partial}"
            )
        return DataError(f"{name} could not be written to {self.partial}: {error.strerror}")
