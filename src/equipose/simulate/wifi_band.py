"""The radio band of the WiFi link: tones, wavelength, phases and sums over tones."""

from __future__ import annotations

import numpy as np
from jaxtyping import Complex64, Float

from equipose.simulate.geometry import SPEED_OF_LIGHT

CARRIER_HZ = 5.24e9
SPACING_HZ = 312_500.0
TONES = np.concatenate([np.arange(-58, -1), np.arange(2, 59)])
"""Subcarrier numbers of the 114 tones of a 40 MHz channel."""
PACKETS = 10
"""Packets per frame."""
WAVELENGTH = SPEED_OF_LIGHT / CARRIER_HZ

_COARSE, _FINE = 10, 12  # tone -58 + 12 a + b


def phasor(angle: Float[np.ndarray, "*s"]) -> Complex64[np.ndarray, "*s"]:
    """exp(j angle), accurate for angles of many turns; radians."""
    reduced = (angle - (2 * np.pi) * np.rint(angle / (2 * np.pi))).astype(np.float32)
    out = np.empty(angle.shape, np.complex64)
    out.real = np.cos(reduced)
    out.imag = np.sin(reduced)
    return out


def sum_over_tones(
    field: np.ndarray, path: Float[np.ndarray, "packet receiver element"]
) -> Complex64[np.ndarray, "packet receiver tone"]:
    """Sum of ``field exp(-j k path)`` over elements at all tones.

    The phase at tone -58 + 12 a + b is a product of a factor of a and a factor of b, both powers of one number, so that
    three exponentials and one small matrix product replace 114 exponentials per element.

    Args:
        field: real or complex strength, shaped like ``path`` or broadcastable to it.
        path: metres.
    """
    step = (2 * np.pi * SPACING_HZ / SPEED_OF_LIGHT) * path
    first = (2 * np.pi * (CARRIER_HZ - 58 * SPACING_HZ) / SPEED_OF_LIGHT) * path.astype(np.float64)
    coarse = np.empty((_COARSE, *path.shape), np.complex64)
    fine = np.empty((_FINE, *path.shape), np.complex64)
    coarse[0], fine[0] = field * phasor(-first), 1.0
    far, near = phasor(-_FINE * step), phasor(-step)
    for a in range(1, _COARSE):
        np.multiply(coarse[a - 1], far, out=coarse[a])
    for b in range(1, _FINE):
        np.multiply(fine[b - 1], near, out=fine[b])
    total = np.moveaxis(coarse, 0, -2) @ np.moveaxis(fine, 0, -1)
    return total.reshape(*path.shape[:-1], _COARSE * _FINE)[..., TONES + 58]
