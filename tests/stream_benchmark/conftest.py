"""Two simulated rooms, recipes small enough for a test, made-up errors, and an executor that stays in this process."""

from collections import deque

import numpy as np
import pytest
import yaml

from equipose.benchmark.recipe import merged
from equipose.stream_benchmark.recipe import load_stream_benchmark
from equipose.train.stream_errors import StreamErrors

BASE = {
    "data": {
        "protocol": "P1",
        "split": "S2",
        "frame_stride": 2,
        "modalities": ["rgb", "lidar"],
        "points": {"lidar": 16},
        "windows": {"rgb": 1, "lidar": 1},
    },
    "model": {"width": 8, "fusion": "experts"},
    "balance": {"name": "every_subset"},
    "train": {"epochs": 2, "batch_size": 8, "accelerator": "cpu", "probe_samples": 8},
    "contribution": {"samples_per_epoch": 8, "bootstrap": 20},
    "end_samples": 16,
    "watch_steps": 1,
    "watch_samples": 4,
}


@pytest.fixture(scope="session")
def two_rooms(tmp_path_factory):
    """Four people in each of two rooms, one action, eight frames, two sensors."""
    from equipose.data.packed import pack
    from equipose.simulate.mmfi_writer import write_mmfi

    root = tmp_path_factory.mktemp("rooms")
    people, sensors = (1, 2, 4, 5, 11, 12, 14, 15), ("rgb", "lidar")
    write_mmfi(root / "mmfi", subjects=people, actions=(13,), frames=8, seed=0, jobs=1, modalities=sensors)
    pack(root / "mmfi", root / "packed", jobs=1)
    return root / "packed"


@pytest.fixture
def recipe_file(tmp_path):
    """``recipe_file(methods=[..], ..)``: a recipe on disk, with the tiny base and ``more`` laid over it."""

    def write(more=None, **values):
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({"base": merged(BASE, more or {}), **values}))
        return path

    return write


@pytest.fixture
def recipe(recipe_file):
    """The same, read."""
    return lambda **values: load_stream_benchmark(recipe_file(**values))


class Inline:
    """Runs cells in this process, one after the other; remembers their names."""

    slots = 2

    def __init__(self):
        self.started = []
        self._told = deque()

    def start(self, job):
        self.started.append(job.name)
        self._told.append(job.run(self._told.append))

    def poll(self, seconds):
        return [self._told.popleft()] if self._told else []

    def stop(self):
        return []


@pytest.fixture
def inline():
    return Inline


@pytest.fixture
def made_up():
    """``made_up(matrix, names)``: errors of two sensors and two people per experience, that average to the matrix.

    The other subsets of the sensors are 10, 20, 30 mm worse.
    """

    def make(matrix, names=("E01", "E02", "E03"), uneven=12.0, mean_pose=200.0):
        matrix = np.asarray(matrix, float)
        order = [sorted(names).index(name) for name in names]
        person = np.array([(j, 10 * order[j] + 1 + k) for j in range(len(names)) for k in range(2)])
        samples = np.array([10.0, 30.0] * len(names))
        worse = np.array([30.0, 20.0, 10.0, 0.0])
        shift = np.array([3.0 * uneven, -uneven] * len(names))  # weighted by the samples: nothing
        error = matrix[:, None, person[:, 0]] + worse[None, :, None] + shift
        constant = np.broadcast_to(np.asarray(mean_pose, float), len(names))[person[:, 0]]
        return StreamErrors(
            names=tuple(names),
            modalities=("rgb", "lidar"),
            trained=np.arange(len(names))[-len(matrix) :],
            person=person,
            samples=samples,
            error_mm=error * samples,
            pa_error_mm=error * samples / 2,
            mean_pose_mm=constant * samples,
            watched=np.zeros((0, 4)),
        )

    return make
