"""WiFi: what is judged, and what is shown without a verdict because another instrument's setting decides it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from equipose.report.fidelity.packets import FrameSpread, Packets
from equipose.report.fidelity.rows import Parts, Row, compare

FRAME_GAIN_DB = (1.9, 0.6, 1.3)
"""MM-Fi, one frame: standard deviation of each antenna's level over its ten packets."""
FRAME_SNR_DB = (25.0, 28.0)
"""MM-Fi, the same frame: lowest and highest signal-to-noise ratio of a packet."""
FRAME_PHASE = (0.05, 0.1)
"""MM-Fi, the same frame: smallest and largest deviation of the phase between two antennas, radians."""

_RANGE = "the ends of the range in one frame of MM-Fi"
_ROOMS_DIFFER = "Not the same rooms, so every simulated one is compared with every real one."
_GAIN = (
    "Another receiver with a wider gain setting: each of its 120 stretches of ten packets has at least 0.66 dB, "
    "MM-Fi's own frame has 0.6, 1.3 and 1.9 dB. MM-Fi's is the reference."
)


@dataclass(frozen=True)
class Spectrum:
    """Amplitude over tones in one room, dB: mean and standard deviation over frames, antennas and packets."""

    mean: Float[np.ndarray, " 114"]
    deviation: Float[np.ndarray, " 114"]


def spectrum_rows(spectra: dict[str, Spectrum], rooms: Parts) -> tuple[Row, ...]:
    """Level, shape and spread over tones."""
    mine = list(spectra.values())

    def flat(values: np.ndarray) -> np.ndarray:
        return np.asarray(values - values.mean())

    return (
        compare(
            "csi_level",
            "mean level",
            "dB",
            [s.mean.mean() for s in mine],
            rooms.of([s.mean.mean() for s in rooms.values]),
            "difference",
        ),
        compare(
            "csi_spectrum",
            "mean spectrum",
            "dB",
            [s.mean for s in mine],
            rooms.of([s.mean for s in rooms.values]),
            "RMS difference",
            caution=_ROOMS_DIFFER,
        ),
        compare(
            "csi_spectrum_shape",
            "mean spectrum without its level",
            "dB",
            [flat(s.mean) for s in mine],
            rooms.of([flat(s.mean) for s in rooms.values]),
            "RMS difference",
            summary="standard deviation over tones",
            show=np.std,
            caution=_ROOMS_DIFFER,
        ),
        compare(
            "csi_deviation",
            "standard deviation per tone",
            "dB",
            [s.deviation for s in mine],
            rooms.of([s.deviation for s in rooms.values]),
            "RMS difference",
            caution="The gain control takes the level out, so this is fading between tones, antennas and people. "
            "MM-Fi's is nearly that of no direct path at all (5.6 dB): its rooms echo longer, or its link is more "
            "hidden.",
        ),
    )


def frame_rows(frames: FrameSpread, packets: Packets) -> tuple[Row, ...]:
    """Gain, noise and phase within a frame, against one frame of MM-Fi.

    Of the simulated frames, the middle one counts: a single real frame is most likely a typical one.
    """
    antennas = Parts(("RX0", "RX1", "RX2"), "the three antennas of one frame of MM-Fi", FRAME_GAIN_DB)

    def ends(values: tuple[float, float]) -> Parts:
        return Parts(("lowest", "highest"), _RANGE, values)

    return (
        compare(
            "csi_frame_gain",
            "standard deviation of an antenna's level within a frame",
            "dB",
            list(np.median(frames.level, axis=0)),
            antennas,
            "difference",
            caution="One real frame. The simulated gain error was set by it, so this checks the chain from there on.",
        ),
        compare(
            "csi_snr",
            "SNR per packet",
            "dB",
            [packets.snr.mean()],
            ends(FRAME_SNR_DB),
            "difference",
            caution="One real frame; the simulated noise was set by it.",
            digits=1,
        ),
        compare(
            "csi_frame_phase",
            "standard deviation of the phase between antennas within a frame",
            "rad",
            [np.median(frames.phase)],
            ends(FRAME_PHASE),
            "difference",
            caution="One real frame; the simulated jitter was set by it. Over all simulated frames the mean is "
            f"{frames.phase.mean():.2f} rad: fast movement and gain stages turn the phase in some of them.",
            digits=3,
        ),
    )


