"""LiDAR: beams, range noise and drop-out against one sweep of a real OS1-32 (gradient beams, outdoors)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from equipose.data.mmfi import frame_path
from equipose.data.readers import read_lidar
from equipose.errors import DataError
from equipose.report.fidelity.charts import curves, distribution
from equipose.report.fidelity.rows import Chapter, Figure, Parts, Row, compare
from equipose.report.fidelity.source import Simulation, load_npz

_FRAMES = 400
_QUARTERS = 4
_WINDOW = 12  # neighbouring columns of one ring
_PATCH_RANGE = 10.0  # metres; noise hardly grows up to there
_NEAR = (0.0, 10.0)  # metres; the real sweep has too few returns below 5 m to tell anything
_SAME_SURFACE = 0.03  # largest relative range difference of two returns one column apart from the middle
_RANGES = np.array([2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 50.0])
_ENCODER_STEP = 360.0 / 90_112  # degrees; the OS1 counts 90,112 ticks a turn
_ORIGIN = (0.0158, 0.0362)  # metres: beam origin from the axis, and above the sensor frame's origin (sensor metadata)
_ONE_UNIT = "One unit, one sweep."


@dataclass(frozen=True)
class Grid:
    """Returns ordered by ring and column.

    Attributes:
        distance: (sweep, ring, column) metres; NaN without a return.
        rings: elevation of each ring, degrees, ascending.
        azimuth_step: degrees per column.
        complete: (sweep, ring, column) where a missing return means that the sensor gave none, and not that the cloud
            was cut there.
    """

    distance: Float[np.ndarray, "sweep ring column"]
    rings: Float[np.ndarray, " ring"]
    azimuth_step: float
    complete: Bool[np.ndarray, "sweep ring column"]


def lidar_chapter(simulation: Simulation, real: Path) -> Chapter:
    """All of the LiDAR."""
    mine = simulated_grid(simulation)
    quarters = read_sweep(real / "ouster_os1_32" / "os1_32_frame.npz")
    names = tuple(f"quarter {i}" for i in range(1, len(quarters) + 1))
    parts = Parts(names, f"the {len(quarters)} quarter turns of the sweep", quarters)
    return Chapter(
        "lidar",
        "LiDAR",
        "Geometry and errors against one sweep of a real OS1-32, cut into quarter turns. It stands outdoors, so the "
        "number of points and what they show cannot be compared; there is no real cloud of a person here.",
        lidar_rows(mine, parts),
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


def read_sweep(path: Path) -> tuple[Grid, ...]:
    """The quarter turns of the real sweep; elevations and azimuths are measured from the points."""
    xyz, millimetres, valid = load_npz(path, "xyz", "range_mm", "valid")
    if xyz.ndim != 3 or xyz.shape[:2] != millimetres.shape:
        raise DataError(f"{path} holds xyz of shape {xyz.shape}; expected (ring, column, 3) and ranges to it")
    points = xyz.astype(np.float64)
    distance = np.where(valid, millimetres / 1000.0, np.nan)
    flat = np.hypot(points[..., 0], points[..., 1]) - _ORIGIN[0]
    far = valid & (distance > 5.0)  # near points show the beams' own offsets
    elevation = np.where(far, np.degrees(np.arctan2(points[..., 2] - _ORIGIN[1], flat)), np.nan)
    azimuth = np.where(valid, np.degrees(np.arctan2(points[..., 1], points[..., 0])), np.nan)
    grids = []
    for part in np.array_split(np.arange(points.shape[1]), _QUARTERS):
        turn = np.abs(np.diff(azimuth[:, part], axis=1))
        rings = np.array([np.nanmedian(row) for row in elevation[:, part] if np.isfinite(row).any()])
        here = distance[None, :, part]
        grids.append(Grid(here, np.sort(rings), float(np.nanmedian(turn)), np.isfinite(here)))
    return tuple(grids)


def patch_noise(grid: Grid, low: float = 0.0, high: float = _PATCH_RANGE) -> Float[np.ndarray, " patch"]:
    """Range noise on smooth patches, metres: the smoothest quarter of all windows of 12 columns of a ring.

    Along a ring, 1 / range of a plane is a smooth function of the azimuth; a parabola is fitted to it and the rest is
    noise. Edges and rough ground raise the rest, so only the smoothest quarter of the windows is kept, alike for all.
    """
    windows = np.lib.stride_tricks.sliding_window_view(grid.distance, _WINDOW, axis=-1)[..., :: _WINDOW // 2, :]
    windows = windows[np.isfinite(windows).all(axis=-1)]
    middle = windows.mean(axis=-1)
    windows = windows[(middle >= low) & (middle < high)]
    if not len(windows):
        return np.zeros(0)
    place = np.linspace(-1.0, 1.0, _WINDOW)
    basis, _ = np.linalg.qr(np.stack([np.ones(_WINDOW), place, place**2], axis=-1))
    inverse = 1.0 / windows
    rest = (inverse - inverse @ basis @ basis.T) * windows.mean(axis=-1, keepdims=True) ** 2
    noise = np.sqrt((rest**2).sum(axis=-1) / (_WINDOW - 3))
    return np.sort(noise)[: max(1, len(noise) // 4)]


def drop_out(grids: Sequence[Grid], low: float, high: float) -> tuple[int, int]:
    """Lost returns, and all that were to be expected, in a range of distances.

    A return is expected where both neighbours on the ring hit one surface (3 % of range); it is lost if it is missing.
    """
    lost = expected = 0
    for grid in grids:
        left, right = grid.distance[..., :-2], grid.distance[..., 2:]
        middle = 0.5 * (left + right)
        sure = grid.complete[..., :-2] & grid.complete[..., 2:]
        with np.errstate(invalid="ignore"):
            chosen = sure & (np.abs(left - right) < _SAME_SURFACE * middle) & (middle >= low) & (middle < high)
        expected += int(chosen.sum())
        lost += int((chosen & np.isnan(grid.distance[..., 1:-1])).sum())
    return lost, expected


def lidar_rows(mine: Grid, parts: Parts) -> tuple[Row, ...]:
    """Beams, noise, drop-out."""
    quarters: tuple[Grid, ...] = parts.values
    near = [drop_out([grid], *_NEAR) for grid in quarters]
    used = [i for i, (_, expected) in enumerate(near) if expected]
    lost, expected = drop_out([mine], *_NEAR)
    fewest = min((near[i][1] for i in used), default=1)
    near_parts = Parts(tuple(parts.names[i] for i in used), parts.kind, tuple(near[i] for i in used))
    return (
        compare(
            "lidar_beam_spacing",
            "spacing of neighbouring beams",
            "\N{DEGREE SIGN}",
            [np.diff(mine.rings)],
            parts.of([np.diff(grid.rings) for grid in quarters]),
            "Wasserstein",
            caution="The real unit is the gradient variant (dense at the horizon); MM-Fi's variant is not known.",
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
            "range noise on smooth patches up to 10 m",
            "mm",
            [1000 * patch_noise(mine)],
            parts.of([1000 * patch_noise(grid) for grid in quarters]),
            "Wasserstein",
            summary="median",
            show=np.median,
            caution=f"{_ONE_UNIT} Rough ground adds to the real figure.",
            digits=1,
        ),
        compare(
            "lidar_drop_out",
            "returns lost, up to 10 m",
            "%",
            [100 * lost / max(expected, 1)],
            near_parts.of([100 * gone / count for gone, count in near_parts.values]),
            "difference",
            summary="share",
            floor=300 / fewest,
            floor_reason=f"three returns in {fewest}, the fewest that the real data can tell from none (95 %)",
            caution=f"{_ONE_UNIT} Surfaces differ, and the simulated cloud ends at 4.6 m.",
        ),
    )


def _figures(mine: Grid, quarters: Sequence[Grid]) -> tuple[Figure, ...]:
    def by_range(grids: Sequence[Grid]) -> tuple[np.ndarray, np.ndarray]:
        found = [drop_out(grids, a, b) for a, b in pairwise(_RANGES)]
        kept = [i for i, (_, count) in enumerate(found) if count >= 100]
        middle = np.sqrt(_RANGES[:-1] * _RANGES[1:])
        return middle[kept], np.array([100 * found[i][0] / found[i][1] for i in kept])

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
                1000 * patch_noise(mine),
                {"OS1-32": 1000 * np.concatenate([patch_noise(grid) for grid in quarters])},
            ),
            "The smoothest quarter of all windows, chosen alike on both sides.",
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
            "cloud ends at 4.6 m.",
        ),
    )
