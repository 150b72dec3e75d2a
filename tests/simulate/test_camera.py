from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from equipose.simulate.body import RADII, capsule_ends
from equipose.simulate.camera import CAMERAS, Detector, detect, observe, occluded, project, systematic_error
from equipose.simulate.detector import PERFECT, SIGMAS
from equipose.simulate.geometry import capsule_distance
from equipose.simulate.room import make_room
from equipose.skeleton import H36M17

RGB = CAMERAS["rgb"]
DERIVED = [0, 7, 8]
FOUND = [j for j in range(17) if j not in DERIVED]
LEGS, ARMS = [1, 2, 3, 4, 5, 6], [11, 12, 13, 14, 15, 16]
NOISE_ONLY = Detector(misses=0.0, swaps=0.0)


def still(person, count):
    joints, girth = person
    return np.repeat(joints[:1], count, axis=0), girth


def errors(joints, room, seed, girth, detector, **more):
    seen = detect(joints, room, np.random.default_rng(seed), girth, detector=detector, **more)
    return seen.pixels - project(joints.astype(float), RGB), seen.confidence


def turned(joints, angle):
    """The person turned about the pelvis."""
    c, s = np.cos(angle), np.sin(angle)
    about = joints[:, :1]
    return ((joints - about) @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]]) + about).astype(np.float32)


def test_projection_of_known_points():
    # A point on the axis meets the principal point; 1 m right and 0.5 m down at 4 m by hand.
    pixels = project(np.array([[0.0, 0.0, 2.0], [1.0, 0.5, 4.0]]), RGB)
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


def test_visible_joints_err_by_a_share_of_cocos_sigmas(person, room):
    joints, girth = still(person, 1)
    plain = replace(room, dimness=1.0)
    visible = [j for j in FOUND if not occluded(joints, girth, RGB)[0, j]]
    error = np.stack([errors(joints, plain, seed, girth, NOISE_ONLY)[0][0] for seed in range(1500)])
    size = np.sqrt((error**2).sum(-1).mean(0)) * joints[0, :, 2] / 3.2
    assert np.allclose(size[visible], Detector().sharpness * 136 * SIGMAS[visible], rtol=0.08)


def test_half_of_the_errors_variance_stays_for_a_recording(person, room):
    joints, girth = still(person, 600)
    joint = H36M17.joints.index("left_knee")
    series = np.stack([errors(joints, room, seed, girth, NOISE_ONLY)[0][:, joint] for seed in range(60)])
    lasting, passing = series.mean(1), series - series.mean(1, keepdims=True)
    share = lasting.var() / (lasting.var() + passing.var() / room.dimness**2)
    assert abs(share - Detector().constant) < 0.1
    flat = passing[..., 0]
    assert abs(np.corrcoef(flat[:, 1:].ravel(), flat[:, :-1].ravel())[0, 1] - 0.6) < 0.03


def test_hidden_joints_and_dim_rooms_make_more_noise(person, room):
    joints, girth = still(person, 800)
    joints[:, 13] = joints[:, 7] + np.float32([0.02, 0.0, 0.35])  # the left wrist behind the back
    assert occluded(joints[:1], girth, RGB)[0, 13] and not occluded(joints[:1], girth, RGB)[0, 16]
    bright, dim = (
        errors(joints, replace(room, dimness=dimness), 0, girth, NOISE_ONLY)[0].std(axis=(0))[:, 0]
        for dimness in (1.0, 1.5)
    )
    zoom = 3.2 / joints[0, :, 2]
    assert abs(bright[13] / bright[16] / (zoom[13] / zoom[16]) - 4.0) < 0.6
    assert np.allclose(dim[FOUND] / bright[FOUND], 1.5, rtol=0.01)


def test_the_four_rooms_differ_in_light():
    assert np.ptp([make_room(0, environment).dimness for environment in (1, 2, 3, 4)]) > 0.05


