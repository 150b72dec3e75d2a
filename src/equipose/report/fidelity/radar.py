"""Radar: point clouds against MARS (a 77 GHz IWR1443; the simulated one and MM-Fi's are 60 GHz)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from equipose.data.mars import MarsRecording, read_mars
from equipose.data.mars_joints import kinect_to_h36m
from equipose.data.mmfi import frame_path
from equipose.data.readers import read_ground_truth, read_mmwave
from equipose.report.fidelity.charts import distribution
from equipose.report.fidelity.rows import Chapter, Figure, Parts, Row, compare
from equipose.report.fidelity.source import Simulation

AXES = ("forward", "right", "down")
_RADAR = "Other radar, chirp table and detector."
_MOUNT = "Median taken off: mounts are not calibrated. MARS's authors cut a box around the person."


@dataclass(frozen=True)
class Clouds:
    """Radar points of one person or of all.

    Attributes:
        counts: points per frame that has any.
        empty: share of frames without a point.
        snr: dB.
        doppler: m/s.
        around: (point, 3) forward, right, down from the pelvis, metres.
        frames: all frames, the empty ones included.
    """

    counts: Float[np.ndarray, " frame"]
    empty: float
    snr: Float[np.ndarray, " point"]
    doppler: Float[np.ndarray, " point"]
    around: Float[np.ndarray, "point 3"]
    frames: int


def radar_chapter(simulation: Simulation, real: Path) -> Chapter:
    """All of the radar."""
    mine = simulated_clouds(simulation)
    recordings = read_mars(real / "mars")
    subjects = sorted({recording.subject for recording in recordings})
    parts = Parts(
        tuple(f"MARS subject {s}" for s in subjects),
        "MARS subjects " + " and ".join(map(str, subjects)),
        tuple(mars_clouds([r for r in recordings if r.subject == s]) for s in subjects),
    )
    return Chapter(
        "mmwave",
        "Radar",
        "Point clouds against MARS: another radar (77 GHz), ten rehabilitation movements, points outside a box around "
        "the person removed by its authors, frames emptied by that missing. Two persons give one pair, so the "
        "tolerance is their distance.",
        radar_rows(mine, parts),
        _figures(mine, dict(zip(parts.names, parts.values, strict=True))),
    )


def simulated_clouds(simulation: Simulation) -> Clouds:
    """All simulated clouds, around the pelvis of the ground truth."""
    points, counts, pelvis = [], [], []
    for recording in simulation.recordings:
        truth = read_ground_truth(recording.path / "ground_truth.npy")
        for number in recording.files.get("mmwave", ()):
            points.append(read_mmwave(frame_path(str(recording.path), "mmwave", int(number))))
            counts.append(len(points[-1]))
            pelvis.append(truth[int(number) - 1, 0])
    return _clouds(np.concatenate(points), np.array(counts), np.array(pelvis), frames=len(counts))


def mars_clouds(recordings: Sequence[MarsRecording]) -> Clouds:
    """One person's clouds; a frame number that is skipped within a movement is an empty frame."""
    frames = sum(int(recording.frames[-1] - recording.frames[0]) + 1 for recording in recordings)
    pelvis = np.concatenate([kinect_to_h36m(recording.joints)[:, 0] for recording in recordings])
    points = np.concatenate([recording.points for recording in recordings])
    return _clouds(points, np.concatenate([recording.counts for recording in recordings]), pelvis, frames)


def _clouds(points: np.ndarray, counts: np.ndarray, pelvis: np.ndarray, frames: int) -> Clouds:
    centre = np.repeat(pelvis.astype(np.float64)[:, [2, 0, 1]], counts, axis=0)  # camera frame to forward, right, down
    points = points.astype(np.float64)
    return Clouds(
        counts=counts[counts > 0].astype(np.float64),
        empty=1.0 - float((counts > 0).sum()) / frames,
        snr=points[:, 3],
        doppler=points[:, 4],
        around=points[:, :3] - centre,
        frames=frames,
    )


def doppler_step(doppler: Float[np.ndarray, " point"]) -> float:
    """Smallest usual distance between the speeds that occur, m/s."""
    values = np.unique(np.round(doppler, 3))
    steps = np.diff(values)
    return float(np.median(steps[steps > 0.005])) if (steps > 0.005).any() else 0.0


