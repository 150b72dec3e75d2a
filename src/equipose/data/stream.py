"""Streams: one packed data set as a list of experiences that come one after the other.

In every experience the sides are apart: test and validation are other subjects than training, everywhere in the stream.
The ``subjects`` stream alone cannot do that and keeps whole recordings apart. No recording is on two sides, and what a
sample is does not depend on the sensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int64
from numpy import ndarray
from pydantic import Field

from equipose.config import DataSettings, Settings
from equipose.data.dataset import PoseDataset
from equipose.data.splits import PROTOCOLS
from equipose.data.store import FrameStore, open_store
from equipose.data.stream_sides import Sides, sides_by_recording, sides_by_subject
from equipose.data.view import HiddenSensors
from equipose.errors import DataError, UsageError, unknown_name

ACTION_GROUPS: dict[str, tuple[int, ...]] = {
    "arms": (2, 3, 13, 14, 17, 18),
    "trunk": (1, 4, 5, 27),
    "limbs": (7, 8, 11, 24, 25),
    "squat": (9, 10, 12, 15, 16),
    "dynamic": (6, 22, 23, 26),
    "object": (19, 20, 21),
}
"""MM-Fi's actions by what moves."""


class StreamSettings(Settings):
    """How a data set becomes a stream."""

    kind: Literal["rooms", "subjects", "actions", "protocols", "sensors"] = "rooms"
    """rooms: one environment after the other, with the people in it. subjects: people of one room, the control for
    `rooms`. actions: groups of actions. protocols: P1, then P2. sensors: the same samples, sensors arrive or are
    lost."""
    order: tuple[str, ...] = ()
    """Names of the experiences in the order wanted, such as [E03,E01]; all in their natural order if empty. For
    `sensors` the names are sensors joined by a plus: [rgb, rgb+lidar, lidar]; empty: they arrive one by one."""
    room: int = Field(default=0, ge=0)
    """subjects only: the environment; 0 takes the one with the most subjects."""
    subjects_per_experience: int = Field(default=2, ge=1)
    """subjects only."""
    groups: dict[str, tuple[int, ...]] = ACTION_GROUPS
    """actions only: name -> actions."""
    test_fraction: float = Field(default=0.2, gt=0.0, lt=1.0)
    """subjects only: share of each subject's recordings that is tested on."""
    blur: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of every experience's training samples that is dealt out to the other experiences."""
    seed: int = Field(default=0, ge=0)
    """Deals the blurred samples, and the recordings of `subjects`."""


@dataclass(frozen=True, eq=False)
class Experience:
    """One part of a stream.

    Attributes:
        name: such as ``E02``, ``S03+S04``, ``arms``, ``P1``, ``rgb+lidar``.
        train: samples to learn from.
        validation: samples of other subjects, to stop and choose by.
        test: samples of yet other subjects; compared with nothing else.
        modalities: the sensors that recorded at least one training frame, in the order of ``train.modalities``. The
            others are in every batch too, never present.
        apart: what tells the sides apart: ``subject``; or ``recording`` where validation, or in the subjects stream
            test too, are other recordings of the same people.
    """

    name: str
    train: PoseDataset
    validation: PoseDataset
    test: PoseDataset
    modalities: tuple[str, ...]
    apart: str


def stream(path: Path | str | FrameStore, data: DataSettings, settings: StreamSettings) -> tuple[Experience, ...]:
    """A data set as a list of experiences.

    Test subjects are those of ``data.split`` (S2, manual or given). Where a room has none of them, its subject of the
    highest number is tested on. ``data.validation_fraction`` of the others, in each room at least one, validate; where
    only one subject is left, whole recordings of it do.

    Args:
        path: a packed folder, an MM-Fi folder, or an open store, such as a corrupted one.
        data: sensors, protocol, split, windows, stride.
        settings: which stream.

    Raises:
        UsageError: if there is only one experience, a name is unknown, a side stays empty, or the split is S1 or S3,
            which do not part subjects in every experience.
        DataError: if an experience has no sensor, or fewer than two training frames.
    """
    store: FrameStore = open_store(path, data.modalities) if isinstance(path, str | Path) else path
    members = _ordered(_members(store, data, settings), settings)
    if len(members) < 2:
        raise UsageError(
            f"the {settings.kind} stream has {len(members)} experience ({', '.join(members) or 'none'}), expected at "
            "least two. Add data, name more under stream.order, "
            + ("set stream.subjects_per_experience=1, " if settings.kind == "subjects" else "")
            + "choose another stream.kind, or use `equipose train`, which trains on one"
        )
    sides = _sides(store, members, data, settings)
    usable = store.labelled & ((store.frame_number - 1) % data.frame_stride == 0)
    made = [_experience(store, name, sides[name], usable, data, settings) for name in members]
    return _blurred(made, settings) if settings.blur > 0 else tuple(made)


def _members(store: FrameStore, data: DataSettings, settings: StreamSettings) -> dict[str, Bool[ndarray, " recording"]]:
    """Experience -> which recordings belong to it, in natural order."""
    table = store.recordings
    actions = data.actions if data.split == "manual" and data.actions else PROTOCOLS[data.protocol]
    used = np.ones(len(table), bool) if data.split == "given" else np.isin(table.action, actions)
    if not used.any():
        raise UsageError(
            f"no recording has an action of {data.protocol}; found actions {_numbers(table.action)}. Type "
            "data.protocol=P3, or data.split=manual with data.actions"
        )
    if settings.kind == "rooms":
        return {f"E{e:02d}": used & (table.environment == e) for e in np.unique(table.environment[used])}
    if settings.kind == "subjects":
        return _subject_members(store, used, settings)
    if settings.kind == "sensors":
        steps = settings.order or ["+".join(data.modalities[: n + 1]) for n in range(len(data.modalities))]
        return {step: used for step in steps}
    if settings.kind == "protocols":
        found = {name: used & np.isin(table.action, PROTOCOLS[name]) for name in ("P1", "P2")}
    else:
        _check_groups(settings.groups)
        found = {name: used & np.isin(table.action, actions) for name, actions in settings.groups.items()}
    return {name: mine for name, mine in found.items() if mine.any()}


