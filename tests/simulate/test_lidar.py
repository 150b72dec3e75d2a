from __future__ import annotations

import numpy as np

from equipose.simulate.body import RADII, capsule_ends
from equipose.simulate.geometry import box_distance, capsule_distance, room_distance
from equipose.simulate.lidar import Lidar, body_range, scan, static_range


def segment_distance(point, start, end):
    axis = end - start
    along = np.clip(((point - start) * axis).sum(-1) / (axis * axis).sum(-1), 0, 1)
    return np.linalg.norm(point - start - along[..., None] * axis, axis=-1)


def march(origin, direction, distance_to_surface, far=20.0):
    """Sphere tracing: step by the distance to the surface until it is met."""
    travelled = np.zeros(direction.shape[0])
    for _ in range(4000):
        travelled = np.minimum(travelled + distance_to_surface(origin + travelled[:, None] * direction), far)
    return np.where(travelled < far, travelled, np.inf)


def test_ray_capsule_closed_form_equals_marching():
    random = np.random.default_rng(0)
    count = 300
    start = random.normal([0, 0, 3], 0.3, (count, 3))
    end = start + random.normal(0, 0.3, (count, 3))
    radius = random.uniform(0.05, 0.2, count)
    aim = start + random.uniform(0, 1, (count, 1)) * (end - start) + random.normal(0, 0.12, (count, 3))
    direction = aim / np.linalg.norm(aim, axis=-1, keepdims=True)
    closed = capsule_distance(np.zeros(3), direction, start, end, radius)
    marched = march(np.zeros(3), direction, lambda p: segment_distance(p, start, end) - radius)
    grazing = np.isfinite(closed) != np.isfinite(marched)
    assert 60 < np.isfinite(closed).sum() < count - 20  # both hits and misses are tried
    assert grazing.sum() <= 1
    both = np.isfinite(closed) & np.isfinite(marched)
    assert np.abs(closed[both] - marched[both]).max() < 1e-4


def test_box_and_room_against_marching():
    random = np.random.default_rng(1)
    direction = random.normal([0, 0, 1], 0.5, (300, 3))
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    low, high = np.array([-0.4, -0.3, 2.0]), np.array([0.5, 0.6, 2.8])

    def box(point):
        outside = np.maximum(np.maximum(low - point, point - high), 0)
        return np.linalg.norm(outside, axis=-1)

    closed, marched = box_distance(np.zeros(3), direction, low, high), march(np.zeros(3), direction, box)
    assert np.array_equal(np.isfinite(closed), np.isfinite(marched))
    assert np.allclose(closed[np.isfinite(closed)], marched[np.isfinite(closed)], atol=1e-4)
    walls = room_distance(np.zeros(3), direction, np.array([-3.0, -2.0, -1.0]), np.array([3.0, 1.0, 5.0]))
    hit = walls[:, None] * direction
    on_wall = np.abs(np.stack([hit - [-3, -2, -1], hit - [3, 1, 5]])).min(axis=(0, 2))
    assert on_wall.max() < 1e-9


def test_angular_windows_lose_no_ray(person, room):
    joints, girth = person
    lidar = Lidar()
    fast = body_range(joints[:4], room.lidar_position, girth, lidar)
    start, end = capsule_ends(joints[:4].astype(float))
    rays = lidar.directions().reshape(1, -1, 1, 3)
    slow = capsule_distance(room.lidar_position, rays, start[:, None], end[:, None], RADII * girth).min(axis=-1)
    assert np.array_equal(np.isfinite(fast), np.isfinite(slow))
    hit = np.isfinite(slow)
    assert np.allclose(fast[hit], slow[hit], atol=1e-6)


def test_noise_free_points_lie_on_surfaces(person, room, generator):
    joints, girth = person
    clouds = scan(joints[:2], room, generator, girth, Lidar(range_noise=0.0, drop_out=0.0))
    for cloud, pose in zip(clouds, joints.astype(float), strict=False):
        points = np.stack([-cloud[:, 1], -cloud[:, 2], cloud[:, 0]], axis=-1) + room.lidar_position
        start, end = capsule_ends(pose)
        to_body = np.abs(segment_distance(points[:, None], start, end) - RADII * girth).min(axis=1)
        to_room = np.abs(np.stack([points - room.low, points - room.high])).min(axis=(0, 2))
        inside = np.clip(points[:, None], room.boxes[:, 0], room.boxes[:, 1])
        to_boxes = np.linalg.norm(points[:, None] - inside, axis=-1).min(axis=1)
        assert np.minimum(np.minimum(to_body, to_room), to_boxes).max() < 1e-6
        assert 150 < (to_body < 1e-6).sum() < 700


def test_points_are_few_noisy_and_in_the_window(person, room, generator):
    joints, girth = person
    lidar = Lidar()
    clouds = scan(joints, room, generator, girth, lidar)
    assert len(clouds) == 12
    for cloud in clouds:
        assert cloud.dtype == np.float64 and cloud.shape[1] == 3
        assert 500 < len(cloud) < 2500
        assert (cloud > lidar.low).all() and (cloud < lidar.high).all()
    empty = static_range(room, lidar)
    far = np.repeat(joints[:1] + np.float32(1000.0), 60, axis=0)
    ranges = [np.linalg.norm(cloud, axis=-1) for cloud in scan(far, room, generator, girth, lidar)]
    kept = sum(len(r) for r in ranges) / 60
    exact = len(scan(far[:1], room, generator, girth, Lidar(range_noise=0.0, drop_out=0.0))[0])
    assert kept / exact < 0.985  # 3 % drop-out
    assert empty.min() > 0.5
