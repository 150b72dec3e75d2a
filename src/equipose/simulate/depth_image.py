"""Depth images of a D435-like stereo camera, in MM-Fi's form: 16-bit PNG, millimetres along z, 0 where invalid.

The camera matches two infrared images and turns the disparity d into z = f b / d. So errors and steps are constant in
disparity and grow with z squared; what the second imager cannot see has no depth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt16

from equipose.simulate.pngfile import doubled_gray16
from equipose.simulate.rendering import View, body_depth, room_depth
from equipose.simulate.room import Room


@dataclass(frozen=True)
class StereoCamera:
    """The instrument.

    Attributes:
        focal: of the infrared imagers at 640 x 480, pixels. D435, about 80 degrees wide (unverified).
        baseline: metres between the imagers. D435 data sheet.
        subpixel: standard deviation of a disparity, pixels (a usual figure for well-lit, textured scenes; unverified).
        step: disparity's unit, pixels: 1/32 in the D400 family (unverified).
        nearest: smallest z measured, metres. D435 data sheet, 640 x 480 (unverified).
        farthest: largest z measured, metres. D435 data sheet.
        holes: share of pixels without a match on a surface that both imagers see (choice; rooms have little texture,
            and the projector lights them).
    """

    focal: float = 385.0
    baseline: float = 0.050
    subpixel: float = 0.08
    step: float = 1.0 / 32.0
    nearest: float = 0.175
    farthest: float = 10.0
    holes: float = 0.01


def exact_depth(
    joints: Float[np.ndarray, "time 17 3"], room: Room, girth: float = 1.0, view: View | None = None
) -> Iterator[Float[np.ndarray, "row column"]]:
    """Depth of the nearest surface behind every pixel, metres along z, one image per frame, half of 640 x 480.

    Args:
        joints: metres, camera frame.
        room: walls, floor and furniture.
        girth: factor on the body's capsule radii.
        view: the image.
    """
    view = view or View()
    rays = view.rays()
    background, _ = room_depth(room, rays)
    for frame in joints:
        distance = background.copy()
        body, _, ray = body_depth(frame, girth, view, rays)
        distance[ray] = np.minimum(body, background[ray])
        yield (distance * rays[:, 2]).reshape(view.rows, view.columns)


def measure(
    depth: Float[np.ndarray, "row column"],
    generator: np.random.Generator,
    view: View | None = None,
    camera: StereoCamera | None = None,
) -> UInt16[np.ndarray, "row column"]:
    """What the stereo camera makes of exact depth: millimetres, 0 where invalid.

    Args:
        depth: z in metres.
        generator: source of the matching errors.
        view: the image.
        camera: the instrument.
    """
    view, camera = view or View(), camera or StereoCamera()
    inverse = (1.0 / depth).astype(np.float32)
    noise = generator.standard_normal(depth.shape, dtype=np.float32)
    lost = generator.random(depth.shape, dtype=np.float32) < camera.holes
    scale = camera.focal * camera.baseline
    disparity = np.rint((scale * inverse + camera.subpixel * noise) / camera.step) * camera.step
    measured = scale / np.maximum(disparity, camera.step)
    invalid = lost | shadow(inverse, view, camera) | (measured < camera.nearest) | (measured > camera.farthest)
    return np.where(invalid, 0.0, np.rint(1000.0 * measured)).astype(np.uint16)


def shadow(inverse: Float[np.ndarray, "row column"], view: View, camera: StereoCamera) -> np.ndarray:
    """(row, column) bool: surfaces hidden from the second imager, which stands to the right.

    A pixel in column u appears there in column u - f b / z. Whatever a nearer surface further right covers is hidden:
    a band at the left of every object.

    Args:
        inverse: 1 / z, per metre.
        view: the image.
        camera: for its baseline.
    """
    place = np.arange(view.columns, dtype=np.float32) - np.float32(view.focal * camera.baseline) * inverse
    nearest = np.minimum.accumulate(place[:, ::-1], axis=1)[:, ::-1]
    hidden = np.zeros(place.shape, bool)
    hidden[:, :-1] = place[:, :-1] > nearest[:, 1:]
    return hidden


def depth_files(
    joints: Float[np.ndarray, "time 17 3"],
    room: Room,
    generator: np.random.Generator,
    girth: float = 1.0,
    camera: StereoCamera | None = None,
) -> list[bytes]:
    """One PNG of 480 x 640 per frame.

    Args:
        joints: metres, camera frame.
        room: walls, floor and furniture.
        generator: source of the matching errors.
        girth: factor on the body's capsule radii.
        camera: the instrument.
    """
    return [doubled_gray16(measure(depth, generator, camera=camera)) for depth in exact_depth(joints, room, girth)]
