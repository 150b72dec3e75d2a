"""Corruption of plain arrays, without a data set: one burst over the given frames.

All functions take frames of one recording in time order, return as many, and leave their arguments alone. The same
generator state gives the same result; with it, a higher severity breaks what a lower one breaks and more. Whatever is
broken for the length of a burst (which joints, beams, chains) is drawn once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.random import Generator

from equipose.data.corrupt.moves import Burst
from equipose.data.corrupt.store import usable
from equipose.data.corrupt.table import LABEL, SEVERITIES, find_corruption
from equipose.data.store import recording_table
from equipose.errors import UsageError


def corrupt_joints2d(
    values: Float[ndarray, "time joint 2"],
    name: str,
    severity: int,
    generator: Generator,
    other: Float[ndarray, "other joint 2"] | None = None,
) -> Float[ndarray, "time joint 2"]:
    """2D joints in pixels: ``jitter``, ``side_swap``, ``joints_missing``, ``frozen``, ``wrong_person`` or any sensor's.

    Args:
        values: pixels, in the order of ``H36M17``.
        name: a corruption; see `equipose list corruptions`.
        severity: 1, 2 or 3.
        generator: randomness.
        other: another subject's recording, for ``wrong_person`` and ``swapped``.

    Raises:
        UsageError: for an unknown name or severity, ``dead``, or a missing ``other``.
    """
    return np.stack(_corrupted("rgb", values, name, severity, generator, other))


def corrupt_lidar(
    clouds: Sequence[Float[ndarray, "_ 3"]],
    name: str,
    severity: int,
    generator: Generator,
    other: Sequence[Float[ndarray, "_ 3"]] | None = None,
) -> list[Float[ndarray, "_ 3"]]:
    """LiDAR clouds in metres, x forward, y left, z up: ``points_lost``, ``beams_lost``, ``range_noise``, ``fog`` ...

    Args and errors as for ``corrupt_joints2d``.
    """
    return _corrupted("lidar", clouds, name, severity, generator, other)


def corrupt_radar(
    clouds: Sequence[Float[ndarray, "_ 5"]],
    name: str,
    severity: int,
    generator: Generator,
    other: Sequence[Float[ndarray, "_ 5"]] | None = None,
) -> list[Float[ndarray, "_ 5"]]:
    """Radar clouds, forward, right, down (m), SNR (dB), Doppler (m/s): ``ghosts``, ``zero_doppler`` ...

    Args and errors as for ``corrupt_joints2d``.
    """
    return _corrupted("mmwave", clouds, name, severity, generator, other)


def corrupt_csi(
    values: Float[ndarray, "time 2 receiver tone packet"],
    name: str,
    severity: int,
    generator: Generator,
    other: Float[ndarray, "other 2 receiver tone packet"] | None = None,
) -> Float[ndarray, "time 2 receiver tone packet"]:
    """WiFi channel state, amplitude in dB and phase in radians: ``awgn``, ``packet_loss``, ``agc_jumps`` ...

    ``csi.from_complex`` and ``csi.to_complex`` convert. Args and errors as for ``corrupt_joints2d``.
    """
    return np.stack(_corrupted("wifi", values, name, severity, generator, other))


def corrupt_labels(
    values: Float[ndarray, "time joint 3"],
    name: str,
    severity: int,
    generator: Generator,
    other: Float[ndarray, "other joint 3"] | None = None,
) -> Float[ndarray, "time joint 3"]:
    """Poses in metres: ``joint_swap``, ``offset``, ``time_shift``, ``subject_swap``.

    Args and errors as for ``corrupt_joints2d``.
    """
    return np.stack(_corrupted(LABEL, values, name, severity, generator, other))


def _corrupted(
    what: str,
    frames: Sequence[ndarray] | ndarray,
    name: str,
    severity: int,
    generator: Generator,
    other: Sequence[ndarray] | ndarray | None,
) -> list[Any]:
    """Each frame after the fault."""
    fault = find_corruption(what, name)
    if severity not in SEVERITIES:
        raise UsageError(f"severity: found {severity}, expected 1, 2 or 3")
    if not len(frames):
        raise UsageError("found no frame, expected at least one")
    if fault.missing:
        raise UsageError(f"{what}.{name} means that the frames are not there: leave them out")
    if fault.partner and (other is None or not len(other)):
        raise UsageError(f"{what}.{name} shows another {fault.partner}: give its frames as other=")
    seeds = generator.integers(2**62, size=2).tolist()
    shown = list(frames)
    if fault.move is not None:
        pool = [*shown, *([] if other is None else other)]
        lengths = [len(shown), *([len(pool) - len(shown)] if len(pool) > len(shown) else [])]
        ones = [1] * len(lengths)
        table = recording_table(ones, [1, 2][: len(lengths)], ones, lengths)
        burst = Burst(np.arange(len(shown)), 0, table, np.zeros(len(lengths), np.int64))
        moved = fault.move(burst, fault.level(severity), np.random.default_rng((seeds[0], 0)))
        shown = [pool[row] for row in moved.tolist()]
    out = []
    for number, frame in enumerate(shown):
        done = frame
        if fault.change is not None and (what == LABEL or usable(what, frame)):
            noise = np.random.default_rng((seeds[1], number))
            done = fault.change(frame, fault.level(severity), np.random.default_rng((seeds[0], 1)), noise)
        out.append(np.array(done, frame.dtype))
    return out
