"""Pictures of the colour camera: the capsules and the room, Lambert-shaded, 8-bit RGB PNG of 480 x 640.

Made for networks that expect images where MM-Fi publishes keypoints (``rgb_img/frame001.png``). No texture, no shadow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8

from equipose.simulate.body import CAPSULES, RADII, capsule_ends
from equipose.simulate.pngfile import doubled_rgb8
from equipose.simulate.randomness import generator_for
from equipose.simulate.rendering import View, body_depth, room_depth
from equipose.simulate.room import Room

_SKIN = ("right_forearm", "left_forearm", "right_hand", "left_hand", "neck", "head")
_TROUSERS = ("right_thigh", "left_thigh", "right_shin", "left_shin", "hips")
_SHOES = ("right_foot", "left_foot")
_HEAD = [name for name, *_ in CAPSULES].index("head")


@dataclass(frozen=True)
class Light:
    """A lamp at the middle of the ceiling.

    Attributes:
        ambient: share of light that comes from everywhere (choice).
        level: brightness of a room of dimness 1, 1 is white; dimmer rooms get less (choice: the camera's automatic
            exposure is at its end there).
        noise: standard deviation of a pixel, grey levels, in a room of dimness 1 (choice).
    """

    ambient: float = 0.45
    level: float = 0.9
    noise: float = 2.0


def appearance(generator: np.random.Generator) -> tuple[Float[np.ndarray, "18 3"], Float[np.ndarray, " 3"]]:
    """A person's colours, 0 to 1: one per capsule, and the hair's.

    Args:
        generator: of the person, so that the person looks the same in every recording.
    """
    tone = generator.uniform(0.0, 1.0)
    skin = (1 - tone) * np.array([0.95, 0.80, 0.69]) + tone * np.array([0.35, 0.22, 0.15])
    top, trousers, shoes = (generator.uniform(0.05, brightest, 3) for brightest in (0.9, 0.5, 0.9))
    hair = generator.uniform(0.05, 0.5) * np.array([1.0, 0.8, 0.6])
    long_sleeves = generator.random() < 0.5
    colours = []
    for name, *_ in CAPSULES:
        if name in _SKIN and not (long_sleeves and name.endswith("forearm")):
            colours.append(skin)
        elif name in _TROUSERS:
            colours.append(trousers)
        else:
            colours.append(shoes if name in _SHOES else top)
    return np.stack(colours), hair


def picture_files(
    joints: Float[np.ndarray, "time 17 3"],
    room: Room,
    generator: np.random.Generator,
    girth: float = 1.0,
    look: tuple[Float[np.ndarray, "18 3"], Float[np.ndarray, " 3"]] | None = None,
    light: Light | None = None,
) -> list[bytes]:
    """One PNG of 480 x 640 per frame.

    Args:
        joints: metres, camera frame.
        room: walls, floor, furniture and dimness.
        generator: source of the pixels' noise.
        girth: factor on the body's capsule radii.
        look: colours of the person, see ``appearance``; drawn from ``generator`` if not given.
        light: lamp and noise.
    """
    light, view = light or Light(), View()
    look = look or appearance(generator)
    rays = view.rays()
    distance, surface = room_depth(room, rays)
    background = _room_picture(room, rays, distance, surface, light)
    return [
        doubled_rgb8(_frame(frame, room, generator, girth, look, light, view, rays, distance, background))
        for frame in joints
    ]


def _frame(
    joints: Float[np.ndarray, "17 3"],
    room: Room,
    generator: np.random.Generator,
    girth: float,
    look: tuple[np.ndarray, np.ndarray],
    light: Light,
    view: View,
    rays: np.ndarray,
    background_distance: np.ndarray,
    background: np.ndarray,
) -> UInt8[np.ndarray, "row column 3"]:
    distance, capsule, ray = body_depth(joints, girth, view, rays)
    seen = distance < background_distance[ray]
    distance, capsule, ray = distance[seen], capsule[seen], ray[seen]
    point = distance[:, None] * rays[ray]
    start, end = (ends[capsule] for ends in capsule_ends(joints.astype(np.float64)))
    axis = end - start
    along = ((point - start) * axis).sum(-1) / np.maximum((axis * axis).sum(-1), 1e-12)
    normal = (point - start - np.clip(along, 0.0, 1.0)[:, None] * axis) / (girth * RADII[capsule])[:, None]
    colour = look[0][capsule]
    # The upper and the rear part of the head.
    hair = (capsule == _HEAD) & (normal[:, 1] < -0.35 + 0.8 * np.minimum(-normal[:, 2], 0.0))
    colour[hair] = look[1]
    picture = background.copy()
    picture[ray] = colour * _shade(point, normal, room, light)[:, None]
    noise = generator.standard_normal(len(rays), dtype=np.float32) * np.float32(light.noise * room.dimness)
    return np.clip(255 * picture + noise[:, None], 0, 255).astype(np.uint8).reshape(view.rows, view.columns, 3)


def _shade(point: np.ndarray, normal: np.ndarray, room: Room, light: Light) -> Float[np.ndarray, " point"]:
    """Lambert's law under the ceiling lamp."""
    lamp = (room.low + room.high) / 2
    lamp[1] = room.low[1] + 0.1
    towards = lamp - point
    cosine = (normal * towards).sum(-1) / np.maximum(np.linalg.norm(towards, axis=-1), 1e-6)
    return light.level / room.dimness * (light.ambient + (1 - light.ambient) * np.maximum(cosine, 0.0))


def _room_picture(
    room: Room,
    rays: Float[np.ndarray, "ray 3"],
    distance: Float[np.ndarray, " ray"],
    surface: Int[np.ndarray, " ray"],
    light: Light,
) -> Float[np.ndarray, "ray 3"]:
    """The empty room, 0 to 1. Its paint depends on the room's number alone."""
    paint = generator_for(0, "paint", room.environment)
    walls = paint.uniform(0.65, 0.95) * np.array([1.0, 0.98, 0.94])
    floor = paint.uniform(0.3, 0.7) * np.array([1.0, 0.85, 0.7])
    boxes = paint.uniform(0.1, 0.8, (len(room.boxes), 3))
    point = distance[:, None] * rays
    low = np.stack([room.low, *room.boxes[:, 0]])[surface]
    high = np.stack([room.high, *room.boxes[:, 1]])[surface]
    gaps = np.abs(np.concatenate([point - low, point - high], axis=1))
    face = gaps.argmin(axis=1)  # low x, y, z, high x, y, z
    inwards = np.where(surface == 0, 1.0, -1.0) * np.where(face < 3, 1.0, -1.0)
    normal = np.eye(3)[face % 3] * inwards[:, None]
    colour = np.concatenate([walls[None], boxes])[surface]
    colour[(surface == 0) & (face == 4)] = floor
    return colour * _shade(point, normal, room, light)[:, None]
