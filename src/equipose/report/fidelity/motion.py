"""Bodies and motion: against CMU motion capture, and speeds against the Kinect labels of MARS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from equipose.data.mars import MarsRecording, read_mars
from equipose.data.mars_joints import kinect_to_h36m
from equipose.data.readers import read_ground_truth
from equipose.errors import DataError
from equipose.report.fidelity.charts import distribution, persons
from equipose.report.fidelity.rows import Chapter, Figure, Parts, Row, compare
from equipose.report.fidelity.source import Simulation, load_npz
from equipose.simulate.motion import FRAME_RATE_HZ
from equipose.skeleton import H36M17

_CLIP_STEP = 3  # the clips' 30 Hz to 10 Hz
_WRISTS = [H36M17.joints.index(f"{side}_wrist") for side in ("right", "left")]
_ANKLES = [H36M17.joints.index(f"{side}_ankle") for side in ("right", "left")]
_LIMBS = [
    H36M17.joints.index(f"{side}_{part}") for side in ("right", "left") for part in ("knee", "ankle", "elbow", "wrist")
]
_ACTORS = "CMU's actors move through a hall; other movements."
_MARKERS = "CMU's joints are those of its own skeleton: spine, thorax, face and head lie elsewhere than MM-Fi's."
_FOREARM = "CMU's forearm ends at its radius bone, before the bone that CMU calls wrist."


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


RATIOS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "thigh / shin": (("knee",), ("ankle",)),
    "upper arm / forearm": (("elbow",), ("wrist",)),
    "arm / leg": (("elbow", "wrist"), ("knee", "ankle")),
    "hip / shoulder": (("hip",), ("shoulder",)),
    "trunk / leg": (("spine", "thorax"), ("knee", "ankle")),
}
"""Name -> bones (by the joint at their end) over bones; left and right averaged."""


def motion_chapter(simulation: Simulation, real: Path) -> Chapter:
    """Bones, speeds, accelerations."""
    subjects = simulated_motion(simulation)
    actors = read_actors(real / "cmu_mocap")
    patients = mars_motion(read_mars(real / "mars"))
    return Chapter(
        "motion",
        "Bodies and motion",
        "Joints at 10 Hz relative to the pelvis, against the actors of 23 CMU clips and the Kinect labels of MARS, "
        "whose people exercise on the spot as the simulated ones do; CMU's climb, jump, walk and "
        "gesture. The clips of one actor are pooled, as all actions of the simulation are.",
        (*speed_rows(subjects, actors, patients), *bone_rows(subjects, actors)),
        _figures(subjects, actors, patients),
    )


def motion_of(clips: Sequence[Float[np.ndarray, "_ 17 3"]], rate: float = FRAME_RATE_HZ) -> Motion:
    """Statistics of one person's recordings.

    Args:
        clips: metres, any frame; successive frames at ``rate``. Clips of one or two frames give no acceleration.
        rate: Hz.
    """
    speeds, accelerations = [], []
    for clip in clips:
        own = clip.astype(np.float64) - clip[:, :1]
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


def limb_bones() -> list[int]:
    """Which of ``H36M17.bones`` are thighs, shins, upper arms and forearms."""
    return [i for i, (_, child) in enumerate(H36M17.bones) if child in _LIMBS]


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


def mars_motion(recordings: Sequence[MarsRecording]) -> dict[str, Motion]:
    """The Kinect's joints of every MARS subject, in stretches without a missing frame."""
    clips: dict[int, list[np.ndarray]] = {}
    for recording in recordings:
        joints = kinect_to_h36m(recording.joints)
        gaps = np.flatnonzero(np.diff(recording.frames) != 1) + 1
        clips.setdefault(recording.subject, []).extend(np.split(joints, gaps))
    return {f"MARS subject {subject}": motion_of(each) for subject, each in sorted(clips.items())}


