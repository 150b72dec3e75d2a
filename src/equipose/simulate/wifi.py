"""A WiFi receiver: what an Atheros chain adds to the channel, and the values that MM-Fi's files hold.

Filter, gain control, clock offsets, noise, 10-bit I and Q. The channel itself is in ``wifi_channel``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Complex64, Float, Int16

from equipose.simulate.room import Room
from equipose.simulate.wifi_band import TONES, phasor
from equipose.simulate.wifi_channel import channel, room_drift
from equipose.simulate.wifi_gain import GainControl, set_gain


@dataclass(frozen=True)
class Receiver:
    """Errors of the receiver.

    Attributes:
        gain: its gain control.
        snr_db: power of a packet over its noise, per chain. Real statistic: 25 to 28 dB in one frame of MM-Fi. The
            noise follows the packet's own level, as in the Atheros capture, where chains 17 dB apart have the same
            ratio: it is an error of the channel estimate, not of the antenna.
        carrier_step: mean and standard deviation of the common phase step between packets, radians. Real statistic:
            the same frame.
        timing_slope: standard deviation of the phase slope, radians per subcarrier: per recording and per packet. Real
            statistic: 0.02 to 0.05 in that frame.
        phase_jitter: of each chain against the others, radians. Real statistic: 0.05 to 0.1 in that frame.
    """

    gain: GainControl = field(default_factory=GainControl)
    snr_db: float = 26.5
    carrier_step: tuple[float, float] = (2.5, 0.4)
    timing_slope: tuple[float, float] = (0.02, 0.02)
    phase_jitter: float = 0.05


def receive(
    field: Complex64[np.ndarray, "time packet receiver tone"],
    room: Room,
    generator: np.random.Generator,
    receiver: Receiver | None = None,
) -> tuple[Int16[np.ndarray, "time receiver tone packet"], Int16[np.ndarray, "time receiver tone packet"]]:
    """What the receiver reports: I and Q as signed 10-bit integers.

    Args:
        field: noise-free channel; its unit does not matter, for the gain control takes it out.
        room: its filter shapes the tones.
        generator: source of all receiver errors.
        receiver: their sizes.
    """
    receiver = receiver or Receiver()
    shape = field.shape
    packets = shape[0] * shape[1]
    signal = field.reshape(packets, 3, TONES.size) * (10 ** (room.wifi_response_db / 20)).astype(np.float32)
    power = np.square(signal.real).mean(axis=-1) + np.square(signal.imag).mean(axis=-1)
    gain_db, stage_phase = set_gain(10 * np.log10(power), receiver.gain, generator)
    carrier = generator.uniform(0, 2 * np.pi) + np.cumsum(generator.normal(*receiver.carrier_step, packets))
    slope = generator.normal(0, receiver.timing_slope[0]) + generator.normal(0, receiver.timing_slope[1], packets)
    own = stage_phase + generator.normal(0, receiver.phase_jitter, (packets, 3))
    noise = generator.standard_normal((*signal.shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
    noise_size = np.sqrt(power / 2) * 10 ** (-receiver.snr_db / 20)
    seen = signal * phasor(slope[:, None] * TONES)[:, None]
    seen *= phasor(carrier[:, None] + own)[..., None]
    seen += noise_size.astype(np.float32)[..., None] * noise
    seen *= (10 ** (gain_db / 20)).astype(np.float32)[..., None]

    def integer(part: np.ndarray) -> np.ndarray:
        quantised = np.clip(np.rint(part), -512, 511).astype(np.int16)
        return np.ascontiguousarray(quantised.reshape(shape).transpose(0, 2, 3, 1))

    return integer(seen.real), integer(seen.imag)


def to_files(
    i: Int16[np.ndarray, "*s"], q: Int16[np.ndarray, "*s"]
) -> tuple[Float[np.ndarray, "*s"], Float[np.ndarray, "*s"]]:
    """Amplitude in dB and phase in radians as MM-Fi stores them, float64; I = Q = 0 becomes minus infinity."""
    power = i.astype(np.float64) ** 2 + q.astype(np.float64) ** 2
    with np.errstate(divide="ignore"):
        return 10.0 * np.log10(power), np.arctan2(q.astype(np.float64), i.astype(np.float64))


def observe(
    joints: Float[np.ndarray, "time 17 3"],
    room: Room,
    generator: np.random.Generator,
    girth: float = 1.0,
    receiver: Receiver | None = None,
    drift: float = 0.0,
) -> tuple[Float[np.ndarray, "time 3 114 10"], Float[np.ndarray, "time 3 114 10"]]:
    """CSI amplitude (dB) and phase (radians) of each frame: receiver x tone x packet, float64.

    Args:
        joints: metres, camera frame; ten packets are spread evenly over each frame.
        room: antennas, walls, furniture.
        generator: source of receiver errors.
        girth: factor on the body's capsule radii.
        receiver: sizes of its errors.
        drift: stress test, metres by which the furniture has moved since the last recording (``room_drift``); each
            recording then has a static channel of its own.
    """
    if drift:
        room = room_drift(room, generator, drift)
    return to_files(*receive(channel(joints, room, girth), room, generator, receiver))
