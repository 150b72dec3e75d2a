"""Every severity does what its unit says, measured on the values and not by the code that makes them."""

from __future__ import annotations

import numpy as np
import pytest

from equipose.data.corrupt import (
    KIND_NAMES,
    corrupt_csi,
    corrupt_joints2d,
    corrupt_labels,
    corrupt_lidar,
    corrupt_radar,
    corruptions_of,
)
from equipose.errors import UsageError
from equipose.modality import MODALITIES


def rng(seed=0):
    return np.random.default_rng(seed)


def channel(values):
    return 10 ** (values[:, 0] / 20) * np.exp(1j * values[:, 1])


@pytest.fixture(scope="module")
def joints():
    return rng(1).uniform(50, 400, (40, 17, 2))


@pytest.fixture(scope="module")
def csi():
    iq = rng(2).integers(20, 200, (2, 20, 3, 114, 10)).astype(float)
    return np.stack((20 * np.log10(np.hypot(*iq)), np.arctan2(iq[1], iq[0])), axis=1)


@pytest.fixture(scope="module")
def lidar():
    """Points on 32 beams of an Ouster, 3 m away."""
    clouds = []
    for i in range(20):
        r = rng(i)
        elevation = np.radians(np.repeat((np.arange(32) + 0.5) / 32 * 45 - 22.5, 30))
        azimuth = r.uniform(-0.3, 0.3, elevation.size)
        level = 3.0 * np.cos(elevation)
        clouds.append(np.stack((level * np.cos(azimuth), level * np.sin(azimuth), 3.0 * np.sin(elevation)), 1))
    return clouds


@pytest.fixture(scope="module")
def radar():
    clouds = []
    for i in range(20):
        r, n = rng(i), 50
        clouds.append(
            np.stack(
                (*r.uniform([[2], [-1], [-1]], [[4], [1], [1]], (3, n)), r.uniform(10, 40, n), r.uniform(0.1, 2, n)), 1
            )
        )
    return clouds


@pytest.mark.parametrize(("severity", "sigma"), [(1, 2), (2, 5), (3, 10)])
def test_jitter_in_pixels(joints, severity, sigma):
    error = corrupt_joints2d(joints, "jitter", severity, rng()) - joints
    assert abs(error.std() - sigma) < 0.05 * sigma and abs(error.mean()) < 0.1 * sigma
    assert abs(np.corrcoef(error[0].ravel(), error[1].ravel())[0, 1]) < 0.5  # new in each frame


@pytest.mark.parametrize(("severity", "pairs"), [(1, 1), (2, 2), (3, 4)])
def test_side_swap_exchanges_so_many_pairs_throughout(joints, severity, pairs):
    out = corrupt_joints2d(joints, "side_swap", severity, rng())
    changed = (out != joints).any(axis=2)
    assert (changed == changed[0]).all() and changed[0].sum() == 2 * pairs
    left, right = (4, 5, 6, 11, 12, 13), (1, 2, 3, 14, 15, 16)
    for a, b in zip(left, right, strict=True):
        if changed[0, a]:
            assert np.array_equal(out[:, a], joints[:, b]) and np.array_equal(out[:, b], joints[:, a])


@pytest.mark.parametrize(("severity", "count"), [(1, 2), (2, 5), (3, 9)])
def test_joints_missing(joints, severity, count):
    gone = (corrupt_joints2d(joints, "joints_missing", severity, rng()) == 0).all(axis=2)
    assert (gone.sum(axis=1) == count).all() and (gone == gone[0]).all()