def speed_rows(subjects: dict[str, Motion], actors: dict[str, Motion], patients: dict[str, Motion]) -> tuple[Row, ...]:
    """Speeds and accelerations."""
    cmu = Parts(tuple(actors), f"the {len(actors)} CMU actors", tuple(actors.values()))
    mars = Parts(tuple(patients), " and ".join(patients), tuple(patients.values()))
    kinect = "The Kinect's joints jitter, which adds to slow speeds; other movements."

    def row(key: str, name: str, unit: str, field: str, parts: Parts, caution: str, digits: int) -> Row:
        mine = np.concatenate([getattr(motion, field) for motion in subjects.values()])
        values = parts.of([getattr(motion, field) for motion in parts.values])
        return compare(key, name, unit, [mine], values, "Wasserstein", caution=caution, digits=digits)

    return (
        row("speed_cmu", "joint speed, CMU", "m/s", "speed", cmu, _ACTORS, 3),
        row("wrist_speed_cmu", "wrist speed, CMU", "m/s", "wrists", cmu, _ACTORS, 3),
        row("ankle_speed_cmu", "ankle speed, CMU", "m/s", "ankles", cmu, _ACTORS, 3),
        row("acceleration_cmu", "joint acceleration, CMU", "m/s\N{SUPERSCRIPT TWO}", "acceleration", cmu, _ACTORS, 2),
        row("speed_mars", "joint speed, MARS", "m/s", "speed", mars, kinect, 3),
        row("wrist_speed_mars", "wrist speed, MARS", "m/s", "wrists", mars, kinect, 3),
        row("ankle_speed_mars", "ankle speed, MARS", "m/s", "ankles", mars, kinect, 3),
    )


def bone_rows(subjects: dict[str, Motion], actors: dict[str, Motion]) -> tuple[Row, ...]:
    """Lengths, their ratios, their constancy."""
    cmu = Parts(tuple(actors), f"the {len(actors)} CMU actors", tuple(actors.values()))
    mine = list(subjects.values())
    limbs = limb_bones()
    return (
        compare(
            "limb_lengths",
            "8 limb bone lengths",
            "mm",
            [1000 * motion.bones[limbs] for motion in mine],
            cmu.of([1000 * motion.bones[limbs] for motion in cmu.values]),
            "RMS difference",
            caution=_FOREARM,
            digits=1,
        ),
        compare(
            "bone_lengths",
            "all 16 bone lengths",
            "mm",
            [1000 * motion.bones for motion in mine],
            cmu.of([1000 * motion.bones for motion in cmu.values]),
            "RMS difference",
            caution=_MARKERS,
            digits=1,
        ),
        *(
            compare(
                f"ratio_{name.replace(' / ', '_').replace(' ', '_')}",
                name,
                "",
                [bone_ratio(motion.bones, name) for motion in mine],
                cmu.of([bone_ratio(motion.bones, name) for motion in cmu.values]),
                "difference",
                summary="ratio",
                caution=_MARKERS if "trunk" in name or "hip" in name else _FOREARM if "arm" in name else "",
                digits=3,
            )
            for name in RATIOS
        ),
        compare(
            "bone_stretch",
            "change of a limb bone within a recording",
            "mm",
            [1000 * motion.stretch for motion in mine],
            cmu.of([1000 * motion.stretch for motion in cmu.values]),
            "difference",
            summary="largest standard deviation",
            floor=0.001,
            floor_reason="rounding of float32 coordinates at 3 m",
            digits=5,
        ),
    )


def _figures(subjects: dict[str, Motion], actors: dict[str, Motion], patients: dict[str, Motion]) -> tuple[Figure, ...]:
    def pooled(field: str) -> np.ndarray:
        return np.concatenate([getattr(motion, field) for motion in subjects.values()])

    def speeds(field: str, title: str, real: dict[str, Motion]) -> Figure:
        samples = {name: getattr(motion, field) for name, motion in real.items()}
        return Figure(
            title,
            distribution("speed relative to the pelvis (m/s)", pooled(field), samples, ends=(0.0, 99.5), log=True),
        )

    everybody = {**actors, **patients}
    names = [H36M17.joints[child].replace("_", " ") for _, child in H36M17.bones]
    return (
        speeds("speed", "Joint speed, CMU actors", actors),
        speeds("speed", "Joint speed, MARS subjects", patients),
        speeds("wrists", "Wrist speed, CMU actors", actors),
        speeds("wrists", "Wrist speed, MARS subjects", patients),
        Figure(
            "Joint acceleration",
            distribution(
                "acceleration relative to the pelvis (m/s\N{SUPERSCRIPT TWO})",
                pooled("acceleration"),
                {name: motion.acceleration for name, motion in actors.items()},
                ends=(0.0, 99.5),
                log=True,
            ),
        ),
        Figure(
            "Bone ratios",
            persons(
                list(RATIOS),
                "ratio",
                np.array([[bone_ratio(motion.bones, name) for name in RATIOS] for motion in subjects.values()]),
                {k: np.array([bone_ratio(motion.bones, name) for name in RATIOS]) for k, motion in everybody.items()},
                3,
            ),
        ),
        Figure(
            "Bone lengths",
            persons(
                names,
                "length (mm)",
                1000 * np.array([motion.bones for motion in subjects.values()]),
                {name: 1000 * motion.bones for name, motion in everybody.items()},
                0,
            ),
            "A bone is named by the joint at its end. The MARS joints are the Kinect's and are shown, not judged.",
        ),
    )
