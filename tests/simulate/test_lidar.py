from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from equipose.simulate.body import CAPSULES, RADII, capsule_ends
from equipose.simulate.geometry import box_distance, capsule_distance, room_distance
from equipose.simulate.lidar import Lidar, body_range, scan, static_range
from equipose.simulate.lidar_body import body_hits
from equipose.simulate.lidar_returns import PERFECT, Receiver, mix
from equipose.simulate.lidar_surface import LARGEST, crossing, draw_outfit, empty_room, mount, person_outfit

EXACT = Lidar(mount=(0.0, 0.0, 0.0), range_offset=0.0, beam_radius=0.0, divergence=0.0, receiver=PERFECT)


def naked(girth):
    """Clothes that lie on the capsules."""
    outfit = person_outfit(girth)
    return replace(outfit, height=0.0 * outfit.height, hair=0.0)


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
    entry, leave, axis = crossing(direction, low, high)
    hit = np.isfinite(closed)
    assert np.array_equal(hit, (entry <= leave) & (entry > 0)) and np.allclose(entry[hit], closed[hit])
    met = entry[hit, None] * direction[hit]
    side = np.minimum(np.abs(met - low), np.abs(met - high))
    assert np.take_along_axis(side, axis[hit, None], axis=1).max() < 1e-9
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
    clouds = scan(joints[:2], room, generator, girth, EXACT, naked(girth))
    for cloud, pose in zip(clouds, joints.astype(float), strict=False):
        points = np.stack([-cloud[:, 1], -cloud[:, 2], cloud[:, 0]], axis=-1) + room.lidar_position
        start, end = capsule_ends(pose)
        to_body = np.abs(segment_distance(points[:, None], start, end) - RADII * girth).min(axis=1)
        to_room = np.abs(np.stack([points - room.low, points - room.high])).min(axis=(0, 2))
        inside = np.clip(points[:, None], room.boxes[:, 0], room.boxes[:, 1])
        to_boxes = np.linalg.norm(points[:, None] - inside, axis=-1).min(axis=1)
        assert np.minimum(np.minimum(to_body, to_room), to_boxes).max() < 1e-6
        assert 150 < (to_body < 1e-6).sum() < 700


def test_points_are_as_many_as_reported_and_in_the_window(person, room, generator):
    joints, girth = person
    lidar = Lidar()
    clouds = scan(joints, room, generator, girth, lidar)
    hits = body_hits(joints.astype(float) - room.lidar_position, lidar.directions(), lidar.angles(), girth)
    assert len(clouds) == 12
    assert 200 < len(hits.ray) / 12 < 500
    for cloud in clouds:
        assert cloud.dtype == np.float64 and cloud.shape[1] == 3
        assert 800 < len(cloud) < 1600
        assert (cloud > lidar.low).all() and (cloud < lidar.high).all()


def test_a_cloud_depends_on_the_generator_and_not_on_the_frames_that_follow_a_chunk(person, room):
    joints, girth = person
    first = scan(joints, room, np.random.default_rng(3), girth)
    again = scan(joints, room, np.random.default_rng(3), girth)
    other = scan(joints, room, np.random.default_rng(4), girth)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert len(first[0]) != len(other[0]) or not np.allclose(first[0], other[0])
    short = scan(joints[:8], room, np.random.default_rng(3), girth)
    assert all(np.array_equal(a, b) for a, b in zip(first[:8], short, strict=True))


def test_detection_and_precision_at_stated_signals():
    receiver = Receiver()
    dark = 0.1 / 45.0**2  # a 10 % target at 45 m
    assert 1 - receiver.lost(np.array([dark]))[0] == pytest.approx(0.9, abs=0.01)
    signal = np.geomspace(1e-7, 1.0, 40)
    assert (np.diff(receiver.lost(signal)) <= 0).all() and (np.diff(receiver.deviation(signal)) <= 0).all()
    assert (
        0.002 < receiver.deviation(np.array([0.5 / 3.2**2]))[0] < 0.007 < receiver.deviation(np.array([dark]))[0] < 0.05
    )
    assert not PERFECT.lost(signal).any() and not PERFECT.deviation(signal).any()


def test_a_beam_on_two_surfaces_gives_one_of_them_or_a_point_between_if_they_are_near():
    near, echo = np.full(3, 2.0), np.full(3, 0.5)
    share = np.array([1.0, 0.9, 0.1])
    distance, signal = mix(Receiver(), share, (near, echo), (np.full(3, 4.0), echo))
    assert distance == pytest.approx([2.0, 2.0, 4.0])  # farther than the resolution: the strongest
    assert signal == pytest.approx([0.125, 0.1125, 0.9 * 0.5 / 16])
    distance, signal = mix(Receiver(), share, (near, echo), (np.full(3, 2.1), echo))
    assert distance[0] == 2.0 and 2.0 < distance[1] < 2.05 < distance[2] < 2.1
    distance, _ = mix(Receiver(), share, (near, echo), (np.full(3, np.inf), 0.0 * echo))
    assert distance == pytest.approx(2.0)


