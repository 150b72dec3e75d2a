"""Motion at another frame rate, and with bones of constant length.

Down: a zero-phase low-pass (sinc cut at half the new rate, Hann window of two new frames to either side), so that
faster motion does not fold into slower one. Then, in all cases, cubic splines through the frames.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicSpline

from equipose.skeleton import H36M17, Skeleton

_REACH = 2.0


def resample(
    values: Float[np.ndarray, "time joint 3"], rate: float, new_rate: float
) -> Float[np.ndarray, "new_time joint 3"]:
    """Joints at ``new_rate`` per second instead of ``rate``.

    Args:
        values: any unit, evenly spaced in time.
        rate: frames per second now.
        new_rate: frames per second wanted.

    Returns:
        From the first frame on, as long as the motion lasts; straight motion at constant speed stays what it is.
    """
    count = values.shape[0]
    smooth = low_pass(values, rate, new_rate)
    new_count = int(np.floor((count - 1) * new_rate / rate + 1e-9)) + 1
    times = np.arange(new_count) * rate / new_rate
    degree = min(3, count - 1)
    if degree == 3:
        return CubicSpline(np.arange(count), smooth, axis=0)(np.minimum(times, count - 1))
    whole = np.minimum(times.astype(int), count - 2)
    share = (times - whole)[:, None, None]
    return (1 - share) * smooth[whole] + share * smooth[whole + 1]


def low_pass(
    values: Float[np.ndarray, "time joint 3"], rate: float, new_rate: float
) -> Float[np.ndarray, "time joint 3"]:
    """What can be told at ``new_rate``; the same array where that is not below ``rate``."""
    half = int(_REACH * rate / new_rate) if rate > new_rate * (1 + 1e-6) else 0
    if half == 0:
        return values
    offset = np.arange(-half, half + 1)
    kernel = np.sinc(offset * new_rate / rate) * np.cos(0.5 * np.pi * offset / (half + 1)) ** 2
    return filtered(values, kernel / kernel.sum())


def filtered(
    values: Float[np.ndarray, " time *value"], kernel: Float[np.ndarray, " taps"]
) -> Float[np.ndarray, " time *value"]:
    """Weighted means over time; before the start and after the end the motion is mirrored through its end point."""
    half = len(kernel) // 2
    count = values.shape[0]
    position = np.arange(-half, count + half)
    # A mirror that repeats, for clips that are shorter than the kernel.
    turn = np.clip(position, 0, count - 1)
    mirrored = np.clip(2 * turn - position, 0, count - 1)
    padded = 2 * values[turn] - values[mirrored]
    padded[half : half + count] = values
    out = np.zeros_like(values)
    for tap, weight in enumerate(kernel):
        out += weight * padded[tap : tap + count]
    return out


def bone_lengths(joints: Float[np.ndarray, "time joint 3"], skeleton: Skeleton = H36M17) -> Float[np.ndarray, "time _"]:
    """Length of every bone in every frame, in the order of ``skeleton.bones``."""
    parents, children = np.array(skeleton.bones).T
    return np.linalg.norm(joints[:, children] - joints[:, parents], axis=-1)


def with_bone_lengths(
    joints: Float[np.ndarray, "time joint 3"], lengths: Float[np.ndarray, " bone"], skeleton: Skeleton = H36M17
) -> Float[np.ndarray, "time joint 3"]:
    """The same directions of all bones with the given lengths, from the root outwards; the root stays.

    Args:
        joints: any unit; the joints of a bone do not coincide.
        lengths: of the bones, in the order of ``skeleton.bones``.
        skeleton: of the joints.
    """
    out = joints.copy()
    bones = dict(zip(skeleton.bones, lengths, strict=True))
    done = [skeleton.root]
    for parent in done:  # grows while it is read: parents before children
        for (above, child), length in bones.items():
            if above == parent:
                step = joints[:, child] - joints[:, parent]
                size = np.linalg.norm(step, axis=-1, keepdims=True)
                out[:, child] = out[:, parent] + length * step / np.maximum(size, 1e-12)
                done.append(child)
    return out
