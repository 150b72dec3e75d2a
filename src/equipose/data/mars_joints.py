"""The 25 joints of the Kinect V2 as the 17 of MM-Fi (Human3.6M order)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from equipose.skeleton import H36M17, KINECT25

H36M_FROM_KINECT: dict[str, tuple[str, ...]] = {
    "pelvis": ("left_hip", "right_hip"),
    "right_hip": ("right_hip",),
    "right_knee": ("right_knee",),
    "right_ankle": ("right_ankle",),
    "left_hip": ("left_hip",),
    "left_knee": ("left_knee",),
    "left_ankle": ("left_ankle",),
    "spine": ("spine_mid",),
    "thorax": ("spine_shoulder",),
    "face": ("neck", "head"),
    "head": ("head",),
    "left_shoulder": ("left_shoulder",),
    "left_elbow": ("left_elbow",),
    "left_wrist": ("left_wrist",),
    "right_shoulder": ("right_shoulder",),
    "right_elbow": ("right_elbow",),
    "right_wrist": ("right_wrist",),
}
"""MM-Fi joint -> the Kinect joints whose mean it is.

Two are interpolated. ``pelvis`` is the middle of the hips, as MM-Fi's is by construction; the Kinect's ``spine_base``
lies 4 cm behind it. ``face`` is the middle of neck and head: the Kinect's head is the head's centre, which in height
above the thorax (0.22 m) is MM-Fi's ``head``. ``spine`` is the Kinect's ``spine_mid``, 0.58 of the way from pelvis to
thorax. Hands, feet, thumbs and ``spine_base`` are dropped.
"""

INTERPOLATED = tuple(name for name, sources in H36M_FROM_KINECT.items() if len(sources) > 1)
"""Joints that no Kinect joint stands for alone."""


def kinect_to_h36m(joints: NDArray[np.float32]) -> NDArray[np.float32]:
    """The 17 joints of ``H36M17`` from the 25 of ``KINECT25``.

    Args:
        joints: (..., 25, 3) metres, any frame.

    Returns:
        (..., 17, 3), same unit, frame and dtype.
    """
    columns = [
        joints[..., [KINECT25.joints.index(source) for source in H36M_FROM_KINECT[name]], :].mean(axis=-2)
        for name in H36M17.joints
    ]
    return np.stack(columns, axis=-2).astype(joints.dtype, copy=False)
