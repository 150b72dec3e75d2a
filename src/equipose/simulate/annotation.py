"""Labels as annotators make them: MM-Fi's 3D joints were fitted to what its cameras see, so they err as cameras do.

Along the image a label repeats the systematic part of the joint detector's error, which the camera's own keypoints
share and no other sensor knows. Along the ray it errs as stereo does, with the square of the distance. A fit takes the
jitter out and gives every bone one length, here whole centimetres: in an MM-Fi file that was inspected upper arm and
forearm are exactly 0.250 m and the half hip 0.110 m.

How large MM-Fi's own errors are is not published. The sizes below follow from the D435's geometry and are a choice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32
from scipy.ndimage import gaussian_filter1d

from equipose.simulate.camera import CAMERAS
from equipose.simulate.detector import REFERENCE_DISTANCE
from equipose.skeleton import H36M17


@dataclass(frozen=True)
class Annotation:
    """Errors that the fit leaves.

    Attributes:
        disparity: standard deviation of a joint's disparity error between the two infrared imagers, pixels; 0.1 is
            what stereo matching reaches below a pixel, and makes 33 mm at 3.2 m.
        body_disparity: the same for the whole body, constant for a recording (rectification).
        smoothness: standard deviation of the fit's smoothing kernel, frames.
        bone_grid: bone lengths are multiples of this, metres.
    """

    disparity: float = 0.1
    body_disparity: float = 0.05
    smoothness: float = 5.0
    bone_grid: float = 0.01


def annotate(
    joints: Float32[np.ndarray, "time 17 3"],
    systematic: Float[np.ndarray, "17 2"],
    generator: np.random.Generator,
    annotation: Annotation | None = None,
) -> Float32[np.ndarray, "time 17 3"]:
    """Fitted labels of a person who really moves as ``joints`` say.

    Args:
        joints: true positions, metres, camera frame.
        systematic: the joint detector's systematic error in this recording, pixels at 3.2 m.
        generator: source of the stereo error.
        annotation: sizes of the errors.

    Returns:
        Metres, camera frame; every bone has one length throughout.
    """
    annotation = annotation or Annotation()
    count = joints.shape[0]
    true = joints.astype(np.float64)
    left, right = CAMERAS["infra1"], CAMERAS["infra2"]
    baseline = right.position[0] - left.position[0]
    white = generator.standard_normal((count + 40, 17))
    smooth = gaussian_filter1d(white, annotation.smoothness, axis=0, mode="wrap")[20 : 20 + count]
    # A smoothed unit white noise has this standard deviation.
    smooth *= np.sqrt(2 * np.sqrt(np.pi) * annotation.smoothness)
    disparity = annotation.disparity * smooth + annotation.body_disparity * generator.standard_normal()
    depth = true[..., 2]
    ray = true / depth[..., None]
    seen = true + ray * (depth**2 / (left.fx * baseline) * disparity)[..., None]
    # Pixels at 3.2 m are a fixed length on the body.
    seen[..., :2] += systematic * (REFERENCE_DISTANCE / np.array([left.fx, left.fy]))
    return with_bone_lengths(seen, bone_lengths(true, annotation.bone_grid)).astype(np.float32)


def bone_lengths(joints: Float[np.ndarray, "time 17 3"], grid: float) -> Float[np.ndarray, " 17"]:
    """Median length of the bone to each joint, the same on both sides, on the grid; 0 for the root; metres."""
    parents = np.array(H36M17.parents)
    bones = joints - joints[:, np.maximum(parents, 0)]
    lengths = np.median(np.linalg.norm(bones, axis=-1), axis=0)
    mirrored = 0.5 * (lengths + lengths[np.array(H36M17.mirror)])
    return np.where(parents >= 0, np.maximum(np.rint(mirrored / grid), 1.0) * grid, 0.0)


def with_bone_lengths(
    joints: Float[np.ndarray, "time 17 3"], lengths: Float[np.ndarray, " 17"]
) -> Float[np.ndarray, "time 17 3"]:
    """The same directions of all bones from the same root, with the given lengths; metres."""
    out = joints.copy()
    for joint, parent in enumerate(H36M17.parents):
        if parent < 0:
            continue
        bone = joints[:, joint] - joints[:, parent]
        size = np.linalg.norm(bone, axis=-1, keepdims=True)
        out[:, joint] = out[:, parent] + lengths[joint] * bone / np.maximum(size, 1e-9)
    return out
