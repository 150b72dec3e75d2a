"""Four furnished rooms: what reflects, where the sensors stand, where people stand.

Everything is given in the camera frame of the room's rig (x right, y down, z forward, metres), so a room's static
echoes are the same for everybody who enters it. MM-Fi's own layout is not published; the placement below is a choice:
the rig looks along z, and the WiFi link crosses the standing place from the person's one side to the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from equipose.simulate.randomness import generator_for

NUM_SCATTERERS = 18
NUM_TONES = 114


@dataclass(frozen=True)
class Room:
    """A room around a sensor rig; metres, camera frame.

    Attributes:
        environment: 1 to 4.
        low: (3,) smallest x, y (ceiling), z of the room.
        high: (3,) largest x, y (floor, the camera's height above it), z.
        boxes: (box, 2, 3) furniture as axis-aligned boxes, low and high corner.
        reflection: (6,) field reflection factor of the surfaces x low, x high, y low, y high, z low, z high at 5 GHz
            (WiFi). Physics: measured rooms absorb about half of the power that meets their surfaces (Andersen et al.,
            "Room electromagnetics", IEEE Antennas Propag. Mag. 49 (2), 2007), so 0.7 on average.
        scatterers: (18, 3) points of furniture that scatter radio waves.
        scatterer_strength: (18,) square root of (radar cross-section / 4 pi), metres.
        spot: (2,) x and z of the place where people stand, on average.
        dimness: factor on the errors of the cameras' joint detector.
        lidar_position: (3,) LiDAR.
        radar_position: (3,) radar.
        wifi_transmitter: (3,) antenna.
        wifi_receivers: (3, 3) three antennas of one receiver.
        wifi_response_db: (114,) receiver filter, dB over tones.
    """

    environment: int
    low: Float[np.ndarray, " 3"]
    high: Float[np.ndarray, " 3"]
    boxes: Float[np.ndarray, "box 2 3"]
    reflection: Float[np.ndarray, " 6"]
    scatterers: Float[np.ndarray, "18 3"]
    scatterer_strength: Float[np.ndarray, " 18"]
    spot: Float[np.ndarray, " 2"]
    dimness: float
    lidar_position: Float[np.ndarray, " 3"]
    radar_position: Float[np.ndarray, " 3"]
    wifi_transmitter: Float[np.ndarray, " 3"]
    wifi_receivers: Float[np.ndarray, "3 3"]
    wifi_response_db: Float[np.ndarray, " 114"]

    @property
    def camera_height(self) -> float:
        """Height of the camera above the floor, metres."""
        return float(self.high[1])


@dataclass(frozen=True)
class Placement:
    """Standard deviations of the standing place, metres: per room, per subject, per recording.

    All sensors sit on one rig that moves from room to room, so the camera's height varies little; 2 cm at 3.2 m also
    stand for a third of a degree of tilt.
    """

    depth: tuple[float, float, float] = (0.18, 0.09, 0.05)
    lateral: tuple[float, float, float] = (0.08, 0.07, 0.04)
    camera_height: float = 0.02


def make_room(seed: int, environment: int, placement: Placement | None = None) -> Room:
    """The room called ``environment`` (1 to 4; any larger number gives one more); no person changes it."""
    placement = placement or Placement()
    generator = generator_for(seed, "room", environment)
    height = float(np.clip(generator.normal(0.83, placement.camera_height), 0.65, 1.0))
    spot = np.array(
        [
            np.clip(generator.normal(0.0, placement.lateral[0]), -0.2, 0.2),
            np.clip(generator.normal(3.2, placement.depth[0]), 2.8, 3.6),
        ]
    )
    low = np.array([-generator.uniform(2.0, 3.2), height - generator.uniform(2.5, 3.0), -generator.uniform(0.6, 1.5)])
    high = np.array([generator.uniform(2.0, 3.2), height, spot[1] + generator.uniform(1.1, 2.2)])
    boxes = _furniture(generator, low, high, spot)
    scatterers, strength = _scatterers(generator, boxes, low, high, spot)
    transmitter, receivers = _link(generator, low, high, spot)
    return Room(
        environment=environment,
        low=low,
        high=high,
        boxes=boxes,
        reflection=-generator.uniform(0.6, 0.8, 6),
        scatterers=scatterers,
        scatterer_strength=strength,
        spot=spot,
        dimness=float(generator.uniform(0.85, 1.2)),
        lidar_position=np.array([0.0, -0.2, 0.1]) + generator.normal(0.0, 0.015, 3),
        radar_position=generator.normal(0.0, 0.015, 3),
        wifi_transmitter=transmitter,
        wifi_receivers=receivers,
        wifi_response_db=_filter(generator),
    )


def standing_place(
    seed: int, room: Room, subject: int, action: int, placement: Placement | None = None
) -> Float[np.ndarray, " 2"]:
    """Floor point (x, z) that a recording's person stands on, metres, camera frame."""
    placement = placement or Placement()
    of_subject = generator_for(seed, "place", room.environment, subject)
    of_recording = generator_for(seed, "place", room.environment, subject, action)
    sigma = np.array([placement.lateral, placement.depth])
    return room.spot + of_subject.normal(0, sigma[:, 1]) + of_recording.normal(0, sigma[:, 2])


def _furniture(
    generator: np.random.Generator, low: np.ndarray, high: np.ndarray, spot: np.ndarray
) -> Float[np.ndarray, "box 2 3"]:
    """Boxes along the walls, clear of the person and of the view from the rig."""
    floor = high[1]
    boxes: list[np.ndarray] = []
    while len(boxes) < 6:
        size = generator.uniform([0.3, 0.4, 0.3], [1.1, 1.7, 0.7])
        side = generator.integers(3)
        if side == 2:  # behind the person
            x = generator.uniform(low[0] + size[0] / 2, high[0] - size[0] / 2)
            z = high[2] - size[2] / 2
        else:
            x = low[0] + size[0] / 2 if side == 0 else high[0] - size[0] / 2
            z = generator.uniform(0.4, high[2] - size[2] / 2)
        near = np.array([x - size[0] / 2, floor - size[1], z - size[2] / 2])
        far = np.array([x + size[0] / 2, floor, z + size[2] / 2])
        nearest = np.clip([spot[0], spot[1]], near[[0, 2]], far[[0, 2]])
        clear_of_person = np.hypot(*(nearest - spot)) > 0.95
        clear_of_view = near[2] > spot[1] or near[0] > 1.2 or far[0] < -1.2
        if clear_of_person and clear_of_view:
            boxes.append(np.stack([near, far]))
    return np.stack(boxes)


def _scatterers(
    generator: np.random.Generator, boxes: np.ndarray, low: np.ndarray, high: np.ndarray, spot: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Two points per box and six fittings on the walls."""
    points = [generator.uniform(box[0], box[1]) for box in boxes for _ in range(2)]
    while len(points) < NUM_SCATTERERS:
        point = generator.uniform(low + 0.05, high - 0.05)
        axis = generator.choice([0, 2])
        point[axis] = (low if generator.random() < 0.5 else high)[axis]
        if np.hypot(point[0] - spot[0], point[2] - spot[1]) > 0.9:
            points.append(point)
    section = np.exp(generator.uniform(np.log(0.05), np.log(1.0), NUM_SCATTERERS))
    return np.stack(points), np.sqrt(section / (4 * np.pi))


def _link(
    generator: np.random.Generator, low: np.ndarray, high: np.ndarray, spot: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A transmitter and a receiver on either side of the person; three antennas 9 cm apart, tilted per room."""
    turn = generator.uniform(-0.45, 0.45)
    along = np.array([np.cos(turn), 0.0, np.sin(turn)])
    centre = np.array([spot[0], 0.0, spot[1]])
    flip = 1.0 if generator.random() < 0.5 else -1.0
    distance = generator.uniform(1.35, 1.8, 2)
    heights = high[1] - generator.uniform(0.9, 1.25, 2)
    transmitter = centre - flip * distance[0] * along + [0.0, heights[0], 0.0]
    middle = centre + flip * distance[1] * along + [0.0, heights[1], 0.0]
    tilt = generator.uniform(0.6, 1.2)
    row = np.sin(tilt) * np.array([0.0, 1.0, 0.0]) + np.cos(tilt) * np.array([-np.sin(turn), 0.0, np.cos(turn)])
    receivers = middle + 0.09 * np.arange(-1, 2)[:, None] * row
    inside_low, inside_high = low + 0.1, high - 0.1
    return np.clip(transmitter, inside_low, inside_high), np.clip(receivers, inside_low, inside_high)


def _filter(generator: np.random.Generator) -> Float[np.ndarray, " 114"]:
    """Receiver response: a tilt, a roll-off at both band edges, a slow ripple (compare MM-Fi's mean spectra)."""
    position = np.linspace(-1.0, 1.0, NUM_TONES)
    edge = 1.0 - np.minimum(1.0, (1.0 - np.abs(position)) / 0.25)
    ripple = np.cos(np.pi * position[:, None] * np.arange(1, 5) + generator.uniform(0, 2 * np.pi, 4)) @ (
        generator.normal(0, 0.4, 4)
    )
    return generator.normal(0.0, 1.5) * position - generator.uniform(2.0, 5.0) * edge**2 + ripple
