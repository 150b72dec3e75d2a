"""Batches: windows, presence, cameras frames, determinism, and raw folders that equal packed ones."""

from __future__ import annotations

import pickle
from dataclasses import fields

import numpy as np
import pytest
import torch

from equipose.config import DataSettings, Extrinsics
from equipose.data.collate import window_rows
from equipose.data.dataset import PoseDataset, batches, datasets
from equipose.data.packed import pack
from equipose.data.raw import RawStore
from equipose.data.store import open_store
from equipose.errors import DataError, UsageError
from equipose.types import Cloud

SETTINGS = DataSettings(split="manual", test_subjects=(3, 13))
OPEN = {"lidar": (-9, 9, -9, 9, -9, 9), "mmwave": (-9, 9, -9, 9, -9, 9)}


def everything(path, **options):
    settings = DataSettings(**options)
    store = open_store(path, settings.modalities)
    return PoseDataset(store, np.arange(store.recordings.num_frames), settings)


def same(a, b):
    assert torch.equal(a.present, b.present) and torch.equal(a.target, b.target)
    for field in fields(a.meta):
        assert torch.equal(getattr(a.meta, field.name), getattr(b.meta, field.name))
    for name, one in a.inputs.items():
        for field in fields(one):
            assert torch.equal(getattr(one, field.name), getattr(b.inputs[name], field.name)), (name, field.name)


def finite(batch):
    for one in batch.inputs.values():
        assert torch.isfinite(one.points if isinstance(one, Cloud) else one.values).all()


def test_sides_and_shapes(small_packed):
    sides = datasets(small_packed, SETTINGS)
    assert list(sides) == ["train", "validation", "test"]
    assert sum(map(len, sides.values())) == 72
    assert set(sides["test"].subject) == {3, 13}
    assert not set(sides["train"].subject) & set(sides["validation"].subject)
    batch = sides["train"].batch(np.arange(4))
    assert batch.modalities == ("rgb", "lidar", "mmwave", "wifi")
    assert batch.inputs["rgb"].values.shape == (4, 9, 17, 2)
    assert batch.inputs["lidar"].points.shape == (4, 256, 4)
    assert batch.inputs["mmwave"].points.shape == (4, 96, 6)
    assert batch.inputs["wifi"].values.shape == (4, 3, 2, 3, 114, 10)
    assert batch.target.shape == (4, 17, 3) and batch.target.dtype == torch.float32
    assert batch.present.all()
    assert sides["train"].skeleton.name == "h36m17"


@pytest.mark.parametrize("random", [False, True])
def test_raw_folder_gives_the_same_batches(small_root, small_packed, random):
    raw, packed = datasets(small_root, SETTINGS), datasets(small_packed, SETTINGS)
    for name in packed:
        positions = np.array([0, 5, 5, 11, len(packed[name]) - 1])
        generators = [np.random.default_rng(3) if random else None for _ in range(2)]
        same(raw[name].batch(positions, generators[0]), packed[name].batch(positions, generators[1]))


def test_deterministic_without_a_generator_and_seeded_with_one(small_packed):
    data = everything(small_packed, points={"lidar": 50, "mmwave": 20})
    same(data.batch([1, 2]), data.batch([1, 2]))
    first, again = (data.batch([1, 2], np.random.default_rng(0)) for _ in range(2))
    same(first, again)
    other = data.batch([1, 2], np.random.default_rng(1))
    assert not torch.equal(first.inputs["lidar"].points, other.inputs["lidar"].points)
    assert torch.equal(first.inputs["wifi"].values, other.inputs["wifi"].values)


def test_a_sample_does_not_depend_on_its_batch(small_packed):
    data = everything(small_packed)
    batch = data.batch([7, 3, 60])
    for i, position in enumerate((7, 3, 60)):
        same(batch.select(torch.tensor([i])), data[position])
    same(data[-1], data[71])
    with pytest.raises(IndexError):
        data[72]


def test_windows_are_centred_and_clamped(small_packed):
    data = everything(small_packed)
    rows = window_rows(data.store, np.array([0, 5, 6, 9]), 5)
    assert rows.tolist() == [[0, 0, 0, 1, 2], [3, 4, 5, 5, 5], [6, 6, 6, 7, 8], [7, 8, 9, 10, 11]]
    assert window_rows(data.store, np.array([3]), 4).tolist() == [[1, 2, 3, 4]]
    assert window_rows(data.store, np.array([3]), 1).tolist() == [[3]]
    rgb = data.store.dense("rgb", np.array([0, 0, 0, 0, 0, 1, 2, 3, 4]))[0]
    assert np.array_equal(data.batch([0]).inputs["rgb"].values[0].numpy(), rgb)


