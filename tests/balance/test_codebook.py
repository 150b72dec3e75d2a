import numpy as np
import pytest
import torch

from balance.steps import in_two_processes
from equipose.balance.codebook import learn_codebook, nearest


def clusters(generator, centres, each, spread):
    points = np.repeat(centres, each, 0)
    return torch.from_numpy(points + spread * generator.normal(size=points.shape))


def test_well_separated_clusters_are_found():
    generator = np.random.default_rng(0)
    centres = np.array([[x, y, z] for x in (0, 10) for y in (0, 5) for z in (0, 3)])
    points = clusters(generator, centres, 12, 0.1)
    found = learn_codebook(points, 8).numpy()
    gaps = np.linalg.norm(found[:, None] - centres[None], axis=-1)
    assert sorted(gaps.argmin(1)) == list(range(8))
    assert gaps.min(1).max() < 0.2


@pytest.mark.parametrize("size", [4, 16, 64])
def test_codes_are_the_means_of_their_points_and_none_is_idle(size):
    points = torch.from_numpy(np.random.default_rng(1).normal(size=(100, 6)))
    codes = learn_codebook(points, size)
    label = nearest(points, codes)
    assert 2 <= len(codes) <= size
    assert len(label.unique()) == len(codes)
    if size < 64:  # few enough points per code for K-means to have come to rest
        for k in range(len(codes)):
            torch.testing.assert_close(codes[k], points[label == k].mean(0))


def test_more_codes_leave_less_error():
    points = torch.from_numpy(np.random.default_rng(2).normal(size=(200, 4)))
    errors = [
        float((points - c[nearest(points, c)]).square().sum()) for c in (learn_codebook(points, n) for n in (2, 8, 32))
    ]
    assert errors[0] > errors[1] > errors[2]


def test_coinciding_points_get_one_code():
    assert len(learn_codebook(torch.ones(9, 3), 8)) == 1
    assert len(learn_codebook(torch.ones(1, 3), 8)) == 1
    two = torch.cat([torch.zeros(4, 3), torch.ones(5, 3)])
    assert len(learn_codebook(two, 8)) == 2


def test_two_processes_find_the_codes_of_one():
    points = clusters(np.random.default_rng(3), 5.0 * np.eye(4), 9, 1.0)
    whole = learn_codebook(points, 8)
    first, second = in_two_processes(lambda rank, mean: learn_codebook(points[rank::2], 8, mean))
    assert torch.equal(first, second)
    torch.testing.assert_close(first, whole)
