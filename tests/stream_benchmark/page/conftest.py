"""Made-up runs over a stream with known numbers, on disk as finished cells."""

import json

import numpy as np
import pytest

from equipose.benchmark.results import cell_path
from equipose.config import validate
from equipose.skeleton import H36M17
from equipose.stream_benchmark.examples import Example, examples_path, write_examples
from equipose.stream_benchmark.plan import rows
from equipose.stream_benchmark.recipe import StreamBenchmarkRecipe
from equipose.stream_benchmark.results import FORMAT, errors_path
from equipose.stream_benchmark.study import build_study
from equipose.train.stream_errors import StreamErrors, write_errors

ROOMS = ("E01", "E02", "E03", "E04")
PEOPLE = {"E01": (5, 10), "E02": (15, 20), "E03": (25, 30), "E04": (35, 40)}
BASE = {"data": {"modalities": ["rgb", "lidar", "mmwave"]}, "watch_steps": 10}
FULL = {
    "title": "Streams of rooms",
    "base": BASE,
    "orders": [list(ROOMS), ["E03", "E01", "E04", "E02"]],
    "noise": [
        "clean",
        {"label": "sensors 20 %", "corruption": {"sensor_rate": 0.2}},
        {"label": "sensors 40 %, labels 20 %", "corruption": {"sensor_rate": 0.4, "label_rate": 0.2}},
    ],
    "methods": [
        "fine_tune",
        "er",
        {"label": "er, found", "continual": "er", "separation": "find"},
        {"label": "EWC, weak", "continual": "ewc", "settings": {"strength": 1.0}, "noise": ["clean"]},
        {"label": "EWC", "continual": "ewc", "settings": {"strength": 10.0}, "noise": ["clean"]},
        {"label": "EWC, strong", "continual": "ewc", "settings": {"strength": 100.0}, "noise": ["clean"]},
        {"label": "lwf", "continual": "lwf", "noise": ["clean"]},
        {"label": "adaptive, everything", "continual": "adaptive_ewc_replay"},
        {"label": "adaptive, noise kept out", "continual": "adaptive_ewc_replay", "separation": "find"},
        {
            "label": "adaptive, oracle",
            "continual": "adaptive_ewc_replay",
            "separation": "known",
            "noise": ["sensors 20 %", "sensors 40 %, labels 20 %"],
        },
    ],
    "bounds": ["joint", "cumulative", "single"],
    "seeds": [0, 1],
}
LEARNS = {"fine_tune": 60, "er": 63, "ewc": 66, "lwf": 64, "adaptive_ewc_replay": 61}
FORGETS = {"fine_tune": 26, "er": 12, "ewc": 15, "lwf": 20, "adaptive_ewc_replay": 6}
REPLAY = {"er", "adaptive_ewc_replay"}
HARM = {"off": 1.0, "find": 0.4, "known": 0.25}


def made_up_errors(recipe, generator):
    """Errors of a run: fine-tuning forgets most, noise adds."""
    regime, name = recipe.regime, recipe.continual.name
    names = recipe.stream.order or ROOMS
    count, sensors = len(names), recipe.data.modalities
    learns, forgets = LEARNS.get(name, 65.0), FORGETS.get(name, 18.0)
    strength = float(recipe.continual.settings.get("strength", 10.0))
    learns, forgets = learns + 2 * np.log10(strength / 10), forgets - 4 * np.log10(strength / 10)
    noise = 40 * recipe.corruption.sensor_rate + 40 * recipe.corruption.label_rate
    noise *= HARM[recipe.separation.mode]
    matrix = np.zeros((count, count))
    for i in range(count):
        for j in range(count):
            matrix[i, j] = learns + (forgets * (1 - 0.6 ** (i - j)) if i >= j else 35.0 + 3 * (j - i))
    if regime in ("joint", "cumulative"):
        matrix = np.where(np.tri(count, dtype=bool), 57.0, 92.0)
    if regime == "single":
        matrix = np.where(np.eye(count, dtype=bool), 58.0, 95.0)
    if regime == "joint":
        matrix = matrix[-1:]
    matrix = matrix + noise
    person = np.array([(j, s) for j, room in enumerate(names) for s in PEOPLE.get(room, (1, 2))])
    samples = np.array([20.0 + s % 7 for _, s in person])
    own = np.array([6 * np.sin(s) for _, s in person])
    coalitions = 2 ** len(sensors)
    lacking = np.array([12.0 * (len(sensors) - bin(k).count("1")) + 5.0 * (k & 1) for k in range(coalitions)])
    lacking[-1] = 0.0
    error = matrix[:, person[:, 0]][:, None, :] + lacking[None, :, None] + own
    error = error + generator.normal(0, 1.2, error.shape)
    if matrix.shape[0] > 1:  # single sensors forget unevenly
        later = np.arange(matrix.shape[0])[:, None, None] - person[:, 0]
        error = error + 0.15 * lacking[None, :, None] * np.maximum(later, 0)
    watched = []
    if regime == "stream" and recipe.watch_steps:
        for i in range(1, count):
            for step in range(0, 60, recipe.watch_steps):
                for j in range(i):
                    bump = forgets * 0.8 * np.exp(-((step - 15.0) ** 2) / 200) * (step > 0)
                    watched.append(
                        (i, step, j, matrix[i - 1, j] + (matrix[i, j] - matrix[i - 1, j]) * step / 60 + bump)
                    )
    return StreamErrors(
        names=tuple(names),
        modalities=tuple(sensors),
        trained=np.arange(matrix.shape[0]) if matrix.shape[0] > 1 else np.array([count - 1]),
        person=person,
        samples=samples,
        error_mm=error * samples,
        pa_error_mm=0.6 * error * samples,
        mean_pose_mm=(130.0 + own) * samples,
        watched=np.array(watched).reshape(-1, 4),
    )


