"""The corruptions by name: what each sensor, and the label, can suffer, and how much at severity 1, 2 and 3."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from equipose.data.corrupt import csi, lidar, moves, pixels, poses, radar
from equipose.errors import unknown_name
from equipose.modality import MODALITIES

SEVERITIES = (1, 2, 3)
LABEL = "label"
Change = Callable[[Any, float, Generator, Generator], ndarray]
Move = Callable[[moves.Burst, float, Generator], ndarray]


@dataclass(frozen=True)
class Corruption:
    """One fault.

    Attributes:
        name: unique for a sensor.
        about: what it is, one line.
        levels: its number at severity 1, 2 and 3.
        unit: what the numbers are.
        change: what it does to one frame, if anything; applied to the moved frame.
        move: which frame is shown instead, if another one.
        missing: whether the frame is gone.
        partner: ``recording`` or ``subject`` if it needs another one of these.
    """

    name: str
    about: str
    levels: tuple[float, float, float] = (1.0, 1.0, 1.0)
    unit: str = ""
    change: Change | None = None
    move: Move | None = None
    missing: bool = False
    partner: str = ""

    def level(self, severity: int) -> float:
        """The number at a severity of 1, 2 or 3."""
        return self.levels[severity - 1]

    @property
    def severities(self) -> str:
        """The three severities with their unit, for people."""
        if not self.unit:
            return "no degrees"
        return " / ".join(f"{level:g}" for level in self.levels) + f" {self.unit}"


def _zero(frame: ndarray, level: float, fault: Generator, noise: Generator) -> ndarray:
    return np.zeros_like(frame)


def _named(*corruptions: Corruption) -> dict[str, Corruption]:
    return {corruption.name: corruption for corruption in corruptions}


_ANY = _named(
    Corruption("dead", "the sensor records nothing", missing=True),
    Corruption("zero", "every stored value is 0", change=_zero),
    Corruption("stuck", "the last frame before the burst, held", move=moves.stuck),
    Corruption(
        "out_of_sync", "another moment of the recording", (5, 10, 20), "frames before or after", move=moves.other_moment
    ),
    Corruption(
        "swapped",
        "another recording: 1 same room and action, 2 same room, 3 another room",
        (1, 2, 3),
        "(how far away)",
        move=moves.other_recording,
        partner="recording",
    ),
)
_JOINTS = _named(
    Corruption("jitter", "Gaussian noise on every coordinate", (2, 5, 10), "px", pixels.jitter),
    Corruption("side_swap", "left and right exchanged", (1, 2, 4), "of 6 pairs", pixels.side_swap),
    Corruption("joints_missing", "joints at (0, 0), the same in a burst", (2, 5, 9), "of 17", pixels.joints_missing),
    Corruption("frozen", "a picture that comes late and seldom", (3, 10, 30), "frames old at most", move=moves.frozen),
    Corruption(
        "wrong_person",
        "another person of the room, beside this one",
        (40, 80, 160),
        "px beside",
        pixels.beside,
        moves.other_person_here,
        partner="subject",
    ),
)
_LIDAR = _named(
    Corruption("points_lost", "points lost at random", (0.7, 0.8, 0.9), "of the points", lidar.points_lost),
    Corruption("beams_lost", "only some beams left, evenly spaced", (16, 8, 4), "of 32 beams left", lidar.beams_lost),
    Corruption("range_noise", "Gaussian error along the ray", (0.01, 0.03, 0.05), "m", lidar.range_noise),
    Corruption("fog", "loss with range, clutter near the sensor", (50, 20, 10), "m visibility", lidar.fog),
    Corruption("crosstalk", "points at random ranges", (0.01, 0.03, 0.05), "of the points", lidar.crosstalk),
)
_RADAR = _named(
    Corruption("ghosts", "echoes by way of a wall", (0.1, 0.3, 0.6), "more points", radar.ghosts),
    Corruption("points_lost", "points lost at random", (0.3, 0.6, 0.9), "of the points", lidar.points_lost),
    Corruption("zero_doppler", "speed 0", (0.5, 0.75, 1.0), "of the points", radar.zero_doppler),
    Corruption("clock_skew", "the frame of some time ago", (1, 3, 10), "frames late", move=moves.late),
)
_CSI = _named(
    Corruption("awgn", "white Gaussian noise", (20, 10, 5), "dB SNR", csi.awgn),
    Corruption("packet_loss", "lost packets repeat the last one", (2, 5, 8), "of 10 packets", csi.packet_loss),
    Corruption("agc_jumps", "gain error of each packet and receiver", (3, 6, 10), "dB", csi.agc_jumps),
    Corruption("phase_jumps", "phase error of each packet and receiver", (0.5, 1.5, 3.0), "rad", csi.phase_jumps),
    Corruption("dead_chain", "receive chains hear noise; 0: one is 20 dB weak", (0, 1, 2), "of 3 dead", csi.dead_chain),
    Corruption("jammed_band", "neighbouring tones jammed at +10 dB", (0.1, 0.2, 0.4), "of 114 tones", csi.jammed_band),
)
_OF_KIND: dict[str, dict[str, Corruption]] = {"joints2d": _JOINTS, "csi": _CSI, "depth": {}}
_OF_SENSOR: dict[str, dict[str, Corruption]] = {"lidar": _LIDAR, "mmwave": _RADAR}

LABEL_CORRUPTIONS: dict[str, Corruption] = _named(
    Corruption("joint_swap", "joints exchanged, the same in a burst", (1, 2, 4), "pairs", poses.joint_swap),
    Corruption("offset", "the whole body elsewhere", (0.05, 0.1, 0.2), "m", poses.offset),
    Corruption("time_shift", "another moment's pose", (3, 10, 30), "frames before or after", move=moves.other_moment),
    Corruption("subject_swap", "another subject's pose", move=moves.other_person_same_action, partner="subject"),
)
"""What can be wrong with a label."""

KIND_NAMES: tuple[str, ...] = tuple(
    dict.fromkeys(name for table in (_ANY, _JOINTS, _LIDAR, _RADAR, _CSI, LABEL_CORRUPTIONS) for name in table)
)
"""What the numbers in masks stand for: an index into this list, -1 for none. The column says which sensor."""


def corruptions_of(what: str) -> dict[str, Corruption]:
    """The corruptions of a sensor, or of the ``label``, by name.

    Raises:
        UsageError: if there is no such sensor.
    """
    if what == LABEL:
        return LABEL_CORRUPTIONS
    if what not in MODALITIES:
        raise unknown_name("sensor", what, [*MODALITIES, LABEL], "equipose list corruptions")
    own = _OF_SENSOR[what] if what in _OF_SENSOR else _OF_KIND[MODALITIES[what].kind]
    return {**own, **_ANY}


def find_corruption(what: str, name: str) -> Corruption:
    """One corruption of a sensor, or of the ``label``.

    Raises:
        UsageError: if there is no such sensor, or it has no such corruption.
    """
    known = corruptions_of(what)
    if name not in known:
        raise unknown_name(f"corruption of {what}", name, known, "equipose list corruptions")
    return known[name]


def summary() -> Mapping[str, str]:
    """``sensor.name`` -> severities and what it is, for `equipose list corruptions`."""
    return {
        f"{what}.{name}": f"{corruption.severities}: {corruption.about}"
        for what in (*MODALITIES, LABEL)
        for name, corruption in corruptions_of(what).items()
    }
