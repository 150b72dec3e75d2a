"""Simulated sensors beside real recordings: the room is moved around the people, the sensors see their real motion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from equipose.errors import UsageError
from equipose.simulate import camera, lidar, wifi
from equipose.simulate.randomness import generator_for
from equipose.simulate.room import Room, make_room

SENSORS = ("rgb", "infra1", "infra2", "lidar", "wifi")
"""What ``sensor_frames`` can make. The radar is not among them: it is what the real recordings bring."""

ANKLE_HEIGHT = 0.08
"""Metres from the floor to a standing person's ankle joint."""


def room_around(joints: Float[np.ndarray, "time 17 3"], seed: int) -> Room:
    """A room of the simulator whose floor and standing place are those of recorded people.

    Walls, furniture and the WiFi link are moved with them; camera and LiDAR stay at the recorded camera.

    Args:
        joints: frames of all recordings that share the room, metres, camera frame.
        seed: of the room.
    """
    room = make_room(seed, environment=1)
    floor = float(np.percentile(joints[:, [3, 6], 1], 95.0)) + ANKLE_HEIGHT
    x, _, z = np.median(joints[:, 0], axis=0).astype(float)
    move = np.array([x - room.spot[0], floor - room.camera_height, z - room.spot[1]])
    low = room.low + move
    low[2] = min(low[2], room.low[2])  # the wall behind the rig stays behind it
    return replace(
        room,
        low=low,
        high=room.high + move,
        boxes=room.boxes + move,
        scatterers=room.scatterers + move,
        spot=room.spot + move[[0, 2]],
        wifi_transmitter=room.wifi_transmitter + move,
        wifi_receivers=room.wifi_receivers + move,
    )


def sensor_frames(
    joints: Float[np.ndarray, "time 17 3"], modalities: Sequence[str], room: Room, seed: int, key: tuple[int, ...]
) -> dict[str, list[np.ndarray]]:
    """What the sensors record of one recording, frame by frame, in the source form of ``PackedWriter``.

    Args:
        joints: metres, camera frame, ten frames per second; frames that are missing in between count as none.
        modalities: of ``SENSORS``.
        room: from ``room_around``.
        seed: of all sensor errors.
        key: what tells this recording from the others, such as subject and action.

    Raises:
        UsageError: for a sensor that cannot be simulated here.
    """
    unknown = [name for name in modalities if name not in SENSORS]
    if unknown:
        raise UsageError(f"{unknown[0]} cannot be simulated beside real recordings; choose from {', '.join(SENSORS)}")
    frames: dict[str, list[np.ndarray]] = {}
    for name in modalities:
        generator = generator_for(seed, f"beside {name}", *key)
        if name == "lidar":
            # The person may stand closer than in MM-Fi: cut the cloud from one metre on.
            instrument = replace(lidar.Lidar(), low=(1.0, -1.25, -1.3))
            frames[name] = lidar.scan(joints, room, generator, lidar=instrument)
        elif name == "wifi":
            frames[name] = list(np.stack(wifi.observe(joints, room, generator), axis=1))
        else:
            frames[name] = list(camera.observe(joints, room, generator, sensor=name))
    return frames
