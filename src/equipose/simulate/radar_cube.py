"""From echoes to the range x Doppler x antenna cube of an FMCW radar, one matrix product per frame.

A scatterer adds to the ADC samples ``A exp(j (2 pi q n / N + 2 pi f m + phase_a))`` over samples n, chirps m and
antennas a, with q = 2 B R / c: a product of three one-dimensional factors. Window, clutter filter and FFT are linear
and act on one axis each, so they are applied to the factors, and the cube is a matrix product of them.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Complex64, Float, Float32

from equipose.simulate.radar_echoes import Scatterers
from equipose.simulate.radar_instrument import ANTENNAS, Radar

_REACH = 24
_FINE = 512


def range_window(count: int) -> Float[np.ndarray, " sample"]:
    """Blackman window, as in TI's demonstration; sidelobes below -58 dB."""
    turn = 2 * np.pi * np.arange(count) / count
    return np.asarray(0.42 - 0.5 * np.cos(turn) + 0.08 * np.cos(2 * turn))


@lru_cache(maxsize=4)
def _window_transform(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Transform of the window about its middle, which is real, and its steps; 1 in the middle, float32.

    Tabulated every 1 / 512 bin up to 24 bins, beyond which it is below -100 dB and taken as zero.
    """
    window = range_window(count)
    offset = np.arange(-(_REACH + 1) * _FINE, (_REACH + 1) * _FINE + 2) / _FINE
    middle = (np.arange(count) - count // 2) * 2 * np.pi / count
    table = np.cos(offset[:, None] * middle) @ window / window.sum()
    table[np.abs(offset) > _REACH] = 0.0
    return table[:-1].astype(np.float32), np.diff(table).astype(np.float32)


def range_factor(bins: np.ndarray, weight: np.ndarray, radar: Radar) -> np.ndarray:
    """Window and FFT of ``weight exp(2 pi j q n / range_length)``: (..., range bin), a unit weight peaks at 1.

    Args:
        bins: q, any shape, float64.
        weight: complex, same shape.
        radar: its window of range bins.
    """
    table, steps = _window_transform(radar.num_samples)
    share = radar.num_samples / radar.range_length
    grid = radar.first_bin + np.arange(radar.num_bins)
    place = (share * _FINE * bins)[..., None] - share * _FINE * grid + (_REACH + 1) * _FINE
    place = np.clip(place, 0.0, table.size - 1.0).astype(np.float32)
    cell = place.astype(np.int32)
    kernel = table[cell] + (place - cell.astype(np.float32)) * steps[cell]
    # The window's middle turns by pi per bin of its own: a phase that splits into scatterer and range bin.
    turn = 2 * np.pi * (radar.num_samples // 2) / radar.range_length
    of_bin = (np.exp(1j * turn * bins) * weight).astype(np.complex64)
    of_grid = np.exp(-1j * turn * grid).astype(np.complex64)
    return kernel * of_bin[..., None] * of_grid


def doppler_matrix(radar: Radar) -> Complex64[np.ndarray, "chirp doppler"]:
    """Clutter filter (subtract the mean chirp), Hann window and FFT as one matrix; zero velocity in the middle."""
    count = radar.num_chirps
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(count) / count)
    bins = np.arange(count) - count // 2
    fourier = window[:, None] * np.exp(-2j * np.pi * np.outer(np.arange(count), bins) / count)
    return ((fourier - fourier.mean(axis=0)) / window.sum()).astype(np.complex64)


def cube(scatterers: Scatterers, radar: Radar) -> Complex64[np.ndarray, "time range doppler antenna"]:
    """Noise-free range x Doppler x antenna cube of every frame; a unit echo at 1 m peaks at 1."""
    time, count = scatterers.distance.shape
    turns = scatterers.speed / (radar.doppler_step * radar.num_chirps)  # Doppler in cycles per chirp triple
    distance = scatterers.distance
    carrier = np.exp(1j * 4 * np.pi * (distance / radar.wavelength))
    left = range_factor(distance / radar.range_step, scatterers.amplitude * carrier / distance**2, radar)
    small = turns.astype(np.float32)[..., None] * np.arange(radar.num_chirps, dtype=np.float32)
    chirps = _unit_phasor(small) @ doppler_matrix(radar)
    steering = _unit_phasor(
        (
            turns[..., None] * (ANTENNAS[:, 2] / 3)
            - 0.5 * scatterers.right[..., None] * ANTENNAS[:, 0]
            - 0.5 * scatterers.up[..., None] * ANTENNAS[:, 1]
        ).astype(np.float32)
    )
    right = (chirps[..., :, None] * steering[..., None, :]).reshape(time, count, -1)
    product = np.swapaxes(left, 1, 2) @ right
    return product.reshape(time, radar.num_bins, radar.num_chirps, len(ANTENNAS))


def _unit_phasor(turns: Float32[np.ndarray, "*s"]) -> Complex64[np.ndarray, "*s"]:
    angle = (2 * np.pi) * turns
    out = np.empty(turns.shape, np.complex64)
    out.real = np.cos(angle)
    out.imag = np.sin(angle)
    return out
