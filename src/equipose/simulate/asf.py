"""Acclaim skeletons (``.asf``) and motions (``.amc``), as in the CMU motion capture database, with forward kinematics.

A bone turns about its near end by C L C^-1: C is its ``axis`` rotation, L its motion. The orders such as XYZ name
rotations about fixed axes, X first, so the matrix is Rz Ry Rx (column vectors). A joint is the far end of the bone it
is named after; ``root`` is the root's own place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from equipose.errors import DataError
from equipose.simulate.motion_clip import Clip, axis_rotation, digest_of, numbers, read_bytes

CMU_FRAME_RATE_HZ = 120.0
"""Of the CMU database. An .amc does not say how fast it was recorded."""


@dataclass(frozen=True)
class Bone:
    """One bone: its parent's name, its unit direction and length, its axis rotation, its degrees of freedom."""

    name: str
    parent: str
    direction: Float64[np.ndarray, " 3"]
    length: float
    axis: Float64[np.ndarray, "3 3"]
    freedom: tuple[str, ...]


@dataclass(frozen=True)
class AsfSkeleton:
    """What an .asf says.

    Attributes:
        bones: parents before children, the root first with length 0.
        degrees: whether angles are degrees, else radians.
    """

    bones: tuple[Bone, ...]
    degrees: bool


def find_asf(amc: Path, given: list[Path]) -> Path:
    """The skeleton of a motion: of the same name, or of the name before the first ``_``; given or beside it.

    Raises:
        DataError: there is none.
    """
    stems = [amc.stem, amc.stem.split("_")[0]]
    for stem in stems:
        for path in given:
            if path.stem == stem:
                return path
    if len(given) == 1:
        return given[0]
    for stem in stems:
        for suffix in (".asf", ".ASF"):
            path = amc.with_name(stem + suffix)
            if path.is_file():
                return path
    wanted = " or ".join(str(amc.with_name(f"{stem}.asf")) for stem in dict.fromkeys(stems))
    raise DataError(
        f"{amc} has no skeleton: expected {wanted}. Put it there, or name it too: --motion {amc.name} {stems[1]}.asf"
    )


def read_amc(path: Path, skeleton_path: Path, frame_rate: float | None = None) -> Clip:
    """Read a motion with its skeleton.

    Args:
        path: the .amc.
        skeleton_path: the .asf.
        frame_rate: of the motion; 120 per second, as at CMU, if not given.

    Raises:
        DataError: a file is missing, cut off, or the two do not fit together.
    """
    contents = [read_bytes(skeleton_path), read_bytes(path)]
    skeleton = parse_asf(contents[0].decode("utf-8", errors="replace"), skeleton_path)
    values = parse_amc(contents[1].decode("utf-8", errors="replace"), path, skeleton)
    assumed = () if frame_rate else (f"{CMU_FRAME_RATE_HZ:g} frames a second, as at CMU (an .amc does not say)",)
    names = tuple(bone.name for bone in skeleton.bones)
    positions = forward_kinematics(skeleton, values)
    return Clip(path.stem, path, names, positions, frame_rate or CMU_FRAME_RATE_HZ, "asf", digest_of(contents), assumed)


def forward_kinematics(
    skeleton: AsfSkeleton, values: Mapping[str, Float64[np.ndarray, "time freedom"]]
) -> Float64[np.ndarray, "time bone 3"]:
    """Far ends of all bones, in the order of the skeleton; file unit."""
    factor = 1.0 if skeleton.degrees else 180.0 / np.pi
    count = values["root"].shape[0]
    places: dict[str, np.ndarray] = {}
    turns: dict[str, np.ndarray] = {}
    for bone in skeleton.bones:
        motion = np.broadcast_to(np.eye(3), (count, 3, 3))
        shift = np.zeros((count, 3))
        length = np.full(count, bone.length)
        for column, freedom in enumerate(bone.freedom):
            value = values[bone.name][:, column]
            if freedom.startswith("r"):
                motion = axis_rotation(freedom[1], factor * value) @ motion
            elif freedom.startswith("t"):
                shift[:, "xyz".index(freedom[1])] = value
            else:
                length = length + value
        turn = bone.axis @ motion @ bone.axis.T
        if bone.parent:
            turn = turns[bone.parent] @ turn
            shift = places[bone.parent] + np.einsum("tij,j->ti", turn, bone.direction) * length[:, None]
        turns[bone.name], places[bone.name] = turn, shift
    return np.stack([places[bone.name] for bone in skeleton.bones], axis=1)


def parse_asf(text: str, path: Path) -> AsfSkeleton:
    """Parse an .asf.

    Raises:
        DataError: a section is missing or cut off.
    """
    sections = _sections(text)
    for name in ("root", "bonedata", "hierarchy"):
        if name not in sections:
            raise DataError(f"{path}: no section :{name}, expected :root, :bonedata and :hierarchy. It is cut off.")
    degrees = _fields(sections.get("units", [])).get("angle", ["deg"])[0].lower().startswith("deg")
    factor = 1.0 if degrees else 180.0 / np.pi
    root = _fields(sections["root"])
    order = tuple(word.lower() for word in root.get("order", ["TX", "TY", "TZ", "RX", "RY", "RZ"]))
    if any(word not in ("tx", "ty", "tz", "rx", "ry", "rz", "l") for word in order):
        raise DataError(f"{path}, :root: found order {' '.join(order)}, expected a list of TX TY TZ RX RY RZ")
    turn = _axis([*root.get("orientation", ["0", "0", "0"]), *root.get("axis", ["XYZ"])], factor, f"{path}, :root")
    bones = {"root": Bone("root", "", np.zeros(3), 0.0, turn, order)}
    block: list[list[str]] | None = None
    for line in sections["bonedata"]:
        if line[0].lower() == "begin":
            block = []
        elif line[0].lower() == "end" and block is not None:
            bone = _bone(_fields(block), factor, path)
            bones[bone.name] = bone
            block = None
        elif block is not None:
            block.append(line)
    if block is not None:
        raise DataError(f"{path}: :bonedata ends within a bone. The file is cut off.")
    return AsfSkeleton(_ordered(bones, sections["hierarchy"], path), degrees)


