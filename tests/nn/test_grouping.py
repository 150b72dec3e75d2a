"""Centroids and neighbours against brute force."""

from __future__ import annotations

import pytest
import torch

from equipose.nn.encoders.grouping import (
    farthest_centroids,
    gather_points,
    nearest_points,
)


@pytest.fixture
def cloud():
    generator = torch.Generator().manual_seed(3)
    position = torch.randn(3, 50, 3, generator=generator)
    mask = torch.rand(3, 50, generator=generator) < 0.7
    mask[2] = False
    mask[2, :4] = True
    return position, mask


def test_nearest_points_equal_brute_force(cloud):
    position, mask = cloud
    centre = position[:, :5]
    index, real = nearest_points(centre, position, mask, 6)
    for b in range(3):
        for c in range(5):
            distance = (position[b] - centre[b, c]).norm(dim=-1)
            order = [i for i in distance.argsort().tolist() if mask[b, i]][:6]
            assert set(index[b, c][real[b, c]].tolist()) == set(order)


def test_gather_points_equals_indexing(cloud):
    position, _ = cloud
    index = torch.randint(0, 50, (3, 4, 7), generator=torch.Generator().manual_seed(0))
    expected = torch.stack([position[b][index[b]] for b in range(3)])
    assert torch.equal(gather_points(position, index), expected)


def test_centroids_are_distinct_real_points(cloud):
    position, mask = cloud
    index, real = farthest_centroids(position, mask, 8)
    assert real.sum(1).tolist() == [8, 8, 4]
    for b in range(3):
        chosen = index[b][real[b]].tolist()
        assert len(set(chosen)) == len(chosen)
        assert all(mask[b, i] for i in chosen)


def test_centroids_do_not_depend_on_the_order_of_points(cloud):
    position, mask = cloud
    order = torch.randperm(50, generator=torch.Generator().manual_seed(5))
    a, real_a = farthest_centroids(position, mask, 8)
    b, real_b = farthest_centroids(position[:, order], mask[:, order], 8)
    assert torch.equal(real_a, real_b)
    where_a, where_b = gather_points(position, a), gather_points(position[:, order], b)
    assert torch.equal(where_a[real_a], where_b[real_b])


def test_farthest_centroids_reach_the_extremes():
    position = torch.tensor([[[0.0, 0, 0], [0.1, 0, 0], [0.2, 0, 0], [5.0, 0, 0], [-4.0, 0, 0]]])
    index, _ = farthest_centroids(position, torch.ones(1, 5, dtype=torch.bool), 2)
    assert set(index[0].tolist()) == {3, 4}
