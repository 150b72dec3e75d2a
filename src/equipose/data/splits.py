"""MM-Fi's protocols and splits, and the validation split it lacks.

The test side is the MM-Fi toolbox's validation side, subject for subject. MM-Fi has no third set, so published work
picks its best epoch on the very data it reports. Here the epoch is picked on subjects taken out of the training side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipose.config import DataSettings
from equipose.data.stretches import stretches
from equipose.errors import UsageError

ACTION_NAMES: dict[int, str] = {
    1: "stretch and relax",
    2: "chest expansion horizontal",
    3: "chest expansion vertical",
    4: "twist left",
    5: "twist right",
    6: "mark time",
    7: "limb extension left",
    8: "limb extension right",
    9: "lunge left-front",
    10: "lunge right-front",
    11: "limb extension both",
    12: "squat",
    13: "raise hand left",
    14: "raise hand right",
    15: "side lunge left",
    16: "side lunge right",
    17: "wave hand left",
    18: "wave hand right",
    19: "pick up",
    20: "throw to left",
    21: "throw to right",
    22: "kick to left",
    23: "kick to right",
    24: "body extension left",
    25: "body extension right",
    26: "jump up",
    27: "bow",
}
"""MM-Fi's 27 actions."""

PROTOCOLS: dict[str, tuple[int, ...]] = {
    "P1": (2, 3, 4, 5, 13, 14, 17, 18, 19, 20, 21, 22, 23, 27),
    "P2": (1, 6, 7, 8, 9, 10, 11, 12, 15, 16, 24, 25, 26),
    "P3": tuple(range(1, 28)),
}
"""Actions of each protocol: daily, rehabilitation, all. The position in the list is the seed of split S1."""

NUM_SUBJECTS = 40
S1_NUM_TRAIN = 32
S2_TEST_SUBJECTS = (5, 10, 15, 20, 25, 30, 35, 40)
S3_TEST_ENVIRONMENT = 4


@dataclass(frozen=True, eq=False)
class Split:
    """Recording indices of each side, ascending int64; disjoint.

    Attributes:
        train: what the weights are fitted to.
        validation: recordings of subjects that ``train`` does not hold; picks the epoch.
        test: the split's published validation side; read by ``evaluate`` only.
    """

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


def s1_test_subjects(position: int) -> tuple[int, ...]:
    """The subjects that split S1 tests on for the action at this position of the protocol's list, ascending."""
    order = np.random.RandomState(position).permutation(NUM_SUBJECTS)
    return tuple(sorted(int(subject) + 1 for subject in order[S1_NUM_TRAIN:]))


def split(recording_keys: NDArray[Any], settings: DataSettings, given: Sequence[str] = ()) -> Split:
    """Which recordings train, pick the epoch and test.

    Args:
        recording_keys: (recording, 3) integers: environment, subject, action. Any part of MM-Fi.
        settings: ``protocol``, ``split``, the manual lists, ``validation_fraction`` and ``split_seed``.
        given: side of each recording, where the data set has its own split.

    Raises:
        UsageError: if a side would be empty with the recordings there are, or manual lists overlap or name subjects
            that are not there.
    """
    keys = np.asarray(recording_keys, np.int64).reshape(-1, 3)
    if settings.split == "given":
        return _given(keys, settings, given)
    _, subject, action = keys.T
    actions = PROTOCOLS[settings.protocol]
    if settings.split == "manual" and settings.actions:
        actions = settings.actions
    chosen = np.isin(action, actions)
    if not chosen.any():
        raise UsageError(
            f"no recording has an action of {settings.protocol} ({_names('A', actions)}); found "
            f"{_names('A', action)}. Type --protocol P3, or --split manual with --set data.actions=[...]"
        )
    test = chosen & _TESTS[settings.split](keys, actions, settings)
    train = chosen & ~test
    if settings.split == "manual" and settings.train_subjects:
        train &= np.isin(subject, settings.train_subjects)
    _require(train, test, keys[chosen], settings, bool(given))
    held_out = held_out_subjects(keys[train], settings.validation_fraction, settings.split_seed)
    if not held_out:
        raise UsageError(
            f"split {settings.split} trains on one subject only (S{subject[train][0]:02d}), so none can be held out "
            "to pick the epoch; at least two are needed. Add recordings, or list more subjects with "
            "--split manual --set data.train_subjects=[...]"
        )
    validation = train & np.isin(subject, held_out)
    return Split(np.flatnonzero(train & ~validation), np.flatnonzero(validation), np.flatnonzero(test))


def held_out_subjects(keys: NDArray[np.int64], fraction: float, seed: int) -> tuple[int, ...]:
    """Subjects taken out of the training side, ascending.

    In each environment ``fraction`` of the subjects, rounded, at least one, and never all of them. Where every
    environment has a single subject, one environment loses it. Empty if there is only one subject in all.

    Args:
        keys: (recording, 3) environment, subject, action of the training side.
        fraction: share of subjects.
        seed: picks them; environments are drawn independently, so adding one changes nothing for the others.
    """
    environment, subject, _ = keys.T
    rooms = [(int(e), np.unique(subject[environment == e])) for e in np.unique(environment)]
    held_out: set[int] = set()
    for room, subjects in rooms:
        count = min(max(1, round(fraction * len(subjects))), len(subjects) - 1)
        order = np.random.default_rng((seed, room)).permutation(len(subjects))
        held_out.update(int(s) for s in subjects[order[:count]])
    everyone = np.unique(subject)
    if not held_out and len(everyone) > 1:
        held_out.add(int(everyone[np.random.default_rng((seed, 0)).integers(len(everyone))]))
    return tuple(sorted(held_out))


