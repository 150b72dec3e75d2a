"""Settings of two FMCW radars with 3 x 4 antennas: MM-Fi's 60 GHz one and the 77 GHz one of MARS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from equipose.simulate.geometry import SPEED_OF_LIGHT

AZIMUTH_BINS = 64
"""Length of the azimuth transform: in MARS every azimuth sine is a multiple of 1 / 32."""

# Positions of the virtual antennas in half wavelengths (right, up) and the transmitter's turn in a chirp triple.
ANTENNAS = np.array(
    [(i, 0, 0) for i in range(4)] + [(i + 4, 0, 2) for i in range(4)] + [(i + 2, 1, 1) for i in range(4)]
)


@dataclass(frozen=True)
class Radar:
    """Waveform, antennas and detector. Defaults: TI IWR6843, as MM-Fi's; its own settings are not public.

    Attributes:
        carrier: centre frequency, Hz.
        bandwidth: swept while sampling, Hz (choice: 3.2 GHz of the 4 that the chip has; 4.7 cm).
        num_samples: ADC samples per chirp.
        range_length: length of the range transform, samples and zeros; range bins are c num_samples / (2 bandwidth
            range_length).
        first_bin: first range bin kept.
        num_bins: range bins kept.
        num_chirps: chirp triples per frame.
        doppler_step: velocity of one Doppler bin, m/s (choice: other recorded sets of this radar have 0.24 to 0.36).
        noise_db: receiver noise per antenna and cube cell, relative to a scatterer of 1 m amplitude at 1 m. Real
            statistic: with -75 the strengths of MARS's points spread as its intensities do (7.3 dB).
        guard: range cells on both sides that the detector leaves out (TI's demonstration: 4).
        training: range cells beyond them that stand for the noise, on either side (TI's demonstration: 8).
        threshold_db: over the smaller of both sides' mean of decibels. Real statistic: MM-Fi's filtered frames, 85 % of
            all, hold 28 to 33 points on average; with 13, the fullest 85 % hold 30. TI's demonstration has 15.
        over_receiver: strength of a point over the receiver's noise, as a peak value; else over the detector's
            estimate, as the SNR of TI's later demonstrations.
        max_points: points kept (TI's demonstration for the IWR1443: 64).
        keep_strongest: which are kept, and their order: the strongest; else the first by Doppler, from zero upwards
            and then from the fastest approach, as the IWR1443 lists them.
        frame_loss: share of frames lost on the way to the disk (choice).
        azimuth_beam: half width at half power of one antenna to the side, degrees (TI's boards: about 28).
        elevation_beam: the same in height, degrees (TI's boards: about 14).
        back_db: level of an antenna off its beam, dB one way (choice: patch antennas keep about this).
        mount_jitter: standard deviation, per recording, of the radar's aim to the right and up, radians. MM-Fi's users
            report radar clouds that are shifted against the LiDAR's by an amount that differs between recordings.
    """

    carrier: float = 61.8e9
    bandwidth: float = 3.2e9
    num_samples: int = 256
    range_length: int = 256
    first_bin: int = 28
    num_bins: int = 64
    num_chirps: int = 32
    doppler_step: float = 0.24
    noise_db: float = -75.0
    guard: int = 4
    training: int = 8
    threshold_db: float = 13.0
    over_receiver: bool = False
    max_points: int = 64
    keep_strongest: bool = True
    frame_loss: float = 0.02
    azimuth_beam: float = 28.0
    elevation_beam: float = 14.0
    back_db: float = -20.0
    mount_jitter: float = 0.035

    @property
    def wavelength(self) -> float:
        """Metres."""
        return SPEED_OF_LIGHT / self.carrier

    @property
    def range_step(self) -> float:
        """Metres per range bin."""
        return SPEED_OF_LIGHT * self.num_samples / (2 * self.bandwidth * self.range_length)

    def gain(self, right: Float[np.ndarray, "*s"], up: Float[np.ndarray, "*s"]) -> Float[np.ndarray, "*s"]:
        """Field of one antenna towards direction cosines, one way; 1 straight ahead.

        The decibels grow with the square of the elevation and the power 1.2 of the azimuth, which meets the widths at
        half and at a quarter of the power given for TI's boards (28 and 50 degrees to the side, 14 and 20 in height).
        """
        elevation = np.degrees(np.abs(up)) / self.elevation_beam
        azimuth = np.degrees(np.abs(right)) / self.azimuth_beam
        return np.asarray(10 ** (np.maximum(-3.0 * (elevation**2 + azimuth**1.2), self.back_db) / 20))


MARS = Radar(
    carrier=79.0e9,
    bandwidth=3.1988e9,
    num_samples=160,
    range_length=256,
    first_bin=20,
    num_bins=96,
    num_chirps=16,
    doppler_step=0.356,
    threshold_db=15.0,
    over_receiver=True,
    keep_strongest=False,
    frame_loss=0.0,
    mount_jitter=0.0,
)
"""The IWR1443 of MARS, as its files show it.

Range: a multiple of 2.9288 cm, finer than 4 GHz resolve (3.75 cm), so the transform is padded with zeros. Around a
strong peak the two neighbouring cells together lie 2.9 dB below it, which a Blackman window has with 160 samples in
256. Neighbouring range cells hold points, so peaks are not grouped. A cell holds up to two points, and the azimuth sine
is a multiple of 1 / 32. Doppler: a multiple of 0.356 m/s, never more than six steps, so 16 chirps suffice. Frames of 64
points lack points in the last Doppler row alone, so the list is cut in that order. The intensity is a magnitude: the
cell next in Doppler to a strong one lies 9 dB below it in 20 log10, and a Hann window allows no less than 6.
"""