def packet_rows(packets: Packets, quarters: tuple[Packets, ...]) -> tuple[Row, ...]:
    """Gain, noise, clock, quantisation."""
    names = tuple(f"quarter {i}" for i in range(1, len(quarters) + 1))
    parts = Parts(names, f"the {len(quarters)} quarters of the capture", quarters)
    entries = float(sum(q.entries.sum() for q in quarters))

    def sample(
        key: str, name: str, unit: str, field: str, digits: int, summary: str = "", caution: str = "", context: str = ""
    ) -> Row:
        return compare(
            key,
            name,
            unit,
            [getattr(packets, field)],
            parts.of([getattr(q, field) for q in quarters]),
            "Wasserstein",
            summary=summary or "standard deviation",
            show=np.mean if summary == "mean" else np.std,
            digits=digits,
            caution=caution,
            context=context,
        )

    def share(key: str, name: str, field: str, count: float, floor_reason: str) -> Row:
        return compare(
            key,
            name,
            "%",
            [100 * packets.share(field)],
            parts.of([100 * q.share(field) for q in quarters]),
            "difference",
            summary="share",
            floor=100 * count / entries,
            floor_reason=floor_reason,
            digits=4,
        )

    return (
        sample(
            "csi_level_shape",
            "distribution of a packet's level, over its own standard deviation",
            "sd",
            "level_shape",
            3,
            caution="Another receiver; its distribution gave the simulated one's skewness.",
        ),
        compare(
            "csi_level_memory",
            "correlation of a packet's level with the next one's",
            "",
            [packets.level_memory.mean()],
            parts.of([q.level_memory.mean() for q in quarters]),
            "difference",
            caution="Another receiver. Packets 2 ms apart against 10 ms; neither remembers.",
        ),
        sample("csi_packet_level", "level of a packet around its chain's median", "dB", "level", 2, context=_GAIN),
        sample(
            "csi_gain_step",
            "size of the gain step to the next packet",
            "dB",
            "gain_step",
            2,
            summary="mean",
            context=_GAIN,
        ),
        sample(
            "csi_snr_capture",
            "SNR per packet in the capture",
            "dB",
            "snr",
            1,
            summary="mean",
            context="Another receiver on another link; MM-Fi's own frame is the reference.",
        ),
        sample(
            "csi_carrier_step",
            "common phase step to the next packet, around its mean",
            "rad",
            "carrier",
            3,
            context="The turn grows with the time between packets: 2.1 ms in the capture, 10 ms in MM-Fi. In MM-Fi's "
            "own frame its standard deviation is 0.4 rad.",
        ),
        sample(
            "csi_chain_phase",
            "phase step of a chain against the others",
            "rad",
            "chain_phase",
            3,
            context="Another receiver, whose amplifier stages switch with its wider gain steps and turn the phase by "
            "up to 2.5 rad; between the antennas of MM-Fi's own frame the phase stays within 0.05 to 0.1 rad.",
        ),
        sample(
            "csi_slope_step",
            "change of phase slope to the next packet",
            "rad/tone",
            "slope_step",
            4,
            caution="Other clocks.",
        ),
        share(
            "csi_integer",
            "entries with integer I and Q",
            "whole",
            0.0,
            "",
        ),
        share(
            "csi_minus_infinity",
            "entries of minus infinity dB (I = Q = 0)",
            "zeros",
            0.0,
            "",
        ),
        share(
            "csi_rail",
            "entries with I or Q at the end of 10 bits",
            "railed",
            3.0,
            f"none among {entries:.0f} entries bounds the share at three over their number (95 %)",
        ),
    )
