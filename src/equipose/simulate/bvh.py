"""Biovision hierarchies: the ``.bvh`` format, read with forward kinematics.

A joint is its parent plus the rotated offset; its own rotation is the product of its channels' rotations in the order
of the file (column vectors). Position channels stand in the place of the offset along their axis.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from equipose.errors import DataError
from equipose.simulate.motion_clip import Clip, axis_rotation, digest_of, numbers, read_bytes

_CHANNELS = {f"{axis}{kind}": (axis, kind) for axis in "xyz" for kind in ("position", "rotation")}


@dataclass(frozen=True)
class Joint:
    """One joint: its parent's index (-1 for a root), the offset from it, channels such as ("z", "rotation")."""

    name: str
    parent: int
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    channels: tuple[tuple[str, str], ...] = ()


def read_bvh(path: Path, frame_rate: float | None = None) -> Clip:
    """Read a ``.bvh`` file.

    Args:
        path: the file.
        frame_rate: in place of the file's own.

    Raises:
        DataError: the file is missing, cut off or no .bvh.
    """
    content = read_bytes(path)
    text = content.decode("utf-8", errors="replace")
    line = re.search(r"^\s*MOTION\s*$", text, re.MULTILINE | re.IGNORECASE)
    if line is None or not text.lstrip("\ufeff \r\n\t").upper().startswith("HIERARCHY"):
        raise DataError(
            f"{path}: expected a .bvh file with the words HIERARCHY and MOTION. It is another file or cut off."
        )
    joints = _hierarchy(text[: line.start()].split()[1:], path)
    values, own_rate = _motion(text[line.end() :], sum(len(joint.channels) for joint in joints), path)
    positions = forward_kinematics(joints, values)
    names = tuple(joint.name for joint in joints)
    return Clip(path.stem, path, names, positions, frame_rate or own_rate, "bvh", digest_of([content]))


def forward_kinematics(
    joints: list[Joint], values: Float64[np.ndarray, "time channel"]
) -> Float64[np.ndarray, "time joint 3"]:
    """Joint positions from channel values; file unit, rotations in degrees."""
    count = values.shape[0]
    places: list[np.ndarray] = []
    turns: list[np.ndarray] = []
    column = 0
    for joint in joints:
        local = np.tile(np.array(joint.offset), (count, 1))
        turn = np.broadcast_to(np.eye(3), (count, 3, 3))
        for axis, kind in joint.channels:
            if kind == "position":
                local[:, "xyz".index(axis)] = values[:, column]
            else:
                turn = turn @ axis_rotation(axis, values[:, column])
            column += 1
        if joint.parent < 0:
            places.append(local)
            turns.append(turn)
        else:
            above = turns[joint.parent]
            places.append(places[joint.parent] + np.einsum("tij,tj->ti", above, local))
            turns.append(above @ turn)
    return np.stack(places, axis=1)


def _hierarchy(words: list[str], path: Path) -> list[Joint]:
    joints: list[Joint] = []
    open_joints: list[int] = []
    stream = iter(words)
    for word in stream:
        kind = word.upper()
        if kind in ("ROOT", "JOINT", "END"):
            name = _name(stream, path, "{")
            parent = open_joints[-1] if open_joints else -1
            joints.append(Joint(f"{joints[parent].name}_end" if kind == "END" and parent >= 0 else name, parent))
            open_joints.append(len(joints) - 1)
        elif kind == "}" and open_joints:
            open_joints.pop()
        elif kind == "OFFSET" and open_joints:
            offset = numbers(_take(stream, 3, path), f"{path}, OFFSET of {joints[-1].name}")
            joints[-1] = replace(joints[-1], offset=(float(offset[0]), float(offset[1]), float(offset[2])))
        elif kind == "CHANNELS" and open_joints:
            size = _take(stream, 1, path)[0]
            channels = [name.lower() for name in _take(stream, int(size) if size.isdigit() else 0, path)]
            unknown = [name for name in channels if name not in _CHANNELS]
            if unknown or not size.isdigit():
                raise DataError(
                    f"{path}: found channel {(unknown or [size])[0]!r} at {joints[-1].name}, expected Xposition to "
                    "Zrotation"
                )
            joints[-1] = replace(joints[-1], channels=tuple(_CHANNELS[name] for name in channels))
        else:
            raise DataError(
                f"{path}: found {word!r} in the hierarchy, expected JOINT, OFFSET, CHANNELS, End Site or }}"
            )
    if open_joints or not joints:
        raise DataError(f"{path}: the hierarchy ends within {joints[-1].name if joints else 'nothing'}. It is cut off.")
    return joints


def _name(stream: Iterator[str], path: Path, until: str) -> str:
    parts: list[str] = []
    for word in stream:
        if word == until:
            return " ".join(parts)
        parts.append(word)
    raise DataError(f"{path}: the hierarchy is cut off after {' '.join(parts)!r}; expected {until!r}")


def _take(stream: Iterator[str], count: int, path: Path) -> list[str]:
    taken = [word for _, word in zip(range(count), stream, strict=False)]
    if len(taken) < count:
        raise DataError(f"{path}: the hierarchy is cut off; expected {count} more values, found {len(taken)}")
    return taken


def _motion(text: str, num_channels: int, path: Path) -> tuple[Float64[np.ndarray, "time channel"], float]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    header = {}
    while lines and ":" in lines[0]:
        key, _, value = lines.pop(0).partition(":")
        header[" ".join(key.lower().split())] = value.strip()
    for key, example in (("frames", "Frames: 120"), ("frame time", "Frame Time: 0.008333")):
        if not header.get(key):
            raise DataError(f"{path}: no line {example.split(':')[0]!r} after MOTION, expected one such as {example!r}")
    count, step = (numbers([header[key].split()[0]], f"{path}, {key}")[0] for key in ("frames", "frame time"))
    if not step > 0:
        raise DataError(f"{path}: Frame Time is {step}, expected seconds per frame such as 0.008333")
    values = numbers(" ".join(lines).split(), f"{path}, MOTION")
    if values.size != int(count) * num_channels:
        raise DataError(
            f"{path}: found {values.size} motion values, expected {int(count)} frames x {num_channels} channels = "
            f"{int(count) * num_channels}. The file is cut off, or its line 'Frames:' is wrong."
        )
    return values.reshape(int(count), num_channels), 1.0 / float(step)
