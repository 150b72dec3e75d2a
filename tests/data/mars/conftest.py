"""A small made-up copy of MARS' files, and the real ones where they are at hand."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from equipose.data.mars import KINECT_COLUMNS, RADAR_COLUMNS, read_mars
from equipose.skeleton import KINECT25


@dataclass(frozen=True)
class MadeUp:
    """A folder in MARS' layout and what was written: (subject, part, movement) -> frames, joints, points."""

    root: Path
    truth: dict


@pytest.fixture
def mars_folder(tmp_path):
    return write_made_up(tmp_path / "mars", np.random.default_rng(0))


@pytest.fixture(scope="session")
def real_mars():
    """The folder of the real recordings."""
    real = os.environ.get("EQUIPOSE_REAL_DATA")
    if real is None:
        pytest.skip("EQUIPOSE_REAL_DATA does not name the folder of real recordings")
    return Path(real) / "mars"


@pytest.fixture(scope="session")
def recordings(real_mars):
    return read_mars(real_mars)


def write_made_up(root, generator, frames_per_movement=6):
    truth = {}
    for subject in (1, 3):
        folder = root / f"subject{subject}"
        folder.mkdir(parents=True)
        for offset, word in ((0, "validate"), (100, "test")):
            radar, kinect = [",".join(RADAR_COLUMNS)], [",".join(KINECT_COLUMNS)]
            for movement in range(1, 11):
                frames = 1000 * movement + offset + np.cumsum(generator.integers(1, 4, frames_per_movement))
                joints = standing(generator, frames_per_movement)
                points = [
                    np.column_stack(
                        [
                            generator.normal([0.0, 2.0, 0.3], 0.3, (n, 3)),
                            generator.integers(1, 1200, n),
                            0.356 * generator.integers(-3, 4, n),
                        ]
                    )
                    for n in generator.integers(1, 9, frames_per_movement)
                ]
                for number, pose, cloud in zip(frames, joints, points, strict=True):
                    kinect.append(",".join(f"{v:.6f}" for v in pose.T.ravel()))
                    radar += [
                        f"{number},{len(cloud) + 20},{x:.6f},{y:.6f},{z:.6f},{doppler:.3f},{intensity:.0f},0"
                        for x, y, z, intensity, doppler in cloud
                    ]
                truth[subject, "validation" if word == "validate" else word, movement] = (
                    frames,
                    joints,
                    points,
                )
            (folder / f"radar_data_{word}.csv").write_text("\n".join(radar) + "\n")
            (folder / f"kinect_data_{word}.csv").write_text("\n".join(kinect) + "\n")
    return MadeUp(root, truth)


def standing(generator, frames):
    """Rough upright Kinect skeletons in MARS axes (right, away, up), the person's left at larger x."""
    height = {
        "head": 0.65,
        "neck": 0.5,
        "shoulder": 0.4,
        "spine_mid": 0.2,
        "elbow": 0.2,
        "wrist": 0.0,
        "hand": -0.1,
    }
    height |= {"thumb": -0.1, "hip": -0.1, "spine_base": -0.1, "knee": -0.5, "ankle": -0.85, "foot": -0.92}
    side = {"left": 0.2, "right": -0.2}
    pose = np.zeros((len(KINECT25), 3))
    for i, name in enumerate(KINECT25.joints):
        bare = name.removeprefix("left_").removeprefix("right_")
        up = height.get(bare, height.get(bare.split("_")[0], 0.4))
        pose[i] = (side.get(name.split("_")[0], 0.0), 2.0, up)
    return np.round(pose + generator.normal(0, 0.02, (frames, *pose.shape)), 6)
