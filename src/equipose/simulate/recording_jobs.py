"""From recordings that are planned to files: MM-Fi's folders and names, several processes, a check of the disk.

A recording is made by itself, in a process of its own with one thread, written to a temporary folder and renamed when
complete, so its bytes do not depend on the number of jobs, and a finished recording is never made twice.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from equipose.errors import DataError, unknown_name
from equipose.modality import MODALITIES
from equipose.progress import progress as progress_bar
from equipose.simulate import camera, depth_image, lidar, picture, radar, wifi
from equipose.simulate.annotation import annotate
from equipose.simulate.matfile import csi_file, npy_file
from equipose.simulate.motion import FRAME_RATE_HZ
from equipose.simulate.room import Room
from equipose.simulate.wifi_channel import room_drift
from equipose.threads import one_thread

SIMULATED = ("rgb", "infra1", "infra2", "depth", "lidar", "mmwave", "wifi")
"""Sensors that can be written, in the order in which they are."""

PICTURES = "rgb_img"
"""Folder of the rendered pictures; MM-Fi's users put the images there that are published separately."""

DISK_BYTES = {
    "rgb": 4096,
    "infra1": 4096,
    "infra2": 4096,
    "depth": 94_208,
    "lidar": 32_800,
    "mmwave": 4096,
    "wifi": 57_344,
    PICTURES: 147_456,
}
"""Disk space per frame in blocks of 4096 bytes, measured."""

_PARTIAL = ".partial"
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Extras:
    """What is written beyond MM-Fi's own public files.

    Attributes:
        confidence: a third column in the joint files of the cameras, the detector's confidence.
        images: rendered pictures in ``rgb_img``.
        labels: ``fitted`` labels err as MM-Fi's, see ``annotation``; ``exact`` ones are the truth.
        furniture_drift: metres by which every person finds the furniture moved, as the WiFi sees it. A stress test:
            such a room gives away who is in it, even when nobody is.
    """

    confidence: bool = False
    images: bool = False
    labels: Literal["fitted", "exact"] = "fitted"
    furniture_drift: float = 0.0