def test_edges_make_flying_points_and_wider_limbs(person, room):
    joints, girth = person
    lidar, own = Lidar(), joints.astype(float) - room.lidar_position
    thin = body_hits(own, lidar.directions(), lidar.angles(), girth)
    wide = body_hits(own, lidar.directions(), lidar.angles(), girth, None, (0.005, 0.003))
    assert (thin.share == 1.0).all() and set(thin.ray) < set(wide.ray)
    # Half of a beam lies on the body where its axis grazes it, so what was missed is covered by less than half.
    missed = ~np.isin(wide.ray, thin.ray)
    assert (wide.share[missed] <= 0.5).all() and (wide.share > 0).all()
    assert 0.1 < (wide.share < 1).mean() < 0.6
    assert (wide.behind > wide.distance).all()


def test_cloth_lies_outside_the_body_up_to_three_centimetres_and_is_uneven(person, room):
    joints, girth = person
    lidar, own = Lidar(), joints.astype(float) - room.lidar_position
    bare = body_hits(own, lidar.directions(), lidar.angles(), girth)
    outfit = person_outfit(girth)
    dressed = body_hits(own, lidar.directions(), lidar.angles(), girth, outfit)
    assert np.isin(bare.ray, dressed.ray).all()
    both = np.isin(dressed.ray, bare.ray)
    nearer = bare.distance - dressed.distance[both]
    facing = bare.echo > 0.7
    assert nearer.min() > -1e-9 and np.quantile(nearer[facing], 0.99) < LARGEST / 0.6
    assert nearer[facing].std() > 0.002
    assert (outfit.height >= 0).all() and (outfit.height <= LARGEST).all()
    assert (dressed.echo <= 1).all() and (dressed.echo > 0).all()


def test_people_keep_their_clothes_and_differ():
    first, second = person_outfit(0.93), person_outfit(0.97)
    assert np.array_equal(first.height, person_outfit(0.93).height)
    assert not np.array_equal(first.reflectivity, second.reflectivity)
    many = [draw_outfit(np.random.default_rng(i)) for i in range(60)]
    thigh = [name for name, *_ in CAPSULES].index("left_thigh")
    dark = np.mean([outfit.reflectivity[thigh] < 0.2 for outfit in many])
    assert 0.1 < dark < 0.45


def test_a_turned_mount_turns_the_cloud_and_nothing_else(person, room, generator):
    joints, girth = person
    turn = mount(room, (0.05, 0.03, 0.02))
    assert np.allclose(turn @ turn.T, np.eye(3)) and np.linalg.det(turn) == pytest.approx(1.0)
    crooked = replace(EXACT, mount=(0.05, 0.03, 0.02), low=(0.1, -9.0, -9.0), high=(20.0, 9.0, 9.0))
    (cloud,) = scan(joints[:1] + np.float32(500.0), room, generator, girth, crooked)
    own = np.stack([-cloud[:, 1], -cloud[:, 2], cloud[:, 0]], axis=-1)
    points = own @ turn.T + room.lidar_position
    to_room = np.abs(np.stack([points - room.low, points - room.high])).min(axis=(0, 2))
    inside = np.clip(points[:, None], room.boxes[:, 0], room.boxes[:, 1])
    to_boxes = np.linalg.norm(points[:, None] - inside, axis=-1).min(axis=1)
    assert np.minimum(to_room, to_boxes).max() < 1e-6
    assert np.degrees(np.arccos((np.trace(turn) - 1) / 2)) > 0.1


def test_beams_are_those_of_the_uniform_variant_or_of_a_given_table():
    elevation, azimuth = (np.degrees(angle) for angle in Lidar().angles())
    assert len(elevation) == 32 and elevation[0] == pytest.approx(-21.6, abs=0.2)
    assert elevation[-1] == pytest.approx(20.1, abs=0.2)
    gaps = np.diff(elevation)
    assert gaps[15] == pytest.approx(1.4, abs=0.05) and gaps[0] == pytest.approx(1.23, abs=0.05)
    assert np.diff(azimuth) == pytest.approx(360 / 1024)
    table = (12.75, 3.41, -0.13, -15.32)
    assert np.degrees(Lidar(beams=table).angles()[0]) == pytest.approx(sorted(table))


def test_the_floor_is_met_at_grazing_incidence_and_answers_weakly(room):
    rays = np.array([[0.0, 0.3, 0.954], [0.0, 0.9, 0.436], [0.0, -0.1, 0.995]])
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    distance, echo = empty_room(room, rays)
    assert distance[:2] * rays[:2, 1] == pytest.approx(room.high[1] - room.lidar_position[1])
    assert echo[1] / echo[0] == pytest.approx(rays[1, 1] / rays[0, 1])
    assert static_range(room, EXACT).min() > 0.5
