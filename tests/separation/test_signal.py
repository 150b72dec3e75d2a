"""Statistics of the signal: each reacts to its fault, and to nothing that is none; p-values keep their promise."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from equipose.data.corrupt import corrupt_csi, corrupt_joints2d, corrupt_lidar, corrupt_radar
from equipose.errors import UsageError
from equipose.separation.signal import SignalReadings, collect_signal, read_signal, signal_statistics, statistics_of
from equipose.separation.signal_cloud import LIDAR_STATISTICS, RADAR_STATISTICS, lidar_statistics, radar_statistics
from equipose.separation.signal_csi import CSI_STATISTICS, csi_statistics
from equipose.separation.signal_fit import fit_signal, in_burst
from equipose.separation.signal_joints import JOINT_STATISTICS, joint_statistics
from equipose.types import Batch, Cloud, Dense, FrameMeta

STANDING = np.array(
    [
        *((0, 0), (-15, 0), (-16, 45), (-17, 90), (15, 0), (16, 45), (17, 90)),
        *((0, -30), (0, -60), (0, -72), (0, -85)),
        *((20, -58), (35, -25), (40, 5), (-20, -58), (-35, -25), (-40, 5)),
    ],
    float,
)
NAMES = {
    "rgb": [s.name for s in JOINT_STATISTICS],
    "lidar": [s.name for s in LIDAR_STATISTICS],
    "mmwave": [s.name for s in RADAR_STATISTICS],
    "wifi": [s.name for s in CSI_STATISTICS],
}


def walking(time=9, seed=0):
    """A person who sways, pixels (time, 17, 2), with a detector's noise of 0.3 px."""
    generator = np.random.default_rng(seed)
    at = np.arange(time)[:, None]
    sway = np.stack((8 * np.sin(0.4 * at + STANDING[:, 1] / 50), 3 * np.cos(0.4 * at + STANDING[:, 0] / 40)), -1)
    return (320, 240) + STANDING + sway + 0.3 * generator.standard_normal((time, 17, 2))


def joints(frames, frame=20):
    window = torch.as_tensor(np.asarray(frames), dtype=torch.float32)[None]
    values = joint_statistics(Dense(window, torch.ones(window.shape[:2], dtype=torch.bool)), torch.tensor([frame]))
    return dict(zip(NAMES["rgb"], values[0].tolist(), strict=True))


def surface(seed=0):
    """A curved board seen by beams one degree and a half apart: (point, 3) metres, x forward, y left, z up."""
    generator = np.random.default_rng(seed)
    elevation, azimuth = np.meshgrid((np.arange(-9, 9) + 0.5) * math.radians(45 / 32), np.arange(-25, 26) * 0.006)
    distance = 3.0 + 0.3 * azimuth**2 + 0.002 * generator.standard_normal(azimuth.shape)
    ray = np.stack(
        (np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)), axis=-1
    )
    return (distance[..., None] * ray).reshape(-1, 3)


def lidar(points):
    camera = np.stack((-points[:, 1], -points[:, 2], points[:, 0], np.zeros(len(points))), 1)
    cloud = Cloud(torch.as_tensor(camera, dtype=torch.float32)[None], torch.ones(1, len(points), dtype=torch.bool))
    return dict(zip(NAMES["lidar"], lidar_statistics(cloud)[0].tolist(), strict=True))


def echoes(seed=0):
    """Radar points (point, 5): forward, right, down, SNR, Doppler."""
    generator = np.random.default_rng(seed)
    place = (3.0, 0.0, 0.0) + generator.standard_normal((40, 3)) * (0.15, 0.15, 0.4)
    other = np.stack((generator.uniform(13, 35, 40), 0.24 * generator.integers(1, 5, 40)), 1)
    return np.concatenate((place, other), 1)


def radar(frames):
    middle, parts = len(frames) // 2, []
    for i, frame in enumerate(frames):
        seconds = np.full(len(frame), 0.1 * (i - middle))
        parts.append(np.stack((frame[:, 1], frame[:, 2], frame[:, 0], frame[:, 3], frame[:, 4], seconds), 1))
    points = torch.as_tensor(np.concatenate(parts), dtype=torch.float32)[None]
    values = radar_statistics(Cloud(points, torch.ones(points.shape[:2], dtype=torch.bool)))
    return dict(zip(NAMES["mmwave"], values[0].tolist(), strict=True))


