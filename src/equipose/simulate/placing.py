"""A recorded person before the rig: turned to the camera, feet on the floor, within what the sensors see.

The middle of the path over the floor is put at the standing place. A path that fits the rig's field is kept. One that
does not is high-passed: the pelvis loses its motion slower than about a second (Gaussian, standard deviation
``DRIFT_SECONDS``), so that someone who crosses a hall walks on the spot; limbs keep their motion about the pelvis.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32

from equipose.errors import DataError
from equipose.simulate.motion import FRAME_RATE_HZ
from equipose.simulate.randomness import generator_for
from equipose.simulate.resample import filtered
from equipose.simulate.retarget import Motion
from equipose.simulate.room import Placement, Room

PLACES = ("auto", "keep", "centre")

DRIFT_SECONDS = 0.5
"""Standard deviation of the Gaussian whose mean of the path is taken off."""

_FACING_FRAMES = 5
_NEAREST, _FARTHEST = (
    2.2,
    4.3,
)  # the camera sees head and feet from there; the radar's last range bin and the LiDAR's cut
_HALF_ANGLE = float(np.radians(20.0))  # of the LiDAR's window, the narrowest
_WIDEST = 1.0
_ROOM_FOR_A_BODY = 0.3
_IN_FRONT = 0.5
_VIEW = np.array([1.0, -1.0, -1.0])  # x, y up, z towards the viewer -> x right, y down, z forward


@dataclass(frozen=True)
class Field:
    """Where the pelvis may be so that all sensors see the body; metres, camera frame.

    Attributes:
        near: smallest z.
        far: largest z: the sensors' reach, the wall and the furniture behind the person.
    """

    near: float
    far: float

    def holds(self, pelvis: Float[np.ndarray, "time 3"]) -> Bool[np.ndarray, " time"]:
        """Which frames have the pelvis within; arms' width is left to the sides of the LiDAR's window."""
        x, z = pelvis[:, 0], pelvis[:, 2]
        side = np.minimum(np.tan(_HALF_ANGLE) * z - _ROOM_FOR_A_BODY, _WIDEST)
        return (z >= self.near) & (z <= self.far) & (abs(x) <= side)


@dataclass(frozen=True, eq=False)
class Placed:
    """A motion in a room.

    Attributes:
        joints: (time, 17, 3) float32, metres, camera frame.
        place: ``keep`` or ``centre``: what was done with the path.
        seen: share of frames with the pelvis in the field.
    """

    joints: Float32[np.ndarray, "time 17 3"]
    place: str
    seen: float


def field_of(room: Room) -> Field:
    """The field of a room's rig."""
    near_z = room.boxes[:, 0, 2]
    behind = (near_z > room.spot[1]) & (room.boxes[:, 0, 0] < _WIDEST) & (room.boxes[:, 1, 0] > -_WIDEST)
    wall = min([float(room.high[2]), *near_z[behind].tolist()])
    return Field(_NEAREST, min(_FARTHEST, wall - _ROOM_FOR_A_BODY))


def place_motion(motion: Motion, room: Room, seed: int, place: str = "auto") -> Placed:
    """Put a motion into a room; depends on the arguments alone.

    Args:
        motion: from ``retarget``.
        room: from ``make_room``.
        seed: of the standing place, with the clip and the room.
        place: ``keep`` the path over the floor, ``centre`` it by a high-pass, or ``auto``: keep it if it fits.

    Raises:
        DataError: a joint would be outside the room.
    """
    facing = turn_to_camera(motion.joints) * _VIEW
    facing[..., 1] += room.camera_height - _floor(facing, motion.ankle_height)
    spot = _standing_place(motion, room, seed)
    field = field_of(room)
    kept = _centred(facing, spot)
    if place == "keep" or (place == "auto" and bool(field.holds(kept[:, 0]).all())):
        joints, done = kept, "keep"
    else:
        still = facing.copy()
        still[:, :, [0, 2]] -= slow_path(facing[:, 0][:, [0, 2]])[:, None]
        joints, done = _centred(still, spot), "centre"
    _require_inside(joints, room, motion, done)
    return Placed(joints.astype(np.float32), done, float(field.holds(joints[:, 0]).mean()))


