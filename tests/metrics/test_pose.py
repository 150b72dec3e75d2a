import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from equipose.metrics.pose import joint_errors, mpjpe, pa_joint_errors, pa_mpjpe, procrustes

seeds = st.integers(0, 2**31)


def poses(seed, frames=8, joints=17, noise=0.1):
    rng = np.random.default_rng(seed)
    target = rng.normal(size=(frames, joints, 3)) * 0.3 + [0.0, 0.2, 3.0]
    return target + noise * rng.normal(size=target.shape), target


def kabsch(x, y):
    """Independent: rotation by scipy, optimal scale by its own least squares; one frame, float64 numpy."""
    x_centred, y_centred = x - x.mean(0), y - y.mean(0)
    rotation = Rotation.align_vectors(y_centred, x_centred)[0].as_matrix()
    turned = x_centred @ rotation.T
    scale = (turned * y_centred).sum() / (turned**2).sum()
    return scale * turned + y.mean(0)


@given(seeds)
def test_equals_an_independent_implementation(seed):
    predicted, target = poses(seed)
    expected = np.linalg.norm(predicted - target, axis=-1) * 1000
    np.testing.assert_allclose(joint_errors(*map(torch.from_numpy, (predicted, target))), expected, atol=1e-6)
    aligned = np.stack([kabsch(x, y) for x, y in zip(predicted, target, strict=True)])
    expected = np.linalg.norm(aligned - target, axis=-1) * 1000
    found = pa_joint_errors(*map(torch.from_numpy, (predicted, target)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(pa_mpjpe(*map(torch.from_numpy, (predicted, target))), expected.mean(1), atol=1e-6)


def test_no_similarity_fits_better():
    predicted, target = (p[0] for p in poses(3, joints=6, noise=0.4))

    def squared(parameters):
        turned = np.exp(parameters[0]) * Rotation.from_rotvec(parameters[1:4]).apply(predicted) + parameters[4:]
        return ((turned - target) ** 2).sum()

    rng = np.random.default_rng(0)
    best = min(minimize(squared, rng.normal(size=7)).fun for _ in range(6))
    ours = (procrustes(torch.from_numpy(predicted), torch.from_numpy(target)) - torch.from_numpy(target)).square().sum()
    assert float(ours) <= best + 1e-8


@given(seeds, st.floats(0.01, 100), st.tuples(*[st.floats(-3, 3)] * 3), st.tuples(*[st.floats(-50, 50)] * 3))
def test_alignment_removes_any_similarity(seed, scale, turn, shift):
    predicted, target = poses(seed, frames=3)
    moved = scale * Rotation.from_rotvec(turn).apply(predicted.reshape(-1, 3)).reshape(predicted.shape) + shift
    a, b, c = map(torch.from_numpy, (predicted, moved, target))
    torch.testing.assert_close(pa_mpjpe(b, c), pa_mpjpe(a, c), rtol=0, atol=1e-6)
    assert pa_mpjpe(b, a).max() < 1e-6


@given(seeds)
def test_a_mirror_image_is_not_the_pose(seed):
    _, target = poses(seed, frames=4)
    mirrored = torch.from_numpy(target * [-1.0, 1.0, 1.0])
    assert (pa_mpjpe(mirrored, torch.from_numpy(target)) > 10.0).all()


@given(seeds)
def test_a_flat_pose_may_be_turned_over(seed):
    _, target = poses(seed, frames=4)
    target[..., 2] = 3.0
    mirrored = torch.from_numpy(target * [-1.0, 1.0, 1.0])
    assert pa_mpjpe(mirrored, torch.from_numpy(target)).max() < 1e-5


def test_translation_counts_without_alignment_only():
    _, target = poses(0)
    target = torch.from_numpy(target)
    moved = target + torch.tensor([0.0, 0.03, 0.04])
    torch.testing.assert_close(mpjpe(moved, target), torch.full((8,), 50.0, dtype=torch.float64))
    assert pa_mpjpe(moved, target).max() < 1e-6


def test_a_collapsed_prediction_becomes_the_centre():
    _, target = poses(1)
    target = torch.from_numpy(target)
    for point in ([0.0, 0.0, 0.0], [0.1, 0.7, 3.3]):
        collapsed = torch.tensor(point).expand(8, 17, 3)
        expected = joint_errors(target.mean(-2, keepdim=True).expand_as(target), target)
        torch.testing.assert_close(pa_joint_errors(collapsed, target), expected)


@pytest.mark.parametrize("flat", ["prediction", "target", "both"])
@pytest.mark.parametrize("rank", [0, 1, 2])
def test_degenerate_poses_give_the_least_squares_error(flat, rank):
    predicted, target = poses(5)
    for name, pose in (("prediction", predicted), ("target", target)):
        if flat in (name, "both"):
            pose[..., rank:] = 1.0
    found = pa_joint_errors(torch.from_numpy(predicted), torch.from_numpy(target))
    assert found.isfinite().all()
    x, y = predicted - predicted.mean(1, keepdims=True), target - target.mean(1, keepdims=True)
    singular = np.linalg.svd(np.swapaxes(x, 1, 2) @ y, compute_uv=False)
    sign = np.ones_like(singular)
    sign[:, 2] = np.where(np.linalg.det(np.swapaxes(x, 1, 2) @ y) < -1e-12, -1.0, 1.0)
    spread = (x**2).sum((1, 2))
    gain = np.divide((singular * sign).sum(1) ** 2, spread, out=np.zeros(8), where=spread > 1e-20)
    squared = (found.numpy() / 1000) ** 2
    np.testing.assert_allclose(squared.sum(1), (y**2).sum((1, 2)) - gain, atol=1e-9)


def test_one_joint_and_identical_joints():
    target = torch.randn(3, 1, 3)
    assert pa_mpjpe(torch.randn(3, 1, 3), target).max() < 1e-9
    same = torch.tensor([0.3, 0.1, 2.0]).expand(3, 5, 3)
    assert pa_mpjpe(torch.randn(3, 5, 3), same).max() < 1e-6


def test_nan_stays_in_its_frame():
    predicted, target = map(torch.from_numpy, poses(2))
    clean = pa_mpjpe(predicted, target)
    broken = predicted.clone()
    broken[3, 4, 1] = torch.nan
    broken[5, 0, 0] = torch.inf
    found = pa_mpjpe(broken, target)
    assert found.isnan().nonzero().flatten().tolist() == [3, 5]
    keep = [0, 1, 2, 4, 6, 7]
    torch.testing.assert_close(found[keep], clean[keep])


def test_float32_input_is_computed_in_float64_and_any_leading_shape_works():
    predicted, target = (torch.from_numpy(p).float() for p in poses(7))
    found = mpjpe(predicted, target)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, mpjpe(predicted.double(), target.double()), rtol=0, atol=1e-9)
    for function in (mpjpe, pa_mpjpe):
        grid = function(predicted.view(2, 4, 17, 3), target.view(2, 4, 17, 3))
        torch.testing.assert_close(grid.flatten(), function(predicted, target))
        assert function(predicted[0], target[0]).shape == ()
        assert function(predicted[:0], target[:0]).shape == (0,)