def channel(seed=0, time=3):
    """CSI (time, 2, 3, 114, 10): smooth over tones, the same in all packets but for gain, common phase and noise."""
    generator = np.random.default_rng(seed)
    tone = np.arange(114)
    shape = np.stack([40 + 3 * np.cos(tone / 20 + r) for r in range(3)])
    gain = 0.5 * generator.standard_normal((time, 3, 1, 10))
    amplitude = shape[None, :, :, None] + gain + 0.2 * generator.standard_normal((time, 3, 114, 10))
    turn = generator.uniform(-3, 3, (time, 1, 1, 10))
    phase = turn + 0.02 * tone[:, None] + 0.05 * generator.standard_normal((time, 3, 114, 10))
    return np.stack((amplitude, np.angle(np.exp(1j * phase))), 1)


def csi(frames):
    window = torch.as_tensor(np.asarray(frames), dtype=torch.float32)[None]
    values = csi_statistics(Dense(window, torch.ones(window.shape[:2], dtype=torch.bool)))
    return dict(zip(NAMES["wifi"], values[0].tolist(), strict=True))


@pytest.mark.parametrize(
    ("fault", "name", "severity", "least"),
    [
        ("jitter", "noise", 1, 0.5),
        ("jitter", "noise_window", 2, 1.0),
        ("side_swap", "crossing", 3, 0.05),
        ("joints_missing", "missing", 1, 1.5),
        ("joints_missing", "longest_bone", 3, 0.5),
        ("stuck", "held", 1, 3.5),
    ],
)
def test_joint_statistics_react_to_their_fault(fault, name, severity, least):
    clean = walking()
    broken = corrupt_joints2d(clean, fault, severity, np.random.default_rng(0))
    assert joints(broken)[name] > joints(clean)[name] + least


def test_joint_statistics_do_not_depend_on_place_and_distance():
    one = joints(walking())
    other = joints((walking() - (320, 240)) * 0.5 + (100, 300))
    assert other == pytest.approx(one, abs=1e-3)


def test_windows_at_the_ends_of_a_recording_are_not_held():
    start, end = walking(), walking()
    start[:4], end[5:] = start[4], end[4]
    assert joints(start, frame=1)["held"] == 0 and joints(start, frame=20)["held"] == 4
    assert joints(end)["held"] == 0


@pytest.mark.parametrize(
    ("fault", "name", "severity", "least"),
    [
        ("points_lost", "count", 1, -1.0),
        ("beams_lost", "beam_fill", 1, -0.3),
        ("range_noise", "roughness", 1, 0.5),
        ("crosstalk", "spikes", 2, 1.0),
        ("fog", "spikes", 2, 0.5),
    ],
)
def test_lidar_statistics_react_to_their_fault(fault, name, severity, least):
    clean = surface()
    broken = corrupt_lidar([clean], fault, severity, np.random.default_rng(0))[0]
    change = lidar(broken)[name] - lidar(clean)[name]
    assert change * math.copysign(1, least) > abs(least)


def test_lidar_statistics_do_not_depend_on_order_and_direction():
    points, turn = surface(), 0.3
    spin = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    shuffled = np.random.default_rng(1).permutation(points) @ spin.T
    assert lidar(shuffled) == pytest.approx(lidar(points), abs=0.02)


@pytest.mark.parametrize(
    ("fault", "name", "least"),
    [
        ("points_lost", "count_window", -0.5),
        ("zero_doppler", "still", 0.5),
        ("zero_doppler", "still_window", 0.5),
        ("ghosts", "aside_window", 0.3),
        ("ghosts", "weakest", -0.5),
    ],
)
def test_radar_statistics_react_to_their_fault(fault, name, least):
    clean = [echoes(i) for i in range(5)]
    broken = corrupt_radar(clean, fault, 3, np.random.default_rng(0))
    change = radar(broken)[name] - radar(clean)[name]
    assert change * math.copysign(1, least) > abs(least)


@pytest.mark.parametrize(
    ("fault", "name", "severity", "least"),
    [
        ("packet_loss", "repeated", 1, 0.1),
        ("agc_jumps", "gain_steps", 1, 0.5),
        ("phase_jumps", "phase_steps", 1, 1.0),
        ("dead_chain", "weakest", 1, -10),
        ("dead_chain", "weakest", 2, -10),
        ("awgn", "tone_noise", 1, 0.3),
        ("awgn", "packet_noise", 1, 0.3),
        ("jammed_band", "band_noise", 1, 0.5),
    ],
)
def test_csi_statistics_react_to_their_fault(fault, name, severity, least):
    clean = channel()
    broken = corrupt_csi(clean, fault, severity, np.random.default_rng(0))
    change = csi(broken)[name] - csi(clean)[name]
    assert change * math.copysign(1, least) > abs(least)


