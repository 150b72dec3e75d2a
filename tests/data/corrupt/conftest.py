"""A packed data set with every kind of sensor, longer recordings than the other data tests need."""

from __future__ import annotations

import numpy as np
import pytest

from equipose.config import DataSettings
from equipose.data.dataset import PoseDataset
from equipose.data.store import open_store
from equipose.data.writer import PackedWriter
from equipose.skeleton import H36M17

SENSORS = ("rgb", "lidar", "mmwave", "wifi")


def frames_of(rng, frames):
    body = rng.uniform((100, 50), (500, 430), (17, 2))
    clouds, radar = [], []
    for _ in range(frames):
        n = int(rng.integers(60, 90))
        clouds.append(np.stack((rng.uniform(2.6, 3.6, n), rng.uniform(-0.6, 0.6, n), rng.uniform(-0.9, 0.6, n)), 1))
        n = int(rng.integers(15, 40))
        place = (rng.uniform(2.6, 3.6, n), rng.uniform(-0.6, 0.6, n), rng.uniform(-0.9, 0.9, n))
        speed = rng.choice([-1.0, 1.0], n) * rng.uniform(0.2, 2.0, n)
        radar.append(np.stack((*place, rng.uniform(10, 40, n), speed), 1))
    iq = rng.integers(20, 300, (frames, 2, 3, 114, 10)).astype(float)
    csi = np.stack((20 * np.log10(np.hypot(iq[:, 0], iq[:, 1])), np.arctan2(iq[:, 1], iq[:, 0])), axis=1)
    csi[csi > 100] = 100
    return {
        "rgb": list(body + rng.normal(0, 3, (frames, 17, 2))),
        "lidar": clouds,
        "mmwave": radar,
        "wifi": list(csi),
    }


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Two rooms x three subjects x three actions x forty frames; some frames missing, empty or damaged."""
    out = tmp_path_factory.mktemp("corrupt") / "packed"
    with PackedWriter(out, skeleton=H36M17, modalities=SENSORS, simulated=("rgb",)) as writer:
        for room, subjects in ((1, (1, 2, 5)), (2, (11, 12, 15))):
            for subject in subjects:
                for action in (1, 2, 3):
                    rng = np.random.default_rng((room, subject, action))
                    frames = frames_of(rng, 40)
                    frames["lidar"][3] = None
                    frames["mmwave"][5] = np.zeros((0, 5))
                    frames["mmwave"][6] = np.full((3, 5), np.nan)
                    frames["wifi"][7][0] = -np.inf
                    frames["wifi"][8][0, :, 4, 2] = -np.inf
                    target = rng.normal((0, 0, 3.0), 0.3, (40, 17, 3))
                    target[9, 2] = np.nan
                    writer.add(room, subject, action, target=target, frames=frames)
    return out


@pytest.fixture(scope="session")
def clean(folder):
    return open_store(folder)


@pytest.fixture(scope="session")
def dataset(clean):
    """All labelled frames as samples."""
    return PoseDataset(clean, np.flatnonzero(clean.labelled), DataSettings())


@pytest.fixture(scope="session")
def one():
    """Reads one frame of a store: its values, or None where it is missing."""

    def read(store, name, row):
        rows = np.array([row])
        if name == "label":
            return store.target(rows)[0]
        if name in ("lidar", "mmwave"):
            values, _, valid = store.cloud(name, rows)
        else:
            values, valid = store.dense(name, rows)
            values = values[0]
        return values if valid[0] else None

    return read


@pytest.fixture(scope="session")
def equal():
    """Whether two frames are the same bits; None is a missing one."""

    def same(a, b):
        if a is None or b is None:
            return a is b
        return a.shape == b.shape and a.tobytes() == b.tobytes()

    return same
