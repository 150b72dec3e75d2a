"""Paired differences against independent calculations."""

from __future__ import annotations

import numpy as np
import pytest

from equipose.report.pairing import Difference, Unpaired, compare, mpjpe_per_frame, pa_mpjpe_per_frame
from equipose.report.run import Predictions


def predictions(seed=0, error=0.02, subjects=(1, 2, 3, 4, 5, 6), frames=30, joints=17, truth=0):
    rng = np.random.default_rng(seed)
    target = np.random.default_rng(truth).normal(size=(len(subjects) * frames, joints, 3))
    keys = [(1, s, 2, f, i) for i, s in enumerate(subjects) for f in range(frames)]
    joints_ = target + error * rng.normal(size=target.shape)
    return Predictions(joints_, target, np.array(keys))


def rotation(rng):
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else q[:, [1, 0, 2]]


def test_mpjpe_of_a_shift_is_its_length():
    target = np.zeros((4, 17, 3))
    assert mpjpe_per_frame(target + np.array([0.003, 0.004, 0.0]), target) == pytest.approx([5.0] * 4)


def test_pa_mpjpe_ignores_rotation_scale_and_shift_but_not_reflection():
    rng = np.random.default_rng(1)
    target = rng.normal(size=(5, 17, 3))
    moved = np.stack([1.7 * pose @ rotation(rng) + rng.normal(size=3) for pose in target])
    assert pa_mpjpe_per_frame(moved, target) == pytest.approx(np.zeros(5), abs=1e-6)
    assert pa_mpjpe_per_frame(target * np.array([-1.0, 1.0, 1.0]), target).min() > 50


def test_pa_mpjpe_agrees_with_scipy_and_with_the_metrics_package():
    from scipy.spatial.transform import Rotation

    rng = np.random.default_rng(2)
    target, joints = rng.normal(size=(3, 17, 3)), rng.normal(size=(3, 17, 3))
    found = pa_mpjpe_per_frame(joints, target)
    for pose, truth, value in zip(joints, target, found, strict=True):
        x, y = pose - pose.mean(0), truth - truth.mean(0)
        turned = Rotation.align_vectors(y, x)[0].apply(x)
        scale = (turned * y).sum() / (turned**2).sum()
        assert value == pytest.approx(1000 * np.linalg.norm(scale * turned - y, axis=1).mean(), rel=1e-6)
    torch = pytest.importorskip("torch")
    from equipose.metrics.pose import pa_mpjpe

    theirs = pa_mpjpe(torch.from_numpy(joints), torch.from_numpy(target)).numpy()
    assert found == pytest.approx(theirs, rel=1e-9)


def test_collapsed_pose_has_a_finite_error():
    target = np.random.default_rng(3).normal(size=(2, 17, 3))
    assert np.isfinite(pa_mpjpe_per_frame(np.zeros_like(target), target)).all()


def test_change_is_the_difference_of_means_and_swapping_negates_it():
    first, second = predictions(1, 0.03), predictions(2, 0.02)
    found, back = compare([first], [second]), compare([second], [first])
    assert isinstance(found, Difference) and isinstance(back, Difference)
    plain = mpjpe_per_frame(second.joints, second.target).mean() - mpjpe_per_frame(first.joints, first.target).mean()
    assert found.change_mm == pytest.approx(plain)
    assert back.change_mm == pytest.approx(-found.change_mm)
    assert found.interval is not None and found.interval[0] < found.change_mm < found.interval[1] < 0
    assert found.clear and found.frames == 180 and found.subjects == 6


def test_frames_are_matched_by_key_not_by_row():
    first, second = predictions(1), predictions(2)
    order = np.random.default_rng(0).permutation(len(second.joints))
    shuffled = Predictions(second.joints[order], second.target[order], second.keys[order])
    assert compare([first], [shuffled]) == compare([first], [second])


def test_only_common_frames_count():
    first, second = predictions(1), predictions(2)
    part = Predictions(second.joints[:100], second.target[:100], second.keys[:100])
    found = compare([first], [part])
    assert isinstance(found, Difference)
    assert (found.frames, found.left_out, found.subjects) == (100, 80, 4)


def test_identical_runs_show_no_difference():
    found = compare([predictions(1)], [predictions(1)])
    assert isinstance(found, Difference)
    assert found.change_mm == 0 and found.interval == (0, 0) and not found.clear


def test_interval_covers_people_not_frames():
    """One person is hit hard: with frames resampled the interval would be narrow and exclude zero."""
    first = predictions(1, 0.02)
    worse = first.joints.copy()
    worse[first.subject == 3] += 0.05
    found = compare([first], [Predictions(worse, first.target, first.keys)])
    assert isinstance(found, Difference) and found.change_mm > 1
    assert found.interval is not None and found.interval[0] == 0 and not found.clear


def test_one_subject_gives_no_interval():
    found = compare([predictions(1, subjects=(7,))], [predictions(2, subjects=(7,))])
    assert isinstance(found, Difference) and found.interval is None and not found.clear


def test_disagreeing_seeds_widen_the_interval():
    steady = compare([predictions(1, 0.03)] * 2, [predictions(2, 0.03)] * 2)
    spread = compare([predictions(1, 0.02), predictions(3, 0.04)], [predictions(2, 0.02), predictions(4, 0.04)])
    assert isinstance(steady, Difference) and isinstance(spread, Difference)
    assert steady.interval is not None and spread.interval is not None
    assert spread.interval[1] - spread.interval[0] > 3 * (steady.interval[1] - steady.interval[0])


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (predictions(2, truth=5), "did not use the same data"),
        (predictions(2, joints=25), "numbers of joints"),
        (predictions(2, subjects=(11, 12)), "no test frame in common"),
        (predictions(2, error=np.nan), "not a finite number"),
    ],
)
def test_what_cannot_be_paired_says_why(other, reason):
    found = compare([predictions(1)], [other])
    assert isinstance(found, Unpaired) and reason in found.reason
