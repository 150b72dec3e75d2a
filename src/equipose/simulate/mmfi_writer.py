"""Simulated recordings as files: the folders, names, types and units of MM-Fi, plus ``simulation.json`` at the root.

Every recording is made by itself from (seed, subject, action, room) and a fixed number of frames, in a process of its
own with one thread, so its bytes do not depend on the number of jobs or on what else is simulated. It is written to a
temporary folder and renamed when complete; a finished recording is never made twice.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from equipose.errors import DataError, UsageError, unknown_name
from equipose.files import write_text
from equipose.modality import DEFAULT_MODALITIES, MODALITIES
from equipose.progress import progress as progress_bar
from equipose.simulate import camera, lidar, radar, wifi
from equipose.simulate.body import make_body
from equipose.simulate.matfile import csi_file, npy_file
from equipose.simulate.motion import FRAME_RATE_HZ, perform
from equipose.simulate.presets import ALL_ACTIONS, ALL_SUBJECTS, environment_of
from equipose.simulate.randomness import generator_for
from equipose.simulate.room import make_room, standing_place

SIMULATOR_VERSION = 1
"""Raised whenever the same seed gives other bytes."""

RECORD = "simulation.json"
_PARTIAL = ".partial"
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_SIMULATED = ("rgb", "infra1", "infra2", "lidar", "mmwave", "wifi")


@dataclass(frozen=True)
class Job:
    """One recording to be made."""

    seed: int
    subject: int
    action: int
    frames: int
    modalities: tuple[str, ...]

    @property
    def environment(self) -> int:
        """Room number."""
        return environment_of(self.subject)

    @property
    def folder(self) -> Path:
        """Place below the root, such as ``E01/S01/A01``."""
        return Path(f"E{self.environment:02d}", f"S{self.subject:02d}", f"A{self.action:02d}")


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


def simulate_joints(job: Job) -> Float32[np.ndarray, "time 17 3"]:
    """Ground truth of one recording: metres, camera frame."""
    room = make_room(job.seed, job.environment)
    place = standing_place(job.seed, room, job.subject, job.action)
    body = make_body(job.seed, job.subject)
    return perform(body, job.action, job.frames, job.seed, place, room.camera_height, job.environment)


def simulate_recording(job: Job) -> dict[str, list[bytes]]:
    """All files of one recording: modality to the bytes of each frame; ``ground_truth`` has one entry."""
    room = make_room(job.seed, job.environment)
    girth = make_body(job.seed, job.subject).girth
    joints = simulate_joints(job)

    def generator(sensor: str) -> np.random.Generator:
        return generator_for(job.seed, sensor, job.environment, job.subject, job.action)

    files = {"ground_truth": [npy_file(joints)]}
    for name in job.modalities:
        random = generator(name)
        if name in camera.CAMERAS:
            files[name] = [npy_file(frame) for frame in camera.observe(joints, room, random, girth, name)]
        elif name == "lidar":
            files[name] = [cloud.tobytes() for cloud in lidar.scan(joints, room, random, girth)]
        elif name == "mmwave":
            clouds = radar.detect(joints, room, random, girth, FRAME_RATE_HZ)
            files[name] = [cloud.tobytes() for cloud in clouds]
        elif name == "wifi":
            amplitude, phase = wifi.observe(joints, room, random, girth)
            files[name] = [csi_file(a, p) for a, p in zip(amplitude, phase, strict=True)]
        else:
            raise unknown_name("simulated modality", name, _SIMULATED)
    return files


def write_recording(root: Path, job: Job) -> None:
    """Simulate one recording and put it in its place in one step; other folders are not touched."""
    files = simulate_recording(job)
    temporary = root / _PARTIAL / f"{'-'.join(job.folder.parts)}-{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    (temporary / "ground_truth.npy").write_bytes(files.pop("ground_truth")[0])
    for name, frames in files.items():
        spec = MODALITIES[name]
        folder = temporary / spec.folder
        folder.mkdir()
        for number, content in enumerate(frames, start=1):
            (folder / f"frame{number:03d}{spec.suffix}").write_bytes(content)
    target = root / job.folder
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary.replace(target)


def write_mmfi(
    root: Path,
    *,
    environments: Sequence[int] | None = None,
    subjects: Sequence[int] = ALL_SUBJECTS,
    actions: Sequence[int] = ALL_ACTIONS,
    frames: int = 30,
    modalities: Sequence[str] = DEFAULT_MODALITIES,
    seed: int = 0,
    jobs: int | None = None,
    preset: str | None = None,
    progress: bool = True,
) -> Summary:
    """Write a simulated MM-Fi data set, or complete one that was begun with the same settings.

    Worker processes are spawned: a script of your own that calls this needs ``if __name__ == "__main__":``.

    Args:
        root: folder of the data set; made if missing.
        environments: keep only subjects of these rooms (1 to 4).
        subjects: 1 to 40.
        actions: 1 to 27.
        frames: per recording at 10 Hz, 1 to 999.
        modalities: of rgb, infra1, infra2, lidar, mmwave, wifi.
        seed: of everything random.
        jobs: processes; by default one per core.
        preset: name noted in ``simulation.json``.
        progress: show a bar on stderr.

    Returns:
        What was done.

    Raises:
        UsageError: a selection is empty or out of range, or the folder holds a simulation with other settings.
        DataError: the folder holds something that is not a simulation, or its ``simulation.json`` is damaged.
    """
    root = Path(root)
    plan = _plan(environments, subjects, actions, frames, modalities, seed)
    _claim(root, plan, preset)
    todo = [job for job in plan if not (root / job.folder).is_dir()]
    jobs = max(1, min(jobs or _cores(), len(todo) or 1))
    try:
        if todo:
            _run(root, todo, jobs, progress)
    finally:
        shutil.rmtree(root / _PARTIAL, ignore_errors=True)
    return Summary(root, len(todo), len(plan) - len(todo), sum(job.frames for job in todo))


def _plan(
    environments: Sequence[int] | None,
    subjects: Sequence[int],
    actions: Sequence[int],
    frames: int,
    modalities: Sequence[str],
    seed: int,
) -> list[Job]:
    for name, values, allowed in (
        ("subjects", subjects, ALL_SUBJECTS),
        ("actions", actions, ALL_ACTIONS),
        ("environments", environments or (1,), (1, 2, 3, 4)),
        ("frames", (frames,), range(1, 1000)),
        ("seed", (seed,), range(2**31)),
    ):
        wrong = [value for value in values if value not in allowed]
        if wrong:
            raise UsageError(f"{name}: found {wrong[0]}, expected {allowed[0]} to {allowed[-1]}")
    for modality in modalities:
        if modality not in _SIMULATED:
            raise unknown_name("simulated modality", modality, _SIMULATED)
    chosen = [s for s in sorted(set(subjects)) if environments is None or environment_of(s) in environments]
    if not chosen or not actions or not modalities:
        raise UsageError("nothing to simulate: choose at least one subject, one action and one modality")
    ordered = tuple(name for name in _SIMULATED if name in modalities)
    return [Job(seed, subject, action, frames, ordered) for subject in chosen for action in sorted(set(actions))]


def _claim(root: Path, plan: list[Job], preset: str | None) -> None:
    """Write ``simulation.json``, or check the one that is there and extend its lists."""
    first = plan[0]
    fixed = {
        "simulator_version": SIMULATOR_VERSION,
        "seed": first.seed,
        "frames": first.frames,
        "modalities": list(first.modalities),
    }
    subjects, actions = {job.subject for job in plan}, {job.action for job in plan}
    path = root / RECORD
    if path.exists():
        found = read_record(root)
        for key, value in fixed.items():
            if found.get(key) != value:
                raise UsageError(
                    f"{root} holds a simulation with {key} {found.get(key)}, and this one has {value}. "
                    "Choose another folder, delete that one, or give the same settings to complete it."
                )
        subjects |= set(found["subjects"])
        actions |= set(found["actions"])
        preset = preset if preset == found.get("preset") else None
    elif root.is_dir() and any(root.iterdir()):
        raise DataError(f"{root} is not empty and holds no {RECORD}. Choose a new or an empty folder.")
    record = {
        "format": "equipose-simulation",
        "simulated": True,
        "preset": preset,
        **fixed,
        "frame_rate_hz": FRAME_RATE_HZ,
        "subjects": sorted(subjects),
        "actions": sorted(actions),
    }
    root.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(record, indent=1) + "\n")


def read_record(root: Path) -> dict[str, Any]:
    """The contents of ``simulation.json``.

    Raises:
        DataError: it is missing or damaged.
    """
    try:
        found = json.loads((root / RECORD).read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{root / RECORD}: {error}. Delete the folder and simulate again.") from None
    if not isinstance(found, dict) or found.get("format") != "equipose-simulation":
        raise DataError(f"{root / RECORD} was not written by equipose simulate. Choose another folder.")
    return found


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _one_thread() -> Iterator[None]:
    """Spawned workers inherit the environment, and numpy reads it when they import it."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _leave_interrupts_to_the_parent() -> None:
    """Ctrl-C reaches all processes; workers finish the recording at hand, and the parent starts no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _run(root: Path, todo: list[Job], jobs: int, show: bool) -> None:
    context = multiprocessing.get_context("spawn")
    frames = sum(job.frames for job in todo)
    with (
        _one_thread(),
        _bar(frames, show) as advance,
        ProcessPoolExecutor(jobs, mp_context=context, initializer=_leave_interrupts_to_the_parent) as pool,
    ):
        try:
            waiting: dict[Future[None], Job] = {}
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
