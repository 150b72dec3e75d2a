"""The simulated radar, set as MARS's own, in front of the people of MARS: clouds of the same frames as the real."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy.signal import savgol_filter

from equipose.data.mars import FRAME_RATE_HZ, PARTS, MarsRecording
from equipose.data.mars_joints import kinect_to_h36m
from equipose.simulate.beside import room_around
from equipose.simulate.radar import detect
from equipose.simulate.radar_instrument import MARS
from equipose.simulate.randomness import generator_for
from equipose.simulate.room import Room

RADAR_PLACE = (0.17, 0.0, 0.0)
"""Metres right of, below and before the Kinect. To the side: the real points lie 0.16 m left of the labels' people.
Height: not published. Level with the Kinect, 0.1 m above it, 0.2 m and 0.35 m below it and two tilts were tried, with
the rows in view; vertical spread and empty frames depend on it, so those rows are not blind to it."""

BOX = 1.0, 3.0
"""Metres to the sides and in depth: points outside were removed by the authors of MARS."""

SMOOTH_FRAMES = 5
"""Length of the quadratic Savitzky-Golay filter over the labels: 0.5 s, shorter than any movement of MARS. The Kinect
jitters by 1 mm at the trunk and 5 mm at the wrists, which as a plain difference of neighbours fakes up to 0.04 m/s; the
filter leaves a third of it, a thirtieth of the Doppler step."""

_PARTS = tuple(PARTS.values())

Key = tuple[int, int]
"""Subject and movement."""


@dataclass(frozen=True)
class Clouds:
    """Radar points of some recordings.

    Attributes:
        counts: points per frame that has any.
        empty: share of frames without a point.
        strength: dB, up to a constant that holds for all.
        doppler: m/s.
        around: (point, 3) forward, right, down from the pelvis, metres.
        within: (frame, 3) standard deviation of forward, right, down inside each frame of eight points or more.
        frames: all frames, the empty ones included.
    """

    counts: Float[np.ndarray, " frame"]
    empty: float
    strength: Float[np.ndarray, " point"]
    doppler: Float[np.ndarray, " point"]
    around: Float[np.ndarray, "point 3"]
    within: Float[np.ndarray, "full 3"]
    frames: int


def clouds_of(points: np.ndarray, counts: np.ndarray, pelvis: np.ndarray, frames: int) -> Clouds:
    """Clouds from (P, 5) points, (T,) points per frame, (T, 3) pelvis in the camera frame and the number of frames."""
    points = points.astype(np.float64)
    centre = np.repeat(pelvis.astype(np.float64)[:, [2, 0, 1]], counts, axis=0)  # camera frame to forward, right, down
    frame = np.repeat(np.arange(counts.size), counts)
    full = counts >= 8

    def mean(values: np.ndarray) -> np.ndarray:
        sums = np.stack([np.bincount(frame, column, counts.size) for column in values.T], axis=1)
        return np.asarray(sums[full] / counts[full, None])

    place = points[:, :3]
    return Clouds(
        counts=counts[counts > 0].astype(np.float64),
        empty=1.0 - float((counts > 0).sum()) / frames,
        strength=points[:, 3],
        doppler=points[:, 4],
        around=place - centre,
        within=np.sqrt(np.maximum(mean(place**2) - mean(place) ** 2, 0.0)),
        frames=frames,
    )


def real_clouds(recordings: Sequence[MarsRecording]) -> Clouds:
    """MARS's own; a frame number that is skipped within a movement is an empty frame.

    Strengths are 20 log10 of the intensity, which is a magnitude (see ``simulate.radar_instrument.MARS``).
    """
    points = np.concatenate([recording.points for recording in recordings]) * np.array([1, 1, 1, 2, 1], np.float32)
    return clouds_of(
        points,
        np.concatenate([recording.counts for recording in recordings]),
        np.concatenate([kinect_to_h36m(recording.joints)[:, 0] for recording in recordings]),
        sum(int(recording.frames[-1] - recording.frames[0]) + 1 for recording in recordings),
    )


def every_frame(
    recording: MarsRecording,
) -> tuple[Float[np.ndarray, "time 17 3"], Float[np.ndarray, "time 17 3"]]:
    """Joints and velocities of all frames at 10 Hz, those without radar points included.

    Joints of a skipped frame are interpolated in between, then all are smoothed; velocity is the filter's derivative.

    Returns:
        Metres and metres per second, camera frame.
    """
    joints = kinect_to_h36m(recording.joints).astype(np.float64).reshape(len(recording), -1)
    numbers = np.arange(recording.frames[0], recording.frames[-1] + 1)
    filled = np.stack([np.interp(numbers, recording.frames, column) for column in joints.T], axis=1)
    if numbers.size < SMOOTH_FRAMES:
        return filled.reshape(-1, 17, 3), np.zeros((numbers.size, 17, 3))
    smooth = savgol_filter(filled, SMOOTH_FRAMES, 2, axis=0)
    speed = savgol_filter(filled, SMOOTH_FRAMES, 2, deriv=1, delta=1 / FRAME_RATE_HZ, axis=0)
    return smooth.reshape(-1, 17, 3), speed.reshape(-1, 17, 3)


def simulated_clouds(recordings: Sequence[MarsRecording], room: Room) -> Clouds:
    """What the simulated radar sees of the people of some recordings, cut to the box of MARS."""
    side, depth = BOX
    points, counts, pelvis = [], [], []
    for recording in recordings:
        joints, speed = every_frame(recording)
        key = (recording.subject, recording.movement, _PARTS.index(recording.part))
        generator = generator_for(0, "fidelity radar", *key)
        clouds = detect(joints, room, generator, frame_rate=FRAME_RATE_HZ, joint_velocity=speed, radar=MARS)
        inside = [
            cloud[(np.abs(cloud[:, 1:3]) < side).all(axis=1) & (cloud[:, 0] > 0) & (cloud[:, 0] < depth)]
            for cloud in clouds
        ]
        points += inside
        counts += [len(cloud) for cloud in inside]
        pelvis.append(joints[:, 0])
    return clouds_of(np.concatenate(points), np.array(counts), np.concatenate(pelvis), len(counts))


def by_movement(recordings: Sequence[MarsRecording]) -> dict[Key, list[MarsRecording]]:
    """Recordings of each subject and movement, in order."""
    out: dict[Key, list[MarsRecording]] = {}
    for recording in sorted(recordings, key=lambda r: (r.subject, r.movement, r.part)):
        out.setdefault((recording.subject, recording.movement), []).append(recording)
    return out


def same_people(groups: Mapping[Key, Sequence[MarsRecording]]) -> dict[Key, Clouds]:
    """Simulated clouds of every subject and movement; a subject's recordings share floor and radar."""
    rooms = {}
    for subject in {subject for subject, _ in groups}:
        mine = [r for (other, _), recordings in groups.items() if other == subject for r in recordings]
        room = room_around(np.concatenate([kinect_to_h36m(r.joints) for r in mine]), seed=0)
        rooms[subject] = replace(room, radar_position=np.array(RADAR_PLACE))
    return {key: simulated_clouds(recordings, rooms[key[0]]) for key, recordings in groups.items()}


def pooled(clouds: Sequence[Clouds]) -> Clouds:
    """All of them as one."""
    frames = sum(cloud.frames for cloud in clouds)
    return Clouds(
        counts=np.concatenate([cloud.counts for cloud in clouds]),
        empty=sum(cloud.empty * cloud.frames for cloud in clouds) / frames,
        strength=np.concatenate([cloud.strength for cloud in clouds]),
        doppler=np.concatenate([cloud.doppler for cloud in clouds]),
        around=np.concatenate([cloud.around for cloud in clouds]),
        within=np.concatenate([cloud.within for cloud in clouds]),
        frames=frames,
    )