def parse_amc(text: str, path: Path, skeleton: AsfSkeleton) -> dict[str, Float64[np.ndarray, "time freedom"]]:
    """Values of every moving bone over time.

    Raises:
        DataError: a frame is not complete, or has a bone that the skeleton lacks.
    """
    sizes = {bone.name: len(bone.freedom) for bone in skeleton.bones if bone.freedom}
    frames: list[dict[str, list[str]]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words or words[0][0] in "#:":
            continue
        if len(words) == 1 and words[0].isdigit():
            frames.append({})
            continue
        bone = words[0]
        if bone not in sizes or not frames:
            raise DataError(f"{path}, line {number}: found {bone!r}, expected a frame number or a bone of the .asf")
        if len(words) - 1 != sizes[bone]:
            raise DataError(
                f"{path}, line {number}: found {len(words) - 1} values of {bone}, expected {sizes[bone]}. The file is "
                "cut off, or belongs to another .asf."
            )
        frames[-1][bone] = words[1:]
    if not frames:
        raise DataError(f"{path}: found no frame, expected frame numbers each followed by one line per bone")
    for number, frame in enumerate(frames, start=1):
        missing = [name for name in sizes if name not in frame]
        if missing:
            raise DataError(
                f"{path}: frame {number} of {len(frames)} has {len(frame)} of {len(sizes)} bones; {missing[0]} is "
                "missing. The file is cut off, or belongs to another .asf."
            )
    return {
        name: numbers([word for frame in frames for word in frame[name]], f"{path}, {name}").reshape(len(frames), size)
        for name, size in sizes.items()
    }


def _sections(text: str) -> dict[str, list[list[str]]]:
    sections: dict[str, list[list[str]]] = {}
    name = ""
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if not words:
            continue
        if words[0].startswith(":"):
            name = words[0][1:].lower()
            sections[name] = []
        elif name:
            sections[name].append(words)
    return sections


def _fields(lines: list[list[str]]) -> dict[str, list[str]]:
    return {words[0].lower(): words[1:] for words in lines}


def _axis(words: list[str], factor: float, where: str) -> Float64[np.ndarray, "3 3"]:
    """Three angles and an order such as XYZ: the product of rotations about fixed axes, first letter first."""
    order = words[3].lower() if len(words) > 3 else "xyz"
    if len(words) < 3 or sorted(order) != ["x", "y", "z"]:
        raise DataError(f"{where}: found axis {' '.join(words)!r}, expected three angles and an order such as XYZ")
    turn = np.eye(3)
    for letter, angle in zip(order, numbers(words[:3], where), strict=True):
        turn = axis_rotation(letter, np.array(factor * angle)) @ turn
    return turn


def _bone(fields: dict[str, list[str]], factor: float, path: Path) -> Bone:
    name = (fields.get("name") or ["?"])[0]
    where = f"{path}, bone {name}"
    for key in ("name", "direction", "length"):
        if len(fields.get(key, [])) < (3 if key == "direction" else 1):
            raise DataError(f"{where}: found no {key}, expected one. The file is cut off.")
    direction = numbers(fields["direction"][:3], where)
    size = float(np.linalg.norm(direction))
    if size > 0:
        direction = direction / size
    freedom = tuple(word.lower() for word in fields.get("dof", []))
    if any(word not in ("tx", "ty", "tz", "rx", "ry", "rz", "l") for word in freedom):
        raise DataError(f"{where}: found dof {' '.join(freedom)}, expected a list of rx ry rz")
    turn = _axis(fields.get("axis", ["0", "0", "0", "XYZ"]), factor, where)
    return Bone(name, "", direction, float(numbers(fields["length"][:1], where)[0]), turn, freedom)


def _ordered(bones: dict[str, Bone], lines: list[list[str]], path: Path) -> tuple[Bone, ...]:
    """Bones with their parents; parents come first."""
    parents: dict[str, str] = {}
    for words in lines:
        if words[0].lower() not in ("begin", "end"):
            parents |= dict.fromkeys(words[1:], words[0])
    unknown = [name for name in (*parents, *parents.values()) if name not in bones]
    lost = [name for name in bones if name != "root" and name not in parents]
    if unknown or lost:
        raise DataError(
            f"{path}: {(unknown or lost)[0]} is in only one of :bonedata and :hierarchy. The file is damaged."
        )
    ordered = ["root"]
    for name in ordered:  # grows while it is read: breadth first, so parents come before their children
        ordered += [child for child in bones if parents.get(child) == name and child not in ordered]
    if len(ordered) < len(bones):
        raise DataError(f"{path}: not every bone hangs on the root in :hierarchy. The file is damaged.")
    return tuple(replace(bones[name], parent=parents.get(name, "")) for name in ordered)