def test_motion_blurs_along_the_motion_alone(person, room):
    joints, girth = still(person, 2000)
    joints = joints.astype(float)
    joints[:, :, 0] += np.where(np.arange(17) == 16, 1.0, 0.0) * (2.0 * np.arange(2000)[:, None] / 10 - 200)
    fast = replace(PERFECT, blur=1.0)
    error, _ = errors(joints, replace(room, dimness=1.0), 0, girth, fast)
    streak = 615 * 2.0 / joints[0, 16, 2] * 0.0156  # 2 m/s during 15.6 ms, pixels
    middle = error[100:-100, 16]
    assert abs(middle[:, 0].std() - streak / np.sqrt(12)) < 0.05 * streak
    assert np.abs(error[..., 1]).max() < 0.1 and np.abs(error[:, :16]).max() < 0.1


def test_sides_are_swapped_in_unclear_views_for_some_frames_in_a_row(person, room):
    joints, girth = still(person, 20_000)
    joints[:, :, 2] -= joints[:, :1, 2] - 3.2
    swapping = replace(PERFECT, swaps=1.0)
    share = {}
    for name, angle in (("front", 0.0), ("back", np.pi)):
        person_turned = turned(joints, angle)
        error, _ = errors(person_turned, room, 0, girth, swapping)
        swapped = np.abs(error).max(-1) > 0.5
        other = project(person_turned[:1, list(H36M17.mirror)].astype(float), RGB)
        found = project(person_turned[:1].astype(float), RGB) + error
        assert np.allclose(found[swapped], np.broadcast_to(other, found.shape)[swapped], atol=0.01)
        assert np.array_equal(swapped, swapped[:, list(H36M17.mirror)])  # both or none
        assert not swapped[:, [*DERIVED, 9, 10]].any()
        share[name] = swapped.mean(0)
    assert share["front"][LEGS].max() < 0.03 and share["front"][ARMS].max() < 0.05
    assert np.allclose(share["back"][LEGS], 0.12, atol=0.03) and np.allclose(share["back"][ARMS], 0.06, atol=0.02)
    starts = (np.diff(swapped[:, 3].astype(int)) == 1).sum()
    assert 2.5 < swapped[:, 3].sum() / starts < 4.0  # frames in a row
    assert np.corrcoef(swapped[:, 1], swapped[:, 3])[0, 1] > 0.4  # hip and ankle of a leg together


def test_missed_joints_are_put_elsewhere_with_less_confidence(person, room):
    joints, girth = still(person, 20_000)
    joints[:, 13] = joints[:, 7] + np.float32([0.02, 0.0, 0.35])
    error, confidence = errors(joints, room, 0, girth, replace(NOISE_ONLY, constant=0.999999, misses=1.0))
    error = error - np.median(error, axis=0)
    missed = np.linalg.norm(error, axis=-1) > 136 * SIGMAS
    assert abs(missed[:, 13].mean() - 0.25) < 0.03  # hidden
    assert 0.004 < missed[:, 16].mean() < 0.02  # in view and still
    assert confidence[missed[:, 13], 13].mean() < confidence[~missed[:, 13], 13].mean() - 0.15


def test_confidence_is_informative_and_imperfect(person, room):
    joints, girth = still(person, 3000)
    joints[:, 13] = joints[:, 7] + np.float32([0.02, 0.0, 0.35])
    error, confidence = errors(joints, room, 3, girth, Detector(), systematic=np.zeros((17, 2)))
    assert confidence.shape == (3000, 17) and confidence.dtype == np.float32
    assert confidence.min() >= 0 and confidence.max() <= 1
    assert confidence[:, 16].mean() > confidence[:, 13].mean() + 0.1
    bad = np.linalg.norm(error, axis=-1)[:, FOUND] > 2 * 136 * SIGMAS[FOUND]
    surest = confidence[:, FOUND]
    good, wrong = surest[~bad][:4000], surest[bad][:400]
    higher = (good[:, None] > wrong[None]).mean()  # area under the curve
    assert 0.7 < higher < 0.98


