"""MARS -> packed folder, with sides and, if wanted, further sensors beside the real radar."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from equipose.data.mars import FRAME_RATE_HZ, MOVEMENTS, MarsRecording
from equipose.data.mars_joints import H36M_FROM_KINECT, INTERPOLATED, kinect_to_h36m
from equipose.data.writer import PackedWriter
from equipose.errors import UsageError
from equipose.progress import track
from equipose.skeleton import H36M17, KINECT25

ENVIRONMENT = 1
"""MARS was recorded in one room."""

OtherSensors = Callable[[MarsRecording, NDArray[np.float32]], Mapping[str, Sequence[NDArray[Any]]]]
"""From a recording and its 17 joints (T, 17, 3), camera frame, to one array per frame and sensor."""


def with_sides(recordings: Sequence[MarsRecording], hold_out: float) -> list[MarsRecording]:
    """The recordings with ``part`` as the side they serve: train, validation or test.

    A subject with an official ``train`` part keeps the official sides. For a subject without one, the official
    ``validation`` part is cut in two in time, within each movement: the first frames train and the last ``hold_out``
    share is the validation side. The test part is never touched. The two pieces are recordings of their own, so that
    no window reaches across.

    Args:
        recordings: from ``read_mars``.
        hold_out: share of each movement's validation part that stays a validation side.

    Raises:
        UsageError: if ``hold_out`` is no share.
    """
    if not 0.0 < hold_out < 1.0:
        raise UsageError(f"found a hold-out share of {hold_out}, expected one above 0 and below 1, such as 0.18")
    official = {r.subject for r in recordings if r.part == "train"}
    sides: list[MarsRecording] = []
    for recording in recordings:
        if recording.subject in official or recording.part == "test":
            sides.append(recording)
            continue
        cut = min(max(1, round(len(recording) * (1.0 - hold_out))), len(recording) - 1)
        sides.append(replace(part_of(recording, 0, cut), part="train"))
        sides.append(part_of(recording, cut, len(recording)))
    return sides


def part_of(recording: MarsRecording, first: int, last: int) -> MarsRecording:
    """Frames ``first`` to ``last`` (exclusive) of a recording."""
    ends = np.concatenate([[0], np.cumsum(recording.counts)])
    return replace(
        recording,
        frames=recording.frames[first:last],
        joints=recording.joints[first:last],
        points=recording.points[ends[first] : ends[last]],
        counts=recording.counts[first:last],
    )


def pack_mars(
    recordings: Sequence[MarsRecording],
    out: Path,
    skeleton: Literal["h36m17", "kinect25"] = "h36m17",
    other_sensors: OtherSensors | None = None,
    other_modalities: Sequence[str] = (),
    origin: Mapping[str, Any] | None = None,
) -> None:
    """Write recordings into a packed folder; interrupted, the same call continues.

    Args:
        recordings: from ``with_sides``; ``part`` becomes the side that ``data.split=given`` uses.
        out: the packed folder to make; must not exist.
        skeleton: joints of the targets.
        other_sensors: makes the frames of sensors that MARS does not have; marked as simulated.
        other_modalities: their names.
        origin: anything else that ``meta.json`` should say about where the data is from; JSON values.

    Raises:
        DataError: when the disk is full.
        UsageError: if ``out`` exists.
    """
    kinect = skeleton == "kinect25"
    writer = PackedWriter(
        out,
        skeleton=KINECT25 if kinect else H36M17,
        modalities=("mmwave", *other_modalities),
        simulated=frozenset(other_modalities),
        frame_rate_hz=FRAME_RATE_HZ,
        action_names=dict(enumerate(MOVEMENTS, start=1)),
        source={
            "dataset": "MARS (An and Ogras, ACM TECS 20(5s):72, 2021; MIT licence)",
            "joints": "kinect25" if kinect else {name: list(of) for name, of in H36M_FROM_KINECT.items()},
            "interpolated_joints": [] if kinect else list(INTERPOLATED),
            "snr": "10 log10 of the linear intensity",
            "frames": [len(recording) for recording in recordings],
            **(origin or {}),
        },
    )
    with writer:
        for recording in track(recordings[writer.num_done :], "packing MARS", unit="recordings"):
            joints = kinect_to_h36m(recording.joints)
            clouds = np.split(recording.points, np.cumsum(recording.counts)[:-1])
            others = other_sensors(recording, joints) if other_sensors else {}
            writer.add(
                ENVIRONMENT,
                recording.subject,
                recording.movement,
                target=recording.joints if kinect else joints,
                frames={"mmwave": clouds, **others},
                frame_number=recording.frames,
                split=recording.part,
            )
