"""The D435's colour and infrared imagers as 2D joint detectors.

Pinhole projection ``u = fx x / z + cx`` and, on top, what a detector makes of the image (``detector``): it errs more
where another limb hides a joint, where the joint moves during the exposure, and where the room is dim. MM-Fi's public
files hold such keypoints.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32

from equipose.simulate.body import RADII, capsule_ends
from equipose.simulate.detector import (
    REFERENCE_DISTANCE,
    Detections,
    Detector,
    Sight,
    detections,
    systematic_error,
)
from equipose.simulate.geometry import capsule_roots
from equipose.simulate.room import Room

__all__ = [
    "CAMERAS",
    "Camera",
    "Detections",
    "Detector",
    "detect",
    "observe",
    "occluded",
    "project",
    "systematic_error",
]


@dataclass(frozen=True)
class Camera:
    """Pinhole intrinsics in pixels, the imager's place in metres (camera frame), its exposure in seconds.

    Attributes:
        fx, fy, cx, cy: D435 colour stream at 640 x 480; fits the one inspected frame of MM-Fi.
        position: of the imager.
        exposure: in a room of dimness 1; automatic exposure makes it longer in dim rooms. The colour imager's 15.6 ms
            and the infrared imagers' 8.5 ms are the D435's default manual settings (the former unverified).
    """

    fx: float = 615.0
    fy: float = 615.0
    cx: float = 320.0
    cy: float = 240.0
    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    exposure: float = 0.0156


CAMERAS = {
    "rgb": Camera(),
    "infra1": Camera(position=(0.015, 0.0, 0.0), exposure=0.0085),
    "infra2": Camera(position=(0.065, 0.0, 0.0), exposure=0.0085),
}
"""The D435's imagers, 50 mm stereo baseline; images taken as rectified to the colour camera's plane."""


def project(points: Float[np.ndarray, "*batch 3"], camera: Camera) -> Float[np.ndarray, "*batch 2"]:
    """Pixels of points given in metres in the (colour) camera frame."""
    x, y, z = np.moveaxis(points - np.array(camera.position, points.dtype), -1, 0)
    return np.stack([camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy], axis=-1)


def occluded(joints: Float[np.ndarray, "time 17 3"], girth: float, camera: Camera) -> Bool[np.ndarray, "time 17"]:
    """Which joints the camera sees through another limb.

    A capsule that contains the joint is its own limb and does not hide it.
    """
    start, end = capsule_ends(joints.astype(np.float64))
    ray = joints.astype(np.float64) - np.array(camera.position)
    length = np.sqrt(np.einsum("tjk,tjk->tj", ray, ray))[..., None]
    to_origin, axis = np.array(camera.position) - start, end - start
    axis_axis, axis_origin, origin_origin = (
        np.einsum("tck,tck->tc", *pair)[:, None] for pair in ((axis, axis), (axis, to_origin), (to_origin, to_origin))
    )
    axis_ray = np.einsum("tjk,tck->tjc", ray, axis)  # per metre of direction after the division by length
    ray_origin = np.einsum("tjk,tck->tjc", ray, to_origin)
    radius = RADII * girth
    hit = capsule_roots(axis_axis, axis_ray / length, axis_origin, ray_origin / length, origin_origin, radius)
    # Squared distance of the joint from the axis, from the same products.
    offset_axis = axis_ray + axis_origin
    along = np.clip(offset_axis / np.maximum(axis_axis, 1e-12), 0.0, 1.0)
    offset_offset = length**2 + 2 * ray_origin + origin_origin
    squared = offset_offset - 2 * along * offset_axis + along**2 * axis_axis
    own = squared < (1.05 * radius) ** 2
    return ((hit < length - 0.02) & ~own).any(axis=-1)


def detect(
    joints: Float[np.ndarray, "time 17 3"],
    room: Room,
    generator: np.random.Generator,
    girth: float = 1.0,
    sensor: str = "rgb",
    detector: Detector | None = None,
    systematic: Float[np.ndarray, "17 2"] | None = None,
    frame_rate: float = 10.0,
) -> Detections:
    """Detected 2D joints with the detector's confidence.

    Args:
        joints: metres, camera frame.
        room: its dimness scales noise and exposure.
        generator: source of the detector's errors.
        girth: factor on the body's capsule radii.
        sensor: ``rgb``, ``infra1`` or ``infra2``.
        detector: its errors; the default is a good detector for COCO's joints.
        systematic: the error that stays for the recording, pixels at 3.2 m, from ``systematic_error``; drawn from
            ``generator`` if not given.
        frame_rate: hertz; for the speed in the image.

    Returns:
        Pixels (u right, v down; may lie outside the image) and confidences in [0, 1], float32.
    """
    detector = detector or Detector()
    camera = CAMERAS[sensor]
    if systematic is None:
        systematic = systematic_error(generator, detector)
    pixels = project(joints.astype(np.float64), camera)
    speed = np.gradient(pixels, axis=0) * frame_rate if len(pixels) > 1 else np.zeros_like(pixels)
    sight = Sight(
        pixels=pixels,
        zoom=REFERENCE_DISTANCE / joints[..., 2].astype(np.float64),
        streak=speed * (camera.exposure * room.dimness),
        hidden=occluded(joints, girth, camera),
        facing=_facing(joints.astype(np.float64), camera),
        dimness=room.dimness,
    )
    return detections(sight, generator, detector, systematic)


def observe(
    joints: Float[np.ndarray, "time 17 3"],
    room: Room,
    generator: np.random.Generator,
    girth: float = 1.0,
    sensor: str = "rgb",
    detector: Detector | None = None,
    systematic: Float[np.ndarray, "17 2"] | None = None,
    frame_rate: float = 10.0,
) -> Float32[np.ndarray, "time 17 2"]:
    """The pixels of ``detect``."""
    return detect(joints, room, generator, girth, sensor, detector, systematic, frame_rate).pixels


def _facing(joints: Float[np.ndarray, "time 17 3"], camera: Camera) -> Float[np.ndarray, " time"]:
    """Cosine between where the hips face and the direction to the camera, both over the floor."""
    across = joints[:, 4] - joints[:, 1]
    towards = np.array(camera.position) - joints[:, 0]
    dot = across[:, 2] * towards[:, 0] - across[:, 0] * towards[:, 2]
    length = np.hypot(across[:, 0], across[:, 2]) * np.hypot(towards[:, 0], towards[:, 2])
    return dot / np.maximum(length, 1e-9)
