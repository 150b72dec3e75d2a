"""Statistics of CSI packets: gain, noise, clock. The same code for a real Atheros capture and for simulated files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Complex, Float

FULL_SCALE = 511
"""Largest positive value of a signed 10-bit integer."""

_FOURTH_DIFFERENCE = np.array([1.0, -4.0, 6.0, -4.0, 1.0]) / np.sqrt(70.0)


@dataclass(frozen=True)
class Packets:
    """Samples over packets; each is one-dimensional.

    Attributes:
        level: level of a packet on a chain around the chain's median, dB. A chain is one receiver (and transmitter).
        level_shape: that level, around its mean and over its standard deviation on the chain.
        level_memory: product of a packet's and the next packet's ``level_shape``; its mean is their correlation.
        gain_step: change of that level to the next packet, its size, dB.
        snr: power over the part of it that is rough from tone to tone (fourth difference over neighbouring tones: a
            channel with delays below 0.2 us leaves 50 dB less than its power there), dB, per packet and chain.
        carrier: turn of the phase common to all chains to the next packet, around its circular mean, radians.
        chain_phase: turn of one chain to the next packet beyond the common turn, radians.
        slope_step: change of the phase slope over tones to the next packet, radians per tone.
        entries: one number, how many I/Q pairs there are.
        zeros: one number, of them with I = Q = 0.
        whole: one number, of them with integer I and Q.
        railed: one number, of them with I or Q at the end of the 10-bit scale.
    """

    level: Float[np.ndarray, " a"]
    level_shape: Float[np.ndarray, " a"]
    level_memory: Float[np.ndarray, " b"]
    gain_step: Float[np.ndarray, " b"]
    snr: Float[np.ndarray, " c"]
    carrier: Float[np.ndarray, " d"]
    chain_phase: Float[np.ndarray, " e"]
    slope_step: Float[np.ndarray, " f"]
    entries: Float[np.ndarray, " g"]
    zeros: Float[np.ndarray, " g"]
    whole: Float[np.ndarray, " g"]
    railed: Float[np.ndarray, " g"]

    def share(self, name: str) -> float:
        """``zeros``, ``whole`` or ``railed`` over all entries."""
        return float(getattr(self, name).sum() / self.entries.sum())


def packet_statistics(
    csi: Complex[np.ndarray, "packet tone chain"], tones: np.ndarray, steady: Bool[np.ndarray, " step"]
) -> Packets:
    """Statistics of successive packets.

    Args:
        csi: I + jQ in counts; zero where the file has minus infinity.
        tones: subcarrier number of each tone; neighbours differ by one.
        steady: which steps from one packet to the next last the usual time; the others are left out of ``carrier``,
            because the clock's turn grows with time.
    """
    power = np.abs(csi) ** 2
    level = 10 * np.log10(np.maximum(power.mean(axis=1), 1e-12))
    neighbours = np.diff(tones) == 1
    slope = np.angle((csi[:, 1:] * np.conj(csi[:, :-1]))[:, neighbours].sum(axis=(1, 2)))
    # Without its slope, for a change of slope over the whole band can turn the sum over tones to the other side.
    level_phase = csi * np.exp(-1j * slope[:, None] * tones)[..., None]
    turn = level_phase[1:] * np.conj(level_phase[:-1])
    common = np.angle(turn.sum(axis=(1, 2)))
    used = common[steady]
    mean_turn = np.angle(np.exp(1j * used).mean()) if used.size else 0.0
    own = np.angle(turn.sum(axis=1) * np.exp(-1j * common)[:, None])
    counts = np.array([float(csi.size)])
    whole = (np.abs(csi.real - np.rint(csi.real)) < 1e-6) & (np.abs(csi.imag - np.rint(csi.imag)) < 1e-6)
    railed = np.maximum(np.abs(csi.real), np.abs(csi.imag)) > FULL_SCALE - 0.5
    shape = (level - level.mean(axis=0)) / np.maximum(level.std(axis=0), 1e-9)
    return Packets(
        level=(level - np.median(level, axis=0)).ravel(),
        level_shape=shape.ravel(),
        level_memory=(shape[1:] * shape[:-1]).ravel(),
        gain_step=np.abs(np.diff(level, axis=0)).ravel(),
        snr=_snr(csi, power, tones).ravel(),
        carrier=np.angle(np.exp(1j * (used - mean_turn))),
        chain_phase=own.ravel(),
        slope_step=np.diff(slope),
        entries=counts,
        zeros=np.array([float((power < 0.5).sum())]),
        whole=np.array([float(whole.sum())]),
        railed=np.array([float(railed.sum())]),
    )


@dataclass(frozen=True)
class FrameSpread:
    """Standard deviations over the packets of each frame.

    Attributes:
        level: of each chain's level, dB.
        phase: of the phase between two chains, radians; chains 0 and 1, 1 and 2, ..., last and 0.
    """

    level: Float[np.ndarray, "frame chain"]
    phase: Float[np.ndarray, "frame chain"]


def frame_spread(csi: Complex[np.ndarray, "frame packet tone chain"]) -> FrameSpread:
    """How packets of one frame differ; I + jQ in counts, zero where the file has minus infinity."""
    level = 10 * np.log10(np.maximum((np.abs(csi) ** 2).mean(axis=2), 1e-12))
    cross = (csi * np.conj(np.roll(csi, -1, axis=3))).sum(axis=2)
    turn = np.angle(cross * np.conj(cross.mean(axis=1, keepdims=True)))
    return FrameSpread(level.std(axis=1), turn.std(axis=1))


def _snr(csi: np.ndarray, power: np.ndarray, tones: np.ndarray) -> Float[np.ndarray, "packet chain"]:
    taps = _FOURTH_DIFFERENCE.size
    count = csi.shape[1] - taps + 1
    rough = sum(weight * csi[:, i : i + count] for i, weight in enumerate(_FOURTH_DIFFERENCE))
    together = tones[taps - 1 :] - tones[:count] == taps - 1  # not across the gap at the carrier
    noise = np.mean(np.abs(np.asarray(rough)[:, together]) ** 2, axis=1)
    return np.asarray(10 * np.log10(np.maximum(power.mean(axis=1), 1e-12) / np.maximum(noise, 1e-12)))


def pool(parts: Iterable[Packets]) -> Packets:
    """All samples together."""
    every = list(parts)
    return Packets(**{f.name: np.concatenate([getattr(part, f.name) for part in every]) for f in fields(Packets)})
