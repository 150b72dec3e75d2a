"""A tiny writer of the MM-Fi layout, independent of the package's simulator and readers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.io import savemat

FOLDERS = {"rgb": "rgb", "infra1": "infra1", "infra2": "infra2", "lidar": "lidar", "mmwave": "mmwave"}


class Writer:
    """Writes recordings; values depend on environment, subject, action and frame alone."""

    def __init__(self, root):
        self.root = root

    def folder(self, environment, subject, action):
        return self.root / f"E{environment:02d}" / f"S{subject:02d}" / f"A{action:02d}"

    def frame(self, modality, number, environment=1, subject=1, action=1):
        suffix = {"lidar": ".bin", "mmwave": ".bin", "wifi": ".mat", "depth": ".png"}.get(modality, ".npy")
        name = "wifi-csi" if modality == "wifi" else modality
        return self.folder(environment, subject, action) / name / f"frame{number:03d}{suffix}"

    def values(self, modality, rng):
        if modality in ("rgb", "infra1", "infra2"):
            return rng.uniform((100, 50), (500, 430), (17, 2))
        if modality == "lidar":
            n = int(rng.integers(300, 400))
            return np.stack((rng.uniform(2.6, 3.6, n), rng.uniform(-0.6, 0.6, n), rng.uniform(-0.9, 0.9, n)), 1)
        if modality == "mmwave":
            n = int(rng.integers(15, 40))
            body = (rng.uniform(2.6, 3.6, n), rng.uniform(-0.6, 0.6, n), rng.uniform(-0.9, 0.9, n))
            return np.stack((*body, rng.uniform(10, 40, n), rng.uniform(-2, 2, n)), 1)
        iq = rng.integers(20, 300, (2, 3, 114, 10)).astype(float)
        return 20 * np.log10(np.hypot(*iq)), np.arctan2(iq[1], iq[0])

    def pose(self, rng):
        joints = rng.normal(0, 0.1, (17, 3))
        joints[:, 1] += np.array([0, 0, 0.4, 0.8, 0, 0.4, 0.8, -0.2, -0.5, -0.6, -0.8, -0.5, -0.2, 0, -0.5, -0.2, 0])
        joints[:, 2] += 3.3
        return joints

    def save(self, path, modality, values):
        path.parent.mkdir(parents=True, exist_ok=True)
        if modality == "wifi":
            savemat(path, {"CSIamp": values[0], "CSIphase": values[1]})
        elif path.suffix == ".bin":
            path.write_bytes(np.asarray(values, "<f8").tobytes())
        else:
            np.save(path, values)

    def recording(self, environment=1, subject=1, action=1, frames=6, modalities=("rgb", "lidar", "mmwave", "wifi")):
        rng = np.random.default_rng((environment, subject, action))
        folder = self.folder(environment, subject, action)
        folder.mkdir(parents=True, exist_ok=True)
        truth = np.stack([self.pose(rng) for _ in range(frames)]).astype(np.float32)
        np.save(folder / "ground_truth.npy", truth)
        for modality in modalities:
            for number in range(1, frames + 1):
                path = self.frame(modality, number, environment, subject, action)
                self.save(path, modality, self.values(modality, rng))
        return folder


@pytest.fixture
def writer(tmp_path):
    root = tmp_path / "mmfi"
    root.mkdir()
    return Writer(root)


@pytest.fixture(scope="session")
def small_root(tmp_path_factory):
    """Two environments x three subjects x two actions x six frames; read only."""
    root = tmp_path_factory.mktemp("small") / "mmfi"
    root.mkdir()
    made = Writer(root)
    for environment, subjects in ((1, (1, 2, 3)), (2, (11, 12, 13))):
        for subject in subjects:
            for action in (1, 2):
                made.recording(environment, subject, action)
    return root


@pytest.fixture(scope="session")
def small_packed(small_root, tmp_path_factory):
    from equipose.data.packed import pack

    out = tmp_path_factory.mktemp("packed") / "packed"
    pack(small_root, out, jobs=1)
    return out
