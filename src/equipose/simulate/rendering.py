"""What a camera at the rig sees: the nearest surface of room and body behind every pixel, in closed form.

The capsules, walls, floor and furniture boxes are those of all sensors; clothes are not rendered. Images are rendered
at half of 640 x 480 in each direction: stereo matching and image networks resolve little more, and it is four times
faster.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from equipose.simulate.body import RADII, capsule_ends
from equipose.simulate.geometry import box_distance, capsule_roots, room_distance
from equipose.simulate.room import Room

NOBODY = -1
"""Capsule index of a pixel that shows the room."""


@dataclass(frozen=True)
class View:
    """A pinhole image at half resolution, seen from the colour camera.

    Attributes:
        columns: of the rendered image.
        rows: of the rendered image.
        focal: pixels of the rendered image; half of the colour camera's 615.
    """

    columns: int = 320
    rows: int = 240
    focal: float = 307.5

    def slopes(self) -> tuple[Float[np.ndarray, " column"], Float[np.ndarray, " row"]]:
        """Slope x / z of each column and y / z of each row at the middle of each doubled pixel."""
        columns = (np.arange(self.columns) + 0.25 - self.columns / 2) / self.focal
        rows = (np.arange(self.rows) + 0.25 - self.rows / 2) / self.focal
        return columns, rows

    def rays(self) -> Float[np.ndarray, "ray 3"]:
        """Unit vectors along camera axes, row by row."""
        x, y = np.meshgrid(*self.slopes())
        rays = np.stack([x, y, np.ones_like(x)], axis=-1).reshape(-1, 3)
        return rays / np.linalg.norm(rays, axis=-1, keepdims=True)


def room_depth(
    room: Room, rays: Float[np.ndarray, "ray 3"]
) -> tuple[Float[np.ndarray, " ray"], Int[np.ndarray, " ray"]]:
    """Distance to the empty room along every ray, metres, and what is met: 0 wall or floor, n the n-th box."""
    origin = np.zeros(3)
    distance = room_distance(origin, rays, room.low, room.high)
    surface = np.zeros(len(rays), np.int64)
    for number, (low, high) in enumerate(room.boxes, start=1):
        box = box_distance(origin, rays, low, high)
        nearer = box < distance
        distance[nearer], surface[nearer] = box[nearer], number
    return distance, surface


def body_depth(
    joints: Float[np.ndarray, "17 3"], girth: float, view: View, rays: Float[np.ndarray, "ray 3"]
) -> tuple[Float[np.ndarray, " hit"], Int[np.ndarray, " hit"], Int[np.ndarray, " hit"]]:
    """The pixels that show the body in one frame.

    Args:
        joints: metres, camera frame.
        girth: factor on the capsule radii.
        view: the image.
        rays: of the image.

    Returns:
        Distance along the ray in metres, the capsule and the ray of each pixel that is hit, rays ascending.
    """
    start, end = capsule_ends(joints.astype(np.float64))
    radius = RADII * girth
    ray, capsule = _windows(start, end, radius, view)
    axis = end - start
    direction = rays[ray]
    distance = capsule_roots(
        (axis * axis).sum(-1)[capsule],
        np.einsum("pk,pk->p", axis[capsule], direction),
        -(axis * start).sum(-1)[capsule],
        -np.einsum("pk,pk->p", start[capsule], direction),
        (start * start).sum(-1)[capsule],
        radius[capsule],
    )
    hit = np.isfinite(distance)
    ray, capsule, distance = ray[hit], capsule[hit], distance[hit]
    order = np.lexsort((distance, ray))
    ray, capsule, distance = ray[order], capsule[order], distance[order]
    first = np.ones(len(ray), bool)
    first[1:] = ray[1:] != ray[:-1]
    return distance[first], capsule[first], ray[first]


def _windows(start: np.ndarray, end: np.ndarray, radius: np.ndarray, view: View) -> tuple[np.ndarray, np.ndarray]:
    """Rays and capsules to be tested: each capsule's bounding rectangle in the image.

    The projection of a capsule lies within that of its two end spheres; a sphere's spans at most the tangents below.
    """
    ends = np.stack([start, end])
    depth = np.maximum(ends[..., 2] - radius, 0.05)
    slopes = view.slopes()

    def span(axis: int, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        low = ((ends[..., axis] - radius) / np.where(ends[..., axis] < radius, depth, depth + 2 * radius)).min(0)
        high = ((ends[..., axis] + radius) / np.where(ends[..., axis] > -radius, depth, depth + 2 * radius)).max(0)
        return np.searchsorted(grid, low), np.searchsorted(grid, high, side="right")

    first_column, last_column = span(0, slopes[0])
    first_row, last_row = span(1, slopes[1])
    rays, capsules = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for number in range(len(radius)):
        if np.maximum(start[number, 2], end[number, 2]) <= 0.05:
            continue  # behind the camera
        row = np.arange(first_row[number], last_row[number])
        column = np.arange(first_column[number], last_column[number])
        window = (row[:, None] * view.columns + column).ravel()
        rays.append(window)
        capsules.append(np.full(len(window), number))
    return np.concatenate(rays), np.concatenate(capsules)
