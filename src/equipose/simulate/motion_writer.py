"""Recorded motion as a simulated MM-Fi data set: real people's movement, seen by the simulated sensors.

A clip becomes one recording per room. ``motion.json`` at the root says which clip is which recording and what was
assumed of it. A recording's bytes depend on (seed, clip, room) alone, not on the number it got.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from equipose.errors import DataError, UsageError, unknown_name
from equipose.files import write_text
from equipose.modality import DEFAULT_MODALITIES
from equipose.simulate.mmfi_writer import SIMULATOR_VERSION, claimed, write_record
from equipose.simulate.motion_files import read_motion
from equipose.simulate.placing import DRIFT_SECONDS, PLACES, Placed, clip_key, place_motion
from equipose.simulate.presets import ALL_ACTIONS, ALL_SUBJECTS
from equipose.simulate.randomness import generator_for
from equipose.simulate.recording_jobs import SIMULATED, Summary, require_space, sensor_files, write_recordings
from equipose.simulate.retarget import MAX_FRAMES, Motion, retarget
from equipose.simulate.room import make_room

MOTION_RECORD = "motion.json"


@dataclass(frozen=True)
class Slot:
    """The numbers that a clip is filed under."""

    environment: int
    subject: int
    action: int

    @property
    def folder(self) -> Path:
        """Place below the root, such as ``E01/S01/A01``."""
        return Path(f"E{self.environment:02d}", f"S{self.subject:02d}", f"A{self.action:02d}")


@dataclass(frozen=True, eq=False)
class MotionJob:
    """One recording to be made of a clip."""

    seed: int
    slot: Slot
    key: tuple[int, int]
    girth: float
    modalities: tuple[str, ...]
    joints: Float32[np.ndarray, "time 17 3"]

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

        return sensor_files(self.joints, room, self.girth, self.modalities, generator)


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
        modalities: of rgb, infra1, infra2, lidar, mmwave, wifi.
        seed: of rooms and sensor errors.
        unit: see ``retarget``.
        up: see ``retarget``.
        frame_rate: of the files, in place of what they say.
        place: see ``place_motion``.
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
    _check(environments, subjects, frames, modalities, seed, place)
    sensors = tuple(name for name in SIMULATED if name in modalities)
    fixed = {
        "source": "motion",
        "simulator_version": SIMULATOR_VERSION,
        "seed": seed,
        "frames": frames,
        "place": place,
        "modalities": list(sensors),
    }
    found = claimed(root, fixed)
    known = _read_slots(root) if found else {}
    motions = [retarget(clip, unit, up, frames) for clip in read_motion(files, frame_rate)]
    slots, moved = assign([(m.name, m.path, m.digest) for m in motions], tuple(environments), tuple(subjects), known)
    plan, entries, lines = [], [], []
    for motion, room_number in ((m, e) for m in motions for e in sorted(set(environments))):
        slot = slots[motion.digest, room_number]
        placed = place_motion(motion, make_room(seed, room_number), seed, place)
        plan.append(MotionJob(seed, slot, clip_key(motion.digest), motion.girth, sensors, placed.joints))
        entries.append(_entry(motion, slot, placed))
        lines.append(_line(motion, slot, placed))
    _require_same(root, known, entries)
    require_space(root, plan)
    kept = [entry for entry in known.values() if (entry["sha256"], entry["environment"]) not in slots]
    everything = sorted([*kept, *entries], key=lambda e: (e["environment"], e["subject"], e["action"]))
    write_record(root, fixed, {e["subject"] for e in everything}, {e["action"] for e in everything})
    record = {"format": "equipose-motion", "drift_seconds": DRIFT_SECONDS, "clips": everything}
    write_text(root / MOTION_RECORD, json.dumps(record, indent=1) + "\n")
    for line in (*lines, *moved):
        tell(line)
    return write_recordings(root, plan, jobs, progress)


def assign(
    clips: Sequence[tuple[str, Path, str]],
    environments: tuple[int, ...],
    subjects: tuple[int, ...] = (),
    known: Mapping[tuple[str, int], Mapping[str, Any]] | None = None,
) -> tuple[dict[tuple[str, int], Slot], list[str]]:
    """Numbers for clips: a subject per person, actions 1 to 27 in the order of the clips, then the next free subject.

    Args:
        clips: name, file and digest of each.
        environments: rooms.
        subjects: of the people in the order they appear; by default the number in the name if it is 1 to 40, else the
            lowest that is free.
        known: clips that have numbers already, by digest and room; they keep them.

    Returns:
        (digest, room) -> numbers; and what to tell about subjects that needed more than one number.

    Raises:
        UsageError: more people or clips than there are numbers, or ``subjects`` is too short.
    """
    known = known or {}
    taken = {(e["environment"], e["subject"], e["action"]) for e in known.values()}
    owners: dict[int, str] = {int(e["subject"]): str(e["person"]) for e in known.values()}
    people = dict.fromkeys(person_of(name, path) for name, path, _ in clips)
    numbers = _people(list(people), subjects, owners)
    owners |= {number: person for person, number in numbers.items()}
    slots: dict[tuple[str, int], Slot] = {}
    told: dict[tuple[str, int], str] = {}
    for environment in sorted(set(environments)):
        for name, path, digest in clips:
            person = person_of(name, path)
            if (digest, environment) in known:
                entry = known[digest, environment]
                slots[digest, environment] = Slot(environment, int(entry["subject"]), int(entry["action"]))
                continue
            own = [numbers[person], *(n for n, owner in owners.items() if owner == person and n != numbers[person])]
            free = ((s, a) for s in own for a in ALL_ACTIONS if (environment, s, a) not in taken)
            subject, action = next(free, (0, 0))
            if not subject:
                subject, action = _next_free(owners), 1
                owners[subject] = person
            if subject != numbers[person]:
                text = (
                    f"note: {person} has more than {len(ALL_ACTIONS)} clips: from {name} on they are filed under "
                    f"S{subject:02d}, which is the same person as S{numbers[person]:02d}"
                )
                told.setdefault((person, subject), text)
            taken.add((environment, subject, action))
            slots[digest, environment] = Slot(environment, subject, action)
    return slots, list(told.values())


def person_of(name: str, path: Path) -> str:
    """Who moves, by the name: ``02_01`` and ``walk_subject2`` are of person 02 and 2; else one person per folder."""
    found = re.match(r"(\d{1,3})_", name) or re.search(r"subject[_-]?(\d{1,3})", name, re.IGNORECASE)
    return f"subject {int(found[1])}" if found else f"folder {path.absolute().parent.name}"


def _people(people: list[str], subjects: tuple[int, ...], owners: Mapping[int, str]) -> dict[str, int]:
    """A subject number for every person."""
    if subjects:
        if len(subjects) < len(people) or len(set(subjects)) < len(subjects):
            raise UsageError(
                f"--subjects: found {len(subjects)} numbers, expected a different one for each of {len(people)} "
                f"people: {', '.join(people)}"
            )
        given = dict(zip(people, subjects, strict=False))
        for person, number in given.items():
            if owners.get(number, person) != person:
                raise UsageError(f"--subjects: S{number:02d} is {owners[number]} in this folder; give {person} another")
        return given
    numbers = {
        person: min(n for n, owner in owners.items() if owner == person)
        for person in people
        if person in owners.values()
    }
    used = dict(owners)
    for person in people:
        own = int(person.split()[1]) if person.startswith("subject ") else 0
        if person not in numbers and own in ALL_SUBJECTS and own not in used:
            numbers[person] = own
            used[own] = person
    for person in people:
        if person not in numbers:
            numbers[person] = _next_free(used)
            used[numbers[person]] = person
    return numbers


def _next_free(owners: Mapping[int, str]) -> int:
    for number in ALL_SUBJECTS:
        if number not in owners:
            return number
    raise UsageError(
        f"more clips than fit {len(ALL_SUBJECTS)} subjects with {len(ALL_ACTIONS)} actions each. "
        "Write the rest into another folder."
    )


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