def _subject_members(
    store: FrameStore, used: Bool[ndarray, " recording"], settings: StreamSettings
) -> dict[str, Bool[ndarray, " recording"]]:
    table = store.recordings
    rooms = {int(e): np.unique(table.subject[used & (table.environment == e)]) for e in np.unique(table.environment)}
    room = settings.room or max(rooms, key=lambda e: (len(rooms[e]), -e))
    if room not in rooms:
        raise UsageError(f"stream.room: found {room}, the data has {', '.join(map(str, rooms))}")
    people, size = rooms[room].tolist(), settings.subjects_per_experience
    teams = [people[i : i + size] for i in range(0, len(people), size)]
    here = used & (table.environment == room)
    return {"+".join(f"S{s:02d}" for s in team): here & np.isin(table.subject, team) for team in teams}


def _check_groups(groups: Mapping[str, tuple[int, ...]]) -> None:
    seen: dict[int, str] = {}
    for name, actions in groups.items():
        for action in actions:
            if seen.setdefault(action, name) != name:
                raise UsageError(f"stream.groups: action {action} is in {seen[action]} and in {name}; keep one")


def _ordered(
    members: Mapping[str, Bool[ndarray, " recording"]], settings: StreamSettings
) -> dict[str, Bool[ndarray, " recording"]]:
    if not settings.order:
        return dict(members)
    twice = sorted({name for name in settings.order if settings.order.count(name) > 1})
    if twice:
        raise UsageError(f"stream.order names {', '.join(twice)} twice; expected every experience once")
    for name in settings.order:
        if name not in members:
            raise unknown_name(f"experience of the {settings.kind} stream", name, members)
    return {name: members[name] for name in settings.order}


def _sides(
    store: FrameStore,
    members: Mapping[str, Bool[ndarray, " recording"]],
    data: DataSettings,
    settings: StreamSettings,
) -> dict[str, Sides]:
    if settings.kind == "subjects":
        return {name: sides_by_recording(store.recordings, mine, data, settings) for name, mine in members.items()}
    return sides_by_subject(store.recordings, members, data)


def _experience(
    store: FrameStore,
    name: str,
    sides: Sides,
    usable: Bool[ndarray, " row"],
    data: DataSettings,
    settings: StreamSettings,
) -> Experience:
    """Data sets of one experience; checks that it can be learned from."""
    modalities = tuple(data.modalities)
    if settings.kind == "sensors":
        wanted = name.split("+")
        for sensor in wanted:
            if sensor not in modalities:
                raise unknown_name(f"sensor in the experience {name!r}", sensor, modalities)
        modalities = tuple(m for m in modalities if m in wanted)
        store = HiddenSensors(store, modalities)
    made = {}
    for side in ("train", "validation", "test"):
        rows = np.flatnonzero(usable & getattr(sides, side)[store.frame_recording])
        if len(rows) < (2 if side == "train" else 1):
            raise DataError(
                f"the experience {name} has {len(rows)} {side} frame(s) with a label, expected at least "
                f"{2 if side == 'train' else 1}. Leave it out by stream.order, or use a smaller data.frame_stride"
            )
        made[side] = PoseDataset(store, rows, data)
    return _with_sensors(Experience(name, **made, modalities=modalities, apart=sides.apart))


def _with_sensors(experience: Experience) -> Experience:
    """The experience with the sensors that recorded something."""
    train = experience.train
    there = tuple(name for name in experience.modalities if train.store.present[name][train.rows].any())
    if not there:
        raise DataError(
            f"the experience {experience.name} has no sensor: not one training frame of "
            f"{', '.join(experience.modalities)} is there. Leave it out by stream.order"
        )
    return replace(experience, modalities=there)


def _blurred(experiences: list[Experience], settings: StreamSettings) -> tuple[Experience, ...]:
    """A share of every experience's training samples, dealt out to the others; each sample stays in the stream once."""
    if settings.kind == "sensors":
        raise UsageError(
            "stream.blur does not fit the sensors stream, whose experiences have the same samples; set it to 0"
        )
    generator = np.random.default_rng((settings.seed, len(experiences)))
    kept: list[list[Int64[ndarray, " row"]]] = [[] for _ in experiences]
    for i, experience in enumerate(experiences):
        rows = generator.permutation(experience.train.rows)
        leave = round(settings.blur * len(rows))
        others = [j for j in range(len(experiences)) if j != i]
        for j, part in zip(others, np.array_split(rows[:leave], len(others)), strict=True):
            kept[j].append(part)
        kept[i].append(rows[leave:])
    made = []
    for experience, parts in zip(experiences, kept, strict=True):
        train = experience.train
        rows = np.sort(np.concatenate(parts))
        made.append(_with_sensors(replace(experience, train=PoseDataset(train.store, rows, train.settings))))
    return tuple(made)


def _numbers(values: Int64[ndarray, " n"]) -> str:
    return ", ".join(str(v) for v in np.unique(values))
