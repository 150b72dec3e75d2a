"""Bodies and motion: against CMU motion capture, and MARS' movements against their Kinect labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from equipose.data.mars import read_mars
from equipose.report.fidelity.charts import distribution, persons
from equipose.report.fidelity.motion_statistics import (
    RATIOS,
    Motion,
    bone_ratio,
    imitated,
    limb_bones,
    mars_motion,
    motion_of,
    read_actors,
    same_movements,
    simulated_motion,
)
from equipose.report.fidelity.rows import Chapter, Figure, Parts, Row, compare
from equipose.report.fidelity.source import Simulation
from equipose.skeleton import H36M17

__all__ = ["bone_ratio", "motion_chapter", "motion_of"]

_SQUARED = "\N{SUPERSCRIPT TWO}"
_ACTORS = "CMU's actors climb, jump and walk through a hall; the simulated people do MM-Fi's actions on the spot."
_SKELETON = (
    "CMU's joints are those of its own skeleton: hips, spine, thorax, shoulders and face lie elsewhere than MM-Fi's."
)
_ARMS = "MM-Fi's labels have arm bones of 0.250 m, CMU's upper arm is longer and its forearm ends before the wrist."


def motion_chapter(simulation: Simulation, real: Path) -> Chapter:
    """Bones, speeds, accelerations."""
    subjects = simulated_motion(simulation)
    actors = read_actors(real / "cmu_mocap")
    recordings = same_movements(read_mars(real / "mars"))
    patients = mars_motion(recordings, smooth=True)
    seed, numbers = int(simulation.record.get("seed", 0)), sorted({each.subject for each in simulation.recordings})
    alike = imitated(recordings, seed, numbers[:: max(1, len(numbers) // 8)])
    return Chapter(
        "motion",
        "Bodies and motion",
        "Joints at 10 Hz relative to the pelvis. Judged against the Kinect labels of MARS: eight movements that MM-Fi "
        "and MARS share by name, simulated at the tempo of MARS' people, both low-passed alike against the Kinect's "
        "jitter. How far those movements reach and that nobody rests between them was set from MARS. CMU's actors "
        "climb, jump, walk and gesture, so their speeds are context; of their bones only the legs' end where MM-Fi's "
        "do.",
        (*speed_rows(subjects, alike, actors, patients), *bone_rows(subjects, actors)),
        _figures(subjects, alike, actors, patients),
    )


def speed_rows(
    subjects: dict[str, Motion], alike: dict[str, Motion], actors: dict[str, Motion], patients: dict[str, Motion]
) -> tuple[Row, ...]:
    """Speeds and accelerations; ``alike`` are simulated people who do MARS' movements."""
    cmu = Parts(tuple(actors), f"the {len(actors)} CMU actors", tuple(actors.values()))
    mars = Parts(tuple(patients), " and ".join(patients), tuple(patients.values()))
    jerk = "m/s\N{SUPERSCRIPT TWO}"

    def row(key: str, name: str, unit: str, field: str, people: dict[str, Motion], parts: Parts, digits: int) -> Row:
        mine = np.concatenate([getattr(motion, field) for motion in people.values()])
        values = parts.of([getattr(motion, field) for motion in parts.values])
        context = _ACTORS if parts is cmu else ""
        return compare(key, name, unit, [mine], values, "Wasserstein", context=context, digits=digits)

    return (
        row("speed_mars", "joint speed, MARS' movements", "m/s", "speed", alike, mars, 3),
        row("wrist_speed_mars", "wrist speed, MARS' movements", "m/s", "wrists", alike, mars, 3),
        row("ankle_speed_mars", "ankle speed, MARS' movements", "m/s", "ankles", alike, mars, 3),
        row("acceleration_mars", "joint acceleration, MARS' movements", jerk, "acceleration", alike, mars, 2),
        compare(
            "abruptness_mars",
            "acceleration over speed, MARS' movements",
            "1/s",
            [motion.abruptness for motion in alike.values()],
            mars.of([motion.abruptness for motion in patients.values()]),
            "difference",
            summary="ratio of root mean squares",
            caution="What is left of the Kinect's jitter raises the real figure.",
        ),
        row("speed_cmu", "joint speed, CMU", "m/s", "speed", subjects, cmu, 3),
        row("wrist_speed_cmu", "wrist speed, CMU", "m/s", "wrists", subjects, cmu, 3),
        row("ankle_speed_cmu", "ankle speed, CMU", "m/s", "ankles", subjects, cmu, 3),
        row("acceleration_cmu", "joint acceleration, CMU", jerk, "acceleration", subjects, cmu, 2),
    )


def bone_rows(subjects: dict[str, Motion], actors: dict[str, Motion]) -> tuple[Row, ...]:
    """Lengths, their ratios, their constancy."""
    cmu = Parts(tuple(actors), f"the {len(actors)} CMU actors", tuple(actors.values()))
    mine = list(subjects.values())

    def lengths(key: str, name: str, chosen: list[int], context: str) -> Row:
        return compare(
            key,
            name,
            "mm",
            [1000 * motion.bones[chosen] for motion in mine],
            cmu.of([1000 * motion.bones[chosen] for motion in cmu.values]),
            "RMS difference",
            context=context,
            digits=1,
        )

    return (
        lengths("leg_lengths", "thighs and shins", limb_bones(("knee", "ankle")), ""),
        lengths("arm_lengths", "upper arms and forearms", limb_bones(("elbow", "wrist")), _ARMS),
        lengths("bone_lengths", "all 16 bone lengths", list(range(len(H36M17.bones))), _SKELETON),
        *(
            compare(
                f"ratio_{name.replace(' / ', '_').replace(' ', '_')}",
                name,
                "",
                [bone_ratio(motion.bones, name) for motion in mine],
                cmu.of([bone_ratio(motion.bones, name) for motion in cmu.values]),
                "difference",
                summary="ratio",
                context=_ARMS if "arm" in name else "" if name == "thigh / shin" else _SKELETON,
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


def _figures(
    subjects: dict[str, Motion], alike: dict[str, Motion], actors: dict[str, Motion], patients: dict[str, Motion]
) -> tuple[Figure, ...]:
    def chart(field: str, title: str, people: dict[str, Motion], real: dict[str, Motion]) -> Figure:
        samples = {name: getattr(motion, field) for name, motion in real.items()}
        pooled = np.concatenate([getattr(motion, field) for motion in people.values()])
        unit = "acceleration" if field == "acceleration" else "speed"
        axis = f"{unit} relative to the pelvis (m/s{_SQUARED if unit == 'acceleration' else ''})"
        return Figure(title, distribution(axis, pooled, samples, ends=(0.0, 99.5), log=True))

    everybody = {**actors, **patients}
    names = [H36M17.joints[child].replace("_", " ") for _, child in H36M17.bones]
    return (
        chart("speed", "Joint speed, MARS' movements", alike, patients),
        chart("wrists", "Wrist speed, MARS' movements", alike, patients),
        chart("acceleration", "Joint acceleration, MARS' movements", alike, patients),
        chart("speed", "Joint speed, CMU actors", subjects, actors),
        chart("wrists", "Wrist speed, CMU actors", subjects, actors),
        chart("acceleration", "Joint acceleration, CMU actors", subjects, actors),
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
