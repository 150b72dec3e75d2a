"""Where beams meet a dressed body: the two nearest surfaces of every beam, and how much of it the nearer one covers.

A capsule is tested only against the rays of its own angular window. Its radius is that of the cloth where the ray
passes; a beam has a width, so it may touch a limb that its axis misses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from equipose.simulate.body import RADII, UP, capsule_ends
from equipose.simulate.geometry import capsule_roots
from equipose.simulate.lidar_surface import Outfit, cloth

_LEFT_UP = np.array([1.0, -1.0, 0.0]) / np.sqrt(2)
_GRAZING = 0.05  # cosine: no cloth is smooth enough to reflect less


@dataclass(frozen=True)
class Hits:
    """Beams that touch the body.

    Attributes:
        ray: index of the beam, frames first.
        distance: to the nearest surface, metres.
        echo: its reflectivity x cos(incidence).
        share: of the beam that falls on it; 1 away from edges.
        behind: distance to the next surface of the body; infinite if there is none.
        echo_behind: its reflectivity x cos(incidence); 0 if there is none.
    """

    ray: Int[np.ndarray, " hit"]
    distance: Float[np.ndarray, " hit"]
    echo: Float[np.ndarray, " hit"]
    share: Float[np.ndarray, " hit"]
    behind: Float[np.ndarray, " hit"]
    echo_behind: Float[np.ndarray, " hit"]


def body_hits(
    joints: Float[np.ndarray, "time 17 3"],
    rays: Float[np.ndarray, "ring column 3"],
    angles: tuple[Float[np.ndarray, " ring"], Float[np.ndarray, " column"]],
    girth: float,
    outfit: Outfit | None = None,
    beam: tuple[float, float] = (0.0, 0.0),
) -> Hits:
    """What the beams see of a body.

    Args:
        joints: metres, the LiDAR's own axes and origin (x right, y down, z forward).
        rays: unit vectors.
        angles: elevations, ascending, and azimuths, evenly spaced, of the rays; radians.
        girth: factor on the capsule radii.
        outfit: clothes; bare capsules of reflectivity 1 without.
        beam: radius of the beam at the LiDAR, metres, and its growth per metre.
    """
    start, end = capsule_ends(joints.astype(np.float64))
    count = start.shape[1]
    radius = RADII * girth
    far = np.linalg.norm(start, axis=-1).max() + 0.3
    widest = radius + (outfit.reach if outfit else 0.0) + beam[0] + beam[1] * far
    pair, ray = _pairs(start, end, np.broadcast_to(widest, start.shape[:2]), angles)
    axis, to_start = (end - start).reshape(-1, 3), start.reshape(-1, 3)
    length2 = (axis * axis).sum(-1)
    along_axis = (axis * to_start).sum(-1)
    far2 = (to_start * to_start).sum(-1)
    # One look-up per pair instead of six: axis, start, |axis|^2, axis . start, |start|^2, largest radius squared.
    table = np.column_stack([axis, to_start, length2, along_axis, far2, np.tile(widest**2, len(start))])[pair].T.copy()

    # First those that come near at all: closest approach of the beam's axis to the capsule's.
    flat = rays.reshape(-1, 3)
    right, down, forward = flat[ray].T.copy()
    across = table[0] * right + table[1] * down + table[2] * forward
    ahead = table[3] * right + table[4] * down + table[5] * forward
    size2, along = table[6], table[7]
    spot = np.clip((across * ahead - along) / np.maximum(size2 - across**2, 1e-12), 0.0, 1.0)
    reach = ahead + spot * across
    gap2 = table[8] + spot * (2.0 * along + spot * size2) - reach**2
    near = np.flatnonzero((gap2 < table[9]) & (reach > 0.0))
    pair, ray, spot, reach, gap2 = pair[near], ray[near], spot[near], reach[near], gap2[near]
    across, ahead, size2, along = across[near], ahead[near], size2[near], along[near]
    frame = pair // count
    capsule = pair - frame * count
    gap = np.sqrt(np.maximum(gap2, 0.0))

    own, colour = radius[capsule], np.ones(len(pair))
    if outfit:
        # The normal where skin would be met: outwards of the axis by the gap, and towards the LiDAR.
        seen = (flat @ _LEFT_UP)[ray]
        sideways = reach * seen - (to_start @ _LEFT_UP)[pair] - spot * (axis @ _LEFT_UP)[pair]
        around = sideways / np.maximum(own, gap) - np.sqrt(np.maximum(1.0 - (gap / own) ** 2, 0.0)) * seen
        length = np.sqrt(length2)
        hairy = np.clip(np.maximum((spot - 0.45) / 0.25, _turned_away(joints)[frame]), 0.0, 1.0)
        turned = (axis @ _LEFT_UP) / length
        height, colour = cloth(outfit, capsule, spot * length[pair], turned[pair], around, hairy)
        own = own + height
    distance = capsule_roots(size2, across, -along, -ahead, far2[pair], own)
    met = np.isfinite(distance)
    distance = np.where(met, distance, reach)
    # Cosine of the incidence from the point met and its nearest point of the axis.
    foot = np.clip((distance * across - along) / size2, 0.0, 1.0)
    echo = colour * np.maximum(np.where(met, (ahead + foot * across - distance) / own, 0.0), _GRAZING)
    share = met.astype(np.float64)
    if beam[0]:
        share = np.clip(0.5 + 0.5 * (own - gap) / (beam[0] + beam[1] * distance), 0.0, 1.0)
    num_rays = len(flat)
    return _nearest_two(frame * num_rays + ray, len(joints) * num_rays, distance, echo, share, met)


def _nearest_two(
    ray: np.ndarray, num_rays: int, distance: np.ndarray, echo: np.ndarray, share: np.ndarray, met: np.ndarray
) -> Hits:
    touched = np.flatnonzero(share > 0.0)
    nearest = np.full(num_rays, np.inf)
    np.minimum.at(nearest, ray[touched], distance[touched])
    first = touched[distance[touched] == nearest[ray[touched]]]
    others = np.flatnonzero(met & (distance > nearest[ray]))
    second = np.full(num_rays, np.inf)
    np.minimum.at(second, ray[others], distance[others])
    others = others[distance[others] == second[ray[others]]]
    echo_behind = np.zeros(num_rays)
    echo_behind[ray[others]] = echo[others]
    # Two capsules that share an end may be met at the very same distance: one of them is enough.
    alone = np.zeros(num_rays, np.int64)
    alone[ray[first]] = first
    first = first[alone[ray[first]] == first]
    first = first[np.argsort(ray[first])]
    own = ray[first]
    return Hits(own, distance[first], echo[first], share[first], second[own], echo_behind[own])


def _turned_away(joints: np.ndarray) -> Float[np.ndarray, " time"]:
    """From 0, the face looks at the LiDAR, to 1 and above, its back does: hair all over the head."""
    left = joints[:, 4] - joints[:, 1]
    forward = np.cross(left, UP)
    forward = forward / np.maximum(np.linalg.norm(forward, axis=-1, keepdims=True), 1e-9)
    seen = joints[:, 9] / np.maximum(np.linalg.norm(joints[:, 9], axis=-1, keepdims=True), 1e-9)
    return 0.5 + (forward * seen).sum(axis=-1)


def _pairs(
    start: np.ndarray, end: np.ndarray, radius: np.ndarray, angles: tuple[np.ndarray, np.ndarray]
) -> tuple[Int[np.ndarray, " pair"], Int[np.ndarray, " pair"]]:
    """Capsule (frames first) and ray of every pair that may meet."""
    elevations, azimuths = angles
    ends = np.stack([start, end])
    flat = np.hypot(ends[..., 0], ends[..., 2])
    azimuth = np.arctan2(ends[..., 0], ends[..., 2])
    elevation = np.arctan2(-ends[..., 1], flat)
    # A segment's azimuth and elevation stay between its ends' up to curvature, which the 5 % and 0.003 rad cover.
    margin = 1.05 * np.arcsin(np.minimum(radius / np.maximum(flat.min(0), 1e-3), 1.0)) + 0.003

    def span(angle: np.ndarray, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        first = np.searchsorted(grid, (angle.min(0) - margin).ravel(), side="left")
        last = np.searchsorted(grid, (angle.max(0) + margin).ravel(), side="right")
        return first, np.maximum(last - first, 0)

    first_ring, rings = span(elevation, elevations)
    first_column, columns = span(azimuth, azimuths)
    size = rings * columns
    pair = np.repeat(np.arange(size.size), size)
    place = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
    width = columns[pair]
    ring = place // np.maximum(width, 1)
    ray = (first_ring[pair] + ring) * len(azimuths) + first_column[pair] + place - ring * width
    return pair, ray
