"""An Ouster OS1-32-like LiDAR: 32 beams, 1024 columns a turn, cut to a window in front of the rig.

Each ray meets the room (walls, floor, furniture boxes) and the dressed body in closed form (``lidar_body``,
``lidar_surface``); ``lidar_returns`` decides what comes back. Left out: the sweep's own duration (the person's window
of 25 degrees takes 7 ms, in which a fast wrist moves 2 cm and a trunk a millimetre), the beams' azimuth offsets (+-1.4
and +-4.2 degrees, whole columns but for 0.02 degrees, so they only shift that time), mixed returns at the edges of
furniture.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from equipose.simulate.lidar_body import body_hits
from equipose.simulate.lidar_returns import Receiver, mix
from equipose.simulate.lidar_surface import Outfit, crossing, empty_room, mount, person_outfit
from equipose.simulate.randomness import generator_for
from equipose.simulate.room import Room

_CHUNK = 8
_MARGIN = 0.3  # metres around the window within which noise and mixing could move a return into it


@dataclass(frozen=True)
class Lidar:
    """The instrument, its mount and the window its cloud is cut to.

    Attributes:
        beams: elevations in degrees, descending; empty for the uniform variant: ``spacing`` apart at the middle, closer
            by the lens towards the ends, as a published table of a uniform 32-beam unit has them (20.1 to -21.6).
        spacing: degrees between neighbouring beams at the middle (published table).
        compression: share of the angle lost to the lens at the outermost beam (published table).
        tilt: elevation of the middle of the table, degrees (published table).
        table_error: standard deviation of a beam's elevation around that, degrees (published table).
        num_columns: rays per full turn (choice: 1024 x 10 Hz).
        azimuth: half of the horizontal window, radians (choice).
        beam_radius: of the light at the window, metres (9.5 mm wide, unverified).
        divergence: full angle of the beam, radians (0.35 degrees, unverified; older units less).
        range_offset: standard deviation of a beam's constant range error, metres (choice).
        mount: standard deviations of yaw, pitch and roll of the rig in a room, radians (choice: set up by eye; MM-Fi
            has no calibration).
        unit: number of the unit, which decides the table's errors and the range offsets; all rooms share one.
        receiver: thresholds and noise.
        low: smallest forward, left, up kept, metres from the LiDAR (choice: the reported number of points).
        high: largest ones.
    """

    beams: tuple[float, ...] = ()
    spacing: float = 1.406
    compression: float = 0.042
    tilt: float = -0.85
    table_error: float = 0.01
    num_columns: int = 1024
    azimuth: float = float(np.radians(24.0))
    beam_radius: float = 0.00475
    divergence: float = float(np.radians(0.35))
    range_offset: float = 0.004
    mount: tuple[float, float, float] = (float(np.radians(1.0)), float(np.radians(0.7)), float(np.radians(0.5)))
    unit: int = 1
    receiver: Receiver = field(default_factory=Receiver)
    low: tuple[float, float, float] = (1.5, -1.4, -1.3)
    high: tuple[float, float, float] = (3.8, 1.4, 1.4)

    def angles(self) -> tuple[np.ndarray, np.ndarray]:
        """Elevations (ring,), upwards, and azimuths (column,), rightwards positive; radians, both ascending."""
        step = 2 * np.pi / self.num_columns
        half = int(self.azimuth / step)
        return np.radians(self._elevations()), step * np.arange(-half, half + 1)

    def _elevations(self) -> Float[np.ndarray, " ring"]:
        if self.beams:
            return np.sort(np.array(self.beams))
        place = np.arange(32) - 15.5
        ideal = self.tilt + self.spacing * place * (1.0 - self.compression * (place / 15.5) ** 2)
        return ideal + generator_for(self.unit, "lidar beams").normal(0.0, self.table_error, place.size)

    def range_errors(self) -> Float[np.ndarray, " ring"]:
        """The beams' constant range errors, metres."""
        return self.range_offset * generator_for(self.unit, "lidar ranges").normal(0.0, 1.0, len(self._elevations()))

    def directions(self) -> Float[np.ndarray, "ring column 3"]:
        """Unit vectors along the LiDAR's own axes (x right, y down, z forward)."""
        elevation, azimuth = np.meshgrid(*self.angles(), indexing="ij")
        return np.stack(
            [np.cos(elevation) * np.sin(azimuth), -np.sin(elevation), np.cos(elevation) * np.cos(azimuth)], axis=-1
        )


