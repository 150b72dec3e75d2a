"""Bodies: bone lengths of 40 people, and the 18 capsules that every sensor sees.

Legs and ankles follow the stature fractions of Drillis and Contini (as tabulated by Winter, *Biomechanics and Motor
Control of Human Movement*); shoulder joints lie 2 cm inside the acromia (biacromial breadth 0.228 of the stature); arms
and hips are those of an inspected MM-Fi frame (0.250 m, 0.250 m and 0.110 m; stature 1.70 m assumed). All vary per
person. A capsule is the set of points within ``radius`` of a segment between two points; it needs no mesh and rays meet
it in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from equipose.simulate.randomness import generator_for

UP = np.array([0.0, -1.0, 0.0])
"""Direction away from the floor in the camera frame (y points down)."""

RIGHT_TOE, LEFT_TOE, RIGHT_HAND, LEFT_HAND = 17, 18, 19, 20
"""Indices of the four points that ``landmarks`` appends to the 17 joints."""

CAPSULES: tuple[tuple[str, int, int, float], ...] = (
    ("right_thigh", 1, 2, 0.075),
    ("left_thigh", 4, 5, 0.075),
    ("right_shin", 2, 3, 0.049),
    ("left_shin", 5, 6, 0.049),
    ("right_foot", 3, RIGHT_TOE, 0.040),
    ("left_foot", 6, LEFT_TOE, 0.040),
    ("hips", 1, 4, 0.085),
    ("abdomen", 0, 7, 0.120),
    ("chest", 7, 8, 0.130),
    ("shoulders", 14, 11, 0.070),
    ("right_upper_arm", 14, 15, 0.045),
    ("left_upper_arm", 11, 12, 0.045),
    ("right_forearm", 15, 16, 0.037),
    ("left_forearm", 12, 13, 0.037),
    ("right_hand", 16, RIGHT_HAND, 0.035),
    ("left_hand", 13, LEFT_HAND, 0.035),
    ("neck", 8, 9, 0.055),
    ("head", 9, 10, 0.082),
)
"""Name, two landmark indices, radius in metres for a person of girth 1."""

RADII = np.array([radius for *_, radius in CAPSULES])
_STARTS = np.array([start for _, start, _, _ in CAPSULES])
_ENDS = np.array([end for _, _, end, _ in CAPSULES])


@dataclass(frozen=True)
class Body:
    """One person's size. Lengths in metres.

    Attributes:
        subject: 1 to 40.
        stature: standing height.
        girth: factor on all capsule radii.
        thigh, shin, ankle_height, half_hip, lower_spine, upper_spine, neck, head, half_shoulder, upper_arm,
            forearm: bone lengths, equal on both sides and constant for ever.
    """

    subject: int
    stature: float
    girth: float
    thigh: float
    shin: float
    ankle_height: float
    half_hip: float
    lower_spine: float
    upper_spine: float
    neck: float
    head: float
    half_shoulder: float
    upper_arm: float
    forearm: float


def make_body(seed: int, subject: int) -> Body:
    """The person called ``subject``; depends on the seed and the subject alone."""
    generator = generator_for(seed, "body", subject)
    # Adults: men 1.75 +- 0.065 m, women 1.62 +- 0.06 m; seven of ten are men, as among students (choice).
    male = generator.random() < 0.7
    mean, spread = (1.75, 0.065) if male else (1.62, 0.060)
    stature = float(np.clip(generator.normal(mean, spread), 1.50, 1.92))
    broad = 0.104 if male else 0.099  # half of (biacromial breadth - 4 cm): 40 and 36 cm

    def part(fraction: float, spread: float = 0.035) -> float:
        return float(stature * fraction * np.clip(generator.normal(1.0, spread), 0.9, 1.1))

    return Body(
        subject=subject,
        stature=stature,
        girth=float(np.clip(generator.normal(1.0, 0.09), 0.8, 1.25)),
        thigh=part(0.245),
        shin=part(0.246),
        ankle_height=part(0.042),
        half_hip=part(0.0647),
        lower_spine=part(0.138),
        upper_spine=part(0.148),
        neck=part(0.068),
        head=part(0.068),
        half_shoulder=part(broad),
        upper_arm=part(0.147),
        forearm=part(0.147),
    )


def landmarks(joints: Float[np.ndarray, "*time 17 3"]) -> Float[np.ndarray, "*time 21 3"]:
    """Joints plus toes and finger tips, derived from the joints alone.

    Args:
        joints: metres, camera frame, MM-Fi joint order.

    Returns:
        The joints, then right toe, left toe, right finger tip, left finger tip. Toes point where the hips face.
    """
    across = joints[..., 4, :] - joints[..., 1, :]
    forward = np.cross(across, UP.astype(joints.dtype))
    length = np.linalg.norm(forward, axis=-1, keepdims=True)
    forward = forward / np.maximum(length, 1e-6)
    down = -UP.astype(joints.dtype)
    points = [joints]
    for knee, ankle in ((2, 3), (5, 6)):
        shin = np.linalg.norm(joints[..., ankle, :] - joints[..., knee, :], axis=-1, keepdims=True)
        points.append((joints[..., ankle, :] + shin * (0.36 * forward + 0.08 * down))[..., None, :])
    for elbow, wrist in ((15, 16), (12, 13)):
        points.append((joints[..., wrist, :] + 0.4 * (joints[..., wrist, :] - joints[..., elbow, :]))[..., None, :])
    return np.concatenate(points, axis=-2)


def capsule_ends(
    joints: Float[np.ndarray, "*time 17 3"],
) -> tuple[Float[np.ndarray, "*time 18 3"], Float[np.ndarray, "*time 18 3"]]:
    """Start and end of each capsule's axis, in the order of ``CAPSULES``; metres, camera frame."""
    points = landmarks(joints)
    return points[..., _STARTS, :], points[..., _ENDS, :]


