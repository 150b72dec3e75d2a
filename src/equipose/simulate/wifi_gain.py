"""Automatic gain control of a WiFi receiver: every packet is brought to one level, with an error.

What the CSI of a real Atheros receiver (401 packets, three chains) shows, and what is therefore modelled: the gain is
one number for each chain and packet. It takes out nearly all of the received level: chains whose signal strengths lie
17 dB apart arrive within 3 dB. What remains is drawn anew for every packet (its correlation with the next packet is
below 0.1) and for every chain, has a tail towards low levels and none towards high ones (skewness -1.2 to -2.0), and
does not touch the noise ratio. In about one of twenty packets, with gains far below the usual, a chain's phase lies
0.4 to 0.5 rad aside, as another setting of the amplifier stages turns it. The size of the error is taken from MM-Fi.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class GainControl:
    """How a receiver sets its gain. Levels are 10 log10 of the mean of I^2 + Q^2 over tones, dB.

    Attributes:
        target_db: level aimed at, averaged over chains. Real statistic: with it the mean of 20 log10 |I + jQ| is that
            of MM-Fi's rooms, 40.1 dB; the rail of 10 bits, 54.2 dB, is then 13 dB away.
        chain_db: (3,) deviation of each chain's target. Real statistic: the capture's chains, 1.4 dB apart (standard
            deviation).
        error_db: (3,) standard deviation of the error of each packet's gain. Real statistic: MM-Fi's one known frame.
            The other capture has 2.7 to 3.3 dB and none of its 120 stretches of ten packets has less than 0.66 dB, so
            it is another setting.
        tail: share of the error's standard deviation that is exponential, towards low levels; the rest is normal.
            Real statistic: skewness -2 tail^3 is -1.55, the mean of the capture's chains.
        step_db: quantisation of the gain. Choice.
        stage_db: error below which the amplifier stages are set otherwise. Real statistic: exceeded by 5 % of packets
            of the capture's chains, where the error has 2.9 dB.
        stage_phase: turn of the chain's phase by that, radians. Real statistic: the capture's clusters.
    """

    target_db: float = 41.3
    chain_db: tuple[float, float, float] = (-0.6, 1.6, -1.0)
    error_db: tuple[float, float, float] = (1.9, 0.6, 1.3)
    tail: float = 0.92
    step_db: float = 0.5
    stage_db: float = 5.0
    stage_phase: float = 0.45


def set_gain(
    level_db: Float[np.ndarray, "packet 3"], control: GainControl, generator: np.random.Generator
) -> tuple[Float[np.ndarray, "packet 3"], Float[np.ndarray, "packet 3"]]:
    """Gain (dB) and its turn of the phase (radians) for each packet and chain.

    Args:
        level_db: received level.
        control: how the gain is set.
        generator: source of its errors.
    """
    wide = np.array(control.error_db)
    normal = generator.standard_normal(level_db.shape) * np.sqrt(1 - control.tail**2)
    error = wide * (normal + control.tail * (1 - generator.standard_exponential(level_db.shape)))
    wanted = control.target_db + np.array(control.chain_db) - level_db + error
    gain = np.rint(wanted / control.step_db) * control.step_db if control.step_db else wanted
    return gain, np.where(error < -control.stage_db, control.stage_phase, 0.0)
