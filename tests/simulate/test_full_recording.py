"""A recording of MM-Fi's full length, read as code written for the real files reads it: numpy and scipy only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat

from equipose.simulate.mmfi_writer import write_mmfi

FRAMES = 297


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("full")
    write_mmfi(root, subjects=(15,), actions=(17,), frames=FRAMES, seed=0, jobs=1, progress=False)
    return root / "E02" / "S15" / "A17"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_names_and_numbers_of_files(recording: Path) -> None:
    assert names(recording) == ["ground_truth.npy", "lidar", "mmwave", "rgb", "wifi-csi"]
    for folder, suffix in (("rgb", "npy"), ("lidar", "bin"), ("mmwave", "bin"), ("wifi-csi", "mat")):
        assert names(recording / folder) == [f"frame{n:03d}.{suffix}" for n in range(1, FRAMES + 1)]


def test_ground_truth(recording: Path) -> None:
    truth = np.load(recording / "ground_truth.npy")
    assert truth.dtype == np.float32 and truth.shape == (FRAMES, 17, 3)
    head, ankles = truth[:, 10, 1], truth[:, [3, 6], 1]
    assert -1.2 < head.mean() < -0.5 and 0.6 < ankles.mean() < 0.9  # y points down; the camera is 0.83 m above ground
    assert 2.5 < truth[:, 0, 2].mean() < 4.0
    assert (truth[:, 1, 0] < truth[:, 4, 0]).mean() > 0.9  # the right hip is at the camera's left
    bones = np.linalg.norm(truth[:, [2, 12, 13]] - truth[:, [1, 11, 12]], axis=-1)
    assert bones.std(axis=0).max() < 1e-4


def test_keypoints_lie_on_the_image_and_near_the_projected_truth(recording: Path) -> None:
    truth = np.load(recording / "ground_truth.npy")
    pixels = np.stack([np.load(path) for path in sorted((recording / "rgb").iterdir())])
    assert pixels.shape == (FRAMES, 17, 2)
    assert ((pixels >= 0) & (pixels < [640, 480])).mean() > 0.97
    expected = 615 * truth[..., :2] / truth[..., 2:] + [320, 240]
    assert np.median(np.linalg.norm(pixels - expected, axis=-1)) < 8


def test_lidar_points(recording: Path) -> None:
    truth = np.load(recording / "ground_truth.npy")
    files = sorted((recording / "lidar").iterdir())
    clouds = [np.fromfile(path, dtype=np.float64).reshape(-1, 3) for path in files]
    counts = [len(cloud) for cloud in clouds]
    assert 900 < np.mean(counts) < 1600
    on_body = []
    for cloud, joints in zip(clouds[::10], truth[::10], strict=True):
        camera_frame = np.stack([-cloud[:, 1], -cloud[:, 2], cloud[:, 0]], axis=1) + np.array([0, -0.2, 0.1])
        nearest = np.linalg.norm(camera_frame[:, None] - joints, axis=-1).min(axis=1)
        on_body.append((nearest < 0.25).sum())
    assert 200 < np.mean(on_body) < 600  # floor and furniture near the feet count here


def test_radar_points(recording: Path) -> None:
    clouds = []
    for path in sorted((recording / "mmwave").iterdir()):
        assert path.stat().st_size % 40 == 0
        clouds.append(np.fromfile(path, dtype=np.float64).reshape(-1, 5))
    counts = np.array([len(cloud) for cloud in clouds])
    assert counts.max() <= 64 and 8 < counts.mean() < 50
    points = np.concatenate(clouds)
    assert 2.0 < np.median(points[:, 0]) < 4.0 and abs(np.median(points[:, 1])) < 0.6
    assert 5 < np.median(points[:, 3]) < 40  # SNR, dB
    speeds = np.unique(np.round(points[:, 4], 6))
    steps = np.diff(speeds)
    np.testing.assert_allclose(steps / steps.min(), np.rint(steps / steps.min()), atol=1e-3)  # quantised Doppler


def test_csi(recording: Path) -> None:
    levels = []
    for path in sorted((recording / "wifi-csi").iterdir()):
        assert path.stat().st_size == 54_992
        found = loadmat(path)
        amplitude, phase = found["CSIamp"], found["CSIphase"]
        assert amplitude.shape == phase.shape == (3, 114, 10)
        assert amplitude.dtype == phase.dtype == np.float64
        assert np.abs(phase).max() <= np.pi and amplitude.max() <= 57.197
        channel = 10 ** (amplitude / 20) * np.exp(1j * phase)
        for part in (channel.real, channel.imag):
            np.testing.assert_allclose(part, np.rint(part), atol=1e-9)
            assert part.min() > -512.5 and part.max() < 511.5
        levels.append(amplitude[np.isfinite(amplitude)].mean())
    assert 36 < np.mean(levels) < 46
