"""WiFi faults: each changes one frame of channel state as the complex number it is; see ``pixels`` for the form.

A frame is (2, receiver, tone, packet): amplitude ``20 log10 |I + jQ|`` in decibel, phase in radians; minus infinity
decibel is I = Q = 0. Where a fault only scales or turns the complex number, decibels or radians are added, which is the
same thing without rounding; what a fault does not touch keeps its bits.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Complex, Float
from numpy import ndarray
from numpy.random import Generator

WEAK_CHAIN_DB = 20.0
RECEIVER_NOISE = 1.0
"""Noise of a chain without antenna, in counts of I and Q."""
JAMMER_DB = 10.0
"""Power of the jammer above the frame's mean power."""


def to_complex(frame: Float[ndarray, "2 receiver tone packet"]) -> Complex[ndarray, "receiver tone packet"]:
    """The channel, complex128, in counts of I and Q."""
    amplitude, phase = frame.astype(np.float64)
    return np.asarray(10.0 ** (amplitude / 20.0) * np.exp(1j * phase))


def from_complex(channel: Complex[ndarray, "receiver tone packet"]) -> Float[ndarray, "2 receiver tone packet"]:
    """Amplitude in decibel and phase in radians, float64; zero is minus infinity."""
    with np.errstate(divide="ignore"):
        return np.stack((20.0 * np.log10(np.abs(channel)), np.angle(channel)))


def awgn(
    frame: Float[ndarray, "2 receiver tone packet"], level: float, fault: Generator, noise: Generator
) -> Float[ndarray, "2 receiver tone packet"]:
    """White Gaussian noise at a signal-to-noise ratio of ``level`` decibel, by the mean power of the frame."""
    channel = to_complex(frame)
    power = np.mean(np.abs(channel) ** 2) / 10.0 ** (level / 10.0)
    return from_complex(channel + _gaussian(noise, channel.shape, power))


def packet_loss(
    frame: Float[ndarray, "2 receiver tone packet"], level: float, fault: Generator, noise: Generator
) -> Float[ndarray, "2 receiver tone packet"]:
    """``level`` of the ten packets lost, each replaced by the last one received; the first is never lost."""
    packets = frame.shape[-1]
    source = np.arange(packets)
    source[noise.permutation(np.arange(1, packets))[: int(level)]] = 0
    return np.ascontiguousarray(frame[..., np.maximum.accumulate(source)])


def agc_jumps(
    frame: Float[ndarray, "2 receiver tone packet"], level: float, fault: Generator, noise: Generator
) -> Float[ndarray, "2 receiver tone packet"]:
    """The gain of each packet and receiver off by ``level`` decibel (standard deviation)."""
    out = frame.copy()
    out[0] += level * noise.standard_normal((frame.shape[1], 1, frame.shape[3]))
    return out


def phase_jumps(
    frame: Float[ndarray, "2 receiver tone packet"], level: float, fault: Generator, noise: Generator
) -> Float[ndarray, "2 receiver tone packet"]:
    """The phase of each packet and receiver off by ``level`` radians (standard deviation)."""
    out = frame.copy()
    turned = frame[1].astype(np.float64) + level * noise.standard_normal((frame.shape[1], 1, frame.shape[3]))
    out[1] = np.angle(np.exp(1j * turned))
    return out


def dead_chain(
    frame: Float[ndarray, "2 receiver tone packet"], level: float, fault: Generator, noise: Generator
) -> Float[ndarray, "2 receiver tone packet"]:
    """Receive chains without a signal: ``level`` of them read the receiver's own noise; 0: one is 20 dB weak.

    Which, is that of the burst.
    """
    order = fault.permutation(frame.shape[1])
    out = frame.copy()
    if level == 0:
        out[0, order[0]] -= WEAK_CHAIN_DB
        return out
    hum = from_complex(_gaussian(noise, frame.shape[1:], 2.0 * RECEIVER_NOISE**2))
    dead = order[: int(level)]
    out[:, dead] = hum[:, dead]
    return out


def jammed_band(
    frame: Float[ndarray, "2 receiver tone packet"], level: float, fault: Generator, noise: Generator
) -> Float[ndarray, "2 receiver tone packet"]:
    """A share ``level`` of neighbouring tones under a jammer 10 dB above the frame's mean power.

    Which band, is that of the burst; a wider one holds a narrower one.
    """
    tones = frame.shape[2]
    width = max(1, round(level * tones))
    first = int(fault.random() * (tones - width + 1))
    channel = to_complex(frame)
    power = np.mean(np.abs(channel) ** 2) * 10.0 ** (JAMMER_DB / 10.0)
    jammer = _gaussian(noise, channel.shape, power)
    band = slice(first, first + width)
    out = frame.copy()
    out[:, :, band] = from_complex(channel[:, band] + jammer[:, band])
    return out


def _gaussian(noise: Generator, shape: tuple[int, ...], power: float) -> Complex[ndarray, "*shape"]:
    """Complex white noise of a mean power."""
    parts = noise.standard_normal((2, *shape)) * np.sqrt(power / 2.0)
    return np.asarray(parts[0] + 1j * parts[1])
