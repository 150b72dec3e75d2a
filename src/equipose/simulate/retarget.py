"""From a clip to MM-Fi's 17 joints: upright, in metres, at 10 Hz, with the clip's own bones at constant length.

The pelvis is put between the hips, as in MM-Fi, where a file has its root elsewhere (CMU's lies 11 cm above). Axes are
turned, never mirrored, so left stays left. What had to be assumed is said in words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64

from equipose.errors import DataError, UsageError
from equipose.simulate.joint_names import match
from equipose.simulate.motion import FRAME_RATE_HZ
from equipose.simulate.motion_clip import Clip
from equipose.simulate.resample import bone_lengths, resample, with_bone_lengths
from equipose.skeleton import H36M17

UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001, "inch": 0.0254, "cmu": 0.0254 / 0.45}
"""Metres per unit. ``cmu`` is that of the CMU database: inches divided by 0.45."""

STATURES = (1.15, 2.15)
"""Metres between which a unit is believed. No two units of the table fit the same numbers."""

MAX_FRAMES = 999
"""Frame files are called frame001 to frame999."""

_TURNS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "y": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "-y": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),
    "z": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
    "-z": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
    "x": ((0, -1, 0), (1, 0, 0), (0, 0, 1)),
    "-x": ((0, 1, 0), (-1, 0, 0), (0, 0, 1)),
}
"""Which way is up -> rotation to y up."""

UPS = tuple(_TURNS)
_FRACTION_OF_STATURE = 0.913  # shin, thigh, trunk, neck and head of simulate.body, without the ankle's height
_ANKLE = 0.042


@dataclass(frozen=True, eq=False)
class Motion:
    """A clip as the simulator can play it.

    Attributes:
        name: of the clip.
        path: its file.
        digest: of its file.
        joints: (time, 17, 3) metres at 10 Hz, y up, right-handed; bone lengths are constant.
        stature: estimated from the bones, metres.
        girth: factor on the body's capsule radii, from stature and shoulders.
        source: unit, up, frame rate and names as found in the file or given.
        notes: what was assumed, in words.
    """

    name: str
    path: Path
    digest: str
    joints: Float64[np.ndarray, "time 17 3"]
    stature: float
    girth: float
    source: dict[str, str | float]
    notes: tuple[str, ...]

    @property
    def ankle_height(self) -> float:
        """Height of a standing person's ankle joint, metres."""
        return _ANKLE * self.stature


def retarget(clip: Clip, unit: str = "auto", up: str = "auto", frames: int | None = None) -> Motion:
    """MM-Fi's joints of a clip.

    Args:
        clip: from ``read_motion``.
        unit: m, cm, mm, inch or cmu; ``auto`` takes the one that makes a person of ordinary stature.
        up: y, z, -y, -z, x or -x; ``auto`` takes the axis along which heads are above ankles.
        frames: keep the first so many at 10 Hz.

    Raises:
        UsageError: unknown unit or axis.
        DataError: joints that cannot be matched, a stature that no unit explains, a person whose up is not clear,
            bones that change their length or have none, a clip too short or too long.
    """
    _known("--motion-unit", unit, UNITS)
    _known("--motion-up", up, _TURNS)
    found = match(clip.names, clip.kind, clip.path)
    chosen = _select(clip.positions, found.columns)
    _require_rigid(chosen, clip)
    lengths = np.median(bone_lengths(chosen), axis=0)
    raw_stature = _stature(lengths)
    unit_found = _unit(raw_stature, clip, unit)
    up_found = _up(chosen, clip, up)
    turn = np.array(_TURNS[up_found], np.float64)
    joints = resample(chosen @ turn.T * UNITS[unit_found], clip.frame_rate, FRAME_RATE_HZ)
    joints = _cut(joints, clip, frames)
    lengths = lengths * UNITS[unit_found]
    joints = with_bone_lengths(joints, lengths)
    stature = _stature(lengths)
    word = {True: "assumed", False: "as given"}
    notes = (
        f"unit {unit_found} {word[unit == 'auto']}: the person is {stature:.2f} m tall",
        f"{up_found} is up, {word[up == 'auto']}",
        *clip.assumed,
        *(("no tip of the head: it continues the neck",) if found.columns[10] < 0 else ()),
        *(("its knees bend backwards: the file may be left-handed",) if _knees_bend_backwards(joints) else ()),
    )
    shoulders = lengths[H36M17.bones.index((8, 11))] + lengths[H36M17.bones.index((8, 14))]
    girth = float(np.clip(np.sqrt(stature / 1.71 * shoulders / (2 * 0.098 * 1.71)), 0.8, 1.25))
    source: dict[str, str | float] = {
        "unit": unit_found,
        "up": up_found,
        "frame_rate_hz": round(clip.frame_rate, 6),
        "names": found.convention,
    }
    return Motion(clip.name, clip.path, clip.digest, joints, stature, girth, source, notes)


def _known(flag: str, value: str, table: Mapping[str, object]) -> None:
    if value != "auto" and value not in table:
        raise UsageError(f"{flag}: found {value!r}, expected auto, {', '.join(table)}")


