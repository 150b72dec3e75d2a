"""Recorded motion as a simulated MM-Fi data set: real people's movement, seen by the simulated sensors.

A clip becomes one recording per room. ``motion.json`` at the root says which clip is which recording and what was
assumed of it. A recording's bytes depend on (seed, clip, room) alone, not on the number it got.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from equipose.errors import DataError, UsageError, unknown_name
from equipose.files import write_text
from equipose.modality import DEFAULT_MODALITIES
from equipose.simulate.mmfi_writer import SIMULATOR_VERSION, claimed, write_record
from equipose.simulate.motion_files import read_motion
from equipose.simulate.numbering import Slot, assign, person_of
from equipose.simulate.placing import DRIFT_SECONDS, PLACES, Placed, clip_key, place_motion
from equipose.simulate.presets import ALL_SUBJECTS
from equipose.simulate.randomness import generator_for
from equipose.simulate.recording_jobs import (
    SIMULATED,
    Extras,
    Summary,
    require_space,
    sensor_files,
    write_recordings,
)
from equipose.simulate.retarget import MAX_FRAMES, Motion, retarget
from equipose.simulate.room import make_room

MOTION_RECORD = "motion.json"


@dataclass(frozen=True, eq=False)
class MotionJob:
    """One recording to be made of a clip."""

    seed: int
    slot: Slot
    key: tuple[int, int]
    girth: float
    modalities: tuple[str, ...]
    joints: Float32[np.ndarray, "time 17 3"]
    extras: Extras

    @property
    def frames(self) -> int:
        """Their number."""
        return len(self.joints)

    @property
    def folder(self) -> Path:
        """Place below the root."""
        return self.slot.folder

    def files(self) -> dict[str, list[bytes]]:
        """All files: modality to the bytes of each frame."""
        room = make_room(self.seed, self.slot.environment)

        def generator(sensor: str) -> np.random.Generator:
            return generator_for(self.seed, f"motion {sensor}", self.slot.environment, *self.key)

        return sensor_files(self.joints, room, self.girth, self.modalities, generator, self.extras)


def write_motion(
    root: Path,
    files: Sequence[Path],
    *,
    environments: Sequence[int] = (1,),
    subjects: Sequence[int] = (),
    frames: int | None = None,
    modalities: Sequence[str] = DEFAULT_MODALITIES,
    seed: int = 0,
    unit: str = "auto",
    up: str = "auto",
    frame_rate: float | None = None,
    place: str = "auto",
    extras: Extras | None = None,
    jobs: int | None = None,
    progress: bool = True,
    tell: Callable[[str], None] = lambda line: None,
) -> Summary:
    """Write recorded motion as a simulated MM-Fi data set, complete one, or add clips to it.

    All clips are read and placed before anything is written. Worker processes are spawned: a script of your own that
    calls this needs ``if __name__ == "__main__":``.

    Args:
        root: folder of the data set; made if missing.
        files: see ``read_motion``.
        environments: rooms, 1 to 4; each clip is played in each of them.
        subjects: numbers of the people in the files, in the order they appear; by default those in the names.
        frames: keep the first so many of each clip, at 10 Hz; at most 999.
        modalities: of rgb, infra1, infra2, depth, lidar, mmwave, wifi.
        seed: of rooms and sensor errors.
        unit: see ``retarget``.
        up: see ``retarget``.
        frame_rate: of the files, in place of what they say.
        place: see ``place_motion``.
        extras: what else is written, and how.
        jobs: processes; by default one per core.
        progress: show a bar on stderr.
        tell: is called before the simulation with one line per clip (where it goes and what was assumed) and then
            with notes.

    Returns:
        What was done.

    Raises:
        UsageError: a setting is out of range, more clips than numbers, or the folder holds another simulation.
        DataError: a clip cannot be used, the folder holds something else, or the disk has too little space.
    """
    root = Path(root)
    extras = extras or Extras()
    _check(environments, subjects, frames, modalities, seed, place)
    sensors = tuple(name for name in SIMULATED if name in modalities)
    fixed = {
        "source": "motion",
        "simulator_version": SIMULATOR_VERSION,
        "seed": seed,
        "frames": frames,
        "place": place,
        "modalities": list(sensors),
        **asdict(extras),
    }
    found = claimed(root, fixed)
    known = _read_slots(root) if found else {}
    motions = [retarget(clip, unit, up, frames) for clip in read_motion(files, frame_rate)]
    slots, moved = assign([(m.name, m.path, m.digest) for m in motions], tuple(environments), tuple(subjects), known)
    plan, entries, lines = [], [], []
    for motion, room_number in ((m, e) for m in motions for e in sorted(set(environments))):
        slot = slots[motion.digest, room_number]
        placed = place_motion(motion, make_room(seed, room_number), seed, place)
        plan.append(MotionJob(seed, slot, clip_key(motion.digest), motion.girth, sensors, placed.joints, extras))
        entries.append(_entry(motion, slot, placed))
        lines.append(_line(motion, slot, placed))
    _require_same(root, known, entries)
    require_space(root, plan, extras)
    kept = [entry for entry in known.values() if (entry["sha256"], entry["environment"]) not in slots]
    everything = sorted([*kept, *entries], key=lambda e: (e["environment"], e["subject"], e["action"]))
    write_record(root, fixed, {e["subject"] for e in everything}, {e["action"] for e in everything})
    record = {"format": "equipose-motion", "drift_seconds": DRIFT_SECONDS, "clips": everything}
    write_text(root / MOTION_RECORD, json.dumps(record, indent=1) + "\n")
    for line in (*lines, *moved):
        tell(line)
    return write_recordings(root, plan, jobs, progress)


def _check(
    environments: Sequence[int],
    subjects: Sequence[int],
    frames: int | None,
    modalities: Sequence[str],
    seed: int,
    place: str,
) -> None:
    for name, values, allowed in (
        ("environments", environments, (1, 2, 3, 4)),
        ("subjects", subjects, ALL_SUBJECTS),
        ("frames", () if frames is None else (frames,), range(2, MAX_FRAMES + 1)),
        ("seed", (seed,), range(2**31)),
    ):
        wrong = [value for value in values if value not in allowed]
        if wrong:
            raise UsageError(f"{name}: found {wrong[0]}, expected {allowed[0]} to {allowed[-1]}")
    for modality in modalities:
        if modality not in SIMULATED:
            raise unknown_name("simulated modality", modality, SIMULATED)
    if not environments or not modalities:
        raise UsageError("nothing to simulate: choose at least one room and one modality")
    if place not in PLACES:
        raise UsageError(f"--motion-place: found {place!r}, expected auto, keep or centre")


def _entry(motion: Motion, slot: Slot, placed: Placed) -> dict[str, Any]:
    """What ``motion.json`` says of one recording."""
    return {
        "clip": motion.name,
        "file": motion.path.name,
        "sha256": motion.digest,
        "person": person_of(motion.name, motion.path),
        "environment": slot.environment,
        "subject": slot.subject,
        "action": slot.action,
        "recording": slot.folder.as_posix(),
        "frames": len(placed.joints),
        **motion.source,
        "stature_m": round(motion.stature, 4),
        "girth": round(motion.girth, 4),
        "place": placed.place,
        "in_field": round(placed.seen, 4),
    }


def _line(motion: Motion, slot: Slot, placed: Placed) -> str:
    path = "path kept" if placed.place == "keep" else "path centred"
    seen = "" if placed.seen == 1.0 else f"; the sensors see {100 * placed.seen:.0f} % of its frames in full"
    return (
        f"{motion.name} -> {slot.folder.as_posix()}: {len(placed.joints)} frames from "
        f"{motion.source['frame_rate_hz']:g} Hz; {'; '.join(motion.notes)}; {path}{seen}"
    )


def _read_slots(root: Path) -> dict[tuple[str, int], dict[str, Any]]:
    path = root / MOTION_RECORD
    try:
        clips = json.loads(path.read_text())["clips"]
        return {(str(entry["sha256"]), int(entry["environment"])): dict(entry) for entry in clips}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}). Delete the folder and simulate again.") from None


def _require_same(
    root: Path, known: Mapping[tuple[str, int], Mapping[str, Any]], entries: list[dict[str, Any]]
) -> None:
    """A clip that is there already must have been read in the same way."""
    for entry in entries:
        before = known.get((entry["sha256"], entry["environment"]), entry)
        for key in ("frames", "unit", "up", "frame_rate_hz"):
            if before.get(key) != entry[key]:
                raise UsageError(
                    f"{root} holds {entry['clip']} with {key} {before.get(key)}, and now it has {entry[key]}. "
                    "Choose another folder, or give the same settings to complete it."
                )