def _s1(keys: NDArray[np.int64], actions: tuple[int, ...], settings: DataSettings) -> NDArray[np.bool_]:
    test = np.zeros(len(keys), bool)
    for position, action in enumerate(actions):
        test |= (keys[:, 2] == action) & np.isin(keys[:, 1], s1_test_subjects(position))
    return test


def _s2(keys: NDArray[np.int64], actions: tuple[int, ...], settings: DataSettings) -> NDArray[np.bool_]:
    return np.isin(keys[:, 1], S2_TEST_SUBJECTS)


def _s3(keys: NDArray[np.int64], actions: tuple[int, ...], settings: DataSettings) -> NDArray[np.bool_]:
    return keys[:, 0] == S3_TEST_ENVIRONMENT


def _manual(keys: NDArray[np.int64], actions: tuple[int, ...], settings: DataSettings) -> NDArray[np.bool_]:
    both = sorted(set(settings.train_subjects) & set(settings.test_subjects))
    if both:
        raise UsageError(f"{_names('S', both)} named in both data.train_subjects and data.test_subjects; keep one")
    there = set(keys[:, 1].tolist())
    unknown = sorted((set(settings.train_subjects) | set(settings.test_subjects)) - there)
    if unknown:
        raise UsageError(f"the data has no subject {_names('S', unknown)}; it has {_names('S', sorted(there))}")
    return np.isin(keys[:, 1], settings.test_subjects)


def _given(keys: NDArray[np.int64], settings: DataSettings, given: Sequence[str]) -> Split:
    """The data set's own sides; ``actions`` and the subject lists narrow them where set."""
    if not given:
        raise UsageError(
            "split given: this data has no split of its own, expected a packed folder with one, such as "
            "`equipose data prepare mars` makes. Type --split S2 or --split manual"
        )
    chosen = np.ones(len(keys), bool)
    if settings.actions:
        chosen &= np.isin(keys[:, 2], settings.actions)
    sides = {}
    for name in ("train", "validation", "test"):
        side = chosen & (np.array(given) == name)
        subjects = settings.test_subjects if name == "test" else settings.train_subjects
        if subjects:
            side &= np.isin(keys[:, 1], subjects)
        if not side.any():
            raise UsageError(
                f"split given leaves nothing on the {name} side: the data has "
                f"{', '.join(f'{given.count(s)} {s}' for s in dict.fromkeys(given))} recordings, actions "
                f"{_names('A', keys[:, 2])}, subjects {_names('S', keys[:, 1])}. Leave out data.actions, "
                "data.train_subjects and data.test_subjects to use them all"
            )
        sides[name] = np.flatnonzero(side)
    return Split(**sides)


_TESTS = {"S1": _s1, "S2": _s2, "S3": _s3, "manual": _manual}
_TESTED = {
    "S1": "eight subjects per action, drawn by the action's position",
    "S2": "S05, S10, S15, S20, S25, S30, S35, S40",
    "S3": "environment E04 (S31 to S40)",
    "manual": "data.test_subjects",
}


def _require(
    train: NDArray[np.bool_],
    test: NDArray[np.bool_],
    keys: NDArray[np.int64],
    settings: DataSettings,
    has_given: bool,
) -> None:
    """UsageError if a side is empty, with a manual split to type instead."""
    if train.any() and test.any():
        return
    side = "test on" if not test.any() else "train on"
    people = np.unique(keys[:, 1])
    if len(people) < 3 and not has_given:
        raise UsageError(
            f"the data has {_names('S', people)} only, expected at least three subjects: to train on, to pick the "
            "epoch on, and to test on. Add recordings of other subjects"
        )
    last = sorted({int(keys[keys[:, 0] == e, 1].max()) for e in np.unique(keys[:, 0])})
    if len(people) - len(last) < 2:
        last = last[-1:]
    raise UsageError(
        f"split {settings.split} with {settings.protocol} leaves nothing to {side}: it tests on "
        f"{_TESTED[settings.split]}, and the data has {_names('E', keys[:, 0])} with {_names('S', keys[:, 1])}. "
        + (
            "It has a split of its own. Type with `equipose train`: --split given"
            if has_given
            else f"Type with `equipose train`: --split manual --set data.test_subjects=[{','.join(map(str, last))}]"
        )
    )


def _names(letter: str, numbers: Any) -> str:
    """``S01 to S03, S07``."""
    parts = []
    for low, high in stretches(int(n) for n in np.asarray(list(numbers)).ravel()):
        first, last = f"{letter}{low:02d}", f"{letter}{high:02d}"
        parts.append(first if low == high else f"{first}, {last}" if high == low + 1 else f"{first} to {last}")
    return ", ".join(parts) or "none"
