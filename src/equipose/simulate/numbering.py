"""Numbers for clips in a folder of MM-Fi's layout: who is which subject, and which clip is which action."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from equipose.errors import UsageError
from equipose.simulate.presets import ALL_ACTIONS, ALL_SUBJECTS


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
