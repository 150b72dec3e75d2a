"""Joints, bones and mirror tables: what a pose array's joint axis means.

Joint positions are metres in the camera frame: x right, y down, z forward. The person faces the camera, so the
person's right side has the smaller x.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Skeleton:
    """A tree of named joints.

    Attributes:
        name: key under which the skeleton is stored in a packed folder's ``meta.json``.
        joints: joint names in array order.
        parents: index of each joint's parent; -1 for the root.
        mirror: index permutation that swaps left and right; an involution.
    """

    name: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    mirror: tuple[int, ...]

    def __post_init__(self) -> None:
        n = len(self.joints)
        assert len(self.parents) == len(self.mirror) == n
        assert all(self.mirror[self.mirror[j]] == j for j in range(n))

    def __len__(self) -> int:
        return len(self.joints)

    @property
    def bones(self) -> tuple[tuple[int, int], ...]:
        """(parent, child) index pairs, one per non-root joint."""
        return tuple((p, c) for c, p in enumerate(self.parents) if p >= 0)

    @property
    def root(self) -> int:
        """Index of the root joint."""
        return self.parents.index(-1)


def _mirror(joints: tuple[str, ...], right: str, left: str) -> tuple[int, ...]:
    """Mirror permutation from joint names that differ in a side prefix."""
    table = []
    for name in joints:
        other = name
        if name.startswith(right):
            other = left + name.removeprefix(right)
        elif name.startswith(left):
            other = right + name.removeprefix(left)
        table.append(joints.index(other))
    return tuple(table)


_H36M_JOINTS = (
    "pelvis",
    "right_hip",
    "right_knee",
    "right_ankle",
    "left_hip",
    "left_knee",
    "left_ankle",
    "spine",
    "thorax",
    "face",
    "head",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "right_shoulder",
    "right_elbow",
    "right_wrist",
)

H36M17 = Skeleton(
    name="h36m17",
    joints=_H36M_JOINTS,
    parents=(-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15),
    mirror=_mirror(_H36M_JOINTS, "right_", "left_"),
)
"""The 17 joints of MM-Fi, in the order of Human3.6M. Joints 1 to 3 are the person's right leg."""

_KINECT_JOINTS = (
    "spine_base",
    "spine_mid",
    "neck",
    "head",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "left_hand",
    "right_shoulder",
    "right_elbow",
    "right_wrist",
    "right_hand",
    "left_hip",
    "left_knee",
    "left_ankle",
    "left_foot",
    "right_hip",
    "right_knee",
    "right_ankle",
    "right_foot",
    "spine_shoulder",
    "left_hand_tip",
    "left_thumb",
    "right_hand_tip",
    "right_thumb",
)

KINECT25 = Skeleton(
    name="kinect25",
    joints=_KINECT_JOINTS,
    parents=(-1, 0, 20, 2, 20, 4, 5, 6, 20, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18, 1, 7, 7, 11, 11),
    mirror=_mirror(_KINECT_JOINTS, "right_", "left_"),
)
"""The 25 joints of the Microsoft Kinect V2, in its own order (labels of the MARS radar data)."""

SKELETONS = {skeleton.name: skeleton for skeleton in (H36M17, KINECT25)}
