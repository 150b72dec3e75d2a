"""WiFi: level and spectrum against MM-Fi's own per-room statistics, packets against a real Atheros capture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from equipose.data.mmfi import frame_path
from equipose.data.readers import read_csi
from equipose.errors import DataError
from equipose.report.fidelity.charts import curves, distribution
from equipose.report.fidelity.packets import FrameSpread, Packets, frame_spread, packet_statistics, pool
from equipose.report.fidelity.rows import Chapter, Figure, Parts
from equipose.report.fidelity.source import Simulation, load_npz
from equipose.report.fidelity.wifi_rows import Spectrum, frame_rows, packet_rows, spectrum_rows
from equipose.simulate.wifi_band import PACKETS, TONES

ROOMS = ("E01", "E02", "E03")
ATHEROS_TONES = np.concatenate([np.arange(-28, 0), np.arange(1, 29)])
"""Subcarrier numbers of a 20 MHz channel."""
_QUARTERS = 4
_SAME_INTERVAL = 0.05  # of the median time between packets


def wifi_chapter(simulation: Simulation, real: Path) -> Chapter:
    """All of WiFi."""
    spectra, packets, frames = simulated_wifi(simulation)
    profiles = {room: read_profile(real / "mmfi_statistics" / f"{room}_profile.csv") for room in ROOMS}
    quarters = read_capture(real / "atheros_csi" / "ath_csi_1_parsed.npz")
    rooms = Parts(ROOMS, "MM-Fi's rooms E01, E02 and E03", tuple(profiles.values()))
    return Chapter(
        "wifi",
        "WiFi channel state",
        "Spectra against the mean and standard deviation of MM-Fi's own files, room by room; gain, noise and phase "
        "within a frame against one frame of MM-Fi. How gain, clock and integers behave from packet to packet is held "
        "against 401 packets of another Atheros receiver: another room, 20 MHz instead of 40, about 480 packets/s "
        "instead of 100, two streams instead of one. Where that receiver's own setting decides a figure and MM-Fi's is "
        "known to be another, it is shown without a verdict. The body's effect on the channel has no real counterpart "
        "here.",
        (*spectrum_rows(spectra, rooms), *frame_rows(frames, packets), *packet_rows(packets, quarters)),
        _figures(spectra, profiles, packets, quarters),
    )


def simulated_wifi(simulation: Simulation) -> tuple[dict[str, Spectrum], Packets, FrameSpread]:
    """Spectrum of every simulated room, the packets of all recordings, and how packets of a frame differ."""
    sums: dict[int, np.ndarray] = {}
    found, spreads = [], []
    for recording in simulation.recordings:
        frames = [read_csi(frame_path(str(recording.path), "wifi", int(n))) for n in recording.files.get("wifi", ())]
        if not frames:
            continue
        decibel = np.stack([frame.amplitude_db for frame in frames])
        finite = np.isfinite(decibel)
        value = np.where(finite, decibel, 0.0)
        moments = np.stack([each.sum(axis=(0, 1, 3)) for each in (finite, value, value**2)])
        sums[recording.environment] = sums.get(recording.environment, 0.0) + moments
        csi = np.stack([frame.complex() for frame in frames]).transpose(0, 3, 2, 1)  # frame, packet, tone, receiver
        steady = np.ones(len(csi) * PACKETS - 1, bool)
        found.append(packet_statistics(csi.reshape(-1, TONES.size, 3), TONES, steady))
        spreads.append(frame_spread(csi))
    spectra = {
        f"E{room:02d}": Spectrum(total / count, np.sqrt(square / count - (total / count) ** 2))
        for room, (count, total, square) in sorted(sums.items())
    }
    level, phase = (np.concatenate([getattr(each, name) for each in spreads]) for name in ("level", "phase"))
    return spectra, pool(found), FrameSpread(level, phase)


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
