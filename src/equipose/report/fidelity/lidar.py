"""LiDAR: beams, range noise and drop-out against one sweep of a real OS1-32 (gradient beams, outdoors)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from equipose.data.mmfi import frame_path
from equipose.data.readers import read_lidar
from equipose.errors import DataError
from equipose.report.fidelity.charts import curves, distribution
from equipose.report.fidelity.lidar_sweep import (
    SIGNALS,
    Grid,
    drop_out,
    expected_returns,
    lost_by_signal,
    patch_noise,
    read_sweep,
    replayed_noise,
)
from equipose.report.fidelity.rows import Chapter, Figure, Parts, Row, compare
from equipose.report.fidelity.source import Simulation, load_npz
from equipose.simulate.lidar import Lidar
from equipose.simulate.lidar_returns import Receiver

_FRAMES = 400
_NEAR = (0.0, 10.0)  # metres; the real sweep has too few returns below 5 m to tell anything
_RANGES = np.array([2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 50.0])
_ENCODER_STEP = 360.0 / 90_112  # degrees; the OS1 counts 90,112 ticks a turn
_ONE_UNIT = "One unit, one sweep."


def lidar_chapter(simulation: Simulation, real: Path) -> Chapter:
    """All of the LiDAR."""
    mine = simulated_grid(simulation)
    path = real / "ouster_os1_32" / "os1_32_frame.npz"
    quarters = read_sweep(path)
    (table,) = load_npz(path, "beam_altitude_deg")
    names = tuple(f"quarter {i}" for i in range(1, len(quarters) + 1))
    parts = Parts(names, f"the {len(quarters)} quarter turns of the sweep", quarters)
    return Chapter(
        "lidar",
        "LiDAR",
        "Geometry and errors against one sweep of a real OS1-32, cut into quarter turns. It stands outdoors, so the "
        "simulated receiver is put in front of the same surfaces: their distances and the reflectivities that the "
        "sensor reports, which hold the cosine of the incidence (the two cannot be told apart there). The simulated "
        "rooms' own clouds are shown for context. There is no real cloud of a person here.",
        lidar_rows(mine, parts, table),
        _figures(mine, quarters),
    )


def simulated_grid(simulation: Simulation) -> Grid:
    """Up to 400 simulated clouds; ring and column follow from each point's direction, which noise does not change.

    Raises:
        DataError: the directions form no grid of rings and columns.
    """
    files = [
        frame_path(str(recording.path), "lidar", int(n))
        for recording in simulation.recordings
        for n in recording.files.get("lidar", ())
    ]
    chosen = [files[i] for i in np.unique(np.linspace(0, len(files) - 1, _FRAMES).astype(int))]
    clouds = [read_lidar(path) for path in chosen]
    points = np.concatenate(clouds)
    distance = np.linalg.norm(points, axis=-1)
    elevation = np.degrees(np.arcsin(points[:, 2] / distance))
    azimuth = np.degrees(np.arctan2(points[:, 1], points[:, 0]))
    rings, ring = np.unique(np.round(elevation, 3), return_inverse=True)
    angles = np.unique(np.round(azimuth, 3))
    if rings.size > 512 or angles.size > 8192:
        raise DataError(f"{simulation.root}: LiDAR points lie on {rings.size} rings; expected an unmoved sensor's grid")
    step = float(np.median(np.diff(angles)))
    column = np.rint((azimuth - angles[0]) / step).astype(int)
    shape = (len(clouds), rings.size, int(column.max()) + 1)
    sweep = np.repeat(np.arange(len(clouds)), [len(cloud) for cloud in clouds])
    grid = np.full(shape, np.nan)
    grid[sweep, ring, column] = distance
    # The cloud is cut to a box: returns within 6 cm of its sides do not say that a missing neighbour was lost.
    inside = ((points > points.min(axis=0) + 0.06) & (points < points.max(axis=0) - 0.06)).all(axis=-1)
    complete = np.zeros(shape, bool)
    complete[sweep, ring, column] = inside
    precise = np.array([np.median(elevation[ring == i]) for i in range(rings.size)])
    return Grid(grid, precise, (angles[-1] - angles[0]) / (shape[2] - 1), complete)


def lidar_rows(mine: Grid, parts: Parts, table: np.ndarray) -> tuple[Row, ...]:
    """Beams, noise, drop-out; ``table`` holds the real unit's beam elevations, degrees."""
    quarters: tuple[Grid, ...] = parts.values
    near = [drop_out([grid], *_NEAR) for grid in quarters]
    used = [i for i, (_, expected) in enumerate(near) if expected]
    lost, expected = drop_out([mine], *_NEAR)
    fewest = min((near[i][1] for i in used), default=1)
    near_parts = Parts(tuple(parts.names[i] for i in used), parts.kind, tuple(near[i] for i in used))
    real_lost = near_parts.of([100 * gone / count for gone, count in near_parts.values])
    floor = 300 / fewest
    floor_reason = f"three returns in {fewest}, the fewest that the real data can tell from none (95 %)"
    receiver = Receiver()
    replayed = expected_returns(quarters, *_NEAR)
    unit = np.degrees(Lidar(beams=tuple(float(beam) for beam in table)).angles()[0])
    spacings = parts.of([np.diff(grid.rings) for grid in quarters])
    noises = parts.of([1000 * patch_noise(grid) for grid in quarters])
    spacing, noise = "spacing of neighbouring beams", "range noise on smooth patches up to 10 m"
    return (
        compare(
            "lidar_beam_spacing",
            f"{spacing}, the real unit's table",
            "\N{DEGREE SIGN}",
            [np.diff(unit)],
            spacings,
            "Wasserstein",
            digits=3,
        ),
        compare(
            "lidar_beam_spacing_uniform",
            f"{spacing}, the table simulated for MM-Fi",
            "\N{DEGREE SIGN}",
            [np.diff(mine.rings)],
            spacings,
            "Wasserstein",
            context="The real unit is the gradient variant (dense at the horizon); MM-Fi's is taken to be uniform.",
            digits=3,
        ),
        compare(
            "lidar_azimuth_step",
            "azimuth step",
            "\N{DEGREE SIGN}",
            [mine.azimuth_step],
            parts.of([grid.azimuth_step for grid in quarters]),
            "difference",
            summary="step",
            floor=_ENCODER_STEP,
            floor_reason="one tick of the sensor's encoder (90,112 a turn); the quarter turns agree better",
            digits=4,
        ),
        compare(
            "lidar_noise",
            noise,
            "mm",
            [1000 * replayed_noise(quarters, receiver)],
            noises,
            "Wasserstein",
            summary="median",
            show=np.median,
            caution=f"{_ONE_UNIT} Rough ground adds to the real figure.",
            digits=1,
        ),
        compare(
            "lidar_noise_rooms",
            f"{noise}, simulated rooms",
            "mm",
            [1000 * patch_noise(mine)],
            noises,
            "Wasserstein",
            summary="median",
            show=np.median,
            context="Other surfaces: rooms and people at 2 to 4 m, where signals are stronger.",
            digits=1,
        ),
        compare(
            "lidar_drop_out",
            "returns lost, up to 10 m",
            "%",
            [100 * float(receiver.lost(replayed.signal).mean()) if len(replayed.signal) else 0.0],
            real_lost,
            "difference",
            summary="share",
            floor=floor,
            floor_reason=floor_reason,
            caution=_ONE_UNIT,
        ),
        *_by_signal(parts, receiver),
        compare(
            "lidar_drop_out_rooms",
            "returns lost, simulated rooms",
            "%",
            [100 * lost / max(expected, 1)],
            real_lost,
            "difference",
            summary="share",
            floor=floor,
            floor_reason=floor_reason,
            context="Other surfaces: rooms and people at 2 to 4 m, where signals are stronger.",
        ),
    )


