"""What a radar sees of a body: point scatterers on the side of every limb that faces it, and their floor ghosts.

At 4 to 5 mm wavelength clothing is rough: a patch of surface echoes by its facets that face the radar, whose slopes are
Gaussian (geometric optics), plus a weak diffuse part. A limb is a cylinder: of its girth always a strip faces the
radar, of its length only a limb across the line of sight. The torso's front is flat, so turned towards the radar all of
it faces, and it outshines the limbs; turned away it falls back to a limb.

Reflectivities are Swerling 1: constant over a frame's 10 ms, independent between frames, because a limb that turns by
a degree or two shows another glint. Echoes that bounce off the floor once, on the way out or back, make ghosts behind
the body.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from jaxtyping import Complex64, Float

from equipose.simulate.body import CAPSULES, RADII, UP, capsule_ends
from equipose.simulate.geometry import capsule_distance
from equipose.simulate.radar_instrument import Radar

_PER_CAPSULE = 8
_TORSO = np.array([name in ("abdomen", "chest") for name, *_ in CAPSULES])


@dataclass(frozen=True)
class Surface:
    """How bodies and the floor reflect at 60 to 80 GHz.

    Attributes:
        slope: root mean square slope of clothing's facets (choice: folds of 14 degrees).
        diffuse: share of a broadside limb's power that does not come from facets and follows the cosine squared of
            the incidence (choice: -10 dB).
        hidden: field left of a scatterer behind another limb (choice: -26 dB).
        floor_permittivity: relative, of the floor (3 to 6 for wood, plastic and concrete at 60 GHz).
    """

    slope: float = 0.25
    diffuse: float = 0.1
    hidden: float = 0.05
    floor_permittivity: float = 4.0

    @property
    def torso_gain(self) -> float:
        """Power of a flat front over a cylinder of the same width, both broadside: 1 / (sqrt(pi / 2) slope).

        Of a cylinder's half turn only sqrt(2 pi) slope of each radian-sized strip has facets that face the radar.
        """
        return float(1.0 / (np.sqrt(np.pi / 2) * self.slope))

    def facing(self, cosine: Float[np.ndarray, "*s"]) -> Float[np.ndarray, "*s"]:
        """Power of a surface over that at normal incidence, from the cosine of the angle of incidence."""
        square = np.square(cosine)
        tangent = 1.0 / np.maximum(square, 1e-4) - 1.0
        facets = np.exp(-tangent / (2 * self.slope**2))
        return np.asarray(self.diffuse * square + (1.0 - self.diffuse) * facets)

    def floor_field(self, grazing_sine: Float[np.ndarray, "*s"]) -> Float[np.ndarray, "*s"]:
        """Field reflection factor of the floor for the boards' vertical polarisation (Fresnel); small at 27 degrees."""
        sine = np.clip(grazing_sine, 0.0, 1.0)
        inner = np.sqrt(self.floor_permittivity - 1.0 + np.square(sine))
        outer = self.floor_permittivity * sine
        return np.asarray((outer - inner) / (outer + inner))


SURFACE = Surface()


@dataclass(frozen=True)
class Scatterers:
    """Points that echo; axes (time, scatterer).

    Attributes:
        distance: metres from the radar.
        speed: radial velocity, m/s, positive when receding.
        right: sine of the angle to the right (direction cosine).
        up: direction cosine upwards.
        amplitude: complex echo, metres, before the 1 / distance^2 loss: its square is the cross-section / 4 pi.
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
    surface: Surface = SURFACE,
) -> Scatterers:
    """Eight scatterers per capsule, on the side towards the radar; no antenna pattern yet.

    Args:
        joints: metres, camera frame.
        joint_velocity: metres per second, camera frame.
        position: of the radar, metres, camera frame.
        glints: from ``reflectivity``.
        girth: factor on the capsule radii.
        surface: how it reflects.
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
    point = axis_point + radius[..., None] * across / np.maximum(across_length, 1e-6)[..., None]
    distance = np.linalg.norm(point, axis=-1)
    direction = point / distance[..., None]
    power = (2 / _PER_CAPSULE) * radius * length[..., None] * surface.facing(broadside)
    flat_front = 1.0 + (surface.torso_gain - 1.0) * surface.facing(_torso_cosine(joints, position))
    power = power * np.where(_TORSO, flat_front[:, None], 1.0)[..., None]
    seen = np.where(_hidden(direction, distance, start, end, radius[:, 0]), surface.hidden, 1.0)
    strength = (np.sqrt(power) * seen).reshape(joints.shape[0], -1)
    flat = (joints.shape[0], -1)
    return Scatterers(
        distance=distance.reshape(flat),
        speed=(speed_vector * direction).sum(-1).reshape(flat),
        right=direction[..., 0].reshape(flat),
        up=-direction[..., 1].reshape(flat),
        amplitude=strength * glints,
    )


def _torso_cosine(
    joints: Float[np.ndarray, "time 17 3"], position: Float[np.ndarray, " 3"]
) -> Float[np.ndarray, " time"]:
    """Cosine of the angle between the line of sight and the torso's front (or back), level with the radar."""
    normal = np.cross(joints[:, 11] - joints[:, 14] + joints[:, 4] - joints[:, 1], UP)
    sight = (joints[:, 8] - position) * (1.0 - np.abs(UP))
    length = np.linalg.norm(normal, axis=-1) * np.linalg.norm(sight, axis=-1)
    return np.asarray(np.abs((normal * sight).sum(-1)) / np.maximum(length, 1e-6))


def through_antennas(direct: Scatterers, radar: Radar) -> Scatterers:
    """The echoes as transmitted and received by the radar's antennas."""
    return replace(direct, amplitude=direct.amplitude * radar.gain(direct.right, direct.up) ** 2)


def floor_ghosts(direct: Scatterers, height: float, radar: Radar, surface: Surface = SURFACE) -> Scatterers:
    """Echoes with one floor bounce, of every fourth scatterer at twice its amplitude (equal power).

    The delay is the mean of the direct and the bounced way. Only transmitters differ in height, so the elevation
    phase is that of the way out: bounced for one ghost, direct for the other. Radial speed is taken as unchanged.

    Args:
        direct: the body's own echoes, before the antennas.
        height: of the radar above the floor, metres.
        radar: its antennas.
        surface: the floor.

    Returns:
        Ghosts, through the antennas.
    """
    part = np.s_[:, 1::4]
    distance, right, up = direct.distance[part], direct.right[part], direct.up[part]
    below = -2 * height - up * distance
    bounced = np.sqrt(distance**2 * (1 - up**2) + below**2)
    fall = below / bounced
    mean = 0.5 * (distance + bounced)
    reflected = surface.floor_field(-fall) * radar.gain(right, up) * radar.gain(right * distance / bounced, fall)
    both = (mean, direct.speed[part], right, 2 * reflected * direct.amplitude[part])
    distance2, speed2, right2, amplitude2 = (np.concatenate([each, each], axis=1) for each in both)
    return Scatterers(distance2, speed2, right2, np.concatenate([up, fall], axis=1), amplitude2)


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