def test_radar_window_fuses_each_frame_once_with_its_time(small_packed):
    data = everything(small_packed, crop=OPEN, points={"mmwave": 400})
    cloud = data.batch([0]).inputs["mmwave"]
    times = cloud.points[0, cloud.mask[0], -1]
    counts = data.store.cloud("mmwave", np.arange(3))[1]
    for step, count in enumerate(counts):  # frames 1, 2, 3; nothing before frame 1, and no doubled frame 1
        assert int((times == np.float32(step * 0.1)).sum()) == count
    assert len(times) == counts.sum()
    middle = data.batch([3]).inputs["mmwave"]
    assert np.allclose(np.unique(middle.points[0, middle.mask[0], -1]), [-0.2, -0.1, 0.0, 0.1, 0.2])


def test_axes_offset_and_columns(small_root):
    settings = {"crop": OPEN, "windows": {"mmwave": 1}, "points": {"lidar": 500, "mmwave": 100}}
    data = everything(small_root, extrinsics={"lidar": Extrinsics(offset=(0.5, -0.2, 0.1))}, **settings)
    batch = data.batch([4])
    raw, n, _ = data.store.cloud("lidar", np.array([4]))
    points = batch.inputs["lidar"].points[0].numpy()
    expected = np.stack((0.5 - raw[:, 1], -0.2 - raw[:, 2], 0.1 + raw[:, 0]), 1)
    assert np.allclose(points[: n[0], :3], expected, atol=1e-6) and not points[:, 3].any()
    raw, n, _ = data.store.cloud("mmwave", np.array([4]))
    points = batch.inputs["mmwave"].points[0].numpy()
    assert np.allclose(points[: n[0]], np.c_[raw[:, [1, 2, 0, 3, 4]], np.zeros(n[0])])
    swapped = everything(small_root, radar_columns=("doppler", "snr"), **settings).batch([4])
    assert torch.equal(swapped.inputs["mmwave"].points[..., [0, 1, 2, 4, 3, 5]], batch.inputs["mmwave"].points)


def test_crop_and_padding(small_packed):
    box = (-0.2, 0.2, -0.5, 0.5, 2.8, 3.4)
    data = everything(small_packed, crop={"lidar": box}, points={"lidar": 300, "mmwave": 96})
    cloud = data.batch(np.arange(6)).inputs["lidar"]
    kept = cloud.points[cloud.mask]
    assert 0 < len(kept) < 6 * 300
    for axis in range(3):
        assert kept[:, axis].min() >= box[2 * axis] and kept[:, axis].max() <= box[2 * axis + 1]
    assert not cloud.points[~cloud.mask].any()
    empty = everything(small_packed, crop={"lidar": (50, 51, 0, 1, 0, 1)}).batch([0, 1])
    assert not empty.inputs["lidar"].mask.any() and not empty.present[:, 1].any()
    assert empty.present[:, [0, 2, 3]].all()


def damaged(writer):
    """Six frames with gaps and faults in every sensor; frame 6 has no sensor at all."""
    writer.recording(frames=6)
    for modality in ("rgb", "lidar", "mmwave", "wifi"):
        writer.frame(modality, 6).unlink()
    writer.frame("lidar", 2).unlink()
    writer.frame("lidar", 3).write_bytes(b"12345")
    writer.frame("rgb", 1).write_bytes(b"")
    writer.frame("mmwave", 4).write_bytes(b"")
    joints = np.full((17, 2), 100.0)
    joints[3, 0] = np.nan
    writer.save(writer.frame("rgb", 2), "rgb", joints)
    amplitude = np.full((3, 114, 10), 40.0)
    writer.save(writer.frame("wifi", 1), "wifi", (np.full((3, 114, 10), -np.inf), np.zeros((3, 114, 10))))
    amplitude[:, :, 3] = -np.inf
    writer.save(writer.frame("wifi", 2), "wifi", (amplitude, np.zeros((3, 114, 10))))
    points = np.full((20, 3), 3.0) * (1, 0, 0)
    points[4, 1] = np.nan
    writer.save(writer.frame("lidar", 5), "lidar", points)


