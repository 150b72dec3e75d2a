"""Lifting 2D joints with a cloud, and pairs of sensors in the model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from equipose.config import ModelSettings, load_recipe
from equipose.contribution.measure import mean_features, measure
from equipose.errors import UsageError
from equipose.fisher_outputs import Weights, output_fisher
from equipose.nn.model import build_model
from equipose.nn.ray_lift import RayLift
from equipose.registry import FUSION
from equipose.types import all_coalitions

ALL = ("rgb", "lidar", "mmwave", "wifi")
JOINTS = 17


@pytest.fixture
def scene():
    """Joints half a metre apart, each with a ball of points around it, and their rays."""
    generator = torch.Generator().manual_seed(3)
    x, y = torch.meshgrid(torch.linspace(-1.0, 1.0, 5), torch.linspace(-1.0, 1.0, 4), indexing="ij")
    joints = torch.stack([x.flatten(), y.flatten(), torch.rand(20, generator=generator) + 3.0], -1)[None, :JOINTS]
    points = joints[:, :, None] + 0.02 * torch.randn(1, JOINTS, 12, 3, generator=generator)
    return joints, points.flatten(1, 2)


def lift(joints, points, mask=None, net=None):
    net = net or RayLift(JOINTS, torch.zeros(JOINTS, 3), 8)
    mask = torch.ones(points.shape[:2], dtype=torch.bool) if mask is None else mask
    numbers, _ = net.lift(joints[..., :2] / joints[..., 2:], points, mask)
    numbers = numbers.detach()
    narrow = numbers[:, : 3 * JOINTS].reshape(-1, JOINTS, 3) / 3.0
    spread = numbers[:, 3 * JOINTS : 4 * JOINTS] / 5.0
    nearest = numbers[:, -JOINTS:] / 20.0
    return narrow, spread, nearest


def test_a_joint_amid_points_is_lifted_to_its_place(scene):
    joints, points = scene
    lifted, spread, nearest = lift(joints, points)
    assert torch.linalg.vector_norm(lifted - joints, dim=-1).max() < 0.03
    assert spread.max() < 0.04
    assert nearest.max() < 0.02


def test_no_one_along_the_ray_is_told(scene):
    joints, points = scene
    far = joints + torch.tensor([5.0, 0.0, 0.0])
    nearest = lift(far, points)[2]
    assert torch.allclose(nearest, torch.tensor(0.2))


def test_neither_order_nor_padding_matters(scene):
    joints, points = scene
    order = torch.randperm(points.shape[1], generator=torch.Generator().manual_seed(0))
    padded = torch.cat([points[:, order], joints + 0.01], 1)
    mask = torch.arange(padded.shape[1])[None] < points.shape[1]
    for plain, other in zip(lift(joints, points), lift(joints, padded, mask), strict=True):
        torch.testing.assert_close(plain, other, rtol=0.0, atol=3e-4)  # metres


def test_softmax_agrees_with_a_loop_in_double_precision(scene):
    joints, points = scene
    sigma = 0.012
    for j in range(JOINTS):
        ray = (joints[0, j, :2] / joints[0, j, 2]).double()
        place = (points[0, :, :2] / points[0, :, 2:]).double()
        weight = torch.exp(-(place - ray).square().sum(-1) / (2 * sigma**2))
        depth = (weight * points[0, :, 2].double()).sum() / weight.sum()
        assert float(lift(joints, points)[0][0, j, 2]) == pytest.approx(float(depth), abs=2e-4)


def test_the_second_look_agrees_with_a_loop_in_double_precision(scene):
    joints, points = scene
    net = RayLift(JOINTS, torch.full((JOINTS, 3), 0.5), 8)
    place = joints + 0.05 * torch.randn(joints.shape, generator=torch.Generator().manual_seed(1))
    rays = joints[..., :2] / joints[..., 2:]
    mask = torch.ones(points.shape[:2], dtype=torch.bool)
    padded, padding = torch.cat([points, place], 1), torch.cat([mask, torch.zeros(1, JOINTS, dtype=torch.bool)], 1)
    found = net.look_around(place, rays, padded, padding).detach().double()[0]
    expected = [3.0 * (place - 0.5).flatten(), 20.0 * (rays - place[..., :2] / place[..., 2:]).flatten()]
    cloud, away = points[0].double(), place[0].double()
    square = (cloud[None] - away[:, None]).square().sum(-1)
    for radius in (0.08, 0.2):
        weight = torch.exp(-square / (2 * radius**2))
        weight = weight / weight.sum(1, keepdim=True)
        expected += [10.0 * (weight @ cloud - away).flatten(), 5.0 * (weight * square).sum(1).sqrt()]
    expected.append(5.0 * square.amin(1).clamp(max=1.0).sqrt())
    torch.testing.assert_close(found, torch.cat([each.double() for each in expected]), rtol=1e-4, atol=1e-4)


def test_the_steps_start_at_zero_and_are_learned(random_batch):
    """The second look begins around the lifted joints, and what it sees teaches where to look."""
    batch = random_batch(("rgb", "lidar"))
    net = RayLift(JOINTS, torch.tensor([0.0, 0.0, 3.0]).expand(JOINTS, 3), 8)
    features = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))
    assert not net.step.weight.any() and not net.step.bias.any()
    net(batch.inputs["rgb"], batch.inputs["lidar"], *features).sum().backward()
    assert net.step.weight.grad.abs().sum() > 0 and net.log_radius.grad.abs().sum() > 0


@pytest.mark.parametrize("broken", ["empty cloud", "invalid frame"])
def test_without_points_or_joints_only_the_features_count(broken, random_batch):
    batch = random_batch(("rgb", "lidar"))
    net = RayLift(JOINTS, torch.zeros(JOINTS, 3), 8)
    image, cloud = batch.inputs["rgb"], batch.inputs["lidar"]
    if broken == "empty cloud":
        cloud = replace(cloud, points=torch.zeros_like(cloud.points), mask=torch.zeros_like(cloud.mask))
    else:
        image = replace(image, valid=torch.zeros_like(image.valid), values=torch.zeros_like(image.values))
    features = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))
    found = net(image, cloud, *features)
    first = net.mix(torch.cat([torch.zeros(3, 9 * JOINTS), *features], 1))
    torch.testing.assert_close(found, first + net.near_mix(torch.cat([torch.zeros(3, 14 * JOINTS), first], 1)))
    found.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


def make(fusion="concat", modalities=ALL, pairs=("rgb+lidar",)):
    return build_model(ModelSettings(width=16, fusion=fusion, pairs=pairs), modalities, JOINTS, 0)


@pytest.mark.parametrize("fusion", sorted(FUSION))
def test_coalitions_with_a_pair_equal_full_forwards_bit_for_bit(fusion, random_batch):
    batch = random_batch(ALL, batch=4)
    batch = replace(batch, present=torch.tensor([[1, 1, 1, 1], [1, 0, 1, 1], [0, 1, 1, 1], [1, 1, 0, 0]]).bool())
    model = make(fusion).eval()
    coalitions = all_coalitions(4)
    with torch.no_grad():
        features = model.encode(batch)
        poses = model.decode_coalitions(features, coalitions, batch.present)
        for row, pose in zip(coalitions, poses, strict=True):
            assert torch.equal(pose, model.decode(features, batch.present & row).joints)


@pytest.mark.parametrize("fusion", sorted(FUSION))
def test_a_pair_counts_only_where_both_sensors_do(fusion, random_batch):
    batch = random_batch(ALL)
    model = make(fusion).eval()
    features = model.encode(batch)
    assert list(features) == [*ALL, "rgb+lidar"]
    other = {**features, "rgb+lidar": features["rgb+lidar"] + 1.0}
    for sensors, counts in (((1, 0, 1, 1), False), ((0, 1, 1, 1), False), ((1, 1, 0, 0), True)):
        inside = torch.tensor(sensors).bool().expand(3, 4)
        same = torch.equal(model.decode(features, inside).joints, model.decode(other, inside).joints)
        # The ensemble and the experts may start with a pair that says nothing, but never with one that is heard alone.
        assert same != counts


def test_a_pair_of_which_a_sensor_is_not_used_is_left_out():
    assert make(modalities=("rgb", "wifi")).names == ("rgb", "wifi")


def test_without_pairs_nothing_changes_and_with_them_the_encoders_start_alike():
    plain, paired = make(pairs=()), make()
    for name in ALL:
        for a, b in zip(plain.parameters_of(name), paired.parameters_of(name), strict=True):
            assert torch.equal(a, b)
    assert {id(p) for p in paired.pairs.parameters()} <= {id(p) for p in paired.shared_parameters()}


@pytest.mark.parametrize("pair", ["lidar+rgb", "rgb+wifi", "rgb", "rgb+lidr"])
def test_a_pair_that_cannot_be(pair):
    with pytest.raises(UsageError, match=r"model\.pairs"):
        load_recipe(None, [f"model.pairs=[{pair}]"])


def test_fisher_information_of_a_pair_counts_where_both_cells_do(random_batch):
    """The pair's own layers belong to the shared group, and a flagged sensor's encoder hears nothing through it."""
    sensors = ("rgb", "lidar", "wifi")
    batch = random_batch(sensors)
    model = make("experts", sensors)
    with torch.no_grad():
        for head in model.fusion.heads.values():
            for parameter in head.parameters():
                parameter.add_(0.1)

    def weigh(batch):
        cells = torch.ones(batch.present.shape)
        cells[:, 1] = 0.0
        return Weights(torch.ones(len(batch)), cells)

    whole, masked = output_fisher(model, [batch]), output_fisher(model, [batch], weigh=weigh)
    size = {group: sum(float(t.sum()) for t in each) for group, each in masked.diagonal.items()}
    assert size["lidar"] == 0.0 and size["rgb"] > 0.0
    assert all(float(sum(t.sum() for t in each)) > 0.0 for each in whole.diagonal.values())


@pytest.mark.parametrize("fusion", sorted(FUSION))
def test_the_mean_baseline_is_that_of_the_sensors_alone(fusion, random_batch):
    batch, model = random_batch(ALL), make(fusion)
    means = mean_features(model, [batch])
    assert tuple(means) == ALL
    found = measure(model, [batch], baseline=means, bootstrap=0)
    assert found.phi.shape == (4,) and np.isfinite(found.phi).all()
