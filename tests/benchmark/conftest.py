"""A tiny simulated data set, made-up cells with known numbers, and an executor that stays in this process."""

import json
from collections import deque
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import yaml

from equipose.benchmark.folder import prepare
from equipose.benchmark.plan import wanted
from equipose.benchmark.recipe import load_benchmark
from equipose.benchmark.results import FORMAT, cell_path
from equipose.benchmark.work import run_job

BASE = {
    "data": {
        "protocol": "P1",
        "split": "manual",
        "test_subjects": [3, 11],
        "modalities": ["rgb", "lidar", "mmwave"],
        "points": {"lidar": 16, "mmwave": 8},
        "windows": {"rgb": 3, "lidar": 1, "mmwave": 1},
    },
    "model": {"width": 8},
    "train": {"epochs": 1, "batch_size": 8, "accelerator": "cpu", "probe_samples": 8},
    "contribution": {"samples_per_epoch": 8, "bootstrap": 20},
}


@pytest.fixture(scope="session")
def packed(tmp_path_factory):
    """A packed data set of six subjects, one action, six frames."""
    from equipose.data.packed import pack
    from equipose.simulate.mmfi_writer import write_mmfi

    root = tmp_path_factory.mktemp("data")
    write_mmfi(
        root / "mmfi",
        subjects=(1, 2, 3, 4, 5, 11),
        actions=(13,),
        frames=6,
        seed=0,
        jobs=1,
        modalities=("rgb", "lidar", "mmwave"),
    )
    pack(root / "mmfi", root / "packed", jobs=1)
    return root / "packed"


@pytest.fixture
def recipe_file(tmp_path):
    """``recipe_file(methods=[..], ...)``: a benchmark recipe on disk, with the tiny base."""

    def write(**values):
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({"base": BASE, **values}))
        return path

    return write


@pytest.fixture
def recipe(recipe_file):
    """The same, read."""
    return lambda **values: load_benchmark(recipe_file(**values))


class Inline:
    """Runs cells in this process, one after the other; remembers their names."""

    slots = 2

    def __init__(self):
        self.started = []
        self._told = deque()

    def start(self, job):
        self.started.append(job.name)
        self._told.append(run_job(job, self._told.append))

    def poll(self, seconds):
        return [self._told.popleft()] if self._told else []

    def stop(self):
        return []


@pytest.fixture
def inline():
    return Inline


def subsets_of(sensors):
    """All non-empty subsets in the order of the coalition bits."""
    rows = range(1, 2 ** len(sensors))
    return [tuple(name for i, name in enumerate(sensors) if row >> i & 1) for row in rows]


def made_up_cell(cell, generator, subjects=(5, 10, 15, 20, 25, 30, 35, 40), actions=(2, 13), shift=0.0):
    """A cell's file with random errors; more sensors are better but for small effects."""
    sensors = cell.recipe.data.modalities
    strength = {"rgb": 60.0, "lidar": 50.0, "mmwave": 25.0, "wifi": 10.0}
    keys = [(s, a) for s in subjects for a in actions]
    person = np.array([10.0 * np.sin(s) for s, _ in keys])
    errors = []
    for names in subsets_of(sensors):
        base = 150.0 - sum(strength[name] for name in names) * (0.7 if len(names) > 1 else 1.0) + shift
        errors.append(base + person + generator.normal(0, 3, len(keys)) + generator.normal(0, 1.5))
    errors = np.round(np.array(errors), 4)
    samples = generator.integers(8, 12, len(keys)) * 0 + np.array([10 + s % 3 for s, _ in keys])
    share = generator.dirichlet([8.0, 6.0, 3.0, 1.0][: len(sensors)])
    means = (errors * samples).sum(1) / samples.sum()
    result = {
        "format": FORMAT,
        "kind": cell.kind,
        "run": f"runs/{cell.training}",
        "recipe": cell.recipe.model_dump(mode="json"),
        "validation_mpjpe_mm": float(means[-1] + 2.0),
        "best_epoch": 3,
        "epochs": 4,
        "steps": 400,
        "step_seconds": 0.05 + 0.02 * generator.random(),
        "training_seconds": 20.0,
        "peak_memory_mb": 500.0,
        "parameters": {"rgb": 1000, "shared": 50},
        "versions": {"equipose": "0.1.0", "python": "3.11", "torch": "2.13.0", "numpy": "2.4"},
        "machine": {"processor": "a processor", "cores": 2},
        "finished": "2026-01-01 00:00:00",
    }
    if cell.kind == "final":
        result["test"] = {
            "sensors": sensors,
            "simulated": list(sensors),
            "samples": int(samples.sum()),
            "baselines": {"mean_pose_mpjpe_mm": 160.0},
            "subsets": [
                {"name": "+".join(n), "sensors": n, "mpjpe_mm": float(m), "pa_mpjpe_mm": float(m) / 2}
                for n, m in zip(subsets_of(sensors), means, strict=True)
            ],
            "recordings": {
                "environment": [1] * len(keys),
                "subject": [s for s, _ in keys],
                "action": [a for _, a in keys],
                "samples": samples.tolist(),
                "mpjpe_mm": errors.tolist(),
                "pa_mpjpe_mm": (errors / 2).tolist(),
            },
            "profit": "pearson",
            "phi": dict(zip(sensors, (30 * share).tolist(), strict=True)),
            "share": dict(zip(sensors, share.tolist(), strict=True)),
            "entropy": 0.8,
            "collapse": dict(zip(sensors, (0.05 + 3 * share).tolist(), strict=True)),
            "alarms": [],
        }
    return result


def write_cells(out: Path, recipe, data: Path, shifts=None, seed=0, **options):
    """Fill a benchmark folder with made-up cells; returns name -> cell's file as values."""
    generator = np.random.default_rng(seed)
    prepare(out, recipe, data)
    (out / "cells").mkdir(exist_ok=True)
    found = {}
    while new := [
        cell
        for cell in wanted(recipe, {name: values["validation_mpjpe_mm"] for name, values in found.items()})
        if cell.name not in found
    ]:
        for cell in new:
            shift = (shifts or {}).get(cell.title, 0.0)
            found[cell.name] = made_up_cell(cell, generator, shift=shift, **options)
            cell_path(out, cell.name).write_text(json.dumps(found[cell.name]))
    return found


@pytest.fixture
def cells():
    """``cells(out, recipe, data, shifts)``: made-up cells on disk."""
    return write_cells


@pytest.fixture
def pairs():
    """Pairs of names, for oracles."""
    return lambda names: list(combinations(names, 2))
