"""From the cube to points, in the steps of TI's demonstration: CFAR over range, azimuth FFT, elevation phase."""

from __future__ import annotations

import numpy as np
from jaxtyping import Complex64, Float, Float32

from equipose.simulate.radar_instrument import ANTENNAS, AZIMUTH_BINS, Radar


def background(
    level: Float32[np.ndarray, "time range doppler"], radar: Radar
) -> Float32[np.ndarray, "time range doppler"]:
    """The detector's noise, dB: the smaller of the means over ``training`` cells before and behind (CFAR-CASO).

    The smaller side lets the near and the far edge of an extended body pass, and hides weak cells that have strong ones
    on both sides. Where one side does not fit into the kept range bins, the other counts alone.
    """
    gap, count = radar.guard, radar.training
    sums = np.cumsum(level, axis=1, dtype=np.float64)
    sums = np.concatenate([np.zeros_like(sums[:, :1]), sums], axis=1)
    means = ((sums[:, count:] - sums[:, :-count]) / count).astype(np.float32)  # of the cells i to i + count - 1
    bins = level.shape[1]
    before = np.full_like(level, np.inf)
    behind = np.full_like(level, np.inf)
    before[:, gap + count :] = means[:, : bins - gap - count]
    behind[:, : bins - gap - count] = means[:, gap + 1 :]
    return np.minimum(before, behind)


def detect_points(
    echoes: Complex64[np.ndarray, "time range doppler antenna"], radar: Radar
) -> list[Float[np.ndarray, "_ 5"]]:
    """Points of each frame: forward, right, down (m), SNR (dB), Doppler (m/s); float64, in the radar's order."""
    parts = np.ascontiguousarray(echoes).view(np.float32)
    power = np.einsum("trdk,trdk->trd", parts, parts) / len(ANTENNAS)
    level = 10 * np.log10(power + 1e-20) - radar.noise_db
    noise = background(level, radar)
    frame, range_bin, doppler_bin = np.nonzero(level - noise > radar.threshold_db)
    strength = (level if radar.over_receiver else level - noise)[frame, range_bin, doppler_bin].astype(np.float64)
    speed = (doppler_bin - radar.num_chirps // 2) * radar.doppler_step
    snapshot = echoes[frame, range_bin, doppler_bin]
    # Undo the phase that the target's own motion adds between transmitters.
    turns = speed / (radar.doppler_step * radar.num_chirps)
    snapshot = snapshot * np.exp(-2j * np.pi * turns[:, None] * (ANTENNAS[:, 2] / 3))
    cell, right, up, share_db = angles(snapshot)
    distance = ((range_bin + radar.first_bin) * radar.range_step)[cell]
    forward = np.sqrt(np.maximum(1.0 - right**2 - up**2, 0.0))
    valid = right**2 + up**2 < 0.8
    columns = [distance * forward, distance * right, -distance * up, strength[cell] + share_db, speed[cell]]
    points = np.stack(columns, axis=-1)
    place = -points[:, 3] if radar.keep_strongest else (doppler_bin + radar.num_chirps // 2)[cell] % radar.num_chirps
    order = np.argsort(place, kind="stable")
    points, frame = points[order], np.where(valid, frame[cell], -1)[order]
    return [points[frame == t][: radar.max_points] for t in range(echoes.shape[0])]


def angles(snapshot: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Directions within each detected cell (row of 12 antenna values): the strongest and, within 3 dB, the second.

    Returns:
        Row of each direction, direction cosines to the right and up, power relative to the row's strongest in dB.
    """
    rows = np.arange(snapshot.shape[0])
    if rows.size == 0:
        return rows, np.zeros(0), np.zeros(0), np.zeros(0)
    spectrum = np.square(np.abs(np.fft.fft(snapshot[:, :8], AZIMUTH_BINS, axis=1)))
    peak = spectrum.argmax(axis=1)
    best = spectrum[rows, peak]
    local = (spectrum > np.roll(spectrum, 1, axis=1)) & (spectrum >= np.roll(spectrum, -1, axis=1))
    rest = np.where(local, spectrum, 0.0)
    rest[rows, peak] = 0.0
    second = rest.argmax(axis=1)
    double = rest[rows, second] > 0.5 * best
    row = np.concatenate([rows, rows[double]])
    azimuth_bin = np.concatenate([peak, second[double]])
    right = -2.0 * np.fft.fftfreq(AZIMUTH_BINS)[azimuth_bin]
    # The four antennas above antennas 2 to 5, both steered to the peak.
    steering = np.exp(1j * np.pi * right[:, None] * np.arange(4))
    lower = (snapshot[row, 2:6] * steering).sum(axis=1)
    upper = (snapshot[row, 8:12] * steering).sum(axis=1)
    up = -np.angle(upper * np.conj(lower)) / np.pi
    return row, right, up, 10 * np.log10(spectrum[row, azimuth_bin] / best[row])
