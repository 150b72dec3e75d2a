"""Shadows of limbs on straight WiFi paths, and of the torso on the body's own echoes.

A limb is an absorbing strip across the path, and the field it blocks is the Kirchhoff integral over that rectangle, a
product of two Fresnel integrals (Born and Wolf, *Principles of Optics*, sec. 8.7). Strips at different places along a
path act one after the other, so their transmissions multiply.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Complex64, Float

from equipose.simulate.wifi_band import WAVELENGTH


def fresnel(x: Float[np.ndarray, "*s"]) -> Complex64[np.ndarray, "*s"]:
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

    def coordinate(points: np.ndarray, axis: np.ndarray) -> np.ndarray:  # (time, leg, limb)
        return np.swapaxes(points[:, 0] @ axis.T, 1, 2) - (origin * axis).sum(-1)[:, None]

    middle = 0.5 * (coordinate(start, along) + coordinate(end, along))
    axes = _across(along)
    first, last = ([coordinate(points, axis) for axis in axes] for points in (start, end))
    open_share = _open_share(middle, first, last, length[:, None], radius.astype(single))
    through: Complex64[np.ndarray, "time leg"] = np.prod(open_share, axis=-1)
    return through


def screened(
    point: Float[np.ndarray, "time limb 3"],
    antenna: Float[np.ndarray, " 3"],
    torso_start: Float[np.ndarray, "time part 3"],
    torso_end: Float[np.ndarray, "time part 3"],
    radius: Float[np.ndarray, " part"],
) -> Complex64[np.ndarray, "time limb"]:
    """Field that passes the torso between a limb and an antenna over the free field.

    Args:
        point: middle of each limb, metres, camera frame.
        antenna: metres.
        torso_start: end points of the torso's axes, metres.
        torso_end: metres.
        radius: of the torso's parts, metres.
    """
    single = np.float32
    span = antenna.astype(single) - point.astype(single)
    length = np.linalg.norm(span, axis=-1)
    along = span / length[..., None]
    start, end = (
        p.astype(single)[:, None] - point.astype(single)[:, :, None] for p in (torso_start, torso_end)
    )  # (time, limb, part, 3)

    def coordinate(points: np.ndarray, axis: np.ndarray) -> np.ndarray:  # (time, limb, part)
        return np.asarray((points @ axis[..., None])[..., 0])

    middle = 0.5 * (coordinate(start, along) + coordinate(end, along))
    axes = _across(along)
    first, last = ([coordinate(points, axis) for axis in axes] for points in (start, end))
    open_share = _open_share(middle, first, last, length[..., None], radius.astype(single))
    through: Complex64[np.ndarray, "time limb"] = np.prod(open_share, axis=-1)
    return through


def _open_share(
    middle: np.ndarray, first: list[np.ndarray], last: list[np.ndarray], whole: np.ndarray, radius: np.ndarray
) -> np.ndarray:
    """Transmission past each single strip.

    Args:
        middle: place of the strip along the leg.
        first: coordinates of the strip's one end in two directions across the leg.
        last: of its other end.
        whole: length of the leg.
        radius: half the strip's width.
    """
    dx, dy = last[0] - first[0], last[1] - first[1]
    extent = np.sqrt(dx * dx + dy * dy) + np.float32(1e-6)
    dx, dy = dx / extent, dy / extent
    begin = first[0] * dx + first[1] * dy  # along the limb
    across = first[1] * dx - first[0] * dy
    inside = np.clip(middle, 0.02, whole - 0.02)
    scale = np.sqrt(2 * whole / (WAVELENGTH * inside * (whole - inside))).astype(np.float32)
    length_part = fresnel((begin + extent + radius) * scale) - fresnel((begin - radius) * scale)
    width_part = fresnel((across + radius) * scale) - fresnel((across - radius) * scale)
    blocked = length_part * width_part * np.complex64(-0.5j)
    # A limb beside an end of the leg does not block it; fade over its own thickness.
    weight = np.clip(np.minimum(middle, whole - middle) / radius + 0.5, 0.0, 1.0).astype(np.float32)
    return np.asarray(1 - weight * blocked)


def _across(along: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two unit vectors at right angles to each row and to each other."""
    helper = np.where(np.abs(along[..., 1:2]) < 0.9, [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]).astype(along.dtype)
    side = np.cross(along, helper)
    side /= np.linalg.norm(side, axis=-1, keepdims=True)
    return side, np.cross(along, side)