@runtime_checkable
class RecordingJob(Protocol):
    """One recording to be made; travels to another process."""

    @property
    def frames(self) -> int:
        """Their number."""
        ...

    @property
    def modalities(self) -> tuple[str, ...]:
        """Sensors."""
        ...

    @property
    def folder(self) -> Path:
        """Place below the root, such as ``E01/S01/A01``."""
        ...

    def files(self) -> dict[str, list[bytes]]:
        """Modality to the bytes of each frame; ``ground_truth`` has one entry."""
        ...


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes:
        root: the data set.
        recordings: made now.
        skipped: found complete.
        frames: made now.
    """

    root: Path
    recordings: int
    skipped: int
    frames: int


def sensor_files(
    joints: Float32[np.ndarray, "time 17 3"],
    room: Room,
    girth: float,
    modalities: Iterable[str],
    generator: Callable[[str], np.random.Generator],
    extras: Extras | None = None,
) -> dict[str, list[bytes]]:
    """All files of one recording: modality to the bytes of each frame; ``ground_truth`` has one entry.

    Args:
        joints: metres, camera frame, 10 Hz.
        room: where it happens.
        girth: factor on the body's capsule radii.
        modalities: of ``SIMULATED``.
        generator: from a sensor's name to the source of its randomness; those called ``look`` and ``furniture`` are a
            person's in all recordings.
        extras: what else is written, and how.

    Raises:
        UsageError: a sensor that cannot be simulated.
    """
    extras = extras or Extras()
    # Detectors and the labels that were made with them are wrong in the same way.
    systematic = camera.systematic_error(generator("detector"))
    labels = joints if extras.labels == "exact" else annotate(joints, systematic, generator("labels"))
    files = {"ground_truth": [npy_file(labels)]}
    for name in modalities:
        random = generator(name)
        if name in camera.CAMERAS:
            seen = camera.detect(joints, room, random, girth, name, systematic=systematic, frame_rate=FRAME_RATE_HZ)
            values = np.dstack([seen.pixels, seen.confidence]) if extras.confidence else seen.pixels
            files[name] = [npy_file(frame) for frame in values]
        elif name == "depth":
            files[name] = depth_image.depth_files(joints, room, random, girth)
        elif name == "lidar":
            files[name] = [cloud.tobytes() for cloud in lidar.scan(joints, room, random, girth)]
        elif name == "mmwave":
            clouds = radar.detect(joints, room, random, girth, FRAME_RATE_HZ)
            files[name] = [cloud.tobytes() for cloud in clouds]
        elif name == "wifi":
            drift = extras.furniture_drift
            seen_room = room_drift(room, generator("furniture"), drift) if drift else room
            amplitude, phase = wifi.observe(joints, seen_room, random, girth)
            files[name] = [csi_file(a, p) for a, p in zip(amplitude, phase, strict=True)]
        else:
            raise unknown_name("simulated modality", name, SIMULATED)
    if extras.images:
        look = picture.appearance(generator("look"))
        files[PICTURES] = picture.picture_files(joints, room, generator(PICTURES), girth, look)
    return files


def write_recording(root: Path, job: RecordingJob) -> None:
    """Simulate one recording and put it in its place in one step; other folders are not touched.

    Raises:
        DataError: the disk is full.
    """
    files = job.files()
    temporary = root / _PARTIAL / f"{'-'.join(job.folder.parts)}-{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        (temporary / "ground_truth.npy").write_bytes(files.pop("ground_truth")[0])
        for name, frames in files.items():
            place, suffix = (name, ".png") if name == PICTURES else (MODALITIES[name].folder, MODALITIES[name].suffix)
            folder = temporary / place
            folder.mkdir()
            for number, content in enumerate(frames, start=1):
                (folder / f"frame{number:03d}{suffix}").write_bytes(content)
        target = root / job.folder
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.replace(target)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise DataError(
            f"the disk of {root} is full. Finished recordings are safe: make room and repeat the same command."
        ) from None


def write_recordings(
    root: Path, plan: Sequence[RecordingJob], jobs: int | None = None, progress: bool = True
) -> Summary:
    """Make the recordings that are not there yet.

    Args:
        root: folder of the data set; exists.
        plan: all recordings.
        jobs: processes; by default one per core.
        progress: show a bar on stderr.

    Raises:
        DataError: the disk is full.
    """
    todo = missing(root, plan)
    jobs = max(1, min(jobs or _cores(), len(todo) or 1))
    try:
        if todo:
            _run(root, todo, jobs, progress)
    finally:
        shutil.rmtree(root / _PARTIAL, ignore_errors=True)
    return Summary(root, len(todo), len(plan) - len(todo), sum(job.frames for job in todo))


def missing(root: Path, plan: Sequence[RecordingJob]) -> list[RecordingJob]:
    """The recordings of a plan that are not in the folder."""
    return [job for job in plan if not (root / job.folder).is_dir()]


def require_space(root: Path, plan: Sequence[RecordingJob], extras: Extras | None = None) -> None:
    """Refuse before anything is written.

    Args:
        root: folder of the data set.
        plan: all recordings.
        extras: what is written beside the sensors' files.

    Raises:
        DataError: the missing recordings need more than the disk has free.
    """
    todo = missing(root, plan)
    pictures = DISK_BYTES[PICTURES] if extras and extras.images else 0
    needed = sum(job.frames * (pictures + sum(DISK_BYTES[name] for name in job.modalities)) for job in todo)
    place = next(folder for folder in (root.absolute(), *root.absolute().parents) if folder.exists())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise DataError(
            f"{sum(job.frames for job in todo)} frames need about {needed / 1e9:.2f} GB, and {place} has "
            f"{free / 1e9:.2f} GB free. Nothing was written. Choose another disk, fewer frames (--frames), or fewer "
            "sensors (--modalities)."
        )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _leave_interrupts_to_the_parent() -> None:
    """Ctrl-C reaches all processes; workers finish the recording at hand, and the parent starts no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _run(root: Path, todo: list[RecordingJob], jobs: int, show: bool) -> None:
    context = multiprocessing.get_context("spawn")
    frames = sum(job.frames for job in todo)
    with (
        one_thread(),
        _bar(frames, show) as advance,
        ProcessPoolExecutor(jobs, mp_context=context, initializer=_leave_interrupts_to_the_parent) as pool,
    ):
        try:
            waiting: dict[Future[None], RecordingJob] = {}
            queue = iter(todo)
            while True:
                while len(waiting) < 2 * jobs and (job := next(queue, None)) is not None:
                    waiting[pool.submit(write_recording, root, job)] = job
                if not waiting:
                    break
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    future.result()
                    advance(waiting.pop(future).frames)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def _bar(frames: int, show: bool) -> Iterator[Callable[[int], None]]:
    if show:
        with progress_bar("simulating", frames, "frames") as advance:
            yield advance
    else:
        yield lambda _: None
