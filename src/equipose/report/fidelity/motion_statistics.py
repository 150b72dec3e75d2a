"""How people move and how long their bones are: simulated, CMU's actors, MARS' people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from equipose.data.mars import MarsRecording
from equipose.data.mars_joints import kinect_to_h36m
from equipose.data.readers import read_ground_truth
from equipose.errors import DataError
from equipose.report.fidelity.source import Simulation, load_npz
from equipose.simulate.body import make_body
from equipose.simulate.motion import FRAME_RATE_HZ, perform
from equipose.simulate.resample import filtered
from equipose.skeleton import H36M17

SAME_NAME = {3: 11, 4: 9, 5: 10, 6: 12, 7: 15, 8: 16, 9: 7, 10: 8}
"""MARS movement -> MM-Fi action of the same name: both arms, lunges, squat, arm and leg of one side."""

_CLIP_STEP = 3  # the clips' 30 Hz to 10 Hz
_LOW_PASS = np.array([0.25, 0.5, 0.25])
_PLACE, _FLOOR = np.array([0.0, 3.2]), 0.83
_WRISTS = [H36M17.joints.index(f"{side}_wrist") for side in ("right", "left")]
_ANKLES = [H36M17.joints.index(f"{side}_ankle") for side in ("right", "left")]


@dataclass(frozen=True)
class Motion:
    """How joints move relative to the pelvis at 10 Hz; samples over frames and joints.

    Attributes:
        speed: of all joints but the pelvis, m/s.
        wrists: speed of the wrists, m/s.
        ankles: speed of the ankles, m/s.
        acceleration: size, of all joints but the pelvis, m/s^2.
        bones: (16,) mean lengths, metres, order of ``H36M17.bones``.
        stretch: largest standard deviation over time of a limb bone in a recording, metres.
    """

    speed: Float[np.ndarray, " a"]
    wrists: Float[np.ndarray, " b"]
    ankles: Float[np.ndarray, " b"]
    acceleration: Float[np.ndarray, " c"]
    bones: Float[np.ndarray, " 16"]
    stretch: float

    @property
    def abruptness(self) -> float:
        """Root mean square acceleration over root mean square speed, 1/s."""
        return float(np.sqrt(np.mean(self.acceleration**2) / max(float(np.mean(self.speed**2)), 1e-12)))


RATIOS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "thigh / shin": (("knee",), ("ankle",)),
    "upper arm / forearm": (("elbow",), ("wrist",)),
    "arm / leg": (("elbow", "wrist"), ("knee", "ankle")),
    "hip / shoulder": (("hip",), ("shoulder",)),
    "trunk / leg": (("spine", "thorax"), ("knee", "ankle")),
}
"""Name -> bones (by the joint at their end) over bones; left and right averaged."""


def motion_of(
    clips: Sequence[Float[np.ndarray, "_ 17 3"]], rate: float = FRAME_RATE_HZ, smooth: bool = False
) -> Motion:
    """Statistics of one person's recordings.

    Args:
        clips: metres, any frame; successive frames at ``rate``. Clips of one or two frames give no acceleration.
        rate: Hz.
        smooth: low-pass the joints first (1/4, 1/2, 1/4), which takes out most of a Kinect's jitter.
    """
    speeds, accelerations = [], []
    for clip in clips:
        own = clip.astype(np.float64) - clip[:, :1]
        own = filtered(own, _LOW_PASS) if smooth else own
        speeds.append(np.linalg.norm(np.diff(own, axis=0), axis=-1) * rate)
        accelerations.append(np.linalg.norm(np.diff(own, n=2, axis=0), axis=-1) * rate**2)
    speed, acceleration = np.concatenate(speeds), np.concatenate(accelerations)
    lengths = [bone_lengths(clip) for clip in clips]
    limbs = limb_bones()
    return Motion(
        speed=speed[:, 1:].ravel(),
        wrists=speed[:, _WRISTS].ravel(),
        ankles=speed[:, _ANKLES].ravel(),
        acceleration=acceleration[:, 1:].ravel(),
        bones=np.concatenate(lengths).mean(axis=0),
        stretch=max(float(each[:, limbs].std(axis=0).max()) for each in lengths),
    )


def bone_lengths(joints: Float[np.ndarray, "time 17 3"]) -> Float[np.ndarray, "time 16"]:
    """Lengths in the order of ``H36M17.bones``, metres."""
    ends = np.array(H36M17.bones)
    return np.linalg.norm(joints[:, ends[:, 1]].astype(np.float64) - joints[:, ends[:, 0]], axis=-1)


def limb_bones(parts: tuple[str, ...] = ("knee", "ankle", "elbow", "wrist")) -> list[int]:
    """Which of ``H36M17.bones`` end at such a joint: thighs, shins, upper arms, forearms."""
    return [i for i, (_, child) in enumerate(H36M17.bones) if H36M17.joints[child].endswith(parts)]


def bone_ratio(bones: Float[np.ndarray, " 16"], name: str) -> float:
    """One of ``RATIOS``."""
    over, under = (
        sum(
            float(
                np.mean([bones[i] for i, (_, child) in enumerate(H36M17.bones) if H36M17.joints[child].endswith(part)])
            )
            for part in parts
        )
        for parts in RATIOS[name]
    )
    return over / under


def simulated_motion(simulation: Simulation) -> dict[str, Motion]:
    """Every simulated person."""
    clips: dict[int, list[np.ndarray]] = {}
    for recording in simulation.recordings:
        clips.setdefault(recording.subject, []).append(read_ground_truth(recording.path / "ground_truth.npy"))
    return {f"S{subject:02d}": motion_of(each) for subject, each in sorted(clips.items())}


def read_actors(folder: Path) -> dict[str, Motion]:
    """Every actor of the CMU clips: files ``<actor>_<clip>_30hz.npz``.

    Raises:
        DataError: fewer than two actors, or a clip that is not what it claims to be.
    """
    clips: dict[str, list[np.ndarray]] = {}
    for path in sorted(folder.glob("*_30hz.npz")):
        (joints,) = load_npz(path, "joints17")
        if joints.ndim != 3 or joints.shape[1:] != (17, 3):
            raise DataError(f"{path} holds joints17 of shape {joints.shape}; expected (time, 17, 3)")
        clips.setdefault(path.name.split("_")[0], []).append(joints[::_CLIP_STEP])
    if len(clips) < 2:
        raise DataError(f"{folder} holds clips of {len(clips)} actors; expected <actor>_<clip>_30hz.npz of at least 2")
    return {f"CMU actor {actor}": motion_of(each) for actor, each in clips.items()}


def mars_motion(recordings: Sequence[MarsRecording], smooth: bool = False) -> dict[str, Motion]:
    """The Kinect's joints of every MARS subject, in stretches without a missing frame."""
    clips: dict[int, list[np.ndarray]] = {}
    for recording in recordings:
        clips.setdefault(recording.subject, []).extend(_stretches(recording))
    return {f"MARS subject {subject}": motion_of(each, smooth=smooth) for subject, each in sorted(clips.items())}


