"""The D435's colour and infrared imagers as a 2D joint detector.

Pinhole projection ``u = fx x / z + cx`` plus detector errors that are correlated in time, larger for wrists and
ankles, and several times larger where another limb hides the joint. MM-Fi's public files hold such keypoints.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from equipose.simulate.body import RADII, capsule_ends
from equipose.simulate.geometry import capsule_distance
from equipose.simulate.room import Room


@dataclass(frozen=True)
class Camera:
    """Pinhole intrinsics in pixels and the imager's place in metres, camera frame."""

    fx: float = 615.0
    fy: float = 615.0
    cx: float = 320.0
    cy: float = 240.0
    position: tuple[float, float, float] = (0.0, 0.0, 0.0)


CAMERAS = {
    "rgb": Camera(),
    "infra1": Camera(position=(0.015, 0.0, 0.0)),
    "infra2": Camera(position=(0.065, 0.0, 0.0)),
}
"""The D435's imagers, 50 mm stereo baseline; images taken as rectified to the colour camera's plane."""

_DIFFICULTY = np.array([1.1, 1.2, 1.0, 1.2, 1.2, 1.0, 1.2, 1.1, 0.9, 0.7, 0.9, 0.9, 1.1, 1.4, 0.9, 1.1, 1.4])


@dataclass(frozen=True)
class Detector:
    """Errors of the 2D joint detector, pixels for a person at 3.2 m.

    Attributes:
        visible: standard deviation of a visible joint.
        hidden_factor: how much larger it is for an occluded joint.
        bias: standard deviation of an error that stays for a whole recording, per joint.
        correlation: of the error from one frame to the next.
        blunder_rate: share of joints that are placed ``blunder`` pixels off.
        blunder: see above.
    """

    visible: float = 2.5
    hidden_factor: float = 4.0
    bias: float = 2.0
    correlation: float = 0.6
    blunder_rate: float = 0.004
    blunder: float = 25.0


def project(points: Float[np.ndarray, "*batch 3"], camera: Camera) -> Float[np.ndarray, "*batch 2"]:
    """Pixels of points given in metres in the (colour) camera frame."""
    x, y, z = np.moveaxis(points - np.array(camera.position, points.dtype), -1, 0)
    return np.stack([camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy], axis=-1)


def occluded(joints: Float[np.ndarray, "time 17 3"], girth: float, camera: Camera) -> Bool[np.ndarray, "time 17"]:
    """Which joints the camera sees through another limb.

    A capsule that contains the joint is its own limb and does not hide it.
    """
    start, end = (ends[:, None] for ends in capsule_ends(joints.astype(np.float64)))
    origin = np.array(camera.position)
    ray = joints.astype(np.float64) - origin
    length = np.linalg.norm(ray, axis=-1, keepdims=True)
    radius = RADII * girth
    hit = capsule_distance(origin, (ray / length)[:, :, None], start, end, radius)
    axis = end - start
    offset = joints[:, :, None] - start
    along = np.clip((offset * axis).sum(-1) / np.maximum((axis * axis).sum(-1), 1e-12), 0.0, 1.0)
    own = np.linalg.norm(offset - along[..., None] * axis, axis=-1) < 1.05 * radius
    return ((hit < length - 0.02) & ~own).any(axis=-1)


def observe(
    joints: Float[np.ndarray, "time 17 3"],
    room: Room,
    generator: np.random.Generator,
    girth: float = 1.0,
    sensor: str = "rgb",
    detector: Detector | None = None,
) -> Float[np.ndarray, "time 17 2"]:
    """Detected 2D joints.

    Args:
        joints: metres, camera frame.
        room: its light scales the errors.
        generator: source of the detector's errors.
        girth: factor on the body's capsule radii.
        sensor: ``rgb``, ``infra1`` or ``infra2``.
        detector: its errors; the default suits a good single-person detector.

    Returns:
        Pixels (u right, v down), float32; may lie outside the image.
    """
    detector = detector or Detector()
    camera = CAMERAS[sensor]
    pixels = project(joints.astype(np.float64), camera)
    count = joints.shape[0]
    white = generator.standard_normal((count, 17, 2))
    blunder = generator.standard_normal((count, 17, 2)) * detector.blunder
    is_blunder = generator.random((count, 17, 1)) < detector.blunder_rate
    bias = generator.standard_normal((17, 2)) * detector.bias
    smooth = np.empty_like(white)
    smooth[0] = white[0]
    for t in range(1, count):
        smooth[t] = detector.correlation * smooth[t - 1] + np.sqrt(1 - detector.correlation**2) * white[t]
    hidden = occluded(joints, girth, camera)
    sigma = room.dimness * detector.visible * _DIFFICULTY * np.where(hidden, detector.hidden_factor, 1.0)
    error = smooth * sigma[..., None] + bias + is_blunder * blunder
    return (pixels + error * (3.2 / joints[..., 2:3])).astype(np.float32)
