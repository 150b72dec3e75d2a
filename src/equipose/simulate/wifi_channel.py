"""WiFi channel state information of one transmitter and three receiver antennas whose links cross the person.

Paths: line of sight, up to three bounces off the room's surfaces (image method), one scattering off each of 18
furniture points, and the body itself as 70 straight physical-optics elements on 14 capsules. All antennas are upright
dipoles. Limbs shadow every path of the room (``wifi_shadow``), the torso also the echoes of the other limbs. Body
elements use the surface point and the phase integral along the element, hence specular glints and true Doppler over the
ten packets of a frame. Not modelled: echoes of the body that then meet a wall (they would double the cost, and in a
trial changed no pose error), polarisation. Furniture stays where it is; ``room_drift`` moves it, as a stress test.

The receiver's own errors are added by ``wifi``.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Complex64, Float

from equipose.simulate.body import CAPSULES, RADII, capsule_ends, interpolate
from equipose.simulate.room import Room
from equipose.simulate.wifi_band import PACKETS, TONES, WAVELENGTH, sum_over_tones
from equipose.simulate.wifi_paths import StaticPaths, dipole, static_paths
from equipose.simulate.wifi_shadow import screened, transmission

_LIMBS = np.array([i for i, (name, *_) in enumerate(CAPSULES) if not name.endswith(("foot", "hand"))])
_TORSO = np.array([k for k, i in enumerate(_LIMBS) if CAPSULES[i][0] in ("hips", "abdomen", "chest")])
_THICK = np.array(
    [k for k, i in enumerate(_LIMBS) if not CAPSULES[i][0].endswith(("arm", "neck", "shin", "shoulders", "head"))]
)
_BEHIND = np.array([k for k in range(len(_LIMBS)) if k not in _TORSO])  # what the torso can hide
_PER_LIMB = 5
_MARGIN = 0.35  # metres between a body and a path of several bounces that it does not shadow; over a Fresnel zone
_SKIN = 0.7  # field reflection factor of skin at 5 GHz (relative permittivity about 36)
_CHUNK = 32
_SHADOW_PACKETS = (2, 7)  # packets of each frame at which shadows are computed; linear in between


def channel(
    joints: Float[np.ndarray, "time 17 3"], room: Room, girth: float = 1.0
) -> Complex64[np.ndarray, "time packet receiver tone"]:
    """Noise-free channel at ten packets per frame, evenly spaced and centred on the frame.

    Args:
        joints: metres, camera frame, any frame rate.
        room: antennas, walls, furniture.
        girth: factor on the body's capsule radii.
    """
    paths = static_paths(room)
    count = joints.shape[0]
    fine = interpolate(joints.astype(np.float32), PACKETS, -(PACKETS - 1) / (2 * PACKETS))
    radius = (RADII * girth)[_LIMBS]
    start, end = (ends[:, _LIMBS] for ends in capsule_ends(fine))
    knots = (np.arange(count)[:, None] * PACKETS + np.array(_SHADOW_PACKETS)).ravel()
    shadow = _shadows(paths, start[knots], end[knots], radius)
    gain = shadow[:, paths.legs].prod(axis=-1)  # (knot, receiver, path)
    static = np.swapaxes(np.swapaxes(gain, 0, 1) @ paths.response, 0, 1)
    total = _between_knots(static, knots, count * PACKETS)
    open_share = _between_knots(_self_shadow(start[knots], end[knots], radius, room), knots, count * PACKETS)
    for first in range(0, count * PACKETS, _CHUNK * PACKETS):
        here = slice(first, first + _CHUNK * PACKETS)
        total[here] += _body_echo(start[here], end[here], radius, open_share[here], room)
    return total.reshape(count, PACKETS, 3, TONES.size)


def room_drift(room: Room, generator: np.random.Generator, metres: float) -> Room:
    """The room with its furniture moved a little for WiFi: a stress test, not a part of the simulation.

    If every subject finds the furniture elsewhere, the empty room tells who is in it, and a network can look a known
    subject's place up without seeing anybody. Already 4 mm do that.

    Args:
        room: is not changed.
        generator: one for each subject or recording.
        metres: standard deviation of each scatterer's move along each axis.
    """
    return replace(room, scatterers=room.scatterers + metres * generator.standard_normal(room.scatterers.shape))


def _between_knots(values: np.ndarray, knots: np.ndarray, count: int) -> np.ndarray:
    """Linear interpolation along axis 0 from ``knots`` to 0 .. count - 1; constant past the ends."""
    position = np.interp(np.arange(count), knots, np.arange(knots.size))
    low = np.minimum(position.astype(int), max(knots.size - 2, 0))
    share = (position - low).astype(np.float32).reshape(-1, *(1,) * (values.ndim - 1))
    return np.asarray(values[low] * (1 - share) + values[np.minimum(low + 1, knots.size - 1)] * share)


def _shadows(
    paths: StaticPaths, start: np.ndarray, end: np.ndarray, radius: np.ndarray
) -> Complex64[np.ndarray, "time leg_and_one"]:
    """Transmission of every leg, and a last column of ones.

    Only torso and thighs shadow paths of several bounces, and only those that pass near.
    """
    clear = np.arange(paths.num_faint, len(paths.leg_start))
    centre = 0.5 * (start + end).mean(axis=(0, 1))[[0, 2]]
    reach = np.sqrt(np.maximum(*(np.square(p[..., [0, 2]] - centre).sum(axis=-1).max() for p in (start, end))))
    faint = np.flatnonzero(_passes_by(paths, centre) < reach + _MARGIN)
    faint = faint[faint < paths.num_faint]
    out = np.ones((len(start), len(paths.leg_start) + 1), np.complex64)
    for first in range(0, len(start), 2 * _CHUNK):
        here = slice(first, first + 2 * _CHUNK)
        for legs, limbs in ((faint, _THICK), (clear, slice(None))):
            ends = start[here, limbs], end[here, limbs]
            out[here, legs] = transmission(paths.leg_start[legs], paths.leg_end[legs], *ends, radius[limbs])
    return out


def _passes_by(paths: StaticPaths, place: np.ndarray) -> Float[np.ndarray, " leg"]:
    """Horizontal distance of each leg from a place (x, z), metres."""
    start, span = paths.leg_start[:, [0, 2]], (paths.leg_end - paths.leg_start)[:, [0, 2]]
    share = ((place - start) * span).sum(axis=-1) / np.maximum((span**2).sum(axis=-1), 1e-9)
    nearest = start + np.clip(share, 0.0, 1.0)[:, None] * span
    return np.asarray(np.linalg.norm(nearest - place, axis=-1))


def _self_shadow(
    start: np.ndarray, end: np.ndarray, radius: np.ndarray, room: Room
) -> Complex64[np.ndarray, "time limb"]:
    """What the torso leaves of each limb's echo, on the way in and on the way out."""
    out = np.ones(start.shape[:2], np.complex64)
    point = 0.5 * (start[:, _BEHIND] + end[:, _BEHIND])
    torso = start[:, _TORSO], end[:, _TORSO], radius[_TORSO]
    for antenna in (room.wifi_transmitter, room.wifi_receivers.mean(axis=0)):
        out[:, _BEHIND] *= screened(point, antenna, *torso)
    return out