def test_the_systematic_part_can_be_given(person, room):
    joints, girth = person
    given = systematic_error(np.random.default_rng(5))
    assert given.shape == (17, 2)
    assert np.allclose(given[0], given[[1, 4]].mean(0)) and np.allclose(given[8], given[[11, 14]].mean(0))
    with_it, confidence = errors(joints, room, 1, girth, Detector(), systematic=given)
    without, same = errors(joints, room, 1, girth, Detector(), systematic=np.zeros((17, 2)))
    assert np.allclose(with_it - without, given * (3.2 / joints[..., 2:]), atol=1e-3)
    assert np.array_equal(confidence, same)
    generator = np.random.default_rng(1)
    drawn = systematic_error(generator)
    first = detect(joints, room, generator, girth, systematic=drawn)
    assert np.array_equal(first.pixels, detect(joints, room, np.random.default_rng(1), girth).pixels)
    assert np.array_equal(first.pixels, observe(joints, room, np.random.default_rng(1), girth))
    lasting = np.sqrt(Detector().constant / 2) * Detector().sharpness * 136
    many = np.stack([systematic_error(np.random.default_rng(seed)) for seed in range(2000)])
    assert np.allclose(many.std((0, 2))[FOUND], lasting * SIGMAS[FOUND], rtol=0.06)
    assert np.allclose(many.std((0, 2))[DERIVED], lasting * SIGMAS[DERIVED], rtol=0.06)


def test_derived_joints_err_with_their_sources(person, room):
    joints, girth = person
    error, _ = errors(joints, room, 2, girth, Detector())
    assert np.allclose(error[:, 0], error[:, [1, 4]].mean(1), atol=1.5)  # up to the joints' distances


def test_one_frame_is_enough(person, room, generator):
    joints, girth = person
    seen = detect(joints[:1], room, generator, girth)
    assert seen.pixels.shape == (1, 17, 2) and np.isfinite(seen.pixels).all() and np.isfinite(seen.confidence).all()


def test_occlusion_agrees_with_rays_against_every_capsule(person):
    joints, girth = turned(person[0], 1.2), person[1]
    camera = CAMERAS["infra2"]
    start, end = (ends.astype(float)[:, None] for ends in capsule_ends(joints))
    origin = np.array(camera.position)
    ray = joints.astype(float) - origin
    length = np.linalg.norm(ray, axis=-1)[..., None]
    hit = capsule_distance(origin, (ray / length)[:, :, None], start, end, RADII * girth)
    along = np.linspace(0, 1, 400)[:, None, None, None, None]  # the nearest of many points of the axis
    axis = start + along * (end - start)
    inside = np.linalg.norm(axis - joints[:, :, None], axis=-1).min(0) < 1.05 * RADII * girth
    expected = ((hit < length - 0.02) & ~inside).any(-1)
    assert expected.any() and (occluded(joints, girth, camera) == expected).mean() > 0.995


def test_a_joint_behind_another_limb_is_occluded():
    joints = np.tile(np.array([0.0, 0.0, 3.0]), (1, 17, 1))
    joints[0, :, 0] = np.linspace(-4, 4, 17)  # everything far apart sideways
    joints[0, [0, 7, 8, 9, 10]] = [[0, 0, 3], [0, -0.25, 3], [0, -0.5, 3], [0, -0.6, 3], [0, -0.7, 3]]
    joints[0, 12], joints[0, 13] = [-0.3, -0.2, 3.0], [0.0, -0.12, 3.4]  # left hand behind the abdomen
    clear = joints.copy()
    clear[0, 13] = [0.0, -0.12, 2.4]
    left_wrist = H36M17.joints.index("left_wrist")
    assert occluded(joints, 1.0, RGB)[0, left_wrist]
    assert not occluded(clear, 1.0, RGB)[0, left_wrist]