def test_csi_statistics_do_not_depend_on_gain_and_common_phase():
    one = channel()
    louder = one.copy()
    louder[:, 0] += 6.0
    louder[:, 1] = np.angle(np.exp(1j * (louder[:, 1] + 1.0)))
    assert csi(louder) == pytest.approx(csi(one), abs=1e-3)


def make_batch(size=6, seed=0):
    """Samples of all kinds of sensors."""
    clouds = [surface(seed + i)[:200] for i in range(size)]
    points = np.stack([np.stack((-c[:, 1], -c[:, 2], c[:, 0], 0 * c[:, 0]), 1) for c in clouds])
    inputs = {
        "rgb": np.stack([walking(seed=seed + i) for i in range(size)]),
        "wifi": np.stack([channel(seed + i) for i in range(size)]),
    }
    dense = {
        name: Dense(torch.as_tensor(v, dtype=torch.float32), torch.ones(v.shape[:2], dtype=torch.bool))
        for name, v in inputs.items()
    }
    number = torch.arange(size)
    return Batch(
        modalities=("rgb", "lidar", "wifi"),
        inputs=dense
        | {"lidar": Cloud(torch.as_tensor(points, dtype=torch.float32), torch.ones(size, 200, dtype=torch.bool))},
        present=torch.ones(size, 3, dtype=torch.bool),
        target=torch.zeros(size, 17, 3),
        meta=FrameMeta(number, number * 0 + 1, number * 0 + 1, number * 0 + 1, number + 10, number * 0),
    )


def test_a_sample_does_not_depend_on_the_rest_of_its_batch():
    batch = make_batch()
    order = torch.tensor([3, 1, 5])
    for name, values in signal_statistics(batch).items():
        torch.testing.assert_close(signal_statistics(batch.select(order))[name], values[order], equal_nan=True)


def test_absent_and_empty_sensors_have_no_statistics():
    batch = make_batch()
    cloud = batch.inputs["lidar"]
    empty = replace(cloud, points=torch.zeros_like(cloud.points), mask=torch.zeros_like(cloud.mask))
    absent = batch.present.clone()
    absent[0, 0] = False
    read = read_signal(replace(batch, inputs={**batch.inputs, "lidar": empty}, present=absent))
    assert read.values["lidar"].isnan().all() and read.values["rgb"][0].isnan().all()
    assert read.known().tolist()[1] == [True, False, True]
    bare = Cloud(torch.zeros(2, 0, 6), torch.zeros(2, 0, dtype=torch.bool))
    assert radar_statistics(bare).isnan().all() and lidar_statistics(bare).isnan().all()


def test_single_frames_have_what_needs_no_neighbour():
    rgb, wifi = joints(walking(1)), csi(channel(time=1))
    assert math.isnan(rgb["noise"]) and rgb["missing"] == 0 and not any(math.isnan(v) for v in wifi.values())