def _stretches(recording: MarsRecording) -> list[Float[np.ndarray, "_ 17 3"]]:
    gaps = np.flatnonzero(np.diff(recording.frames) != 1) + 1
    return np.split(kinect_to_h36m(recording.joints), gaps)


def period_of(joints: Float[np.ndarray, "time 17 3"]) -> float | None:
    """Frames per repetition: the first peak above 0.4 of the autocorrelation of all joints; None without one."""
    path = (joints - joints[:, :1]).reshape(len(joints), -1).astype(np.float64)
    path = path - path.mean(axis=0)
    lags = np.arange(min(60, len(path) // 2))
    power = [np.sqrt((path[: len(path) - lag] ** 2).sum() * (path[lag:] ** 2).sum()) for lag in lags]
    wave = np.array(
        [(path[: len(path) - lag] * path[lag:]).sum() / max(p, 1e-12) for lag, p in zip(lags, power, strict=True)]
    )
    peaks = [i for i in range(8, len(wave) - 1) if wave[i - 1] < wave[i] >= wave[i + 1] and wave[i] > 0.4]
    return float(peaks[0]) if peaks else None


def same_movements(recordings: Sequence[MarsRecording]) -> list[MarsRecording]:
    """Those of ``SAME_NAME``."""
    return [recording for recording in recordings if recording.movement in SAME_NAME]


def imitated(recordings: Sequence[MarsRecording], seed: int, subjects: Sequence[int]) -> dict[str, Motion]:
    """Simulated people who do MARS' movements of the same names at the tempo of MARS' people, low-passed.

    Args:
        recordings: of MARS, of ``SAME_NAME`` only.
        seed: of the simulation.
        subjects: simulated people.
    """
    clips: dict[int, list[np.ndarray]] = {subject: [] for subject in subjects}
    for recording in recordings:
        period = period_of(kinect_to_h36m(recording.joints))
        for subject in subjects:
            body, action = make_body(seed, subject), SAME_NAME[recording.movement]
            joints = perform(body, action, len(recording.frames), seed, _PLACE, _FLOOR, period=period)
            clips[subject].append(joints)
    return {f"S{subject:02d}": motion_of(each, smooth=True) for subject, each in clips.items()}