def turn_to_camera(joints: Float[np.ndarray, "time 17 3"]) -> Float[np.ndarray, "time 17 3"]:
    """Turn about the vertical so that hips and shoulders of the first half second face the camera.

    Args:
        joints: metres, y up.

    Returns:
        The same with the person's left along x and the front along z. Who lies on the side is not turned.
    """
    first = joints[:_FACING_FRAMES]
    across = (first[:, 4] - first[:, 1] + first[:, 11] - first[:, 14]).mean(0)
    flat = float(np.hypot(across[0], across[2]))
    if flat < 0.2 * float(np.linalg.norm(across)):
        return joints.copy()
    cos, sin = across[0] / flat, across[2] / flat
    turn = np.array([[cos, 0.0, sin], [0.0, 1.0, 0.0], [-sin, 0.0, cos]])
    return joints @ turn.T


def slow_path(path: Float[np.ndarray, "time 2"]) -> Float[np.ndarray, "time 2"]:
    """The path's Gaussian mean over time, at 10 Hz; straight walking at constant speed is all slow."""
    sigma = DRIFT_SECONDS * FRAME_RATE_HZ
    offset = np.arange(-int(3 * sigma), int(3 * sigma) + 1)
    kernel = np.exp(-0.5 * (offset / sigma) ** 2)
    return filtered(path, kernel / kernel.sum())


def _floor(joints: np.ndarray, ankle_height: float) -> float:
    """Height (y) of the floor: below the lower ankle most of the time, and below all joints."""
    standing = np.percentile(joints[:, [3, 6], 1].max(axis=1), 95.0) + ankle_height
    lowest = np.percentile(joints[..., 1].max(axis=1), 99.0) + 0.03
    return float(max(standing, lowest))


def _centred(joints: np.ndarray, spot: np.ndarray) -> np.ndarray:
    """Moved so that the middle of the pelvis' path is at the spot."""
    path = joints[:, 0][:, [0, 2]]
    move = spot - 0.5 * (path.min(0) + path.max(0))
    return joints + np.array([move[0], 0.0, move[1]])


def _standing_place(motion: Motion, room: Room, seed: int) -> Float[np.ndarray, " 2"]:
    """As ``standing_place`` of ``room``, with the clip in the place of subject and action."""
    placement = Placement()
    generator = generator_for(seed, "place of motion", room.environment, *clip_key(motion.digest))
    sigma = np.array([placement.lateral, placement.depth])
    return room.spot + generator.normal(0, np.hypot(sigma[:, 1], sigma[:, 2]))


def clip_key(digest: str) -> tuple[int, int]:
    """A clip's part of the key of random generators."""
    return int(digest[:8], 16), int(digest[8:16], 16)


def _require_inside(joints: np.ndarray, room: Room, motion: Motion, done: str) -> None:
    low = np.array([room.low[0], room.low[1], _IN_FRONT])
    outside = ((joints < low) | (joints > room.high)).any(axis=(1, 2))
    if outside.any():
        what = ["left of", "above", "too near to the rig in", "right of", "below", "behind"]
        beyond = np.concatenate([(low - joints).max((0, 1)), (joints - room.high).max((0, 1))])
        worst = int(beyond.argmax())
        help_ = "Give another room (--environments 2), a part of the clip (--frames), or leave the clip out."
        if worst in (1, 4):
            help_ = f"Is {motion.source['up']} up in the file, and {motion.source['unit']} its unit? {help_}"
        elif done == "keep":
            help_ = "Type --motion-place centre to take the walk out."
        raise DataError(
            f"{motion.path}: in {int(outside.sum())} of {len(joints)} frames the person is up to {beyond[worst]:.2f} m "
            f"{what[worst]} the room E{room.environment:02d}, which is {room.high[0] - room.low[0]:.1f} m wide, "
            f"{room.high[1] - room.low[1]:.1f} m high and {room.high[2]:.1f} m deep before the rig. {help_}"
        )