def test_missing_and_damaged_frames_clear_a_bit_and_keep_the_sample(writer, tmp_path):
    damaged(writer)
    pack(writer.root, tmp_path / "p", jobs=1)
    one = {name: 1 for name in ("rgb", "lidar", "mmwave", "wifi")}
    for path in (tmp_path / "p", writer.root):
        data = everything(path, windows=one)
        assert len(data) == 6
        batch = data.batch(np.arange(6))
        finite(batch)
        assert batch.present.tolist() == [
            [False, True, True, False],
            [False, False, True, True],
            [True, False, True, True],
            [True, True, False, True],
            [True, False, True, True],
            [False, False, False, False],
        ]
        assert not batch.inputs["rgb"].values[1].any() and not batch.inputs["rgb"].valid[1].any()
        assert (batch.inputs["wifi"].values[1, 0, 0] == 40).all()  # the dead packet took its neighbour's values
        for name in data.modalities:  # every subset of the sensors sees the same samples
            alone = everything(path, modalities=(name,), windows=one)
            assert torch.equal(alone.batch(np.arange(6)).target, batch.target)
    wide = everything(tmp_path / "p").batch(np.arange(6))
    finite(wide)
    assert wide.inputs["rgb"].valid[0].tolist() == [False] * 6 + [True] * 3
    assert wide.present[:, 0].all()  # some frame of each window carries joints
    same(wide, everything(writer.root).batch(np.arange(6)))


def test_frames_without_a_finite_label_are_no_samples_but_stay_in_windows(writer, tmp_path):
    for subject in (1, 2, 3):
        folder = writer.recording(subject=subject)
        truth = np.load(folder / "ground_truth.npy")
        truth[2, 5, 1] = np.nan
        np.save(folder / "ground_truth.npy", truth)
    sides = datasets(writer.root, DataSettings(split="manual", test_subjects=(3,)))
    assert sides["test"].frame.tolist() == [1, 2, 4, 5, 6]
    assert sides["test"].batch([2]).inputs["rgb"].valid.all()


def test_stride_subset_and_batches(small_packed):
    sides = datasets(small_packed, SETTINGS.model_copy(update={"frame_stride": 4}))
    assert sides["test"].frame.tolist() == [1, 5] * 4
    some = sides["test"].subset(sides["test"].action == 2)
    assert set(some.action) == {2} and len(some) == 4
    parts = list(batches(sides["test"], 3))
    assert [len(part) for part in parts] == [3, 3, 2]
    assert torch.cat([part.meta.sample for part in parts]).tolist() == list(range(8))
    assert torch.cat([part.meta.frame for part in parts]).tolist() == sides["test"].frame.tolist()


def test_modality_order_follows_the_settings(small_packed):
    data = everything(small_packed, modalities=("wifi", "rgb"))
    batch = data.batch([0])
    assert batch.modalities == ("wifi", "rgb") == tuple(batch.inputs)


def test_pickles(small_root, small_packed):
    for path in (small_root, small_packed):
        data = everything(path)
        expected = data.batch([3])
        same(pickle.loads(pickle.dumps(data)).batch([3]), expected)


def test_errors(small_packed, small_root, writer):
    with pytest.raises(UsageError, match=r"has no depth"):
        datasets(small_packed, DataSettings(modalities=("rgb", "depth")))
    with pytest.raises(UsageError, match=r"radar_columns"):
        everything(small_packed, radar_columns=("a", "b"))
    with pytest.raises(UsageError, match=r"--split manual|at least three subjects"):
        datasets(small_root, DataSettings())
    with pytest.raises(DataError, match=r"frame_stride"):
        broken = RawStore(small_root)
        broken.labelled = np.zeros(72, bool)
        datasets(broken, SETTINGS)


def test_depth_is_metres(writer, tmp_path, monkeypatch):
    from equipose.data import raw

    writer.recording(frames=2, modalities=("rgb",))
    monkeypatch.setattr(raw, "read_frame", lambda name, path: np.full((480, 640), 3250, np.uint16))
    folder = writer.folder(1, 1, 1) / "depth"
    folder.mkdir()
    (folder / "frame001.png").write_bytes(b"x")
    batch = everything(writer.root, modalities=("depth",)).batch([0, 1])
    assert batch.inputs["depth"].values.shape == (2, 1, 480, 640)
    assert torch.allclose(batch.inputs["depth"].values[0], torch.tensor(3.25))
    assert batch.present.tolist() == [[True], [False]]
