"""Statistics of WiFi channel state: what one frame of packets says about itself.

A packet's gain and phase are set anew each time, and all antennas share one clock. So the level is compared between
packets and antennas, the phase only between antennas, and noise is what is not smooth over tones or not the same in all
packets after the gain is taken out.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from equipose.separation.signal_statistic import Statistic, log_of
from equipose.types import Dense

CSI_STATISTICS = (
    Statistic("repeated", "share of packets", 1, 0.03, relative=False),
    Statistic("gain_steps", "log of dB", 1, 0.1),
    Statistic("phase_steps", "log of rad", 1, 0.1),
    Statistic("weakest", "dB", -1, 0.3),
    Statistic("tone_noise", "log of amplitude", 1, 0.03),
    Statistic("tone_noise_worst", "log of amplitude", 1, 0.03),
    Statistic("packet_noise", "log of amplitude", 1, 0.03),
    Statistic("band_noise", "log of amplitude", 1, 0.05),
)
"""In the order of ``csi_statistics``."""

_BAND = 10
"""Tones; a band of about a tenth."""
_LEAST = 1e-3


def csi_statistics(window: Dense) -> Float[Tensor, "batch statistic"]:
    """``CSI_STATISTICS`` of a window (batch, time, 2, receiver, tone, packet), dB and radians.

    ``repeated``: consecutive packets that are equal. ``gain_steps``: median step of a receiver's level between packets
    (mean of the receivers' logarithms). ``phase_steps``: median turn of the phase between receivers from packet to
    packet. ``weakest``: level of the weakest receiver under that of the strongest. ``tone_noise``: third difference of
    the amplitude over tones, median receiver; ``tone_noise_worst``: of the worst receiver. ``packet_noise``: what
    differs between packets after their gain is taken out; ``band_noise``: that in the worst tenth of the band over that
    of the median tone.

    Returns:
        float64; NaN where the own frame is not there or a statistic needs more packets, receivers or tones.
    """
    values, valid = window.values, window.valid
    out = values.new_full((len(values), len(CSI_STATISTICS)), torch.nan).double()
    if values.ndim != 6 or not len(values):
        return out
    middle = values.shape[1] // 2
    amplitude, phase = values[:, middle].double().unbind(1)  # (batch, receiver, tone, packet)
    level = amplitude.mean(2, keepdim=True)
    packet_level = level[:, :, 0]
    columns = [torch.full_like(out[:, 0], torch.nan)] * len(CSI_STATISTICS)
    columns[3] = packet_level.median(-1).values.amin(1) - packet_level.median(-1).values.amax(1)
    linear = 10.0 ** ((amplitude - level) / 20.0)
    if amplitude.shape[3] > 1:
        equal = (values[:, middle, ..., 1:] == values[:, middle, ..., :-1]).flatten(1, 3).all(1)
        columns[0] = equal.double().mean(-1)
        columns[1] = log_of(packet_level.diff(dim=-1).abs().median(-1).values, _LEAST).mean(1)
        columns[2] = _phase_steps(phase)
        columns[6], columns[7] = _packet_noise(linear)
    if amplitude.shape[2] > 3:
        rough = linear.diff(n=3, dim=2).square().mean((2, 3)).sqrt() / math.sqrt(20.0)
        columns[4], columns[5] = log_of(rough.median(1).values, _LEAST), log_of(rough.amax(1), _LEAST)
    return torch.where(valid[:, middle, None], torch.stack(columns, 1), torch.nan)


def _phase_steps(phase: Tensor) -> Float[Tensor, " batch"]:
    """Log of the median turn of receivers against the first, packet to packet; radians.

    The amplifier stages turn a few packets aside, a fault all of them.
    """
    if phase.shape[1] < 2:
        return phase.new_full((len(phase),), torch.nan)
    between = phase[:, 1:] - phase[:, :1]
    change = between.diff(dim=-1)
    turn = torch.atan2(change.sin().mean(2), change.cos().mean(2))
    return log_of(turn.abs().flatten(1).median(1).values, _LEAST)


def _packet_noise(linear: Tensor) -> tuple[Tensor, Tensor]:
    """Spread over packets of the amplitude without gain: of all tones, and of the worst band over the median tone."""
    change = linear.diff(dim=-1).abs().transpose(1, 2).flatten(2)  # (batch, tone, receiver and packet)
    deviation = change.median(-1).values
    middle = deviation.median(1).values
    if deviation.shape[1] < _BAND:
        return log_of(middle, _LEAST), torch.full_like(middle, torch.nan)
    bands = deviation.unfold(1, _BAND, 1).mean(-1).amax(1)
    return log_of(middle, _LEAST), log_of(bands, _LEAST) - log_of(middle, _LEAST)