def radar_rows(mine: Clouds, parts: Parts) -> tuple[Row, ...]:
    """Number, strength, speed and place of the points."""
    clouds: tuple[Clouds, ...] = parts.values
    fewest = min(cloud.frames for cloud in clouds)

    def centred(values: np.ndarray) -> np.ndarray:
        return np.asarray(values - np.median(values))

    return (
        compare(
            "radar_points",
            "points per frame that has any",
            "points",
            [mine.counts],
            parts.of([c.counts for c in clouds]),
            "Wasserstein",
            caution=f"{_RADAR} MARS caps a frame at 64 points, too.",
            digits=1,
        ),
        compare(
            "radar_empty",
            "frames without a point",
            "%",
            [100 * mine.empty],
            parts.of([100 * c.empty for c in clouds]),
            "difference",
            summary="share",
            floor=300 / fewest,
            floor_reason=f"three frames in {fewest}, the fewest that the real data can tell from none (95 %)",
            caution="MARS frames are empty after the authors' box filter.",
        ),
        compare(
            "radar_snr_level",
            "SNR, median",
            "dB",
            [np.median(mine.snr)],
            parts.of([np.median(c.snr) for c in clouds]),
            "difference",
            summary="median",
            caution="MARS gives a linear intensity in unknown units; its decibels may have another zero or factor.",
            digits=1,
        ),
        compare(
            "radar_snr_spread",
            "SNR around its median",
            "dB",
            [centred(mine.snr)],
            parts.of([centred(c.snr) for c in clouds]),
            "Wasserstein",
            summary="standard deviation",
            show=np.std,
            caution="A cut at the detector's threshold shapes both; see the median.",
            digits=2,
        ),
        compare(
            "radar_doppler_step",
            "Doppler step",
            "m/s",
            [doppler_step(mine.doppler)],
            parts.of([doppler_step(c.doppler) for c in clouds]),
            "difference",
            summary="step",
            floor=0.001,
            floor_reason="MARS files have three decimals",
            caution="A setting of the chirp table, chosen for MM-Fi's radar; MM-Fi's own is not public.",
            digits=3,
        ),
        compare(
            "radar_doppler",
            "Doppler",
            "m/s",
            [mine.doppler],
            parts.of([c.doppler for c in clouds]),
            "Wasserstein",
            summary="standard deviation",
            show=np.std,
            caution="Other movements and another Doppler step.",
            digits=3,
        ),
        compare(
            "radar_still",
            "points at zero Doppler",
            "%",
            [100 * float(np.mean(mine.doppler == 0))],
            parts.of([100 * float(np.mean(c.doppler == 0)) for c in clouds]),
            "difference",
            summary="share",
            caution="Whether MARS removed static echoes is not known.",
            digits=1,
        ),
        *(
            compare(
                f"radar_around_{axis}",
                f"points around the pelvis, {axis}",
                "m",
                [centred(mine.around[:, i])],
                parts.of([centred(c.around[:, i]) for c in clouds]),
                "Wasserstein",
                summary="standard deviation",
                show=np.std,
                caution=_MOUNT,
                digits=3,
            )
            for i, axis in enumerate(AXES)
        ),
    )


def _figures(mine: Clouds, real: dict[str, Clouds]) -> tuple[Figure, ...]:
    step = 0.05
    speeds = np.arange(-2.0, 2.0 + step, step) - step / 2
    points = np.arange(0.0, 66.0, 2.0) - 0.5
    return (
        Figure(
            "Points per frame",
            distribution("points", mine.counts, {k: c.counts for k, c in real.items()}, bins=points),
        ),
        Figure("SNR", distribution("SNR (dB)", mine.snr, {k: c.snr for k, c in real.items()}, bins=np.arange(0.0, 45))),
        Figure(
            "Doppler",
            distribution(
                "Doppler (m/s, positive when receding)",
                mine.doppler,
                {k: c.doppler for k, c in real.items()},
                bins=speeds,
            ),
            "Each comb is a radar's Doppler step.",
        ),
        *(
            Figure(
                f"Points around the pelvis, {axis}",
                distribution(
                    f"position relative to the pelvis, {axis} (m)",
                    mine.around[:, i],
                    {k: c.around[:, i] for k, c in real.items()},
                    bins=np.linspace(-1.2, 1.2, 61),
                ),
                "Drawn as measured, mount offsets included.",
            )
            for i, axis in enumerate(AXES)
        ),
    )
