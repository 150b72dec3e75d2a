"""A tiny simulated data set, made once, and recipes small enough for a test."""

import os
import subprocess
import sys

import pytest

from equipose.config import load_recipe

TINY = (
    "train.epochs=2",
    "train.batch_size=8",
    "train.accelerator=cpu",
    "train.probe_samples=8",
    "contribution.samples_per_epoch=16",
    "contribution.bootstrap=50",
    "data.points={lidar: 32, mmwave: 16}",
    "data.windows={rgb: 3, lidar: 1, mmwave: 3, wifi: 1}",
    "model.width=16",
)


@pytest.fixture(scope="session")
def packed(tmp_path_factory):
    """A packed data set of six subjects, two actions, six frames."""
    from equipose.data.packed import pack
    from equipose.simulate.mmfi_writer import write_mmfi

    root = tmp_path_factory.mktemp("data")
    write_mmfi(root / "mmfi", subjects=(1, 2, 3, 4, 5, 11), actions=(13, 12), frames=6, seed=0, jobs=1)
    pack(root / "mmfi", root / "packed", jobs=1)
    return root / "packed"


@pytest.fixture
def recipe():
    """``recipe(key=value, ...)`` with the tiny settings."""
    return lambda *overrides: load_recipe(None, [*TINY, *overrides])


@pytest.fixture
def equipose():
    """Start the command in a process of its own."""

    def start(*words):
        overrides = [word for setting in TINY for word in ("--set", setting)] if words[0] == "train" else []
        return subprocess.Popen(
            [sys.executable, "-m", "equipose.cli", *map(str, [*words[:1], *overrides, *words[1:]])],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    return start
