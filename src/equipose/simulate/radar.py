"""A 60 GHz FMCW radar with 3 x 4 antennas (as the TI IWR6843): from echoes to a detected point cloud.

One of the scatterers of ``radar_echoes`` adds to the ADC samples
``A exp(j (2 pi q n / N + 2 pi f m + phase_a))`` over samples n, chirps m and antennas a, with q = 2 B R / c: a product
of three one-dimensional factors. Window, clutter filter and FFT are linear and act on one axis each, so they are
applied to the factors, and the whole range x Doppler x antenna cube is one matrix product per frame. Noise is added to
the cube. Then OS-CFAR (Rohling 1983) over range, an azimuth FFT and the elevation phase, as in TI's demonstration.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Complex64, Float, Float32

from equipose.simulate.body import velocity
from equipose.simulate.geometry import SPEED_OF_LIGHT
from equipose.simulate.radar_echoes import Scatterers, body_scatterers, breathing, floor_ghosts, join, reflectivity
from equipose.simulate.room import Room

_CHUNK = 8
_AZIMUTH_BINS = 64

# Positions of the virtual antennas in half wavelengths (right, up) and the transmitter's turn in a chirp triple.
ANTENNAS = np.array(
    [(i, 0, 0) for i in range(4)] + [(i + 4, 0, 2) for i in range(4)] + [(i + 2, 1, 1) for i in range(4)]
)


@dataclass(frozen=True)
class Radar:
    """Waveform and detector.

    Attributes:
        carrier: centre frequency, Hz.
        bandwidth: swept while sampling, Hz; range bins are c / (2 bandwidth) = 4.7 cm.
        num_samples: ADC samples per chirp.
        first_bin: first range bin kept (1.3 m).
        num_bins: range bins kept (3.0 m).
        num_chirps: chirp triples per frame.
        doppler_step: velocity of one Doppler bin, m/s.
        noise_db: noise per cube cell relative to a scatterer of 1 m amplitude at 1 m.
        rank: which order statistic along range stands for the noise.
        threshold_db: over that noise.
        max_points: strongest detections kept.
        frame_loss: share of frames lost on the way to the disk.
        floor_reflection: field reflection factor of the floor at 60 GHz and grazing incidence.
        mount_jitter: standard deviation, per recording, of the radar's aim to the right and up, radians. MM-Fi's users
            report radar clouds that are shifted against the LiDAR's by an amount that differs between recordings.
    """

    carrier: float = 61.8e9
    bandwidth: float = 3.2e9
    num_samples: int = 256
    first_bin: int = 28
    num_bins: int = 64
    num_chirps: int = 32
    doppler_step: float = 0.24
    noise_db: float = -72.0
    rank: int = 32
    threshold_db: float = 14.0
    max_points: int = 64
    frame_loss: float = 0.02
    floor_reflection: float = 0.2
    mount_jitter: float = 0.035

    @property
    def wavelength(self) -> float:
        """Metres."""
        return SPEED_OF_LIGHT / self.carrier

    @property
    def range_step(self) -> float:
        """Metres per range bin."""
        return SPEED_OF_LIGHT / (2 * self.bandwidth)


def range_factor(bins: np.ndarray, weight: np.ndarray, radar: Radar) -> np.ndarray:
    """Hann window and FFT of ``weight exp(2 pi j q n / N)`` in closed form: (..., range bin), a unit weight peaks at 1.

    Args:
        bins: q, any shape, float64.
        weight: complex, same shape.
        radar: its window of range bins.

    The Hann window is a sum of three exponentials, so its transform is three Dirichlet kernels.
    """
    turn = np.pi / radar.num_samples
    # A whole number of bins would divide zero by zero; 1e-7 bins away the kernel is the same to 1e-7.
    bins = np.where(np.abs(bins - np.rint(bins)) < 1e-7, bins + 1e-7, bins)[..., None]
    grid = radar.first_bin + np.arange(radar.num_bins)
    # Sine and cosine of turn * (bins - grid) by the addition theorem: no transcendental per pair.
    sin_bin, cos_bin, sin_grid, cos_grid = (
        np.sin(turn * bins),
        np.cos(turn * bins),
        np.sin(turn * grid),
        np.cos(turn * grid),
    )
    sine, cosine = sin_bin * cos_grid - cos_bin * sin_grid, cos_bin * cos_grid + sin_bin * sin_grid
    one_sine, one_cosine = np.sin(turn), np.cos(turn)
    lower = 1 / (sine * one_cosine - cosine * one_sine)  # of one bin below
    upper = 1 / (sine * one_cosine + cosine * one_sine)
    kernel = np.empty(sine.shape, np.complex64)
    kernel.real = 0.5 / sine - (0.25 * one_cosine) * (lower + upper)
    kernel.imag = (0.25 * one_sine) * (upper - lower)
    # Numerator sin(pi (bins - grid)) and phase (pi - turn) (bins - grid), each a product.
    of_bin = np.sin(np.pi * bins) * np.exp(1j * (np.pi - turn) * bins) * (weight[..., None] * (2 / radar.num_samples))
    of_grid = np.where(grid % 2, -1, 1) * np.exp(-1j * (np.pi - turn) * grid)
    return kernel * of_grid.astype(np.complex64) * of_bin.astype(np.complex64)


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
    weight = scatterers.amplitude * carrier / distance**2
    left = range_factor(distance / radar.range_step, weight, radar)
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


def detect_points(
    echoes: Complex64[np.ndarray, "time range doppler antenna"], radar: Radar
) -> list[Float[np.ndarray, "_ 5"]]:
    """Points of each frame: forward, right, down (m), SNR (dB), Doppler (m/s); strongest first, float64."""
    parts = np.ascontiguousarray(echoes).view(np.float32)
    power = np.einsum("trdk,trdk->trd", parts, parts)
    noise = np.partition(power, radar.rank, axis=1)[:, radar.rank][:, None]
    snr = power / noise
    found = snr > 10 ** (radar.threshold_db / 10)
    frame, range_bin, doppler_bin = np.nonzero(found)
    level = 10 * np.log10(snr[frame, range_bin, doppler_bin].astype(np.float64))
    speed = (doppler_bin - radar.num_chirps // 2) * radar.doppler_step
    snapshot = echoes[frame, range_bin, doppler_bin]
    # Undo the phase that the target's own motion adds between transmitters.
    turns = speed / (radar.doppler_step * radar.num_chirps)
    snapshot = snapshot * np.exp(-2j * np.pi * turns[:, None] * (ANTENNAS[:, 2] / 3))
    cell, right, up, share_db = _angles(snapshot)
    distance = ((range_bin + radar.first_bin) * radar.range_step)[cell]
    forward = np.sqrt(np.maximum(1.0 - right**2 - up**2, 0.0))
    valid = right**2 + up**2 < 0.8
    columns = [distance * forward, distance * right, -distance * up, level[cell] + share_db, speed[cell]]
    points = np.stack(columns, axis=-1)
    frame = frame[cell]
    clouds = []
    for t in range(echoes.shape[0]):
        mine = points[(frame == t) & valid]
        order = np.argsort(-mine[:, 3], kind="stable")[: radar.max_points]
        clouds.append(mine[order])
    return clouds


def _angles(snapshot: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Directions within each detected cell (row of 12 antenna values): the strongest and, within 3 dB, the second.

    Returns:
        Row of each direction, direction cosines to the right and up, power relative to the row's strongest in dB.
    """
    rows = np.arange(snapshot.shape[0])
    if rows.size == 0:
        return rows, np.zeros(0), np.zeros(0), np.zeros(0)
    spectrum = np.square(np.abs(np.fft.fft(snapshot[:, :8], _AZIMUTH_BINS, axis=1)))
    peak = spectrum.argmax(axis=1)
    best = spectrum[rows, peak]
    local = (spectrum > np.roll(spectrum, 1, axis=1)) & (spectrum >= np.roll(spectrum, -1, axis=1))
    rest = np.where(local, spectrum, 0.0)
    rest[rows, peak] = 0.0
    second = rest.argmax(axis=1)
    double = rest[rows, second] > 0.5 * best
    row = np.concatenate([rows, rows[double]])
    azimuth_bin = np.concatenate([peak, second[double]])
    right = -2.0 * np.fft.fftfreq(_AZIMUTH_BINS)[azimuth_bin]
    # The four antennas above antennas 2 to 5, both steered to the peak.
    steering = np.exp(1j * np.pi * right[:, None] * np.arange(4))
    lower = (snapshot[row, 2:6] * steering).sum(axis=1)
    upper = (snapshot[row, 8:12] * steering).sum(axis=1)
    up = -np.angle(upper * np.conj(lower)) / np.pi
    return row, right, up, 10 * np.log10(spectrum[row, azimuth_bin] / best[row])