def _by_signal(parts: Parts, receiver: Receiver) -> tuple[Row, ...]:
    """Lost share over received signal, up to 50 m: range, incidence and reflectivity in one."""
    found = [expected_returns([grid], 0.0, 50.0) for grid in parts.values]
    curves_real = np.array([lost_by_signal(each, each.lost.astype(np.float64)) for each in found])
    pooled = expected_returns(parts.values, 0.0, 50.0)
    curve = lost_by_signal(pooled, receiver.lost(pooled.signal))
    kept = np.isfinite(curves_real).all(axis=0) & np.isfinite(curve)
    if not kept.any():
        return ()
    return (
        compare(
            "lidar_drop_out_signal",
            "returns lost by received signal (range, incidence, reflectivity)",
            "%",
            [curve[kept]],
            parts.of(list(curves_real[:, kept])),
            "RMS difference",
            caution=_ONE_UNIT,
        ),
    )


def _figures(mine: Grid, quarters: Sequence[Grid]) -> tuple[Figure, ...]:
    def by_range(grids: Sequence[Grid]) -> tuple[np.ndarray, np.ndarray]:
        found = [drop_out(grids, a, b) for a, b in pairwise(_RANGES)]
        kept = [i for i, (_, count) in enumerate(found) if count >= 100]
        middle = np.sqrt(_RANGES[:-1] * _RANGES[1:])
        return middle[kept], np.array([100 * found[i][0] / found[i][1] for i in kept])

    pooled = expected_returns(quarters, 0.0, 50.0)
    signal = np.sqrt(SIGNALS[:-1] * SIGNALS[1:])
    widest = max(quarters, key=lambda grid: grid.rings.size)
    numbers = [np.arange(grid.rings.size, dtype=np.float64) for grid in (mine, widest)]
    return (
        Figure(
            "Beam elevations",
            curves(
                "beam, counted from the lowest with a return",
                "elevation (\N{DEGREE SIGN})",
                {"": (numbers[0], mine.rings)},
                {"OS1-32 (gradient)": (numbers[1], widest.rings)},
                markers=True,
            ),
        ),
        Figure(
            "Range noise on smooth patches",
            distribution(
                "standard deviation of range in a window (mm)",
                1000 * replayed_noise(quarters, Receiver()),
                {"OS1-32": 1000 * np.concatenate([patch_noise(grid) for grid in quarters])},
            ),
            "The smoothest quarter of all windows, chosen alike on both sides; simulated: the receiver before the same "
            "surfaces.",
        ),
        Figure(
            "Returns lost by range",
            curves(
                "range (m, logarithmic)",
                "lost share of returns (%)",
                {"": by_range([mine])},
                {"OS1-32": by_range(quarters)},
                markers=True,
                type="log",
                tickvals=_RANGES.tolist(),
                ticktext=[f"{value:.0f}" for value in _RANGES],
            ),
            "Between two returns from one surface; ranges with fewer than 100 of them are left out. The simulated "
            "cloud ends at 3.8 m.",
        ),
        Figure(
            "Returns lost by received signal",
            curves(
                "reflectivity x cos(incidence) / range\N{SUPERSCRIPT TWO} (1/m\N{SUPERSCRIPT TWO}, logarithmic)",
                "lost share of returns (%)",
                {"same surfaces": (signal, lost_by_signal(pooled, Receiver().lost(pooled.signal)))},
                {"OS1-32": (signal, lost_by_signal(pooled, pooled.lost.astype(np.float64)))},
                markers=True,
                type="log",
            ),
            "The real sweep's surfaces up to 50 m.",
        ),
    )