def interpolate(
    joints: Float[np.ndarray, "time joint 3"], steps: int, first: float
) -> Float[np.ndarray, "fine joint 3"]:
    """Joints between frames by Catmull-Rom splines.

    Args:
        joints: metres, at the frame rate.
        steps: fine samples per frame, evenly spaced.
        first: time of a frame's first fine sample relative to the frame, in frames, in (-1, 0].

    Returns:
        (time * steps, joint, 3), same dtype.
    """
    count = joints.shape[0]
    first_step, last_step = joints[min(1, count - 1)] - joints[0], joints[-1] - joints[max(count - 2, 0)]
    before = joints[0] - np.array([2, 1], joints.dtype)[:, None, None] * first_step
    after = joints[-1] + np.array([1, 2], joints.dtype)[:, None, None] * last_step
    padded = np.concatenate([before, joints, after])
    offsets = first + np.arange(steps) / steps
    whole = np.floor(offsets).astype(int)
    u = offsets - whole
    weights = 0.5 * np.stack(
        [-u + 2 * u**2 - u**3, 2 - 5 * u**2 + 3 * u**3, u + 4 * u**2 - 3 * u**3, -(u**2) + u**3], axis=-1
    ).astype(joints.dtype)
    out = np.zeros((count, steps, *joints.shape[1:]), joints.dtype)
    for step in range(steps):
        for tap in range(4):
            start = 2 + int(whole[step]) - 1 + tap
            out[:, step] += weights[step, tap] * padded[start : start + count]
    return out.reshape(count * steps, *joints.shape[1:])


def velocity(joints: Float[np.ndarray, "time joint 3"], frame_rate: float) -> Float[np.ndarray, "time joint 3"]:
    """Joint velocities by central differences, metres per second."""
    if joints.shape[0] < 2:
        return np.zeros_like(joints)
    return (np.gradient(joints, axis=0) * frame_rate).astype(joints.dtype)
