"""Paths of the empty room between WiFi antennas: line of sight, wall images, furniture, antenna pattern."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
from jaxtyping import Complex64, Float, Int

from equipose.simulate.geometry import SPEED_OF_LIGHT
from equipose.simulate.room import Room
from equipose.simulate.wifi_band import CARRIER_HZ, SPACING_HZ, TONES, WAVELENGTH, phasor

MAX_BOUNCES = 3
"""Wall reflections of one path. Choice: later ones together carry less than a tenth of the power of the line of sight,
and furniture along the walls scatters them."""
_STEPS = range(-MAX_BOUNCES, MAX_BOUNCES + 1)
_IMAGES = tuple(n for n in product(_STEPS, repeat=3) if 0 < sum(map(abs, n)) <= MAX_BOUNCES)
_NONE = -1
_SHORTEST = 0.05  # metres; nobody fits into a shorter leg, such as one between two walls beside their edge


@dataclass(frozen=True)
class StaticPaths:
    """Paths of the empty room.

    Attributes:
        response: (receiver, path, tone) complex field of each path.
        leg_start: (leg, 3) straight pieces of all paths, metres; those of paths of several bounces come first.
        leg_end: (leg, 3).
        num_faint: how many of the legs belong to paths of several bounces.
        legs: (receiver, path, bounces + 1) the legs of each path; a leg that does not exist is the number of legs.
    """

    response: Complex64[np.ndarray, "receiver path tone"]
    leg_start: Float[np.ndarray, "leg 3"]
    leg_end: Float[np.ndarray, "leg 3"]
    num_faint: int
    legs: Int[np.ndarray, "receiver path leg_of"]


def dipole(direction: Float[np.ndarray, "*s 3"]) -> Float[np.ndarray, "*s"]:
    """Field pattern of an upright half-wave dipole, 1 at the horizon (Balanis, *Antenna Theory*, eq. 4-84).

    Args:
        direction: of the ray, any length, camera frame (y is vertical).
    """
    cosine = np.abs(direction[..., 1]) / np.linalg.norm(direction, axis=-1)
    pattern = np.cos((np.pi / 2) * cosine) / np.sqrt(np.maximum(1 - cosine * cosine, 1e-9))
    return np.asarray(pattern, direction.dtype)


def static_paths(room: Room) -> StaticPaths:
    """Line of sight, 6, 18 and 38 paths of one, two and three wall bounces, 18 furniture echoes.

    Paths of several bounces have a length for each receiver antenna and share the legs of the middle one's.
    """
    tx, receivers = room.wifi_transmitter, room.wifi_receivers
    starts: list[np.ndarray] = []
    ends: list[np.ndarray] = []

    def legs_through(*points: np.ndarray) -> tuple[int, ...]:
        numbers = [_NONE] * (MAX_BOUNCES + 1)
        for i, (start, end) in enumerate(pairwise(points)):
            if math.dist(start, end) > _SHORTEST:
                numbers[i] = len(starts)
                starts.append(start)
                ends.append(end)
        return tuple(numbers)

    middle = receivers[len(receivers) // 2]
    shared = {n: legs_through(*_bounces(room, n, middle)) for n in _IMAGES if sum(map(abs, n)) > 1}
    num_faint = len(starts)
    to_scatterers = [legs_through(tx, point)[0] for point in room.scatterers]
    legs = []
    for receiver in receivers:
        walls = [shared[n] if n in shared else legs_through(*_bounces(room, n, receiver)) for n in _IMAGES]
        furniture = [
            (first, *legs_through(point, receiver)[:-1])
            for point, first in zip(room.scatterers, to_scatterers, strict=True)
        ]
        legs.append([legs_through(tx, receiver), *walls, *furniture])
    numbers = np.array(legs)
    numbers[numbers == _NONE] = len(starts)

    images = np.stack([receivers, *(_image(room, n, receivers) for n in _IMAGES)], axis=1) - tx  # (receiver, path, 3)
    direct = np.linalg.norm(images, axis=-1)
    factor = np.array([1.0, *(_reflection(room, n) for n in _IMAGES)])
    towards, back = room.scatterers - tx, receivers[:, None] - room.scatterers
    out_length, back_length = np.linalg.norm(towards, axis=-1), np.linalg.norm(back, axis=-1)
    # Field of a scatterer: lambda / (4 pi) sqrt(sigma / 4 pi) / (d1 d2).
    scattered = room.scatterer_strength * dipole(towards) * dipole(back) / (out_length * back_length)
    field = np.concatenate([factor * dipole(images) ** 2 / direct, scattered], axis=1)
    path = np.concatenate([direct, out_length + back_length], axis=1)
    wavenumber = 2 * np.pi * (CARRIER_HZ + SPACING_HZ * TONES) / SPEED_OF_LIGHT
    response = (WAVELENGTH / (4 * np.pi) * field)[..., None] * phasor(-path[..., None] * wavenumber)
    return StaticPaths(response.astype(np.complex64), np.array(starts), np.array(ends), num_faint, numbers)


def empty_channel(room: Room) -> Complex64[np.ndarray, "receiver tone"]:
    """The channel with nobody in the room."""
    return static_paths(room).response.sum(axis=1)


def _image(room: Room, n: tuple[int, ...], point: Float[np.ndarray, "*s 3"]) -> Float[np.ndarray, "*s 3"]:
    """Image of points: |n| mirrorings along each axis, first at the high surface where n > 0."""
    count = np.array(n)
    mirrored = np.where(count % 2 == 0, point, room.low + room.high - point)
    return np.asarray(mirrored + count * (room.high - room.low))


def _reflection(room: Room, n: tuple[int, ...]) -> float:
    """Product of the reflection factors of the surfaces that a path meets."""
    factor = 1.0
    for axis, count in enumerate(n):
        later = abs(count) // 2
        first = abs(count) - later
        high, low = (first, later) if count > 0 else (later, first)
        factor *= float(room.reflection[2 * axis] ** low * room.reflection[2 * axis + 1] ** high)
    return factor


def _bounces(room: Room, n: tuple[int, ...], receiver: np.ndarray) -> list[np.ndarray]:
    """Transmitter, points on the walls in the order the path meets them, receiver."""
    tx, low, high = (array.tolist() for array in (room.wifi_transmitter, room.low, room.high))
    size = [b - a for a, b in zip(low, high, strict=True)]
    way = [b - a for a, b in zip(tx, _image(room, n, receiver).tolist(), strict=True)]
    shares = []
    for axis, count in enumerate(n):
        for crossing in range(abs(count)):
            wall = high[axis] + crossing * size[axis] if count > 0 else low[axis] - crossing * size[axis]
            shares.append((wall - tx[axis]) / way[axis])
    points = [room.wifi_transmitter]
    for share in sorted(shares):
        turn = [(tx[k] + share * way[k] - low[k]) / size[k] % 2.0 for k in range(3)]
        points.append(np.array([low[k] + size[k] * min(turn[k], 2.0 - turn[k]) for k in range(3)]))
    return [*points, receiver]
