"""What a LiDAR's light falls on: clothing, hair and skin of a person, walls and furniture of a room.

Reflectivities are those at the OS1's wavelength, 865 nm, where most dyes are transparent and only carbon black, some
synthetic fibres and dark hair stay dark.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from equipose.simulate.body import CAPSULES
from equipose.simulate.geometry import room_distance
from equipose.simulate.randomness import generator_for
from equipose.simulate.room import Room

LARGEST = 0.030
"""Metres that cloth or hair stands off a capsule at most."""

_PERIOD, _ALONG, _AROUND = 0.64, 64, 16  # metres along a limb after which the cloth repeats; cells of the height map
_SMOOTH = 3
_SHIFT = 0.1  # metres by which folds travel along a limb that turns by a right angle (choice)
_HEAD = [name for name, *_ in CAPSULES].index("head")
_TOP = ("abdomen", "chest", "shoulders", "right_upper_arm", "left_upper_arm")
_FOREARMS = ("right_forearm", "left_forearm")
_TROUSERS = ("hips", "right_thigh", "left_thigh")
_SHINS = ("right_shin", "left_shin")
_SHOES = ("right_foot", "left_foot")


@dataclass(frozen=True)
class Outfit:
    """What a person wears and how it hangs; one entry per capsule of ``CAPSULES``.

    Attributes:
        reflectivity: share of light scattered back by a surface that faces the LiDAR.
        height: (capsule, along, around) metres from the capsule to the surface, 0 to 3 cm. Along: cells of 1 cm from
            the capsule's start, repeating. Around: cells from the side that looks right and down to the side that looks
            left and up. Folds move along the limb as it turns.
        hair: how far hair stands off the head, metres.
        hair_reflectivity: of the hair.
    """

    reflectivity: Float[np.ndarray, " capsule"]
    height: Float[np.ndarray, "capsule along around"]
    hair: float
    hair_reflectivity: float

    @property
    def reach(self) -> Float[np.ndarray, " capsule"]:
        """Largest distance of the surface from each capsule, metres."""
        most = self.height.max(axis=(1, 2))
        most[_HEAD] = min(most[_HEAD] + self.hair, LARGEST)
        return most


def person_outfit(girth: float) -> Outfit:
    """The clothes of a person who is known by nothing but the girth, which no two simulated people share.

    So a subject wears the same in every recording, as in MM-Fi, where a subject was recorded in one session.
    """
    return draw_outfit(generator_for(0, "outfit", *_bits(girth)))


def draw_outfit(generator: np.random.Generator) -> Outfit:
    """Clothes at random. All ranges are choices but for the reflectivities' orders of magnitude.

    Skin scatters 45 to 65 % at 865 nm (unverified), dyed cotton 30 to 80 %, carbon black
    and dark synthetics 5 to 15 % (a quarter of all garments), hair 8 to 35 %, dark to fair.
    """
    count = len(CAPSULES)
    skin = generator.uniform(0.45, 0.65)
    reflectivity, offset = np.full(count, skin), np.zeros(count)
    uneven = np.full(count, 0.004)  # metres: muscles and joints, limbs are no capsules
    names = [name for name, *_ in CAPSULES]
    sleeves, legs = generator.random() < 0.5, generator.random() < 0.8
    top, trousers, shoes = generator.uniform([0.003, 0.003, 0.003], [0.015, 0.012, 0.008])
    garments = (
        ((*_TOP, *(_FOREARMS if sleeves else ())), top),
        ((*_TROUSERS, *(_SHINS if legs else ())), trousers),
        (_SHOES, shoes),
    )
    for parts, loose in garments:
        dark = generator.random() < 0.25
        colour = generator.uniform(0.05, 0.15) if dark else generator.uniform(0.3, 0.8)
        worn = [names.index(part) for part in parts]
        reflectivity[worn], offset[worn] = colour, loose
        uneven[worn] += 0.3 * loose
    return Outfit(
        reflectivity,
        _height_map(generator, offset, uneven),
        hair=float(generator.uniform(0.005, 0.025)),
        hair_reflectivity=float(generator.uniform(0.08, 0.35)),
    )


def _height_map(
    generator: np.random.Generator, offset: np.ndarray, uneven: np.ndarray
) -> Float[np.ndarray, "capsule along around"]:
    """Mean offset, three smooth waves of 20 to 60 cm and two folds of 6 to 11 cm and up to 1 cm."""
    count = len(offset)
    smooth = generator.normal(0.0, 1.0, (count, _SMOOTH)) * uneven[:, None] * np.sqrt(2 / _SMOOTH)
    folds = generator.uniform(0.5, 1.0, (count, 2)) * np.minimum(0.6 * offset, 0.01)[:, None]
    height = np.concatenate([smooth, folds], axis=1)[:, None]
    number = np.concatenate([generator.integers(1, 4, (count, _SMOOTH)), generator.integers(6, 11, (count, 2))], axis=1)
    along = 2 * np.pi * number[:, None] * (np.arange(_ALONG) + 0.5)[:, None] / _ALONG
    slope = generator.normal(0.0, 1.5, (count, 1, _SMOOTH + 2))
    phase = generator.uniform(0.0, 2 * np.pi, slope.shape)
    around = slope * np.linspace(-1.0, 1.0, _AROUND)[:, None] + phase
    waves = (height * np.cos(along)) @ np.cos(around).swapaxes(1, 2)
    waves -= (height * np.sin(along)) @ np.sin(around).swapaxes(1, 2)
    return np.clip(offset[:, None, None] + waves, 0.0, LARGEST)


def cloth(
    outfit: Outfit,
    capsule: Int[np.ndarray, " p"],
    along: Float[np.ndarray, " p"],
    turned: Float[np.ndarray, " p"],
    around: Float[np.ndarray, " p"],
    hairy: Float[np.ndarray, " p"],
) -> tuple[Float[np.ndarray, " p"], Float[np.ndarray, " p"]]:
    """How far the surface lies outside the capsule, metres, and its reflectivity.

    Args:
        outfit: clothes.
        capsule: number of the capsule.
        along: distance from the capsule's start along its axis, metres.
        turned: cosine between the axis and the direction left and up.
        around: cosine between the surface's normal and the direction left and up.
        hairy: 0 to 1, how much of the head is hair there; read for the head only.
    """
    cell = ((along + _SHIFT * turned) * (_ALONG / _PERIOD)).astype(np.int64) % _ALONG
    side = ((np.clip(around, -1.0, 1.0) + 1.0) * (0.5 * (_AROUND - 1)) + 0.5).astype(np.int64)
    height = outfit.height.ravel()[(capsule * _ALONG + cell) * _AROUND + side]
    reflectivity = outfit.reflectivity[capsule]
    head = np.flatnonzero(capsule == _HEAD)
    height[head] = np.minimum(height[head] + outfit.hair * hairy[head], LARGEST)
    reflectivity[head] += (outfit.hair_reflectivity - reflectivity[head]) * hairy[head]
    return height, reflectivity


@dataclass(frozen=True)
class Paint:
    """Reflectivities of a room at 865 nm."""

    wall: float
    floor: float
    furniture: Float[np.ndarray, " box"]


def room_paint(room: Room) -> Paint:
    """Surfaces of a room; it is known by its LiDAR's place. Choices: white paint, wood or carpet, fabric."""
    generator = generator_for(0, "paint", *_bits(*room.lidar_position))
    wall, floor = generator.uniform([0.6, 0.15], [0.85, 0.5])
    return Paint(float(wall), float(floor), generator.uniform(0.1, 0.7, len(room.boxes)))


