"""A WiFi receiver: what an Atheros chain adds to the channel, and the values that MM-Fi's files hold.

Filter, gain steps, clock offsets, noise, 10-bit I and Q. The channel itself is in ``wifi_channel``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex64, Float, Int16

from equipose.simulate.room import Room
from equipose.simulate.wifi_channel import TONES, channel, empty_channel, phasor


@dataclass(frozen=True)
class Receiver:
    """Errors of the receiver.

    Attributes:
        level_db: mean of 20 log10 |I + jQ| in the empty room; a person in the link takes about 6 dB off.
        noise_db: noise on the same scale, about 26 dB below the level with a person.
        gain_steps_db: standard deviation of gain jumps of each chain.
        gain_jump: probability of a jump per packet.
        session_db: standard deviation of each chain's gain between recordings.
        carrier_step: mean and standard deviation of the common phase step between packets, radians.
        timing_slope: standard deviation of the phase slope, radians per subcarrier: per recording and per packet.
        phase_jitter: of each chain against the others, radians.
    """

    level_db: float = 47.0
    noise_db: float = 14.0
    gain_steps_db: tuple[float, float, float] = (1.9, 0.6, 1.3)
    gain_jump: float = 0.3
    session_db: float = 1.0
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
        field: noise-free channel.
        room: its empty channel fixes the mean gain of each chain; its filter shapes the tones.
        generator: source of all receiver errors.
        receiver: their sizes.
    """
    receiver = receiver or Receiver()
    shape = field.shape
    packets = shape[0] * shape[1]
    signal = field.reshape(packets, 3, TONES.size)
    filter_gain = 10 ** (room.wifi_response_db / 20)
    empty_db = 20 * np.log10(np.abs(empty_channel(room) * filter_gain)).mean(axis=-1)
    scale = 10 ** ((receiver.level_db - empty_db) / 20)[:, None] * filter_gain
    noise_size = 10 ** (receiver.noise_db / 20) / np.sqrt(2)

    jump = generator.random((packets, 3)) < receiver.gain_jump
    jump[0] = True
    levels = np.round(2 * generator.standard_normal((packets, 3)) * receiver.gain_steps_db) / 2
    last = np.maximum.accumulate(np.where(jump, np.arange(packets)[:, None], 0), axis=0)
    gain_db = np.take_along_axis(levels, last, axis=0) + generator.normal(0, receiver.session_db, 3)
    carrier = generator.uniform(0, 2 * np.pi) + np.cumsum(generator.normal(*receiver.carrier_step, packets))
    slope = generator.normal(0, receiver.timing_slope[0]) + generator.normal(0, receiver.timing_slope[1], packets)
    jitter = generator.normal(0, receiver.phase_jitter, (packets, 3))
    angle = (carrier[:, None] + jitter)[..., None] + slope[:, None, None] * TONES
    noise = generator.standard_normal((*signal.shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
    turned = signal * phasor(angle) * scale.astype(np.float32) + np.float32(noise_size) * noise
    turned *= (10 ** (gain_db / 20)).astype(np.float32)[..., None]

    def integer(part: np.ndarray) -> np.ndarray:
        quantised = np.clip(np.rint(part), -512, 511).astype(np.int16)
        return np.ascontiguousarray(quantised.reshape(shape).transpose(0, 2, 3, 1))

    return integer(turned.real), integer(turned.imag)


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
) -> tuple[Float[np.ndarray, "time 3 114 10"], Float[np.ndarray, "time 3 114 10"]]:
    """CSI amplitude (dB) and phase (radians) of each frame: receiver x tone x packet, float64.

    Args:
        joints: metres, camera frame; ten packets are spread evenly over each frame.
        room: antennas, walls, furniture.
        generator: source of receiver errors.
        girth: factor on the body's capsule radii.
        receiver: sizes of its errors.
    """
    return to_files(*receive(channel(joints, room, girth), room, generator, receiver))
