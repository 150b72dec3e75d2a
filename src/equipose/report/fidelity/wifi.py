"""WiFi: level and spectrum against MM-Fi's own per-room statistics, packets against a real Atheros capture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from equipose.data.mmfi import frame_path
from equipose.data.readers import read_csi
from equipose.errors import DataError
from equipose.report.fidelity.charts import curves, distribution
from equipose.report.fidelity.packets import Packets, packet_statistics, pool
from equipose.report.fidelity.rows import Chapter, Figure, Parts, Row, compare
from equipose.report.fidelity.source import Simulation, load_npz
from equipose.simulate.wifi_channel import TONES

ROOMS = ("E01", "E02", "E03")
ATHEROS_TONES = np.concatenate([np.arange(-28, 0), np.arange(1, 29)])
"""Subcarrier numbers of a 20 MHz channel."""
_QUARTERS = 4
_SAME_INTERVAL = 0.05  # of the median time between packets
_CAPTURE = "Another receiver and room; see below."
_ROOMS_DIFFER = "Not the same rooms, so every simulated one is compared with every real one."


@dataclass(frozen=True)
class Spectrum:
    """Amplitude over tones in one room, dB: mean and standard deviation over frames, antennas and packets."""

    mean: Float[np.ndarray, " 114"]
    deviation: Float[np.ndarray, " 114"]


def wifi_chapter(simulation: Simulation, real: Path) -> Chapter:
    """All of WiFi."""
    spectra, packets = simulated_wifi(simulation)
    profiles = {room: read_profile(real / "mmfi_statistics" / f"{room}_profile.csv") for room in ROOMS}
    quarters = read_capture(real / "atheros_csi" / "ath_csi_1_parsed.npz")
    rooms = Parts(ROOMS, "MM-Fi's rooms E01, E02 and E03", tuple(profiles.values()))
    return Chapter(
        "wifi",
        "WiFi channel state",
        "Spectra against the mean and standard deviation of MM-Fi's own files, room by room; gain, noise and clock "
        "against 401 packets of another Atheros receiver: another room, 20 MHz instead of 40, about 480 packets/s "
        "instead of 100, two streams instead of one. Mean phase steps are not compared: they depend on the "
        "clocks and on the time between packets, which differ. The body's effect on the channel has no real "
        "counterpart here.",
        (*spectrum_rows(spectra, rooms), *packet_rows(packets, quarters)),
        _figures(spectra, profiles, packets, quarters),
    )


def simulated_wifi(simulation: Simulation) -> tuple[dict[str, Spectrum], Packets]:
    """Spectrum of every simulated room, and the packets of all recordings."""
    sums: dict[int, np.ndarray] = {}
    found = []
    for recording in simulation.recordings:
        frames = [read_csi(frame_path(str(recording.path), "wifi", int(n))) for n in recording.files.get("wifi", ())]
        if not frames:
            continue
        decibel = np.stack([frame.amplitude_db for frame in frames])
        finite = np.isfinite(decibel)
        value = np.where(finite, decibel, 0.0)
        moments = np.stack([each.sum(axis=(0, 1, 3)) for each in (finite, value, value**2)])
        sums[recording.environment] = sums.get(recording.environment, 0.0) + moments
        # (frame, receiver, tone, packet) to successive packets (packet, tone, receiver)
        csi = np.stack([frame.complex() for frame in frames]).transpose(0, 3, 2, 1).reshape(-1, TONES.size, 3)
        found.append(packet_statistics(csi, TONES, np.ones(len(csi) - 1, bool)))
    spectra = {
        f"E{room:02d}": Spectrum(total / count, np.sqrt(square / count - (total / count) ** 2))
        for room, (count, total, square) in sorted(sums.items())
    }
    return spectra, pool(found)


def read_profile(path: Path) -> Spectrum:
    """A room's file of ``mmfi_statistics``.

    Raises:
        DataError: it is not a table of 114 rows.
    """
    try:
        table = np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {error}; expected subcarrier, mean_amp, std_amp in 114 rows") from None
    if table.shape != (TONES.size, 3):
        raise DataError(f"{path} holds {table.shape[0]} rows of {table.shape[1]}; expected {TONES.size} rows of 3")
    return Spectrum(table[:, 1], table[:, 2])


def read_capture(path: Path) -> tuple[Packets, ...]:
    """The Atheros capture in four equal stretches of time."""
    csi, timestamp = load_npz(path, "csi", "timestamp")
    if csi.ndim != 4 or csi.shape[1] != ATHEROS_TONES.size:
        raise DataError(f"{path} holds csi of shape {csi.shape}; expected (packet, 56, receiver, transmitter)")
    chains = csi.reshape(len(csi), ATHEROS_TONES.size, -1).astype(np.complex128)
    interval = np.diff(timestamp.astype(np.float64))
    usual = np.median(interval)
    steady = np.abs(interval - usual) < _SAME_INTERVAL * usual
    return tuple(
        packet_statistics(chains[part], ATHEROS_TONES, steady[part[:-1]])
        for part in np.array_split(np.arange(len(chains)), _QUARTERS)
    )


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
        ),
    )


def packet_rows(packets: Packets, quarters: tuple[Packets, ...]) -> tuple[Row, ...]:
    """Gain, noise, clock, quantisation."""
    names = tuple(f"quarter {i}" for i in range(1, len(quarters) + 1))
    parts = Parts(names, f"the {len(quarters)} quarters of the capture", quarters)
    entries = float(sum(q.entries.sum() for q in quarters))

    def sample(key: str, name: str, unit: str, field: str, caution: str, digits: int, spread: bool = True) -> Row:
        return compare(
            key,
            name,
            unit,
            [getattr(packets, field)],
            parts.of([getattr(q, field) for q in quarters]),
            "Wasserstein",
            summary="standard deviation" if spread else "mean",
            show=np.std if spread else np.mean,
            caution=caution,
            digits=digits,
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

    gain = "Another receiver and room; gain control follows room and traffic."
    return (
        sample("csi_packet_level", "level of a packet around its chain's median", "dB", "level", gain, 2),
        sample("csi_gain_step", "size of the gain step to the next packet", "dB", "gain_step", gain, 2, spread=False),
        sample("csi_snr", "SNR per packet from roughness over tones", "dB", "snr", _CAPTURE, 1, spread=False),
        sample(
            "csi_carrier_step",
            "common phase step to the next packet, around its mean",
            "rad",
            "carrier",
            f"Other clocks. Capture: only packets 2.1 ms apart (within {_SAME_INTERVAL:.0%}); simulated: 10 ms.",
            3,
        ),
        sample("csi_chain_phase", "phase step of a chain against the others", "rad", "chain_phase", _CAPTURE, 3),
        sample(
            "csi_slope_step", "change of phase slope to the next packet", "rad/tone", "slope_step", "Other clocks.", 4
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


def _figures(
    spectra: dict[str, Spectrum], profiles: dict[str, Spectrum], packets: Packets, quarters: tuple[Packets, ...]
) -> tuple[Figure, ...]:
    whole = {"Atheros capture": pool(quarters)}

    def over_tones(field: str, title: str) -> Figure:
        simulated, real = (
            {room: (TONES.astype(np.float64), getattr(s, field)) for room, s in group.items()}
            for group in (spectra, profiles)
        )
        return Figure(title, curves("subcarrier", "amplitude (dB)", simulated, real))

    def of_packets(field: str, title: str, label: str, remark: str = "") -> Figure:
        real = {name: getattr(q, field) for name, q in whole.items()}
        return Figure(title, distribution(label, getattr(packets, field), real), remark)

    return (
        over_tones("mean", "Mean amplitude per tone and room"),
        over_tones("deviation", "Standard deviation per tone and room"),
        of_packets("level", "Level of a packet around its chain's median", "level (dB)"),
        of_packets("gain_step", "Gain step to the next packet", "size of the step (dB)"),
        of_packets("snr", "SNR per packet", "SNR (dB)"),
        of_packets("carrier", "Common phase step around its mean", "phase step (rad)"),
        of_packets("chain_phase", "Phase step of a chain against the others", "phase step (rad)"),
        of_packets("slope_step", "Change of the phase slope over tones", "change of slope (rad/tone)"),
    )
