"""A sweep as a grid of rings and columns: range noise, lost returns, and the simulated receiver in the same scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from equipose.errors import DataError
from equipose.report.fidelity.source import load_npz
from equipose.simulate.lidar_returns import Receiver

SIGNALS = np.array([5e-5, 1e-4, 2e-4, 4e-4, 8e-4, 1.6e-3, 1e-2])
"""Edges of signal bins, 1/m^2."""

_QUARTERS = 4
_WINDOW = 12  # neighbouring columns of one ring
_PATCH_RANGE = 10.0  # metres; noise hardly grows up to there
_SAME_SURFACE = 0.03  # largest relative range difference of two returns one column apart from the middle
_ORIGIN = (0.0158, 0.0362)  # metres: beam origin from the axis, and above the sensor frame's origin (sensor metadata)


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
    reflectivity: Float[np.ndarray, "sweep ring column"] | None = None


def read_sweep(path: Path) -> tuple[Grid, ...]:
    """The quarter turns of the real sweep; elevations and azimuths are measured from the points."""
    xyz, millimetres, valid, percent = load_npz(path, "xyz", "range_mm", "valid", "reflectivity")
    if xyz.ndim != 3 or xyz.shape[:2] != millimetres.shape:
        raise DataError(f"{path} holds xyz of shape {xyz.shape}; expected (ring, column, 3) and ranges to it")
    points = xyz.astype(np.float64)
    distance = np.where(valid, millimetres / 1000.0, np.nan)
    # Whole percent of a Lambertian target; 0 stands for less than one.
    shine = np.maximum(percent.astype(np.float64), 0.5) / 100.0
    flat = np.hypot(points[..., 0], points[..., 1]) - _ORIGIN[0]
    far = valid & (distance > 5.0)  # near points show the beams' own offsets
    elevation = np.where(far, np.degrees(np.arctan2(points[..., 2] - _ORIGIN[1], flat)), np.nan)
    azimuth = np.where(valid, np.degrees(np.arctan2(points[..., 1], points[..., 0])), np.nan)
    grids = []
    for part in np.array_split(np.arange(points.shape[1]), _QUARTERS):
        turn = np.abs(np.diff(azimuth[:, part], axis=1))
        rings = np.array([np.nanmedian(row) for row in elevation[:, part] if np.isfinite(row).any()])
        here = distance[None, :, part]
        grids.append(Grid(here, np.sort(rings), float(np.nanmedian(turn)), np.isfinite(here), shine[None, :, part]))
    return tuple(grids)


def patch_noise(grid: Grid, low: float = 0.0, high: float = _PATCH_RANGE) -> Float[np.ndarray, " patch"]:
    """Range noise on smooth patches, metres: the smoothest quarter of all windows of 12 columns of a ring.

    Along a ring, 1 / range of a plane is a smooth function of the azimuth; a parabola is fitted to it and the rest is
    noise. Edges and rough ground raise the rest, so only the smoothest quarter of the windows is kept, alike for all.
    """
    return _smoothest(_windows(grid, low, high)[0])


def _windows(grid: Grid, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Ranges in full windows of 12 columns, and the mean reflectivity of each (1 if unknown)."""

    def cut(values: np.ndarray) -> np.ndarray:
        return np.lib.stride_tricks.sliding_window_view(values, _WINDOW, axis=-1)[..., :: _WINDOW // 2, :]

    windows = cut(grid.distance)
    shine = cut(np.ones_like(grid.distance) if grid.reflectivity is None else grid.reflectivity)
    with np.errstate(invalid="ignore"):
        middle = windows.mean(axis=-1)
        chosen = np.isfinite(windows).all(axis=-1) & (middle >= low) & (middle < high)
    return windows[chosen], shine[chosen].mean(axis=-1)


def _smooth(windows: np.ndarray) -> np.ndarray:
    """Parabolas in 1 / range through every window, as ranges."""
    place = np.linspace(-1.0, 1.0, _WINDOW)
    basis, _ = np.linalg.qr(np.stack([np.ones(_WINDOW), place, place**2], axis=-1))
    return 1.0 / np.maximum((1.0 / windows) @ basis @ basis.T, 1e-3)


def _smoothest(windows: np.ndarray) -> Float[np.ndarray, " patch"]:
    if not len(windows):
        return np.zeros(0)
    rest = (1.0 / windows - 1.0 / _smooth(windows)) * windows.mean(axis=-1, keepdims=True) ** 2
    noise = np.sqrt((rest**2).sum(axis=-1) / (_WINDOW - 3))
    return np.sort(noise)[: max(1, len(noise) // 4)]


def replayed_noise(grids: Sequence[Grid], receiver: Receiver) -> Float[np.ndarray, " patch"]:
    """``patch_noise`` of the simulated receiver in front of the real surfaces, made smooth, at their reflectivities."""
    found = [_windows(grid, 0.0, _PATCH_RANGE) for grid in grids]
    windows, shine = np.concatenate([w for w, _ in found]), np.concatenate([s for _, s in found])
    smooth = _smooth(windows)
    deviation = receiver.deviation(shine[:, None] / smooth**2)
    return _smoothest(smooth + deviation * np.random.default_rng(0).standard_normal(smooth.shape))


@dataclass(frozen=True)
class Expected:
    """Returns between two from one surface (3 % of range).

    Attributes:
        lost: whether it is missing.
        signal: reflectivity x cos(incidence) / range^2 of its neighbours, 1/m^2; NaN without reflectivities.
    """

    lost: Bool[np.ndarray, " cell"]
    signal: Float[np.ndarray, " cell"]


def expected_returns(grids: Sequence[Grid], low: float, high: float) -> Expected:
    """Where the sensor should have seen something in a range of distances."""
    lost, signal = [], []
    for grid in grids:
        left, right = grid.distance[..., :-2], grid.distance[..., 2:]
        middle = 0.5 * (left + right)
        with np.errstate(invalid="ignore"):
            sure = grid.complete[..., :-2] & grid.complete[..., 2:]
            chosen = sure & (np.abs(left - right) < _SAME_SURFACE * middle) & (middle >= low) & (middle < high)
        shine = np.full_like(grid.distance, np.nan) if grid.reflectivity is None else grid.reflectivity
        lost.append(np.isnan(grid.distance[..., 1:-1])[chosen])
        signal.append((0.5 * (shine[..., :-2] + shine[..., 2:]) / middle**2)[chosen])
    return Expected(np.concatenate(lost), np.concatenate(signal))


def lost_by_signal(returns: Expected, lost: Float[np.ndarray, " cell"]) -> Float[np.ndarray, " bin"]:
    """Mean of ``lost`` in ``SIGNALS``, percent; NaN with fewer than 50 returns."""
    place = np.digitize(returns.signal, SIGNALS) - 1
    groups = [lost[place == i] for i in range(len(SIGNALS) - 1)]
    return np.array([100.0 * group.mean() if len(group) >= 50 else np.nan for group in groups])


def drop_out(grids: Sequence[Grid], low: float, high: float) -> tuple[int, int]:
    """Lost returns, and all that were to be expected, in a range of distances.

    A return is expected where both neighbours on the ring hit one surface (3 % of range); it is lost if it is missing.
    """
    returns = expected_returns(grids, low, high)
    return int(returns.lost.sum()), len(returns.lost)
