"""Simulated recordings as files: the folders, names, types and units of MM-Fi, plus ``simulation.json`` at the root.

Every recording depends on (seed, subject, action, room) and a fixed number of frames alone. How recordings become
files is in ``recording_jobs``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from equipose.errors import DataError, UsageError, unknown_name
from equipose.files import write_text
from equipose.modality import DEFAULT_MODALITIES
from equipose.simulate.body import make_body
from equipose.simulate.camera import CAMERAS
from equipose.simulate.motion import FRAME_RATE_HZ, perform
from equipose.simulate.presets import ALL_ACTIONS, ALL_SUBJECTS, environment_of
from equipose.simulate.randomness import generator_for
from equipose.simulate.recording_jobs import (
    SIMULATED,
    Extras,
    Summary,
    require_space,
    sensor_files,
    write_recordings,
)
from equipose.simulate.room import make_room, standing_place

SIMULATOR_VERSION = 2
"""Raised whenever the same seed gives other bytes."""

RECORD = "simulation.json"


@dataclass(frozen=True)
class Job:
    """One recording to be made."""

    seed: int
    subject: int
    action: int
    frames: int
    modalities: tuple[str, ...]
    extras: Extras = field(default_factory=Extras)

    @property
    def environment(self) -> int:
        """Room number."""
        return environment_of(self.subject)

    @property
    def folder(self) -> Path:
        """Place below the root, such as ``E01/S01/A01``."""
        return Path(f"E{self.environment:02d}", f"S{self.subject:02d}", f"A{self.action:02d}")

    def files(self) -> dict[str, list[bytes]]:
        """All files: modality to the bytes of each frame."""
        return simulate_recording(self)


def simulate_joints(job: Job) -> Float32[np.ndarray, "time 17 3"]:
    """Where the joints of one recording really are: metres, camera frame. Labels may err, see ``annotation``."""
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
        if sensor in ("look", "furniture"):
            return generator_for(job.seed, sensor, job.subject)  # people keep their clothes
        return generator_for(job.seed, sensor, job.environment, job.subject, job.action)

    return sensor_files(joints, room, girth, job.modalities, generator, job.extras)


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
    extras: Extras | None = None,
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
        modalities: of rgb, infra1, infra2, depth, lidar, mmwave, wifi.
        seed: of everything random.
        jobs: processes; by default one per core.
        preset: name noted in ``simulation.json``.
        extras: what else is written, and how: confidences, pictures, kind of labels.
        progress: show a bar on stderr.

    Returns:
        What was done.

    Raises:
        UsageError: a selection is empty, out of range or without sense, or the folder holds a simulation with other
            settings.
        DataError: the folder holds something that is not a simulation, its ``simulation.json`` is damaged, or the
            disk has too little space.
    """
    root = Path(root)
    extras = extras or Extras()
    plan = _plan(environments, subjects, actions, frames, modalities, seed, extras)
    require_space(root, plan, extras)
    _claim(root, plan, preset)
    return write_recordings(root, plan, jobs, progress)


def _plan(
    environments: Sequence[int] | None,
    subjects: Sequence[int],
    actions: Sequence[int],
    frames: int,
    modalities: Sequence[str],
    seed: int,
    extras: Extras,
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
        if modality not in SIMULATED:
            raise unknown_name("simulated modality", modality, SIMULATED)
    chosen = [s for s in sorted(set(subjects)) if environments is None or environment_of(s) in environments]
    if not chosen or not actions or not modalities:
        raise UsageError("nothing to simulate: choose at least one subject, one action and one modality")
    if extras.confidence and not set(modalities) & set(CAMERAS):
        raise UsageError(f"--confidence belongs to the joints of a camera: add one of {', '.join(CAMERAS)}")
    ordered = tuple(name for name in SIMULATED if name in modalities)
    return [
        Job(seed, subject, action, frames, ordered, extras) for subject in chosen for action in sorted(set(actions))
    ]


def _claim(root: Path, plan: list[Job], preset: str | None) -> None:
    """Write ``simulation.json``, or check the one that is there and extend its lists."""
    first = plan[0]
    fixed = {
        "simulator_version": SIMULATOR_VERSION,
        "seed": first.seed,
        "frames": first.frames,
        "modalities": list(first.modalities),
        **asdict(first.extras),
    }
    subjects, actions = {job.subject for job in plan}, {job.action for job in plan}
    found = claimed(root, {"source": None, **fixed})
    if found:
        subjects |= set(found["subjects"])
        actions |= set(found["actions"])
        preset = preset if preset == found.get("preset") else None
    write_record(root, {"preset": preset, **fixed}, subjects, actions)


def claimed(root: Path, fixed: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a folder that is to be completed; empty for a new one.

    Args:
        root: folder of the data set.
        fixed: settings that must be those of the record; None stands for one that is not there.

    Raises:
        UsageError: the folder holds a simulation with other settings.
        DataError: it holds something that is not a simulation, or a damaged record.
    """
    if (root / RECORD).exists():
        found = read_record(root)
        for key, value in fixed.items():
            if found.get(key) != value:
                raise UsageError(
                    f"{root} holds a simulation with {key} {_shown(found.get(key))}, and this one has {_shown(value)}. "
                    "Choose another folder, delete that one, or give the same settings to complete it."
                )
        return found
    if root.is_dir() and any(root.iterdir()):
        raise DataError(f"{root} is not empty and holds no {RECORD}. Choose a new or an empty folder.")
    if root.exists() and not root.is_dir():
        raise DataError(f"{root} is a file. Choose a folder that is new or empty.")
    return {}


def _shown(value: Any) -> str:
    return "not set" if value is None else str(value)


def write_record(root: Path, settings: Mapping[str, Any], subjects: Iterable[int], actions: Iterable[int]) -> None:
    """Write ``simulation.json``, and the folder if it is missing."""
    record = {
        "format": "equipose-simulation",
        "simulated": True,
        **settings,
        "frame_rate_hz": FRAME_RATE_HZ,
        "subjects": sorted(subjects),
        "actions": sorted(actions),
    }
    root.mkdir(parents=True, exist_ok=True)
    write_text(root / RECORD, json.dumps(record, indent=1) + "\n")


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
