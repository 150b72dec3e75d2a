"""Distances along rays to capsules, boxes and the walls of a room, in closed form."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

SPEED_OF_LIGHT = 299_792_458.0
"""Metres per second."""


def capsule_distance(
    origin: np.ndarray, direction: np.ndarray, start: np.ndarray, end: np.ndarray, radius: np.ndarray
) -> np.ndarray:
    """Distance from ``origin`` along unit ``direction`` to the first point of a capsule.

    All arguments broadcast; the last axis of all but ``radius`` is xyz. Metres, any one frame.

    Returns:
        Metres, float64, infinite where the ray misses. The origin lies outside the capsule.
    """
    axis = end - start
    to_origin = origin - start
    axis_axis = (axis * axis).sum(-1)
    axis_ray = (axis * direction).sum(-1)
    axis_origin = (axis * to_origin).sum(-1)
    ray_origin = (direction * to_origin).sum(-1)
    origin_origin = (to_origin * to_origin).sum(-1)
    return capsule_roots(axis_axis, axis_ray, axis_origin, ray_origin, origin_origin, radius)


def capsule_roots(
    axis_axis: np.ndarray,
    axis_ray: np.ndarray,
    axis_origin: np.ndarray,
    ray_origin: np.ndarray,
    origin_origin: np.ndarray,
    radius: np.ndarray,
) -> np.ndarray:
    """The quadratic of the infinite cylinder first; past its ends, that of the nearer sphere."""
    a = np.maximum(axis_axis - axis_ray**2, 1e-12)
    b = axis_axis * ray_origin - axis_origin * axis_ray
    c = axis_axis * origin_origin - axis_origin**2 - radius**2 * axis_axis
    disc = b * b - a * c
    side = (-b - np.sqrt(np.maximum(disc, 0.0))) / a
    along = axis_origin + side * axis_ray
    beyond = along >= axis_axis
    # The sphere at the start (along <= 0) or at the end.
    b_sphere = np.where(beyond, ray_origin - axis_ray, ray_origin)
    c_sphere = np.where(beyond, origin_origin - 2 * axis_origin + axis_axis, origin_origin) - radius**2
    disc_sphere = b_sphere**2 - c_sphere
    cap = -b_sphere - np.sqrt(np.maximum(disc_sphere, 0.0))
    inside = (along > 0.0) & ~beyond
    distance = np.where(inside, side, cap)
    hit = (disc >= 0.0) & (inside | (disc_sphere >= 0.0)) & (distance > 0.0)
    return np.where(hit, distance, np.inf)


def room_distance(
    origin: Float[np.ndarray, " 3"],
    direction: Float[np.ndarray, "ray 3"],
    low: Float[np.ndarray, " 3"],
    high: Float[np.ndarray, " 3"],
) -> Float[np.ndarray, " ray"]:
    """Distance from a point inside an axis-aligned room to the wall, floor or ceiling that each ray meets."""
    with np.errstate(divide="ignore"):
        step = np.where(direction > 0, (high - origin) / direction, (low - origin) / direction)
    return np.where(direction == 0, np.inf, step).min(axis=-1)


def box_distance(
    origin: Float[np.ndarray, " 3"],
    direction: Float[np.ndarray, "ray 3"],
    low: Float[np.ndarray, " 3"],
    high: Float[np.ndarray, " 3"],
) -> Float[np.ndarray, " ray"]:
    """Distance from a point outside an axis-aligned box to its surface; infinite where a ray misses (slab test)."""
    safe = np.where(np.abs(direction) < 1e-12, 1e-12, direction)
    first = (low - origin) / safe
    second = (high - origin) / safe
    near = np.minimum(first, second).max(axis=-1)
    far = np.maximum(first, second).min(axis=-1)
    return np.where((near <= far) & (near > 0), near, np.inf)
