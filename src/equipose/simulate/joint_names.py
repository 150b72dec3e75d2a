"""Which joints of a file are MM-Fi's: tables of the names in common use.

Names are compared without case, without a prefix such as ``mixamorig:`` and without ``_ - .`` and spaces. The first
convention that names all joints is taken. The tip of the head may be missing: it then continues the line of the neck.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from equipose.errors import DataError
from equipose.skeleton import H36M17

_END = ("headend", "headtop", "headtopend", "headnub", "headsite", "headtip")
_ARM_BVH = {"shoulder": "{s}arm", "elbow": "{s}forearm", "wrist": "{s}hand"}
_PLAIN_LIMBS = {
    **{"hip": "{s}hip", "knee": "{s}knee", "ankle": "{s}ankle"},
    **{"shoulder": "{s}shoulder", "elbow": "{s}elbow", "wrist": "{s}wrist"},
}


@dataclass(frozen=True)
class Convention:
    """One way to name joints.

    Attributes:
        name: for people.
        kinds: of files it is tried on, as ``Clip.kind``.
        sides: (left, right) words that replace ``{s}``.
        limbs: MM-Fi's joint without its side -> name with ``{s}``.
        trunk: MM-Fi's joint -> names, the first that exists is taken.
        pelvis_between_hips: the pelvis is put between the hips, as in MM-Fi, wherever the file has its root.
    """

    name: str
    kinds: tuple[str, ...]
    sides: tuple[str, str]
    limbs: dict[str, str]
    trunk: dict[str, tuple[str, ...]]
    pelvis_between_hips: bool = True

    def wanted(self) -> dict[str, tuple[str, ...]]:
        """MM-Fi's joint -> names to look for; without the pelvis where it is computed."""
        names = dict(self.trunk)
        for side, word in zip(("left", "right"), self.sides, strict=True):
            names |= {f"{side}_{part}": (name.format(s=word),) for part, name in self.limbs.items()}
        return names


CONVENTIONS = (
    Convention(
        "CMU .asf (a joint is the far end of its bone)",
        ("asf", "npz"),
        ("l", "r"),
        {
            **{"hip": "{s}hipjoint", "knee": "{s}femur", "ankle": "{s}tibia"},
            **{"shoulder": "{s}clavicle", "elbow": "{s}humerus", "wrist": "{s}radius"},
        },
        {"spine": ("lowerback",), "thorax": ("thorax",), "face": ("upperneck",), "head": ("head",)},
    ),
    Convention(
        "CMU bones in a .bvh (a joint is the near end of its bone)",
        ("bvh",),
        ("l", "r"),
        {
            **{"hip": "{s}femur", "knee": "{s}tibia", "ankle": "{s}foot"},
            **{"shoulder": "{s}humerus", "elbow": "{s}radius", "wrist": "{s}wrist"},
        },
        {"spine": ("upperback",), "thorax": ("lowerneck",), "face": ("head",), "head": _END},
    ),
    Convention(
        "MM-Fi",
        ("npz", "bvh"),
        ("left", "right"),
        _PLAIN_LIMBS,
        {"pelvis": ("pelvis",), "spine": ("spine",), "thorax": ("thorax",), "face": ("face",), "head": ("head",)},
        pelvis_between_hips=False,
    ),
    Convention(
        "CMU in Daz or MotionBuilder names",
        ("npz", "bvh"),
        ("left", "right"),
        {**{"hip": "{s}upleg", "knee": "{s}leg", "ankle": "{s}foot"}, **_ARM_BVH},
        # LowerBack is no joint of MM-Fi's: it tells this convention from the next, whose Spine is lower.
        {"root above": ("lowerback",), "spine": ("spine",), "thorax": ("neck",), "face": ("head",), "head": _END},
    ),
    Convention(
        "Mixamo, MotionBuilder, LAFAN1",
        ("npz", "bvh"),
        ("left", "right"),
        {**{"hip": "{s}upleg", "knee": "{s}leg", "ankle": "{s}foot"}, **_ARM_BVH},
        {"spine": ("spine1", "spine", "chest"), "thorax": ("neck",), "face": ("head", "neck1"), "head": _END},
    ),
    *(
        Convention(
            f"hip, knee, ankle with {sides[0]} and {sides[1]} (classic .bvh, SMPL)",
            ("npz", "bvh"),
            sides,
            _PLAIN_LIMBS,
            {
                "spine": ("spine2", "spine1", "spine", "chest", "abdomen", "torso"),
                "thorax": ("neck", "thorax"),
                "face": ("head",),
                "head": _END,
            },
        )
        for sides in (("left", "right"), ("l", "r"))
    ),
    Convention(
        "3ds Max Biped",
        ("npz", "bvh"),
        ("l", "r"),
        {
            **{"hip": "{s}thigh", "knee": "{s}calf", "ankle": "{s}foot"},
            **{"shoulder": "{s}upperarm", "elbow": "{s}forearm", "wrist": "{s}hand"},
        },
        {"spine": ("spine1", "spine"), "thorax": ("neck",), "face": ("head",), "head": _END},
    ),
)


@dataclass(frozen=True)
class JointMap:
    """Where MM-Fi's joints are in a file.

    Attributes:
        convention: whose names were found.
        columns: (17,) index into the file's joints, or -1: the pelvis between the hips, the head on the neck's line.
    """

    convention: str
    columns: tuple[int, ...]


def match(names: Sequence[str], kind: str, path: Path) -> JointMap:
    """Find MM-Fi's 17 joints among named joints.

    Args:
        names: of the file's joints.
        kind: ``asf``, ``bvh`` or ``npz``, see ``Clip``.
        path: for messages.

    Raises:
        DataError: no convention names them all; lists what the nearest one lacks.
    """
    plain = plain_names(names)
    lacking: list[tuple[int, Convention, dict[str, tuple[str, ...]]]] = []
    for convention in CONVENTIONS:
        if kind not in convention.kinds:
            continue
        wanted = convention.wanted()
        missing = {j: words for j, words in wanted.items() if j != "head" and not any(w in plain for w in words)}
        if not missing:
            found = {j: next((plain.index(w) for w in words if w in plain), -1) for j, words in wanted.items()}
            return JointMap(convention.name, tuple(found.get(joint, -1) for joint in H36M17.joints))
        lacking.append((len(missing), convention, missing))
    _, nearest, missing = min(lacking, key=lambda one: one[0])
    lines = [f"  {joint}: looked for {' or '.join(words)}" for joint, words in missing.items()]
    raise DataError(
        f"{path}: {len(missing)} joints have no known name. Nearest convention: {nearest.name}. Unmatched:\n"
        + "\n".join(lines)
        + f"\nThe file's joints: {', '.join(names)}.\nKnown names: {', '.join(known_names(nearest))}.\n"
        "Rename the joints in the file, or give an .npz with 'joints' (time, 17, 3) in MM-Fi's order and 'fps'."
    )


def known_names(convention: Convention) -> tuple[str, ...]:
    """Every name that a convention knows, without case and separators."""
    return tuple(dict.fromkeys(word for words in convention.wanted().values() for word in words))


def plain_names(names: Sequence[str]) -> list[str]:
    """Lower case, no prefix before a colon, no ``_ - .`` and spaces, no prefix of Mixamo or Biped."""
    bare = [re.sub(r"[\s_.\-]", "", name.rpartition(":")[2]).lower() for name in names]
    return [re.sub(r"^(mixamorig\d*|bip\d+)(?=.)", "", name) for name in bare]
