"""From light to a return: which of two surfaces in one beam answers, how exactly, and whether at all.

Signal is reflectivity x cos(incidence) / range^2, in 1/m^2. Ouster's calibrated reflectivity is the same product
without the range, so a real sweep tells loss and noise as functions of the signal directly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float


@dataclass(frozen=True)
class Receiver:
    """The light's way back.

    Attributes:
        threshold: signal that is needed, 1/m^2. Coherent light speckles, so the received signal is exponentially
            distributed around its mean and a return is lost with probability 1 - exp(-threshold / signal). The real
            OS1-32 sweep gives about 5e-6 for signals from 5e-5 to 1e-3; a 10 % target found at 45 m in 90 % of all
            cases (OS1 range figure, unverified) gives 5.2e-6.
        base_loss: share of returns lost however strong they are (real sweep: 0.1 % of 4 840 strong
            ones beyond the threshold's share).
        noise: standard deviation of range at a signal of 0.01 / m^2, metres (real sweep, smooth surfaces).
        noise_power: noise falls with the signal to this power (real sweep: 14 mm at 1.5e-4 to 2.5 mm at 5e-2).
        noise_range: smallest and largest standard deviation, metres (real sweep; the upper end is a choice).
        resolution: surfaces closer than this in range are one echo, metres (choice: a pulse of 2 ns).
    """

    threshold: float = 5.2e-6
    base_loss: float = 0.001
    noise: float = 0.0046
    noise_power: float = 0.29
    noise_range: tuple[float, float] = (0.0025, 0.05)
    resolution: float = 0.3

    def lost(self, signal: Float[np.ndarray, "*ray"]) -> Float[np.ndarray, "*ray"]:
        """Probability that no return comes."""
        found = np.exp(-self.threshold / np.maximum(signal, 1e-12))
        return 1.0 - (1.0 - self.base_loss) * found

    def deviation(self, signal: Float[np.ndarray, "*ray"]) -> Float[np.ndarray, "*ray"]:
        """Standard deviation of range, metres."""
        if not self.noise:
            return np.zeros_like(signal)
        low, high = self.noise_range
        return np.clip(self.noise * (np.maximum(signal, 1e-12) / 0.01) ** -self.noise_power, low, high)


PERFECT = Receiver(threshold=0.0, base_loss=0.0, noise=0.0)
"""Loses nothing and measures exactly."""


def mix(
    receiver: Receiver,
    share: Float[np.ndarray, " ray"],
    front: tuple[Float[np.ndarray, " ray"], Float[np.ndarray, " ray"]],
    back: tuple[Float[np.ndarray, " ray"], Float[np.ndarray, " ray"]],
) -> tuple[Float[np.ndarray, " ray"], Float[np.ndarray, " ray"]]:
    """Distance and signal of a beam that falls on two surfaces.

    The OS1 reports the strongest echo; surfaces within its resolution make one echo in between (a flying point).

    Args:
        receiver: its resolution.
        share: of the beam that falls on the front surface.
        front: distance, metres, and reflectivity x cos(incidence) of the nearer surface.
        back: the same of the farther one; the distance may be infinite.
    """
    near, far = front[0], back[0]
    near_signal = share * front[1] / near**2
    far_signal = (1.0 - share) * back[1] / far**2
    both = near_signal + far_signal
    merged: Bool[np.ndarray, " ray"] = far - near < receiver.resolution
    behind = np.where(np.isfinite(far), far - near, 0.0)
    weight = np.where(merged, far_signal / np.maximum(both, 1e-12), far_signal > near_signal)
    return near + weight * behind, np.where(merged, both, np.maximum(near_signal, far_signal))
