from __future__ import annotations

import numpy as np
import pytest

from equipose.simulate.annotation import Annotation, annotate, bone_lengths
from equipose.simulate.body import make_body
from equipose.simulate.camera import CAMERAS, project
from equipose.simulate.motion import perform
from equipose.skeleton import H36M17

NONE = Annotation(disparity=0.0, body_disparity=0.0, bone_grid=1e-6)
ZERO = np.zeros((17, 2))


@pytest.fixture
def joints() -> np.ndarray:
    return perform(make_body(0, 3), action=14, num_frames=120, seed=0, place=np.array([0.1, 3.2]), floor=0.83)


def lengths(joints: np.ndarray) -> np.ndarray:
    return np.stack([np.linalg.norm(joints[:, c] - joints[:, p], axis=-1) for p, c in H36M17.bones], axis=1)


def test_labels_without_errors_are_the_truth(joints: np.ndarray) -> None:
    np.testing.assert_allclose(annotate(joints, ZERO, np.random.default_rng(0), NONE), joints, atol=2e-5)


def test_bones_are_constant_symmetric_and_whole_centimetres(joints: np.ndarray) -> None:
    labels = annotate(joints, 2 * np.random.default_rng(1).standard_normal((17, 2)), np.random.default_rng(0))
    found = lengths(labels)
    np.testing.assert_allclose(found, np.broadcast_to(found[0], found.shape), atol=1e-5)
    np.testing.assert_allclose(100 * found[0], np.rint(100 * found[0]), atol=1e-3)
    table = bone_lengths(labels.astype(np.float64), 0.01)
    np.testing.assert_array_equal(table, table[list(H36M17.mirror)])


def test_depth_error_is_that_of_stereo() -> None:
    """Standing still, far and near: the error along the ray grows with the square of the distance."""
    body, generator = make_body(0, 3), np.random.default_rng(0)
    errors = {}
    for distance in (2.0, 4.0):
        true = perform(body, 12, 400, 0, np.array([0.0, distance]), 0.83)
        only_pelvis = [
            (annotate(true, ZERO, generator, Annotation(body_disparity=0.0)) - true)[:, 0, 2] for _ in range(20)
        ]
        errors[distance] = float(np.std(only_pelvis / true[:, 0, 2] ** 2))
    # A tenth of a pixel with 615 px and 50 mm: 0.1 / (615 * 0.05) of the squared distance.
    assert errors[2.0] == pytest.approx(0.1 / (615 * 0.05), rel=0.12)
    assert errors[4.0] == pytest.approx(0.1 / (615 * 0.05), rel=0.12)


def test_systematic_error_is_shared_with_the_image(joints: np.ndarray) -> None:
    """A label that moved with the detector projects to where the detector, jitter aside, says the joint is."""
    systematic = np.zeros((17, 2))
    systematic[0] = (4.0, -3.0)  # the root: no bone stands between
    labels = annotate(joints, systematic, np.random.default_rng(0), NONE)
    moved = project(labels[:, 0].astype(np.float64), CAMERAS["rgb"])
    true = project(joints[:, 0].astype(np.float64), CAMERAS["rgb"])
    expected = systematic[0] * 3.2 / joints[:, 0, 2:3]
    np.testing.assert_allclose(moved - true, expected, atol=1e-3)


def test_labels_are_smooth(joints: np.ndarray) -> None:
    """The fit adds no frame-to-frame jitter: what it adds moves below 0.15 m/s."""
    error = annotate(joints, ZERO, np.random.default_rng(3)) - joints
    assert np.abs(np.diff(error[:, 0], axis=0)).mean() * 10 < 0.15