def _numbers(rate, recall, alarms, mode):
    flagged = rate * recall + (1 - rate) * alarms
    return {
        "count": 1000,
        "corrupt": rate,
        "flagged": flagged,
        "precision": rate * recall / flagged if flagged else None,
        "recall": recall if rate else None,
        "f1": None,
        "false_alarms": alarms,
        "purity": 0.97,
        "auroc": None if not rate else (1.0 if mode == "known" else 0.91),
        "aupr": None,
    }


def made_up_noise(recipe, names):
    mode, plan = recipe.separation.mode, recipe.corruption
    if mode == "off" and not (plan.sensor_rate or plan.label_rate):
        return []
    recall, alarms = {"off": (0.0, 0.0), "find": (0.78, 0.016), "known": (1.0, 0.0)}[mode]
    groups = {
        each: _numbers(plan.sensor_rate, recall - 0.05 * i, alarms, mode)
        for i, each in enumerate(recipe.data.modalities)
    }
    groups["all sensors"] = _numbers(plan.sensor_rate, recall, alarms, mode)
    groups["label"] = _numbers(plan.label_rate, recall, alarms, mode)
    kinds = {"rgb.jitter": groups["rgb"], "lidar.points_lost": groups["lidar"]} if plan.sensor_rate else {}
    memory = (
        {"entries": 200, "cells": 0.97, "samples": 0.93, "labels": 0.99} if REPLAY & {recipe.continual.name} else {}
    )
    return [
        {"experience": name, "judged": mode != "off", "groups": groups, "kinds": kinds, "memory": memory,
         "events": [{"kind": "modality shift", "subject": "mmwave", "share": 0.7}] if mode == "find" and i == 1 else []}
        for i, name in enumerate(names)
    ]  # fmt: skip


def made_up_examples(generator, count=8):
    """Examples of every sensor that has a picture, with a skeleton that stands."""
    pose = np.zeros((17, 3), np.float32)
    pose[:, 1] = np.linspace(-0.9, 0.9, 17)
    pose[:, 0] = 0.3 * np.sin(np.arange(17))
    pose[:, 2] = 3.0
    cloud = (pose[generator.integers(0, 17, 90)] + generator.normal(0, 0.05, (90, 3))).astype(np.float32)
    pixels = (320 + 150 * pose[:, :2]).astype(np.float32)
    found = []
    for i in range(count):
        sensor = ("rgb", "lidar", "mmwave", "label", "wifi")[i % 5]
        outcome = "caught" if i < count - 2 else ("missed", "false alarm")[i % 2]
        clean = {"rgb": pixels, "lidar": cloud, "mmwave": cloud[:9], "label": np.zeros((0, 2), np.float32)}
        clean = clean.get(sensor, np.cumsum(generator.normal(0, 1, (3, 114)), 1).astype(np.float32))
        seen = clean + generator.normal(0, 0.1 * (np.abs(clean).mean() if clean.size else 1), clean.shape)
        found.append(
            Example(
                "E04", sensor, outcome, "" if outcome == "false alarm" else "points_lost", 2,
                "far from the other sensors and from the label", None if i == 0 else 0.004,
                4, 35, 13, 20 + i, H36M17.name,
                seen.astype(np.float32), clean,
                np.full_like(pose, np.nan) if sensor == "label" else pose + np.float32(0.15),
                pose + np.float32(0.1), pose, pose + np.float32(0.02),
            )
        )  # fmt: skip
    return found


@pytest.fixture(scope="session")
def page_study(tmp_path_factory):
    """``page_study(skip=.., **recipe)``: study and folder of made-up cells; ``skip``: labels that are missing."""

    def build(skip="nothing is called that", **values):
        out = tmp_path_factory.mktemp("folder")
        recipe = validate(StreamBenchmarkRecipe, values or FULL, "recipe")
        (out / "cells").mkdir()
        generator = np.random.default_rng(3)
        for planned in rows(recipe):
            for cell in planned.cells.values():
                if skip in cell.label or cell_path(out, cell.name).exists():
                    continue
                errors = made_up_errors(cell.recipe, generator)
                write_errors(errors_path(out, cell.name), errors)
                replay = cell.recipe.continual.name in REPLAY
                record = {
                    "format": FORMAT,
                    "run": f"runs/{cell.name}",
                    "recipe": cell.recipe.model_dump(mode="json"),
                    "experiences": errors.names,
                    "steps": 240,
                    "step_seconds": 0.03 * (1 + 0.4 * replay + 0.2 * (cell.recipe.separation.mode == "find")),
                    "training_seconds": 33.0,
                    "memory_bytes": 1_480_000 if replay else 0,
                    "peak_memory_mb": 512.0,
                    "parameters": 81234,
                    "simulated": ["rgb", "lidar"],
                    "noise": made_up_noise(cell.recipe, errors.names),
                    "versions": {"equipose": "0.1.0", "torch": "2.13.0"},
                    "machine": {"processor": "a processor", "cores": 2},
                    "finished": "2026-01-01 00:00:00",
                }
                cell_path(out, cell.name).write_text(json.dumps(record))
                if cell.recipe.separation.mode == "find" and cell.recipe.corruption.sensor_rate:
                    write_examples(examples_path(out, cell.name), made_up_examples(generator))
        return build_study(out, recipe), out

    return build