def _body_echo(
    start: np.ndarray, end: np.ndarray, radius: np.ndarray, open_share: np.ndarray, room: Room
) -> Complex64[np.ndarray, "packet receiver tone"]:
    """Field scattered by the body: (packet, limb, 3) limb ends to (packet, receiver, tone)."""
    single = np.float32
    count = start.shape[0]
    share = ((np.arange(_PER_LIMB) + 0.5) / _PER_LIMB).astype(single)
    axis = end - start
    length = np.linalg.norm(axis, axis=-1)
    axis = axis / np.maximum(length, 1e-6)[..., None]
    piece = (length / _PER_LIMB)[..., None]
    point = start[:, :, None] + share[:, None] * (end - start)[:, :, None]
    centre = room.wifi_receivers.mean(axis=0).astype(single)
    transmitter = room.wifi_transmitter.astype(single)
    to_tx = transmitter - point
    to_rx = centre - point
    bisector = to_tx / np.linalg.norm(to_tx, axis=-1, keepdims=True) + to_rx / np.linalg.norm(
        to_rx, axis=-1, keepdims=True
    )
    parallel = (bisector * axis[:, :, None]).sum(-1)
    normal = bisector - parallel[..., None] * axis[:, :, None]
    size = np.linalg.norm(normal, axis=-1)
    surface = point + (radius.astype(single)[:, None] / np.maximum(size, 1e-6))[..., None] * normal
    # Cylinder in physical optics: sqrt(sigma / 4 pi) = l sqrt(r / 2 lambda) at broadside, times the phase integral.
    strength = _SKIN * piece * np.sqrt(radius.astype(single) / (2 * WAVELENGTH))[:, None]
    strength = strength * (0.5 * size) * np.sinc(piece * parallel / WAVELENGTH)
    middle = slice(_PER_LIMB // 2, _PER_LIMB // 2 + 1)  # antenna patterns and the torso's shadow: one for each limb
    strength = strength * (dipole(to_tx[:, :, middle]) * dipole(to_rx[:, :, middle]) * open_share[..., None])
    surface = surface.reshape(count, 1, -1, 3)
    strength = strength.reshape(count, 1, -1)
    out = np.linalg.norm(surface - transmitter, axis=-1)
    back = np.linalg.norm(surface - room.wifi_receivers.astype(single)[:, None], axis=-1)  # (packet, receiver, element)
    field = np.complex64(WAVELENGTH / (4 * np.pi)) * strength / (out * back)
    return sum_over_tones(field, out + back)