def empty_room(
    room: Room, rays: Float[np.ndarray, "ray 3"]
) -> tuple[Float[np.ndarray, " ray"], Float[np.ndarray, " ray"]]:
    """Distance to walls, floor or furniture along rays from the LiDAR, metres, and reflectivity x cos(incidence).

    Args:
        room: where.
        rays: unit vectors, camera axes.
    """
    paint = room_paint(room)
    distance = room_distance(room.lidar_position, rays, room.low, room.high)
    hit = room.lidar_position + distance[:, None] * rays
    axis = np.minimum(np.abs(hit - room.low), np.abs(hit - room.high)).argmin(axis=1)
    colour = np.where((axis == 1) & (rays[:, 1] > 0), paint.floor, paint.wall)
    for (low, high), own in zip(room.boxes, paint.furniture, strict=True):
        entry, leave, side = crossing(rays, low - room.lidar_position, high - room.lidar_position)
        nearer = (entry <= leave) & (entry > 0.0) & (entry < distance)
        distance[nearer], colour[nearer], axis[nearer] = entry[nearer], own, side[nearer]
    return distance, colour * np.abs(np.take_along_axis(rays, axis[:, None], axis=1)[:, 0])


def crossing(
    rays: Float[np.ndarray, "ray 3"], low: Float[np.ndarray, " 3"], high: Float[np.ndarray, " 3"]
) -> tuple[Float[np.ndarray, " ray"], Float[np.ndarray, " ray"], Int[np.ndarray, " ray"]]:
    """Distances from the origin at which rays enter and leave a box, and the axis of the side where they enter.

    A ray misses the box if it would leave before it enters.
    """
    entry, leave = np.full(len(rays), -np.inf), np.full(len(rays), np.inf)
    axis = np.zeros(len(rays), np.int64)
    for k in range(3):
        safe = np.where(np.abs(rays[:, k]) < 1e-12, 1e-12, rays[:, k])
        one, other = low[k] / safe, high[k] / safe
        near = np.minimum(one, other)
        axis[near > entry] = k
        entry = np.maximum(entry, near)
        leave = np.minimum(leave, np.maximum(one, other))
    return entry, leave, axis


def mount(room: Room, spread: tuple[float, float, float]) -> Float[np.ndarray, "3 3"]:
    """Rotation from the LiDAR's own axes to the camera's, both x right, y down, z forward.

    Args:
        room: the rig is set up anew in every room, which is known by the LiDAR's place.
        spread: standard deviations of yaw, pitch and roll, radians.
    """
    generator = generator_for(0, "lidar mount", *_bits(*room.lidar_position))
    yaw, pitch, roll = np.array(spread) * np.clip(generator.normal(0.0, 1.0, 3), -2.0, 2.0)
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    turn = np.array([[cy, 0.0, sy], [0.0, 1.0, 0.0], [-sy, 0.0, cy]])
    nod = np.array([[1.0, 0.0, 0.0], [0.0, cp, -sp], [0.0, sp, cp]])
    bank = np.array([[cr, -sr, 0.0], [sr, cr, 0.0], [0.0, 0.0, 1.0]])
    return turn @ nod @ bank


def _bits(*values: float) -> list[int]:
    return [int(bits) for bits in np.array(values, np.float64).view(np.uint32)]
