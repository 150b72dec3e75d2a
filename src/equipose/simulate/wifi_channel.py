"""WiFi channel state information of one transmitter and three receiver antennas whose links cross the person.

Paths: line of sight, one bounce off each of six room surfaces (image method), one scattering off each of 18 furniture
points, and the body itself as 70 straight physical-optics elements on 14 capsules. Limbs shadow every path of the
room: a limb is an absorbing strip across the path, and the field it blocks is the Kirchhoff integral over that
rectangle, a product of two Fresnel integrals (Born and Wolf, *Principles of Optics*, sec. 8.7). Strips at different
places along a path act one after the other, so their transmissions multiply. Body elements use the surface point and
the phase integral along the element, hence specular glints and true Doppler over the ten packets of a frame. Not
modelled: double bounces, antenna patterns, shadowing of the body's own echoes.

The receiver's own errors are added by ``wifi``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex64, Float

from equipose.simulate.body import CAPSULES, RADII, capsule_ends, interpolate
from equipose.simulate.geometry import SPEED_OF_LIGHT
from equipose.simulate.room import Room

CARRIER_HZ = 5.24e9
SPACING_HZ = 312_500.0
TONES = np.concatenate([np.arange(-58, -1), np.arange(2, 59)])
"""Subcarrier numbers of the 114 tones of a 40 MHz channel."""
PACKETS = 10
WAVELENGTH = SPEED_OF_LIGHT / CARRIER_HZ

_LIMBS = np.array([i for i, (name, *_) in enumerate(CAPSULES) if not name.endswith(("foot", "hand"))])
_PER_LIMB = 5
_SKIN = 0.7  # field reflection factor of skin at 5 GHz (relative permittivity about 36)
_CHUNK = 32
_SHADOW_PACKETS = (2, 7)  # packets of each frame at which shadows are computed; linear in between


@dataclass(frozen=True)
class StaticPaths:
    """Paths of the empty room.

    Attributes:
        response: (receiver, path, tone) complex field of each path.
        leg_start: (leg, 3) straight pieces of all paths, metres.
        leg_end: (leg, 3).
        legs: (receiver, path, 2) the legs of each path; the second equals the number of legs where there is one.
    """

    response: Complex64[np.ndarray, "receiver path tone"]
    leg_start: Float[np.ndarray, "leg 3"]
    leg_end: Float[np.ndarray, "leg 3"]
    legs: np.ndarray


def static_paths(room: Room) -> StaticPaths:
    """Line of sight, six wall bounces, 18 furniture echoes, per receiver antenna."""
    tx, receivers = room.wifi_transmitter, room.wifi_receivers
    starts: list[np.ndarray] = []
    ends: list[np.ndarray] = []

    def leg(start: np.ndarray, end: np.ndarray) -> int:
        starts.append(start)
        ends.append(end)
        return len(starts) - 1

    to_scatterers = [leg(tx, point) for point in room.scatterers]
    unit = WAVELENGTH / (4 * np.pi)
    lengths, fields, legs = [], [], []
    for receiver in receivers:
        rows = [(float(np.linalg.norm(receiver - tx)), 1.0, leg(tx, receiver), -1)]
        for surface in range(6):
            axis, value = surface // 2, (room.low, room.high)[surface % 2][surface // 2]
            image = receiver.copy()
            image[axis] = 2 * value - image[axis]
            share = (value - tx[axis]) / (image[axis] - tx[axis])
            bounce = tx + share * (image - tx)
            distance = float(np.linalg.norm(image - tx))
            rows.append((distance, float(room.reflection[surface]), leg(tx, bounce), leg(bounce, receiver)))
        for point, strength, first in zip(room.scatterers, room.scatterer_strength, to_scatterers, strict=True):
            out, back = np.linalg.norm(point - tx), np.linalg.norm(receiver - point)
            # Field of a scatterer: lambda / (4 pi) sqrt(sigma / 4 pi) / (d1 d2); the sum's loss is divided out below.
            rows.append((float(out + back), float(strength * (out + back) / (out * back)), first, leg(point, receiver)))
        lengths.append([row[0] for row in rows])
        fields.append([row[1] for row in rows])
        legs.append([row[2:] for row in rows])
    length = np.array(lengths)
    wavenumber = 2 * np.pi * (CARRIER_HZ + SPACING_HZ * TONES) / SPEED_OF_LIGHT
    response = (unit * np.array(fields) / length)[..., None] * np.exp(-1j * length[..., None] * wavenumber)
    table = np.array(legs)
    table[table < 0] = len(starts)
    return StaticPaths(response.astype(np.complex64), np.array(starts), np.array(ends), table)


def _fresnel(x: np.ndarray) -> np.ndarray:
    """Integral of exp(j pi u^2 / 2) from 0 to x, odd in x; error < 2e-3 (Abramowitz and Stegun 7.3.32, 7.3.33)."""
    size = np.abs(x)
    f = (1 + 0.926 * size) / (2 + 1.792 * size + 3.104 * size**2)
    g = 1 / (2 + 4.142 * size + 3.492 * size**2 + 6.670 * size**3)
    angle = (np.pi / 2) * size**2
    sine, cosine = np.sin(angle), np.cos(angle)
    out = np.empty(x.shape, np.complex64)
    out.real = np.copysign(0.5 + f * sine - g * cosine, x)
    out.imag = np.copysign(0.5 - f * cosine - g * sine, x)
    return out


def transmission(
    leg_start: Float[np.ndarray, "leg 3"],
    leg_end: Float[np.ndarray, "leg 3"],
    limb_start: Float[np.ndarray, "time limb 3"],
    limb_end: Float[np.ndarray, "time limb 3"],
    radius: Float[np.ndarray, " limb"],
) -> Complex64[np.ndarray, "time leg"]:
    """Field behind all limbs over the free field, for each straight leg; 1 where nothing is near.

    Args:
        leg_start: metres, camera frame.
        leg_end: metres.
        limb_start: end points of the limbs' axes, metres.
        limb_end: metres.
        radius: of the limbs, metres.
    """
    single = np.float32
    origin = leg_start.astype(single)
    span = (leg_end - leg_start).astype(single)
    length = np.linalg.norm(span, axis=-1)
    along = span / length[:, None]
    start = limb_start.astype(single)[:, None]
    end = limb_end.astype(single)[:, None]
    radius = radius.astype(single)

    # Coordinates along the leg and in two fixed directions across it.
    side, other = _across(along)

    def coordinate(points: np.ndarray, axis: np.ndarray) -> np.ndarray:  # (time, leg, limb)
        return np.swapaxes(points[:, 0] @ axis.T, 1, 2) - (origin * axis).sum(-1)[:, None]

    middle = 0.5 * (coordinate(start, along) + coordinate(end, along))
    sx, sy = coordinate(start, side), coordinate(start, other)
    ex, ey = coordinate(end, side), coordinate(end, other)
    dx, dy = ex - sx, ey - sy
    extent = np.sqrt(dx * dx + dy * dy) + single(1e-6)
    dx, dy = dx / extent, dy / extent
    first = sx * dx + sy * dy  # along the limb
    across = sy * dx - sx * dy
    whole = length[:, None]
    inside = np.clip(middle, 0.02, whole - 0.02)
    scale = np.sqrt(2 * whole / (WAVELENGTH * inside * (whole - inside))).astype(single)
    length_part = _fresnel((first + extent + radius) * scale) - _fresnel((first - radius) * scale)
    width_part = _fresnel((across + radius) * scale) - _fresnel((across - radius) * scale)
    blocked = length_part * width_part * np.complex64(-0.5j)
    # A limb beside an end of the leg does not block it; fade over its own thickness.
    weight = np.clip(np.minimum(middle, whole - middle) / radius + 0.5, 0.0, 1.0).astype(single)
    through: Complex64[np.ndarray, "time leg"] = np.prod(1 - weight * blocked, axis=-1)
    return through


def _across(along: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two unit vectors at right angles to each row and to each other."""
    helper = np.where(np.abs(along[:, 1:2]) < 0.9, [[0.0, 1.0, 0.0]], [[1.0, 0.0, 0.0]]).astype(along.dtype)
    side = np.cross(along, helper)
    side /= np.linalg.norm(side, axis=-1, keepdims=True)
    return side, np.cross(along, side)


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
    shadows = []
    body = []
    for first in range(0, count, _CHUNK):
        part = knots[2 * first : 2 * (first + _CHUNK)]
        shadows.append(transmission(paths.leg_start, paths.leg_end, start[part], end[part], radius))
        here = slice(PACKETS * first, PACKETS * (first + _CHUNK))
        body.append(_body_echo(start[here], end[here], radius, room))
    shadow = np.concatenate(shadows)
    shadow = np.concatenate([shadow, np.ones_like(shadow[:, :1])], axis=1)
    gain = shadow[:, paths.legs[..., 0]] * shadow[:, paths.legs[..., 1]]  # (knot, receiver, path)
    gain = _between_knots(gain, knots, count * PACKETS)
    static = np.swapaxes(np.swapaxes(gain, 0, 1) @ paths.response, 0, 1)
    total = static + np.concatenate(body)
    return total.reshape(count, PACKETS, 3, TONES.size)