def detect(
    joints: Float[np.ndarray, "time 17 3"],
    room: Room,
    generator: np.random.Generator,
    girth: float = 1.0,
    frame_rate: float = 10.0,
    joint_velocity: Float[np.ndarray, "time 17 3"] | None = None,
    radar: Radar | None = None,
) -> list[Float[np.ndarray, "_ 5"]]:
    """Detected point cloud of each frame.

    Static echoes (walls, furniture, limbs at rest) are removed by the clutter filter and so are not simulated.

    Args:
        joints: metres, camera frame.
        room: the radar's place and the floor.
        generator: source of reflectivities, noise and lost frames.
        girth: factor on the body's capsule radii.
        frame_rate: of ``joints``, Hz.
        joint_velocity: metres per second; by default central differences of ``joints``.
        radar: waveform and detector.

    Returns:
        Points (forward, right, down in metres from the radar, SNR in dB, Doppler in m/s, positive when receding),
        float64. Empty arrays occur.
    """
    radar = radar or Radar()
    if joint_velocity is None:
        joint_velocity = velocity(joints, frame_rate)
    position = room.radar_position
    height = float(room.high[1] - position[1])
    aim = generator.normal(0.0, radar.mount_jitter, 2)
    breath = breathing(joints.shape[0], frame_rate, generator)
    lost = generator.random(size=(joints.shape[0],)) < radar.frame_loss
    noise = np.float32(10 ** (radar.noise_db / 20) / np.sqrt(2))
    clouds: list[np.ndarray] = []
    for first in range(0, joints.shape[0], _CHUNK):
        part = slice(first, first + _CHUNK)
        glints = reflectivity(joints[part].shape[0], generator)
        body = body_scatterers(joints[part], joint_velocity[part] + breath[part], position, glints, girth)
        sources = join(body, floor_ghosts(body, height, radar.floor_reflection))
        echoes = cube(replace(sources, right=sources.right + aim[0], up=sources.up + aim[1]), radar)
        flat = echoes.view(np.float32)
        flat += noise * generator.standard_normal(flat.shape, dtype=np.float32)
        clouds += detect_points(echoes, radar)
    return [np.zeros((0, 5)) if gone else cloud for gone, cloud in zip(lost, clouds, strict=True)]