def static_range(room: Room, lidar: Lidar) -> Float[np.ndarray, " ray"]:
    """Distance to the empty room along every ray, metres, rings first."""
    return empty_room(room, lidar.directions().reshape(-1, 3) @ mount(room, lidar.mount).T)[0]


def body_range(
    joints: Float[np.ndarray, "time 17 3"], position: Float[np.ndarray, " 3"], girth: float, lidar: Lidar
) -> Float[np.ndarray, "time ray"]:
    """Distance to the naked body along every ray of a LiDAR without mount error, metres; infinite where a ray misses.

    Args:
        joints: metres, camera frame.
        position: of the LiDAR, camera frame.
        girth: factor on the capsule radii.
        lidar: the instrument.
    """
    rays = lidar.directions()
    hits = body_hits(joints - position, rays, lidar.angles(), girth)
    distance = np.full(joints.shape[0] * rays.shape[0] * rays.shape[1], np.inf)
    distance[hits.ray] = hits.distance
    return distance.reshape(joints.shape[0], -1)


def scan(
    joints: Float[np.ndarray, "time 17 3"],
    room: Room,
    generator: np.random.Generator,
    girth: float = 1.0,
    lidar: Lidar | None = None,
    outfit: Outfit | None = None,
) -> list[Float[np.ndarray, "_ 3"]]:
    """One point cloud per frame.

    Args:
        joints: metres, camera frame.
        room: walls, furniture and the LiDAR's place.
        generator: source of range noise and drop-out.
        girth: factor on the body's capsule radii.
        lidar: the instrument.
        outfit: clothes; by default those that go with the girth.

    Returns:
        Points (x forward, y left, z up from the LiDAR), metres, float64; their number varies.
    """
    lidar = lidar or Lidar()
    outfit = outfit or person_outfit(girth)
    turn = mount(room, lidar.mount)
    grid = lidar.directions()
    rays = grid.reshape(-1, 3)
    offset = np.repeat(lidar.range_errors(), grid.shape[1])
    empty, empty_echo = empty_room(room, rays @ turn.T)
    forward_left_up = np.stack([rays[:, 2], -rays[:, 0], -rays[:, 1]], axis=-1)
    entry, leave, _ = crossing(forward_left_up, np.array(lidar.low), np.array(lidar.high))
    seen = (entry - _MARGIN < empty) & (empty < leave + _MARGIN)
    empty_signal = empty_echo / empty**2
    empty_deviation, empty_lost = lidar.receiver.deviation(empty_signal), lidar.receiver.lost(empty_signal)
    own_joints = (joints.astype(np.float64) - room.lidar_position) @ turn
    beam = (lidar.beam_radius, 0.5 * lidar.divergence)
    angles = lidar.angles()
    clouds = []
    for first in range(0, joints.shape[0], _CHUNK):
        chunk = own_joints[first : first + _CHUNK]
        hits = body_hits(chunk, grid, angles, girth, outfit, beam)
        frame, ray = np.divmod(hits.ray, len(rays))
        behind_body = hits.behind < empty[ray]
        behind = (
            np.where(behind_body, hits.behind, empty[ray]),
            np.where(behind_body, hits.echo_behind, empty_echo[ray]),
        )
        distance, strength = mix(lidar.receiver, hits.share, (hits.distance, hits.echo), behind)
        hidden = hits.distance > empty[ray]
        distance[hidden], strength[hidden] = empty[ray[hidden]], empty_signal[ray[hidden]]

        # Rays that have something to report: those whose empty room lies in the window, and those on the body.
        used = seen.copy()
        used[ray] = True
        column = np.flatnonzero(used)
        at = frame, np.searchsorted(column, ray)
        ranges = np.tile((empty + offset)[column], (len(chunk), 1))
        deviation = np.tile(empty_deviation[column], (len(chunk), 1))
        lost = np.tile(empty_lost[column], (len(chunk), 1))
        ranges[at] = distance + offset[ray]
        deviation[at] = lidar.receiver.deviation(strength)
        lost[at] = lidar.receiver.lost(strength)

        ranges += deviation * generator.standard_normal(ranges.shape, dtype=np.float32)
        kept = generator.random(ranges.shape, dtype=np.float32) >= lost
        kept &= (ranges > entry[column]) & (ranges < leave[column])
        frame, used_ray = np.nonzero(kept)
        points = ranges[kept][:, None] * forward_left_up[column[used_ray]]
        clouds += np.split(points, np.searchsorted(frame, np.arange(1, len(chunk))))
    return clouds
