"""The 27 actions of MM-Fi as scripts: which joint angle moves by how much, along which curve of the repetition.

Angles are degrees, displacements metres, all in the person's own frame. Left-sided actions are written down; the
right-sided ones are their mirror images. Periods are MM-Fi's median repetition lengths at 10 Hz.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

Curve = Literal["always", "bump", "hold", "sine", "double", "first", "second"]
Foot = Literal["both", "left", "right"]


@dataclass(frozen=True)
class Move:
    """One channel's excursion: ``peak`` at the curve's value 1, added to the resting posture."""

    channel: str
    peak: float
    curve: Curve = "bump"


@dataclass(frozen=True)
class ActionScript:
    """One action.

    Attributes:
        name: MM-Fi's name.
        period: frames per repetition at 10 Hz.
        moves: excursions that are added up.
        planted: the foot that stays where it is.
    """

    name: str
    period: float
    moves: tuple[Move, ...]
    planted: Foot = "both"


def _bump(phase: np.ndarray) -> np.ndarray:
    return 0.5 - 0.5 * np.cos(2 * np.pi * phase)


def _hold(phase: np.ndarray) -> np.ndarray:
    return np.sin(np.pi / 2 * _bump(phase))  # lingers at the peak


CURVES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "always": np.ones_like,
    "bump": _bump,
    "hold": _hold,
    "sine": lambda phase: np.sin(2 * np.pi * phase),
    "double": lambda phase: _bump(2 * phase),
    "first": lambda phase: np.where(phase < 0.5, _bump(2 * phase), 0.0),
    "second": lambda phase: np.where(phase >= 0.5, _bump(2 * phase), 0.0),
}
"""Phase in [0, 1) to a value; all but ``always`` are 0 at phase 0."""

CHANNELS = (
    *("lean", "side", "twist", "nod", "turn", "forward", "sideways", "flight"),
    *(
        f"{side}_{part}"
        for side in ("left", "right")
        for part in ("raise", "azimuth", "elbow", "bend", "hip", "abduct", "knee")
    ),
)
"""All channels. Trunk: ``lean`` forward, ``side`` and ``twist`` and ``turn`` (head) to the person's left, ``nod``.
Arm: ``raise`` from hanging (0) over horizontal (90) to overhead (180) in the vertical plane at ``azimuth`` (0 outward,
90 forward); ``elbow`` flexion, in the direction in which ``azimuth`` (``bend`` 90) or ``raise`` (``bend`` 0) grows.
Leg: ``hip`` flexion forward, ``abduct`` outward, ``knee`` flexion. ``forward``, ``sideways``: the trunk's shift;
``flight``: height of both feet above the floor."""

_MIRRORED_SIGN = {"side", "twist", "turn", "sideways"}


def _both(part: str, peak: float, curve: Curve = "bump") -> tuple[Move, Move]:
    return Move(f"left_{part}", peak, curve), Move(f"right_{part}", peak, curve)


def _mirror(script: ActionScript, name: str, period: int | None = None) -> ActionScript:
    def flip(move: Move) -> Move:
        channel, peak = move.channel, move.peak
        if channel.startswith("left_"):
            channel = "right_" + channel.removeprefix("left_")
        elif channel.startswith("right_"):
            channel = "left_" + channel.removeprefix("right_")
        elif channel in _MIRRORED_SIGN:
            peak = -peak
        return Move(channel, peak, move.curve)

    feet: dict[Foot, Foot] = {"left": "right", "right": "left", "both": "both"}
    return ActionScript(name, period or script.period, tuple(flip(move) for move in script.moves), feet[script.planted])


# Limb extensions, lunges and squat are as wide as MARS' movements of the same names (Kinect joints, two people), whose
# arms are held up through lunges and squat: upper arms level, hands beside the head.
_GUARD = (
    *_both("raise", 80, "always"),
    *_both("azimuth", -8, "always"),
    *_both("elbow", 92, "always"),
    *_both("bend", -78, "always"),
)
_ARMS_FORWARD = (*_both("raise", 78, "always"), *_both("azimuth", 55, "always"))

_STRETCH = ActionScript(
    "stretch and relax",
    7,
    (
        *_both("raise", 62, "always"),
        *_both("azimuth", 40, "always"),
        *_both("elbow", 95, "always"),
        *_both("elbow", -85),
        *_both("raise", 22),
        *_both("bend", -35, "always"),
        Move("lean", -4),
    ),
)
_CHEST_HORIZONTAL = ActionScript(
    "chest expansion horizontal",
    32,
    (
        *_both("raise", 80, "always"),
        *_both("azimuth", 78, "always"),
        *_both("azimuth", -95, "double"),
        *_both("elbow", 75, "first"),
        Move("lean", -7, "double"),
    ),
)
_CHEST_VERTICAL = ActionScript(
    "chest expansion vertical",
    30,
    (
        *_both("raise", 155, "hold"),
        *_both("azimuth", 55, "hold"),
        *_both("elbow", 12, "hold"),
        Move("lean", -8, "hold"),
        Move("nod", -12, "hold"),
    ),
)
_TWIST_LEFT = ActionScript(
    "twist left",
    19,
    (
        *_both("raise", 70, "always"),
        *_both("azimuth", 45, "always"),
        *_both("elbow", 105, "always"),
        Move("twist", 58),
        Move("turn", 12),
    ),
)
_MARK_TIME = ActionScript(
    "mark time",
    12,
    (
        Move("left_hip", 62, "first"),
        Move("left_knee", 82, "first"),
        Move("right_hip", 62, "second"),
        Move("right_knee", 82, "second"),
        Move("right_raise", 32, "first"),
        Move("left_raise", 32, "second"),
        *_both("azimuth", 60, "always"),
        *_both("elbow", 35, "always"),
    ),
)
_EXTENSION_LEFT = ActionScript(
    "limb extension left",
    26,
    (
        Move("left_raise", 95, "hold"),
        Move("left_azimuth", -8, "hold"),
        Move("left_abduct", 44, "hold"),
        Move("left_hip", 4, "hold"),
        Move("side", -11, "hold"),
        Move("right_raise", 14, "hold"),
    ),
    planted="right",
)
_LUNGE_LEFT = ActionScript(
    "lunge left-front",
    19,
    (
        Move("left_hip", 26, "hold"),
        Move("left_knee", 40, "hold"),
        Move("left_abduct", 16, "hold"),
        Move("right_hip", -5, "hold"),
        Move("right_knee", 16, "hold"),
        Move("right_abduct", 8, "hold"),
        Move("lean", 5, "hold"),
        *_GUARD,
    ),
    planted="right",
)
_EXTENSION_BOTH = ActionScript(
    "limb extension both",
    25,
    (
        *_both("raise", 120, "hold"),
        *_both("azimuth", -8, "hold"),
    ),
)
_SQUAT = ActionScript(
    "squat",
    20,
    (
        *_both("hip", 86),
        *_both("knee", 106),
        Move("lean", 22),
        *_GUARD,
        Move("nod", -12),
    ),
)
_RAISE_LEFT = ActionScript(
    "raise hand left",
    20,
    (Move("left_raise", 152, "hold"), Move("left_azimuth", 45, "hold"), Move("side", -5, "hold")),
)
_SIDE_LUNGE_LEFT = ActionScript(
    "side lunge left",
    27,
    (
        Move("left_abduct", 26, "hold"),
        Move("left_hip", 26, "hold"),
        Move("left_knee", 46, "hold"),
        Move("right_abduct", 18, "hold"),
        Move("lean", 6, "hold"),
        Move("side", 3, "hold"),
        *_both("raise", 78, "always"),
        *_both("azimuth", -15, "always"),
    ),
    planted="right",
)
_WAVE_LEFT = ActionScript(
    "wave hand left",
    14,
    (
        Move("left_raise", 96, "always"),
        Move("left_azimuth", 22, "always"),
        Move("left_elbow", 92, "always"),
        Move("left_bend", -80, "always"),
        Move("left_elbow", 30, "sine"),
        Move("left_bend", 14, "sine"),
        Move("left_raise", 9, "sine"),
    ),
)
_PICK_UP = ActionScript(
    "pick up",
    22,
    (
        Move("lean", 78),
        *_both("hip", 34),
        *_both("knee", 52),
        Move("right_raise", 62),
        Move("right_azimuth", 80),
        Move("left_raise", 18),
        Move("left_elbow", 50),
        Move("nod", 8),
        Move("twist", 10),
    ),
)
_THROW_LEFT = ActionScript(
    "throw to left",
    25,
    (
        *_ARMS_FORWARD,
        *_both("elbow", 65, "always"),
        *_both("elbow", -50, "second"),
        Move("twist", -26, "first"),
        Move("twist", 52, "second"),
        Move("lean", 12, "first"),
        *_both("raise", -30, "first"),
        *_both("raise", 18, "second"),
        Move("right_azimuth", 30, "second"),
        *_both("knee", 16, "first"),
        *_both("hip", 9, "first"),
    ),
)
_KICK_LEFT = ActionScript(
    "kick to left",
    22,
    (
        Move("left_hip", 38),
        Move("left_abduct", 40),
        Move("left_knee", 46, "double"),
        Move("side", -9),
        Move("lean", -4),
        Move("right_raise", 38),
        Move("left_raise", 26),
    ),
    planted="right",
)
_BODY_EXTENSION_LEFT = ActionScript(
    "body extension left",
    18,
    (
        Move("side", 30, "hold"),
        Move("right_raise", 158, "hold"),
        Move("right_azimuth", 10, "hold"),
        Move("right_elbow", 12, "hold"),
        Move("left_elbow", 45, "hold"),
        Move("left_raise", 14, "hold"),
        Move("sideways", -0.04, "hold"),
    ),
)
_JUMP = ActionScript(
    "jump up",
    10,
    (
        *_both("hip", 42, "first"),
        *_both("knee", 62, "first"),
        Move("lean", 22, "first"),
        Move("flight", 0.17, "second"),
        *_both("raise", 55, "second"),
        *_both("raise", 18, "first"),
        *_both("azimuth", 70, "always"),
        *_both("elbow", 40, "always"),
    ),
)
_BOW = ActionScript("bow", 22, (Move("lean", 66, "hold"), Move("nod", 10, "hold"), *_both("raise", 20, "hold")))

ACTIONS: Mapping[int, ActionScript] = {
    1: _STRETCH,
    2: _CHEST_HORIZONTAL,
    3: _CHEST_VERTICAL,
    4: _TWIST_LEFT,
    5: _mirror(_TWIST_LEFT, "twist right", 18),
    6: _MARK_TIME,
    7: _EXTENSION_LEFT,
    8: _mirror(_EXTENSION_LEFT, "limb extension right", 25),
    9: _LUNGE_LEFT,
    10: _mirror(_LUNGE_LEFT, "lunge right-front"),
    11: _EXTENSION_BOTH,
    12: _SQUAT,
    13: _RAISE_LEFT,
    14: _mirror(_RAISE_LEFT, "raise hand right"),
    15: _SIDE_LUNGE_LEFT,
    16: _mirror(_SIDE_LUNGE_LEFT, "side lunge right", 25),
    17: _WAVE_LEFT,
    18: _mirror(_WAVE_LEFT, "wave hand right"),
    19: _PICK_UP,
    20: _THROW_LEFT,
    21: _mirror(_THROW_LEFT, "throw to right"),
    22: _KICK_LEFT,
    23: _mirror(_KICK_LEFT, "kick to right"),
    24: _BODY_EXTENSION_LEFT,
    25: _mirror(_BODY_EXTENSION_LEFT, "body extension right"),
    26: _JUMP,
    27: _BOW,
}
"""Action number (A01 to A27) to its script."""