@pytest.mark.parametrize(("severity", "age"), [(1, 3), (2, 10), (3, 30)])
def test_frozen_frames_are_so_old_at_most(severity, age):
    values = np.broadcast_to(np.arange(100.0)[:, None, None], (100, 17, 2)).copy()
    shown = corrupt_joints2d(values, "frozen", severity, rng())[:, 0, 0]
    lag = np.arange(100) - shown
    assert lag[0] == 0 and lag[1:].min() >= 1 and lag.max() == age
    assert len(np.unique(shown)) == -(-100 // age)


@pytest.mark.parametrize(("severity", "pixels"), [(1, 40), (2, 80), (3, 160)])
def test_wrong_person_is_another_one_beside(joints, severity, pixels):
    other = rng(9).uniform(50, 400, (30, 17, 2))
    out = corrupt_joints2d(joints, "wrong_person", severity, rng(), other)
    moved = out - other[np.arange(40) % 30]
    assert np.allclose(abs(moved[..., 0]), pixels) and np.allclose(moved[..., 1], 0)
    assert len(np.unique(np.sign(moved[..., 0]))) == 1


@pytest.mark.parametrize(("severity", "share"), [(1, 0.7), (2, 0.8), (3, 0.9)])
def test_lidar_points_lost(lidar, severity, share):
    out = corrupt_lidar(lidar, "points_lost", severity, rng())
    assert all(len(b) == len(a) - round(share * len(a)) for a, b in zip(lidar, out, strict=True))
    assert set(map(bytes, out[0])) <= set(map(bytes, lidar[0]))


@pytest.mark.parametrize(("severity", "left"), [(1, 16), (2, 8), (3, 4)])
def test_beams_left(lidar, severity, left):
    out = corrupt_lidar(lidar, "beams_lost", severity, rng())
    beams = [np.unique(np.round(np.degrees(np.arctan2(c[:, 2], np.hypot(c[:, 0], c[:, 1]))), 3)) for c in out]
    assert all(len(b) == left and np.array_equal(b, beams[0]) for b in beams)
    assert np.allclose(np.diff(beams[0]), 45 / left, atol=2e-3) and all(len(c) == 30 * left for c in out)


@pytest.mark.parametrize(("severity", "metres"), [(1, 0.01), (2, 0.03), (3, 0.05)])
def test_range_noise_along_the_ray(lidar, severity, metres):
    a, b = np.concatenate(lidar), np.concatenate(corrupt_lidar(lidar, "range_noise", severity, rng()))
    distance = np.linalg.norm(b, axis=1)
    assert abs((distance - 3).std() / metres - 1) < 0.03
    assert np.allclose(b / distance[:, None], a / 3, atol=1e-9)


@pytest.mark.parametrize(("severity", "visibility"), [(1, 50), (2, 20), (3, 10)])
def test_fog_follows_koschmieder_and_lambert(severity, visibility):
    """Two-way loss over range; the clutter is nearer than the points were."""
    near, far = (np.c_[np.full(4000, r), np.zeros((4000, 2))] for r in (1.5, 4.0))
    alpha = 3.912 / visibility
    for points, r in ((near, 1.5), (far, 4.0)):
        (out,) = corrupt_lidar([points], "fog", severity, rng())
        kept = out[:, 0] == r
        assert abs(kept.sum() / 4000 - np.exp(-2 * alpha * r)) < 0.03
        clutter = out[~kept, 0]
        assert len(clutter) > 20 and clutter.max() < r and clutter.min() >= 0.3
    assert np.median(clutter) < 2.0


@pytest.mark.parametrize(("severity", "share"), [(1, 0.01), (2, 0.03), (3, 0.05)])
def test_crosstalk(lidar, severity, share):
    for a, b in zip(lidar, corrupt_lidar(lidar, "crosstalk", severity, rng()), strict=True):
        hit = (a != b).any(axis=1)
        assert hit.sum() == max(1, round(share * len(a)))
        assert np.allclose(np.cross(a[hit], b[hit]), 0, atol=1e-9)


@pytest.mark.parametrize(("severity", "share"), [(1, 0.1), (2, 0.3), (3, 0.6)])
def test_ghosts(radar, severity, share):
    out = corrupt_radar(radar, "ghosts", severity, rng())
    for a, b in zip(radar, out, strict=True):
        assert np.array_equal(b[:50], a) and len(b) == 50 + round(share * 50)
        assert set(b[50:, 4]) <= set(a[:, 4])  # the speed of its source
    added = np.concatenate([b[50:] for b in out])
    assert added[:, 3].min() >= 0
    centre = np.degrees(np.arctan2(added[:, 1], added[:, 0]))
    assert abs(np.median(centre)) > 8  # to one side


@pytest.mark.parametrize(("severity", "lost", "still"), [(1, 0.3, 0.5), (2, 0.6, 0.75), (3, 0.9, 1.0)])
def test_radar_points_lost_and_zero_doppler(radar, severity, lost, still):
    out = corrupt_radar(radar, "points_lost", severity, rng())
    assert all(len(b) == 50 - round(lost * 50) for b in out)
    for a, b in zip(radar, corrupt_radar(radar, "zero_doppler", severity, rng()), strict=True):
        assert (b[:, 4] == 0).sum() == round(still * 50) and np.array_equal(a[:, :4], b[:, :4])


@pytest.mark.parametrize(("severity", "frames"), [(1, 1), (2, 3), (3, 10)])
def test_clock_skew_in_frames(severity, frames):
    clouds = [np.full((2, 5), float(i)) for i in range(30)]
    shown = [c[0, 0] for c in corrupt_radar(clouds, "clock_skew", severity, rng())]
    assert shown == [max(0, i - frames) for i in range(30)]


@pytest.mark.parametrize(("severity", "snr"), [(1, 20), (2, 10), (3, 5)])
def test_awgn_snr_in_decibel(csi, severity, snr):
    h, noisy = channel(csi), channel(corrupt_csi(csi, "awgn", severity, rng()))
    measured = 10 * np.log10((abs(h) ** 2).mean(axis=(1, 2, 3)) / (abs(noisy - h) ** 2).mean(axis=(1, 2, 3)))
    assert (abs(measured - snr) < 0.5).all()
    error = (noisy - h).ravel()
    assert abs((error**2).mean()) < 0.05 * (abs(error) ** 2).mean()  # circular


@pytest.mark.parametrize(("severity", "lost"), [(1, 2), (2, 5), (3, 8)])
def test_packet_loss_holds_the_last_packet(csi, severity, lost):
    out = corrupt_csi(csi, "packet_loss", severity, rng())
    for a, b in zip(csi, out, strict=True):
        held = [p for p in range(10) if not np.array_equal(a[..., p], b[..., p])]
        assert len(held) == lost and 0 not in held
        assert all(np.array_equal(b[..., p], b[..., p - 1]) for p in held)


@pytest.mark.parametrize(("severity", "decibel", "radian"), [(1, 3, 0.5), (2, 6, 1.5), (3, 10, 3.0)])
def test_gain_and_phase_jumps_per_packet_and_receiver(csi, severity, decibel, radian):
    jump = corrupt_csi(csi, "agc_jumps", severity, rng()) - csi
    assert np.allclose(jump[:, 0], jump[:, 0, :, :1]) and not jump[:, 1].any()
    assert abs(jump[:, 0, :, 0].std() / decibel - 1) < 0.1
    turned = corrupt_csi(csi, "phase_jumps", severity, rng())
    assert np.array_equal(turned[:, 0], csi[:, 0]) and abs(turned[:, 1]).max() <= np.pi
    step = np.exp(1j * (turned[:, 1] - csi[:, 1]))
    assert np.allclose(step, step[:, :, :1])
    assert abs(abs(step[:, :, 0].mean()) - np.exp(-(radian**2) / 2)) < 0.1  # of a wrapped normal distribution


def test_dead_chains(csi):
    weak = corrupt_csi(csi, "dead_chain", 1, rng()) - csi
    chain = np.flatnonzero(weak[0, 0].any(axis=(1, 2)))
    assert len(chain) == 1 and np.allclose(weak[:, 0, chain], -20) and not weak[:, 1].any()
    for severity, dead in ((2, 1), (3, 2)):
        out = corrupt_csi(csi, "dead_chain", severity, rng())
        hit = (out != csi).any(axis=(1, 3, 4))
        assert (hit == hit[0]).all() and hit[0].sum() == dead and hit[0, chain].all()
        power = abs(channel(out)[:, hit[0]]) ** 2
        assert abs(power.mean() / 2 - 1) < 0.1  # one count in I and one in Q


@pytest.mark.parametrize(("severity", "tones"), [(1, 11), (2, 23), (3, 46)])
def test_jammed_band(csi, severity, tones):
    out = corrupt_csi(csi, "jammed_band", severity, rng())
    hit = (out != csi).any(axis=(1, 2, 4))
    where = np.flatnonzero(hit[0])
    assert (hit == hit[0]).all() and len(where) == tones == where[-1] - where[0] + 1
    added = channel(out)[:, :, where] - channel(csi)[:, :, where]
    ratio = 10 * np.log10((abs(added) ** 2).mean() / (abs(channel(csi)) ** 2).mean())
    assert abs(ratio - 10) < 0.5


def test_zero_amplitude_stays_the_formats_zero(csi):
    values = csi.copy()
    values[:, :, 0, 3, 2] = [[-np.inf, 0.0]]
    for name in ("agc_jumps", "phase_jumps", "packet_loss"):
        assert np.isneginf(corrupt_csi(values, name, 3, rng())[:, 0, 0, 3, 2]).all() or name == "packet_loss"
    for name in ("awgn", "jammed_band", "dead_chain"):
        assert not np.isnan(corrupt_csi(values, name, 3, rng())).any()


@pytest.mark.parametrize(("severity", "pairs", "metres", "frames"), [(1, 1, 0.05, 3), (2, 2, 0.1, 10), (3, 4, 0.2, 30)])
def test_labels(severity, pairs, metres, frames):
    poses = rng(4).normal(0, 0.3, (50, 17, 3))
    swapped = corrupt_labels(poses, "joint_swap", severity, rng())
    changed = (swapped != poses).any(axis=2)
    assert (changed.sum(axis=1) == 2 * pairs).all() and (changed == changed[0]).all()
    assert np.allclose(np.sort(swapped, axis=1), np.sort(poses, axis=1))
    shift = corrupt_labels(poses, "offset", severity, rng()) - poses
    assert np.allclose(np.linalg.norm(shift, axis=2), metres) and np.allclose(shift, shift[0, 0])
    late = corrupt_labels(poses, "time_shift", severity, rng())
    assert any(np.array_equal(late, np.roll(poses, step, axis=0)) for step in (-frames, frames))
    other = rng(5).normal(0, 0.3, (60, 17, 3))
    assert np.array_equal(corrupt_labels(poses, "subject_swap", severity, rng(), other), other[:50])


def test_faults_of_any_sensor(joints, csi, lidar):
    assert not corrupt_csi(csi, "zero", 1, rng()).any() and not any(
        c.any() for c in corrupt_lidar(lidar, "zero", 1, rng())
    )
    held = corrupt_joints2d(joints, "stuck", 1, rng())
    assert (held == joints[0]).all()
    moved = corrupt_joints2d(joints, "out_of_sync", 2, rng())
    assert any(np.array_equal(moved, np.roll(joints, step, axis=0)) for step in (-10, 10))
    other = joints[::-1] + 1
    assert np.array_equal(corrupt_joints2d(joints, "swapped", 1, rng(), other), other)


NESTED = {
    corrupt_lidar: ("points_lost", "beams_lost"),
    corrupt_radar: ("points_lost",),
}


@pytest.mark.parametrize(("function", "name"), [(f, n) for f, names in NESTED.items() for n in names])
def test_what_a_low_severity_loses_a_higher_one_loses_too(function, name, lidar, radar):
    clouds = lidar if function is corrupt_lidar else radar
    for a, b in ((1, 2), (2, 3)):
        few, more = (function(clouds, name, s, rng()) for s in (a, b))
        for small, large in zip(more, few, strict=True):
            assert set(map(bytes, small)) < set(map(bytes, large))


def test_the_other_faults_are_nested_too(joints, csi, lidar, radar):
    for a, b in ((1, 2), (2, 3)):
        small, large = (corrupt_joints2d(joints, "jitter", s, rng()) - joints for s in (a, b))
        assert np.allclose(small / small.std(), large / large.std())
        for name in ("joints_missing", "side_swap"):
            small, large = ((corrupt_joints2d(joints, name, s, rng()) != joints).any(axis=2) for s in (a, b))
            assert (small <= large).all()
        for name in ("packet_loss", "jammed_band"):
            axes = (1, 2, 3) if name == "packet_loss" else (1, 2, 4)
            small, large = ((corrupt_csi(csi, name, s, rng()) != csi).any(axis=axes) for s in (a, b))
            assert (small <= large).all() and small.any()
        small, large = (channel(corrupt_csi(csi, "awgn", s, rng())) - channel(csi) for s in (a, b))
        assert np.allclose(small / abs(small).mean(), large / abs(large).mean())
        clear, foggy = (corrupt_lidar(lidar, "fog", s, rng()) for s in (a, b))
        for one, other, cloud in zip(clear, foggy, lidar, strict=True):
            first, second = (set(map(bytes, c)) & set(map(bytes, cloud)) for c in (one, other))
            assert second < first
        few, more = (corrupt_radar(radar, "ghosts", s, rng()) for s in (a, b))
        assert all(np.array_equal(y[: len(x)], x) for x, y in zip(few, more, strict=True))


FUNCTIONS = {
    "rgb": corrupt_joints2d,
    "lidar": corrupt_lidar,
    "mmwave": corrupt_radar,
    "wifi": corrupt_csi,
    "label": corrupt_labels,
}


def test_every_corruption_keeps_shape_dtype_and_its_argument(joints, csi, lidar, radar):
    given = {"rgb": joints, "lidar": lidar, "mmwave": radar, "wifi": csi, "label": rng(3).normal(0, 1, (40, 17, 3))}
    for what, function in FUNCTIONS.items():
        for dtype in (np.float32, np.float64):
            frames = [np.asarray(frame, dtype) for frame in given[what]]
            values = frames if what in ("lidar", "mmwave") else np.stack(frames)
            before = [frame.copy() for frame in values]
            for name, corruption in corruptions_of(what).items():
                if corruption.missing:
                    continue
                other = values[::-1] if corruption.partner else None
                for severity in (1, 2, 3):
                    first, again = (function(values, name, severity, rng(7), other) for _ in range(2))
                    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
                    assert len(first) == len(values) and all(frame.dtype == dtype for frame in first)
                    assert any(
                        a.shape != b.shape or not np.array_equal(a, b) for a, b in zip(first, before, strict=True)
                    ), (what, name)
            assert all(np.array_equal(a, b) for a, b in zip(values, before, strict=True))


def test_the_table_is_whole():
    for what in (*MODALITIES, "label"):
        for name, corruption in corruptions_of(what).items():
            assert name == corruption.name and name in KIND_NAMES and len(corruption.levels) == 3
            assert (corruption.change, corruption.move, corruption.missing) != (None, None, False)
    assert len(set(KIND_NAMES)) == len(KIND_NAMES)
    assert set(corruptions_of("depth")) == {"dead", "zero", "stuck", "out_of_sync", "swapped"}


@pytest.mark.parametrize(
    ("name", "severity", "expected"),
    [
        ("fog", 1, r"unknown corruption of wifi 'fog'.*awgn.*equipose list corruptions"),
        ("awgm", 1, r"Did you mean 'awgn'"),
        ("awgn", 4, r"severity: found 4, expected 1, 2 or 3"),
        ("dead", 1, r"leave them out"),
        ("swapped", 1, r"other="),
    ],
)
def test_errors(csi, name, severity, expected):
    with pytest.raises(UsageError, match=expected):
        corrupt_csi(csi, name, severity, rng())
    with pytest.raises(UsageError, match="no frame"):
        corrupt_lidar([], "fog", 1, rng())