def _select(
    positions: Float64[np.ndarray, "time joint 3"], columns: tuple[int, ...]
) -> Float64[np.ndarray, "time 17 3"]:
    """MM-Fi's joints; what the file lacks is computed from its neighbours."""
    out = positions[:, list(columns)].copy()
    if columns[0] < 0:
        out[:, 0] = 0.5 * (out[:, 1] + out[:, 4])
    thorax, face, head = out[:, 8], out[:, 9], out[:, 10]
    if (
        columns[10] < 0
        or np.linalg.norm(head - face, axis=-1).min() < 1e-3 * np.linalg.norm(face - thorax, axis=-1).max()
    ):
        out[:, 10] = face + (face - thorax)
    return out


def _require_rigid(joints: Float64[np.ndarray, "time 17 3"], clip: Clip) -> None:
    """Bones of a length that hardly changes: otherwise the joints are not what they are taken for."""
    lengths = bone_lengths(joints)
    middle = np.median(lengths, axis=0)
    for (parent, child), typical, own in zip(H36M17.bones, middle, lengths.T, strict=True):
        bone = f"{H36M17.joints[parent]} to {H36M17.joints[child]}"
        if own.min() <= 1e-6 * max(middle.max(), 1e-12):
            raise DataError(f"{clip.path}: the bone {bone} has no length. Expected 17 joints at different places.")
        if np.mean(abs(own - typical) > 0.25 * typical) > 0.05:
            low, high = np.percentile(own, [2.5, 97.5])
            raise DataError(
                f"{clip.path}: the bone {bone} is between {low:.3g} and {high:.3g} long, expected a length that stays. "
                "The joints are in another order than MM-Fi's, or are not positions. Expected order: "
                + ", ".join(H36M17.joints)
            )


def _stature(lengths: Float[np.ndarray, " 16"]) -> float:
    """Standing height from bone lengths: mean leg, trunk, neck and head, over their share of a stature."""
    bone = dict(zip(H36M17.bones, lengths.tolist(), strict=True))
    legs = 0.5 * (bone[1, 2] + bone[2, 3] + bone[4, 5] + bone[5, 6])
    return float(legs + bone[0, 7] + bone[7, 8] + bone[8, 9] + bone[9, 10]) / _FRACTION_OF_STATURE


def _unit(raw: float, clip: Clip, unit: str) -> str:
    low, high = STATURES
    if unit != "auto":
        if not 0.4 < raw * UNITS[unit] < 2.6:
            raise DataError(
                f"{clip.path}: with --motion-unit {unit} the person is {raw * UNITS[unit]:.3g} m tall, expected 0.4 to "
                f"2.6 m. {_other_units(raw)}"
            )
        return unit
    fitting = [name for name, metres in UNITS.items() if low <= raw * metres <= high]
    if not fitting:
        raise DataError(
            f"{clip.path}: the person is {raw:.4g} units tall, which is no adult's stature ({low} to {high} m) in "
            f"{', '.join(UNITS)}. Type --motion-unit with the one that holds, for a child for instance --motion-unit m."
        )
    return fitting[0]


def _other_units(raw: float) -> str:
    fitting = [name for name, metres in UNITS.items() if STATURES[0] <= raw * metres <= STATURES[1]]
    return f"Type --motion-unit {fitting[0]}" if fitting else "No unit known here fits; scale the file."


def _up(joints: Float64[np.ndarray, "time 17 3"], clip: Clip, up: str) -> str:
    if up != "auto":
        return up
    body = joints[:, 8] - 0.5 * (joints[:, 3] + joints[:, 6])
    direction = (body / np.linalg.norm(body, axis=-1, keepdims=True)).mean(0)
    axis = int(abs(direction).argmax())
    if abs(direction[axis]) < 0.6:
        shown = ", ".join(f"{value:.2f}" for value in direction)
        raise DataError(
            f"{clip.path}: from ankles to neck the body points along ({shown}) on average, so which way is up is not "
            "clear. Type --motion-up with y, z, -y or -z."
        )
    return ("" if direction[axis] > 0 else "-") + "xyz"[axis]


def _cut(joints: Float64[np.ndarray, "time 17 3"], clip: Clip, frames: int | None) -> Float64[np.ndarray, "kept 17 3"]:
    count = len(joints)
    if count < 2:
        raise DataError(
            f"{clip.path}: {clip.positions.shape[0]} frames at {clip.frame_rate:g} Hz are {count} frame at 10 Hz, "
            "expected at least two. Give a longer clip, or its true rate with --motion-fps."
        )
    joints = joints[: frames or count]
    if len(joints) > MAX_FRAMES:
        raise DataError(
            f"{clip.path}: {count} frames at 10 Hz, expected at most {MAX_FRAMES} in one recording. "
            f"Type --frames {MAX_FRAMES} to keep the first ones, or cut the file."
        )
    return joints


def _knees_bend_backwards(joints: Float64[np.ndarray, "time 17 3"]) -> bool:
    """Whether knees lie behind the line from hip to ankle, seen along the body's own front."""
    across = joints[:, 4] - joints[:, 1]
    upward = joints[:, 8] - joints[:, 0]
    front = np.cross(across, upward)
    front /= np.maximum(np.linalg.norm(front, axis=-1, keepdims=True), 1e-9)
    knee = joints[:, [2, 5]] - 0.5 * (joints[:, [1, 4]] + joints[:, [3, 6]])
    ahead = np.einsum("tsk,tk->ts", knee, front)
    return bool(np.median(ahead) < -0.02)