def readings(generator, people, size=140, faulty=0.0, shift=10.0):
    """Statistics of a sensor drawn from a normal law, each person with an own offset; faults last five frames."""
    subject = torch.arange(people).repeat_interleave(size)
    table = statistics_of("wifi")
    values = (
        generator.standard_normal((len(subject), len(table))) + 5 * generator.standard_normal(people)[subject, None]
    )
    number = torch.arange(len(subject))
    bad = (generator.random(len(subject) // 5) < faulty)[number // 5]
    values[bad, 2] += shift
    values[:, 0] = 0.0
    columns = {"wifi": torch.as_tensor(values)}
    return SignalReadings(("wifi",), columns, {"wifi": table}, number // 10, number % 10 + 1, subject), bad


def test_false_alarms_of_a_clean_stream_are_as_promised():
    alarms = []
    for seed in range(12):
        generator = np.random.default_rng(seed)
        trusted, stream = readings(generator, 1)[0], readings(generator, 5)[0]
        p = fit_signal(trusted, stream).p[:, 0]
        alarms.append([float((p < alpha).double().mean()) for alpha in (0.02, 0.1, 0.3)])
    mean = np.mean(alarms, 0)
    assert mean[0] < 0.025 and mean[1] < 0.12 and 0.05 < mean[2] < 0.33


@pytest.mark.parametrize(("share", "with_trusted"), [(0.05, True), (0.2, True), (0.05, False)])
def test_faults_are_found_among_people_who_differ(share, with_trusted):
    generator = np.random.default_rng(1)
    trusted = readings(generator, 1)[0] if with_trusted else None
    stream, bad = readings(generator, 5, faulty=share)
    fit = fit_signal(trusted, stream)
    flagged = (fit.p[:, 0] < 0.02).numpy()
    assert flagged[bad].mean() > 0.9 and flagged[~bad].mean() < 0.03
    assert fit.reason(int(np.flatnonzero(bad)[0]), "wifi") == "phase_steps"


def test_what_was_found_does_not_hide_the_rest():
    """Faults that reach into the quantiles from which a stream's tail is read: one pass finds next to none."""
    alarms, recall = [], []
    for seed in range(6):
        generator = np.random.default_rng(seed)
        trusted, (stream, bad) = readings(generator, 1)[0], readings(generator, 5, faulty=0.3)
        flagged = (fit_signal(trusted, stream).p[:, 0] <= 0.01).numpy()
        alarms.append(flagged[~bad].mean())
        recall.append(flagged[bad].mean())
    assert np.mean(recall) > 0.9 and np.mean(alarms) < 0.02


def test_cells_without_statistics_have_no_p_value():
    generator = np.random.default_rng(2)
    trusted, stream = readings(generator, 1)[0], readings(generator, 2)[0]
    stream.values["wifi"][:7] = torch.nan
    fit = fit_signal(trusted, stream)
    assert fit.p[:7].isnan().all() and not fit.p[7:].isnan().any() and fit.reason(0, "wifi") == ""
    few = fit_signal(None, stream.select(torch.arange(9)))
    assert few.p[:7].isnan().all() and (few.p[7:] == 1).all()


def test_a_burst_is_the_mean_of_the_known_frames_around():
    where, _ = readings(np.random.default_rng(3), 1, size=60)
    score = torch.as_tensor(np.random.default_rng(4).standard_normal(60))
    score[[3, 17, 18]] = torch.nan
    found = in_burst(score, where, reach=2)
    for i in range(60):
        mine = (where.recording == where.recording[i]) & ((where.frame - where.frame[i]).abs() <= 2)
        expected = score[mine].nanmean() if not score[i].isnan() else torch.tensor(torch.nan).double()
        torch.testing.assert_close(found[i], expected, equal_nan=True, rtol=0, atol=1e-12)


def test_weak_faults_are_found_where_they_last():
    recall = {"burst": [], "single": []}
    for seed in range(4):
        for kind, found in recall.items():
            generator = np.random.default_rng(seed)
            trusted, stream = readings(generator, 1, size=300)[0], readings(generator, 5)[0]
            whole = stream.recording % 7 == 0  # a tenth or so of the recordings, or as many frames of any
            order = torch.as_tensor(np.random.default_rng(seed).permutation(len(whole)))
            bad = whole if kind == "burst" else whole[order]
            stream.values["wifi"][bad, 2] += 3.2
            found.append(float((fit_signal(trusted, stream).p[bad, 0] <= 0.005).double().mean()))
    assert np.mean(recall["burst"]) > np.mean(recall["single"]) + 0.1


def test_p_values_are_smaller_than_one_over_the_trusted_samples():
    generator = np.random.default_rng(5)
    trusted, (stream, bad) = readings(generator, 1, size=100)[0], readings(generator, 5, faulty=0.1, shift=20.0)
    p = fit_signal(trusted, stream).p[:, 0]
    assert (p[torch.as_tensor(bad)] < 1e-4).all() and (p[torch.as_tensor(~bad)] < 1e-4).double().mean() < 0.01


class Stored:
    """A data set of one batch."""

    def __init__(self, batch):
        self.whole = batch
        self.recording, self.frame = batch.meta.recording.numpy(), batch.meta.frame.numpy()

    def __len__(self):
        return len(self.whole)

    def batch(self, positions):
        return self.whole.select(torch.as_tensor(np.asarray(positions)))


def test_collecting_in_parts_is_the_same_as_at_once():
    data = Stored(make_batch())
    one, other = collect_signal(data, batch_size=4), collect_signal(data)
    for name in one.modalities:
        torch.testing.assert_close(one.values[name], other.values[name], equal_nan=True)
    assert torch.equal(one.select(torch.tensor([2])).frame, torch.tensor([12]))
    with pytest.raises(UsageError, match="no sample"):
        collect_signal(data, [])
