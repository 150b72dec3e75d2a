"""An Ouster OS1-32-like LiDAR: 32 beams over 45 degrees, 1024 columns a turn, cut to a window in front of the rig.

Each ray meets the room (walls, floor, furniture boxes) and the body's capsules in closed form; the nearest surface
answers. A capsule is tested only against the rays of its own angular window.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from equipose.simulate.body import RADII, capsule_ends
from equipose.simulate.geometry import box_distance, capsule_roots, room_distance
from equipose.simulate.room import Room

_CHUNK = 10


@dataclass(frozen=True)
class Lidar:
    """The instrument and the window its cloud is cut to.

    Attributes:
        num_rings: beams.
        elevation: half of the vertical field of view, radians.
        num_columns: rays per full turn.
        azimuth: half of the horizontal window, radians.
        range_noise: standard deviation along the ray, metres.
        drop_out: share of returns that are lost.
        low: smallest forward, left, up kept, metres from the LiDAR.
        high: largest ones.
    """

    num_rings: int = 32
    elevation: float = float(np.radians(22.5))
    num_columns: int = 1024
    azimuth: float = float(np.radians(20.0))
    range_noise: float = 0.015
    drop_out: float = 0.03
    low: tuple[float, float, float] = (1.5, -1.25, -1.3)
    high: tuple[float, float, float] = (4.6, 1.25, 1.4)

    def angles(self) -> tuple[np.ndarray, np.ndarray]:
        """Elevations (ring,), upwards positive, and azimuths (column,), rightwards positive; radians."""
        step = 2 * np.pi / self.num_columns
        half = int(self.azimuth / step)
        return np.linspace(-self.elevation, self.elevation, self.num_rings), step * np.arange(-half, half + 1)

    def directions(self) -> Float[np.ndarray, "ring column 3"]:
        """Unit vectors along camera axes (x right, y down, z forward)."""
        elevation, azimuth = np.meshgrid(*self.angles(), indexing="ij")
        return np.stack(
            [np.cos(elevation) * np.sin(azimuth), -np.sin(elevation), np.cos(elevation) * np.cos(azimuth)], axis=-1
        )


def static_range(room: Room, lidar: Lidar) -> Float[np.ndarray, " ray"]:
    """Distance to the empty room along every ray, metres, rings first."""
    rays = lidar.directions().reshape(-1, 3)
    distance = room_distance(room.lidar_position, rays, room.low, room.high)
    for low, high in room.boxes:
        distance = np.minimum(distance, box_distance(room.lidar_position, rays, low, high))
    return distance


def body_range(
    joints: Float[np.ndarray, "time 17 3"], position: Float[np.ndarray, " 3"], girth: float, lidar: Lidar
) -> Float[np.ndarray, "time ray"]:
    """Distance to the body along every ray, metres; infinite where a ray misses it.

    Args:
        joints: metres, camera frame.
        position: of the LiDAR, camera frame.
        girth: factor on the capsule radii.
        lidar: the instrument.
    """
    elevations, azimuths = lidar.angles()
    num_rings, num_columns = len(elevations), len(azimuths)
    rays = lidar.directions().reshape(-1, 3)
    start, end = (ends - position for ends in capsule_ends(joints.astype(np.float64)))
    radius = np.broadcast_to(RADII * girth, start.shape[:2])
    first_ring, rings, first_column, columns = _windows(start, end, radius, elevations, azimuths)

    size = rings * columns
    pair = np.repeat(np.arange(size.size), size.ravel())
    place = np.arange(size.sum()) - np.repeat(np.cumsum(size.ravel()) - size.ravel(), size.ravel())
    width = columns.ravel()[pair]
    ring, column = place // width, place % width
    ray = (first_ring.ravel()[pair] + ring) * num_columns + first_column.ravel()[pair] + column

    axis = (end - start).reshape(-1, 3)
    to_origin = -start.reshape(-1, 3)
    direction = rays[ray]
    distance = capsule_roots(
        (axis * axis).sum(-1)[pair],
        np.einsum("pk,pk->p", axis[pair], direction),
        (axis * to_origin).sum(-1)[pair],
        np.einsum("pk,pk->p", to_origin[pair], direction),
        (to_origin * to_origin).sum(-1)[pair],
        radius.ravel()[pair],
    )
    nearest = np.full(joints.shape[0] * num_rings * num_columns, np.inf)
    frame = pair // start.shape[1]
    np.minimum.at(nearest, frame * (num_rings * num_columns) + ray, distance)
    return nearest.reshape(joints.shape[0], -1)


def _windows(
    start: np.ndarray, end: np.ndarray, radius: np.ndarray, elevations: np.ndarray, azimuths: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """First ring, number of rings, first column, number of columns that can meet each capsule."""
    ends = np.stack([start, end])
    flat = np.hypot(ends[..., 0], ends[..., 2])
    azimuth = np.arctan2(ends[..., 0], ends[..., 2])
    elevation = np.arctan2(-ends[..., 1], flat)
    # A segment's azimuth and elevation stay between its ends' up to curvature, which the 5 % and 0.01 rad cover.
    margin = 1.05 * np.arcsin(np.minimum(radius / np.maximum(flat.min(0), 1e-3), 1.0)) + 0.01

    def span(angle: np.ndarray, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        step = grid[1] - grid[0]
        first = np.ceil((angle.min(0) - margin - grid[0]) / step).clip(0, len(grid)).astype(np.int64)
        last = np.floor((angle.max(0) + margin - grid[0]) / step).clip(-1, len(grid) - 1).astype(np.int64)
        return first, np.maximum(last - first + 1, 0)

    return (*span(elevation, elevations), *span(azimuth, azimuths))


def scan(
    joints: Float[np.ndarray, "time 17 3"],
    room: Room,
    generator: np.random.Generator,
    girth: float = 1.0,
    lidar: Lidar | None = None,
) -> list[Float[np.ndarray, "_ 3"]]:
    """One point cloud per frame.

    Args:
        joints: metres, camera frame.
        room: walls, furniture and the LiDAR's place.
        generator: source of range noise and drop-out.
        girth: factor on the body's capsule radii.
        lidar: the instrument.

    Returns:
        Points (x forward, y left, z up from the LiDAR), metres, float64; their number varies.
    """
    lidar = lidar or Lidar()
    rays = lidar.directions().reshape(-1, 3)
    background = static_range(room, lidar)
    forward_left_up = np.stack([rays[:, 2], -rays[:, 0], -rays[:, 1]], axis=-1)
    low, high = np.array(lidar.low), np.array(lidar.high)
    clouds = []
    for first in range(0, joints.shape[0], _CHUNK):
        chunk = joints[first : first + _CHUNK]
        distance = np.minimum(body_range(chunk, room.lidar_position, girth, lidar), background)
        distance += lidar.range_noise * generator.standard_normal(distance.shape, dtype=np.float32)
        lost = generator.random(distance.shape, dtype=np.float32) < lidar.drop_out
        points = distance[..., None] * forward_left_up
        kept = ((points > low) & (points < high)).all(axis=-1) & ~lost
        clouds += [cloud[keep] for cloud, keep in zip(points, kept, strict=True)]
    return clouds