def _between_knots(values: np.ndarray, knots: np.ndarray, count: int) -> np.ndarray:
    """Linear interpolation along axis 0 from ``knots`` to 0 .. count - 1; constant past the ends."""
    position = np.interp(np.arange(count), knots, np.arange(knots.size))
    low = np.minimum(position.astype(int), max(knots.size - 2, 0))
    share = (position - low).astype(np.float32).reshape(-1, *(1,) * (values.ndim - 1))
    return values[low] * (1 - share) + values[np.minimum(low + 1, knots.size - 1)] * share


def _body_echo(
    start: np.ndarray, end: np.ndarray, radius: np.ndarray, room: Room
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
    surface = surface.reshape(count, 1, -1, 3)
    strength = strength.reshape(count, 1, -1)
    out = np.linalg.norm(surface - transmitter, axis=-1)
    back = np.linalg.norm(surface - room.wifi_receivers.astype(single)[:, None], axis=-1)  # (packet, receiver, element)
    path = out + back
    field = (WAVELENGTH / (4 * np.pi)) * strength / (out * back)
    return _sum_over_tones(field.astype(single), path)


def _sum_over_tones(field: np.ndarray, path: np.ndarray) -> Complex64[np.ndarray, "packet receiver tone"]:
    """Sum of ``field exp(-j k path)`` over the last axis at all tones.

    Tone k = -58 + 12 a + b: its phase is a product of a coarse and a fine factor, so that 22 exponentials and one
    small matrix product replace 114 exponentials per element.
    """
    step = (2 * np.pi * SPACING_HZ / SPEED_OF_LIGHT) * path
    base = (2 * np.pi * (CARRIER_HZ - 58 * SPACING_HZ) / SPEED_OF_LIGHT) * path.astype(np.float64)
    coarse = phasor(-(base[..., None, :] + 12.0 * step[..., None, :] * np.arange(10.0)[:, None])) * field[..., None, :]
    fine = phasor(-step[..., None] * np.arange(12, dtype=np.float32))
    total = (coarse @ fine).reshape(*path.shape[:-1], 120)
    return total[..., TONES + 58]


def phasor(angle: np.ndarray) -> Complex64[np.ndarray, "*s"]:
    """exp(j angle), accurate for angles of many turns; radians."""
    reduced = (angle - (2 * np.pi) * np.rint(angle / (2 * np.pi))).astype(np.float32)
    out = np.empty(angle.shape, np.complex64)
    out.real = np.cos(reduced)
    out.imag = np.sin(reduced)
    return out


def empty_channel(room: Room) -> Complex64[np.ndarray, "receiver tone"]:
    """The channel with nobody in the room."""
    return static_paths(room).response.sum(axis=1)
