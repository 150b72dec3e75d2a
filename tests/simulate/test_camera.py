from __future__ import annotations

import numpy as np
import pytest

from equipose.simulate.camera import CAMERAS, Detector, observe, occluded, project
from equipose.skeleton import H36M17

PERFECT = Detector(visible=0.0, bias=0.0, blunder_rate=0.0)


def test_projection_of_known_points():
    # A point on the axis meets the principal point; 1 m right and 0.5 m down at 4 m by hand.
    pixels = project(np.array([[0.0, 0.0, 2.0], [1.0, 0.5, 4.0]]), CAMERAS["rgb"])
    assert np.allclose(pixels, [[320.0, 240.0], [320 + 615 / 4, 240 + 615 / 8]])


def test_stereo_pair_measures_depth(person):
    joints, _ = person
    points = joints.astype(float)
    disparity = project(points, CAMERAS["infra1"])[..., 0] - project(points, CAMERAS["infra2"])[..., 0]
    assert np.allclose(615 * 0.05 / disparity, points[..., 2])


@pytest.mark.parametrize("sensor", ["rgb", "infra1", "infra2"])
def test_a_perfect_detector_is_the_projection(person, room, generator, sensor):
    joints, girth = person
    pixels = observe(joints, room, generator, girth, sensor, PERFECT)
    assert pixels.shape == (12, 17, 2) and pixels.dtype == np.float32
    assert np.allclose(pixels, project(joints, CAMERAS[sensor]), atol=1e-3)


def test_detector_errors_have_the_stated_size(person, room):
    joints, girth = person
    steady = np.repeat(joints[:1], 400, axis=0)
    detector = Detector(bias=0.0, blunder_rate=0.0)
    error = observe(steady, room, np.random.default_rng(0), girth, "rgb", detector) - project(steady, CAMERAS["rgb"])
    visible = ~occluded(steady[:1], girth, CAMERAS["rgb"])[0]
    size = error.std(axis=(0, 2)) * steady[0, :, 2] / (3.2 * room.dimness)
    assert size[visible].min() > 1.5 and size[visible].max() < 4.5
    assert abs(np.corrcoef(error[1:, 0, 0], error[:-1, 0, 0])[0, 1] - 0.6) < 0.15


def test_a_joint_behind_another_limb_is_occluded():
    joints = np.tile(np.array([0.0, 0.0, 3.0]), (1, 17, 1))
    joints[0, :, 0] = np.linspace(-4, 4, 17)  # everything far apart sideways
    joints[0, [0, 7, 8, 9, 10]] = [[0, 0, 3], [0, -0.25, 3], [0, -0.5, 3], [0, -0.6, 3], [0, -0.7, 3]]
    joints[0, 12], joints[0, 13] = [-0.3, -0.2, 3.0], [0.0, -0.12, 3.4]  # left hand behind the abdomen
    clear = joints.copy()
    clear[0, 13] = [0.0, -0.12, 2.4]
    left_wrist = H36M17.joints.index("left_wrist")
    assert occluded(joints, 1.0, CAMERAS["rgb"])[0, left_wrist]
    assert not occluded(clear, 1.0, CAMERAS["rgb"])[0, left_wrist]
