"""Which recordings of each experience train, validate and test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Int64
from numpy import ndarray

from equipose.config import DataSettings
from equipose.data.splits import S2_TEST_SUBJECTS, held_out_subjects
from equipose.data.store import RecordingTable
from equipose.errors import UsageError

if TYPE_CHECKING:
    from equipose.data.stream import StreamSettings


@dataclass(frozen=True, eq=False)
class Sides:
    """Recordings of each side of one experience; disjoint.

    Attributes:
        train: learned from.
        validation: chosen by.
        test: tested on.
        apart: ``subject`` or ``recording``.
    """

    train: Bool[ndarray, " recording"]
    validation: Bool[ndarray, " recording"]
    test: Bool[ndarray, " recording"]
    apart: str


def sides_by_subject(
    table: RecordingTable, members: Mapping[str, Bool[ndarray, " recording"]], data: DataSettings
) -> dict[str, Sides]:
    """Sides with different subjects, the same subjects on the same side in every experience.

    Args:
        table: all recordings.
        members: experience -> its recordings.
        data: ``split``, ``test_subjects``, ``train_subjects``, ``validation_fraction`` and ``split_seed``.

    Raises:
        UsageError: if an experience has only one subject, or the split does not part subjects.
    """
    used = np.any(list(members.values()), axis=0)
    if data.split == "given":
        return {name: _given(table, name, mine) for name, mine in members.items()}
    test = np.isin(table.subject, _test_subjects(table, used, data))
    train = used & ~test
    if data.split == "manual" and data.train_subjects:
        train &= np.isin(table.subject, data.train_subjects)
    held_out = held_out_subjects(table.keys[train], data.validation_fraction, data.split_seed) if train.any() else ()
    validation = train & np.isin(table.subject, held_out)
    return {
        name: _with_validation(
            table, name, Sides(mine & train & ~validation, mine & validation, mine & test, "subject"), data
        )
        for name, mine in members.items()
    }


def sides_by_recording(
    table: RecordingTable, mine: Bool[ndarray, " recording"], data: DataSettings, settings: StreamSettings
) -> Sides:
    """Sides with different recordings of the same subjects, drawn for each subject.

    Raises:
        UsageError: if a subject has fewer than three recordings.
    """
    sides = np.zeros((3, len(table)), bool)
    for subject in np.unique(table.subject[mine]).tolist():
        own = np.flatnonzero(mine & (table.subject == subject))
        if len(own) < 3:
            raise UsageError(
                f"S{subject:02d} has {len(own)} recording(s), expected at least three: to train on, to validate and to "
                "test. Use more actions, or stream.kind=rooms"
            )
        order = np.random.default_rng((settings.seed, subject)).permutation(own)
        test = min(max(1, round(settings.test_fraction * len(own))), len(own) - 2)
        rest = len(own) - test
        validation = min(max(1, round(data.validation_fraction * rest)), rest - 1)
        sides[2, order[:test]] = True
        sides[1, order[test : test + validation]] = True
        sides[0, order[test + validation :]] = True
    return Sides(sides[0], sides[1], sides[2], "recording")


def _test_subjects(
    table: RecordingTable, used: Bool[ndarray, " recording"], data: DataSettings
) -> Int64[ndarray, " n"]:
    """Subjects of the test side: the split's, and in a room without any of them the one of the highest number."""
    if data.split in ("S1", "S3"):
        why = {"S1": "tests each action on other subjects", "S3": "tests on one room alone"}[data.split]
        raise UsageError(
            f"a stream needs test subjects in every experience, and split {data.split} {why}. Type data.split=S2, or "
            "data.split=manual with data.test_subjects"
        )
    there = np.unique(table.subject[used])
    if data.split == "manual":
        unknown = sorted({*data.test_subjects, *data.train_subjects} - set(there.tolist()))
        if unknown:
            raise UsageError(f"the data has no subject {unknown}; it has {there.tolist()}")
        both = sorted(set(data.test_subjects) & set(data.train_subjects))
        if both:
            raise UsageError(f"{both} named in both data.train_subjects and data.test_subjects; keep one")
    wanted = data.test_subjects if data.split == "manual" else S2_TEST_SUBJECTS
    chosen = set(there[np.isin(there, wanted)].tolist())
    for room in np.unique(table.environment[used]):
        people = np.unique(table.subject[used & (table.environment == room)])
        if len(people) > 1 and not chosen & set(people.tolist()):
            chosen.add(int(people[-1]))
    return np.array(sorted(chosen), np.int64)


def _with_validation(table: RecordingTable, name: str, sides: Sides, data: DataSettings) -> Sides:
    """The sides; where no subject is left to validate or to train, whole recordings of the ones there are do."""
    people = ", ".join(f"S{s:02d}" for s in np.unique(table.subject[sides.train | sides.validation | sides.test]))
    if not sides.test.any():
        raise UsageError(
            f"the experience {name} has no test subject: found {people}. Expected at least two subjects in it; add "
            "recordings, leave it out by stream.order, or name others in data.test_subjects with data.split=manual"
        )
    if sides.train.any() and sides.validation.any():
        return sides
    left = np.flatnonzero(sides.train | sides.validation)
    if len(left) < 2:
        raise UsageError(
            f"the experience {name} ({people}) has {len(left)} recording(s) besides its test subjects, expected at "
            "least two: to train on and to validate. Add recordings, or leave it out by stream.order"
        )
    order = np.random.default_rng((data.split_seed, len(left))).permutation(left)
    count = min(max(1, round(data.validation_fraction * len(left))), len(left) - 1)
    train, validation = np.zeros((2, len(table)), bool)
    validation[order[:count]] = True
    train[order[count:]] = True
    return Sides(train, validation, sides.test, "recording")


def _given(table: RecordingTable, name: str, mine: Bool[ndarray, " recording"]) -> Sides:
    """The sides stored with the data."""
    if not table.split:
        raise UsageError("data.split=given: this data has no split of its own. Type data.split=S2 or data.split=manual")
    side = np.array(table.split)
    sides = [mine & (side == which) for which in ("train", "validation", "test")]
    for which, mask in zip(("training", "validation", "test"), sides, strict=True):
        if not mask.any():
            raise UsageError(
                f"the experience {name} has no {which} recording in the data's own split. Leave it out by "
                "stream.order, or use data.split=manual with data.test_subjects"
            )
    return Sides(sides[0], sides[1], sides[2], "recording")
