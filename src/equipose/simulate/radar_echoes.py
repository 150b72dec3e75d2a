"""What a radar sees of a body: point scatterers on the side of every limb that faces it, and their ghosts.

Reflectivities are Swerling 1: constant over a frame's 10 ms, independent between frames, because a limb that turns by
a degree or two shows another glint at 5 mm wavelength. Echoes that bounce off the floor once, on the way out or back,
make ghosts behind the body.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Complex64, Float

from equipose.simulate.body import CAPSULES, RADII, capsule_ends
from equipose.simulate.geometry import capsule_distance

_PER_CAPSULE = 8


@dataclass(frozen=True)
class Scatterers:
    """Points that echo; axes (time, scatterer).

    Attributes:
        distance: metres from the radar.
        speed: radial velocity, m/s, positive when receding.
        right: sine of the angle to the right (direction cosine).
        up: direction cosine upwards.
        amplitude: complex echo, metres, before the 1 / distance^2 loss.
    """

    distance: Float[np.ndarray, "time scatterer"]
    speed: Float[np.ndarray, "time scatterer"]
    right: Float[np.ndarray, "time scatterer"]
    up: Float[np.ndarray, "time scatterer"]
    amplitude: np.ndarray


def reflectivity(count: int, generator: np.random.Generator) -> Complex64[np.ndarray, "time scatterer"]:
    """Complex reflectivity of each of the body's 144 scatterers in each frame: Rayleigh size, uniform phase."""
    parts = generator.standard_normal((count, len(CAPSULES) * _PER_CAPSULE, 2), dtype=np.float32)
    return parts.view(np.complex64)[..., 0] * np.float32(np.sqrt(0.5))


def body_scatterers(
    joints: Float[np.ndarray, "time 17 3"],
    joint_velocity: Float[np.ndarray, "time 17 3"],
    position: Float[np.ndarray, " 3"],
    glints: Complex64[np.ndarray, "time scatterer"],
    girth: float = 1.0,
) -> Scatterers:
    """Eight scatterers per capsule, on the surface towards the radar; hidden ones are attenuated by 26 dB.

    Args:
        joints: metres, camera frame.
        joint_velocity: metres per second, camera frame.
        position: of the radar, metres, camera frame.
        glints: from ``reflectivity``.
        girth: factor on the capsule radii.
    """
    start, end = (ends - position for ends in capsule_ends(joints.astype(np.float64)))
    # Velocities of the derived points (toes, finger tips) follow from moving the joints a little.
    ahead_start, ahead_end = (
        ends - position for ends in capsule_ends((joints + 1e-3 * joint_velocity).astype(np.float64))
    )
    share = (np.arange(_PER_CAPSULE) + 0.5) / _PER_CAPSULE
    radius = (RADII * girth)[:, None]

    def along(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a[..., None, :] + share[:, None] * (b - a)[..., None, :]

    axis_point = along(start, end)
    speed_vector = (along(ahead_start, ahead_end) - axis_point) * 1e3
    axis = end - start
    length = np.linalg.norm(axis, axis=-1)
    axis = axis / np.maximum(length, 1e-6)[..., None]
    across = -axis_point + (axis_point * axis[..., None, :]).sum(-1, keepdims=True) * axis[..., None, :]
    across_length = np.linalg.norm(across, axis=-1)
    broadside = across_length / np.maximum(np.linalg.norm(axis_point, axis=-1), 1e-6)
    surface = axis_point + radius[..., None] * across / np.maximum(across_length, 1e-6)[..., None]
    distance = np.linalg.norm(surface, axis=-1)
    direction = surface / distance[..., None]
    area = np.sqrt(2 * radius * length[..., None] / _PER_CAPSULE)
    seen = np.where(_hidden(direction, distance, start, end, radius[:, 0]), 0.05, 1.0)
    pattern = np.sqrt(np.maximum(direction[..., 2], 0.0))
    strength = (area * (0.25 + 0.75 * broadside**6) * seen * pattern).reshape(joints.shape[0], -1)
    flat = (joints.shape[0], -1)
    return Scatterers(
        distance=distance.reshape(flat),
        speed=(speed_vector * direction).sum(-1).reshape(flat),
        right=direction[..., 0].reshape(flat),
        up=-direction[..., 1].reshape(flat),
        amplitude=strength * glints,
    )


def floor_ghosts(direct: Scatterers, height: float, reflection: float) -> Scatterers:
    """Echoes with one floor bounce, of every fourth scatterer at twice its amplitude (equal power).

    The delay is the mean of the direct and the bounced way. Only transmitters differ in height, so the elevation
    phase is that of the way out: bounced for one ghost, direct for the other. Radial speed is taken as unchanged.

    Args:
        direct: the body's own echoes.
        height: of the radar above the floor, metres.
        reflection: field reflection factor of the floor.
    """
    part = np.s_[:, 1::4]
    distance, right, up = direct.distance[part], direct.right[part], direct.up[part]
    below = -2 * height - up * distance
    bounced = np.sqrt(distance**2 * (1 - up**2) + below**2)
    mean = 0.5 * (distance + bounced)
    both = (mean, direct.speed[part], right, 2 * reflection * direct.amplitude[part])
    distance2, speed2, right2, amplitude2 = (np.concatenate([each, each], axis=1) for each in both)
    return Scatterers(distance2, speed2, right2, np.concatenate([up, below / bounced], axis=1), amplitude2)


def join(first: Scatterers, second: Scatterers) -> Scatterers:
    """Both sets of echoes."""
    return Scatterers(
        *(
            np.concatenate([getattr(first, field.name), getattr(second, field.name)], axis=1)
            for field in fields(Scatterers)
        )
    )


def _hidden(
    direction: np.ndarray, distance: np.ndarray, start: np.ndarray, end: np.ndarray, radius: np.ndarray
) -> np.ndarray:
    """Which surface points lie behind another capsule, seen from the origin."""
    time, capsules, count, _ = direction.shape
    rays = direction.reshape(time, -1, 1, 3).astype(np.float32)
    hit = capsule_distance(
        np.zeros(3, np.float32),
        rays,
        start[:, None].astype(np.float32),
        end[:, None].astype(np.float32),
        radius.astype(np.float32),
    ).reshape(time, capsules, count, capsules)
    own = np.eye(capsules, dtype=bool)[:, None, :]
    return np.asarray(((hit < distance[..., None] - 0.05) & ~own).any(axis=-1))


def breathing(count: int, frame_rate: float, generator: np.random.Generator) -> Float[np.ndarray, "time 17 3"]:
    """Velocity that breathing (4 mm at about 0.28 Hz, towards the radar) adds to the chest joints."""
    rate = generator.normal(0.28, 0.04)
    phase = 2 * np.pi * (rate * np.arange(count) / frame_rate + generator.random())
    out = np.zeros((count, 17, 3))
    out[:, (7, 8), 2] = (0.004 * 2 * np.pi * rate * np.cos(phase))[:, None]
    return out
