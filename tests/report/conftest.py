"""A run folder made up with numpy: every file a real run leaves, plausible numbers, no training."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import yaml

from equipose.skeleton import H36M17, SKELETONS, Skeleton

ACTIONS = {
    2: "chest expansion horizontal",
    3: "chest expansion vertical",
    13: "raise hand left",
    17: "wave hand left",
    19: "pick up",
    22: "kick to left",
    27: "bow",
}
STRENGTH = {"rgb": 80.0, "lidar": 95.0, "mmwave": 160.0, "wifi": 208.0}


@dataclass(frozen=True)
class RunSpec:
    """What the made-up run should look like."""

    strategy: str = "joint"
    seed: int = 0
    modalities: tuple[str, ...] = ("rgb", "lidar", "mmwave", "wifi")
    skeleton: Skeleton = H36M17
    gain: float = 1.0
    ignored: tuple[str, ...] = ()
    simulated: tuple[str, ...] = ("rgb", "lidar", "mmwave", "wifi")
    subjects: tuple[int, ...] = (3, 8, 14, 19, 23, 31, 36, 40)
    epochs: int = 20
    frames: int = 20
    omit: tuple[str, ...] = ()
    config: dict = field(default_factory=dict)


def walking_pose(skeleton: Skeleton, time: np.ndarray) -> np.ndarray:
    """(T, J, 3) metres, camera frame: a tree of bones hanging in place with swinging ends, upright (y down)."""
    joints = len(skeleton)
    rest = np.zeros((joints, 3))
    for child, parent in sorted(
        ((c, p) for c, p in enumerate(skeleton.parents) if p >= 0), key=lambda cp: _depth(skeleton, cp[0])
    ):
        name = skeleton.joints[child]
        side = -1.0 if name.startswith("right") else 1.0 if name.startswith("left") else 0.0
        if "hip" in name:
            step = (0.13 * side, 0.0, 0.0)
        elif "knee" in name or "ankle" in name:
            step = (0.0, 0.42, 0.0)
        elif "shoulder" in name and side:
            step = (0.17 * side, 0.02, 0.0)
        elif "elbow" in name or "wrist" in name:
            step = (0.1 * side, 0.23, 0.0)
        elif "hand" in name or "thumb" in name or "foot" in name:
            step = (0.03 * side, 0.06, -0.06)
        else:
            step = (0.0, -0.2, 0.0)
        rest[child] = rest[parent] + step
    pose = np.repeat(rest[None], len(time), 0)
    for j in range(joints):
        depth = _depth(skeleton, j)
        pose[:, j, 0] += 0.03 * depth * np.sin(2 * np.pi * time / 2.0 + j)
        pose[:, j, 1] += 0.02 * depth * np.cos(2 * np.pi * time / 1.5 + j)
        pose[:, j, 2] += 0.04 * depth * np.sin(2 * np.pi * time / 1.8 + 2 * j)
    return pose + np.array([0.1, 0.1, 3.1])


def _depth(skeleton: Skeleton, joint: int) -> int:
    depth = 0
    while skeleton.parents[joint] >= 0:
        joint, depth = skeleton.parents[joint], depth + 1
    return depth


def write_run(folder: Path, spec: RunSpec = RunSpec()) -> Path:
    """Write the run folder of ``spec``; the same spec gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([spec.seed, len(spec.strategy)])
    predictions = _predictions(spec, rng)
    metrics = _metrics(spec, predictions, rng)
    config = {
        "data": {"modalities": list(spec.modalities), "protocol": "P1", "split": "S2"},
        "balance": {
            "name": spec.strategy,
            "settings": {"alpha_superior": 0.2, "alpha_inferior": 0.1} if spec.strategy == "awc" else {},
        },
        "contribution": {"profit": "pearson"},
        "train": {"epochs": spec.epochs, "seed": spec.seed, "learning_rate": 0.001},
        **spec.config,
    }
    texts = {
        "config.yaml": yaml.safe_dump(config),
        "metrics.json": json.dumps(metrics),
        "metrics.jsonl": "".join(json.dumps(line) + "\n" for line in _epochs(spec, rng, metrics)),
        "env.json": json.dumps(
            {
                "versions": {"python": "3.11.7", "equipose": "0.1.0", "torch": "2.13.0", "numpy": "2.4.6"},
                "machine": {"system": "Linux x86_64", "processor": "made up", "cores": 2, "threads": 1, "gpu": None},
                "command": ["equipose", "train", "quickstart", "--data", "demo data", "--balance", spec.strategy],
                "started": "2026-01-02 03:04:05",
            }
        ),
        "status.json": json.dumps({"state": "finished", "epoch": spec.epochs, "data": "data"}),
    }
    for name, content in texts.items():
        if name not in spec.omit:
            (folder / name).write_text(content)
    arrays = {
        "predictions.npz": predictions,
        "scenes.npz": _scenes(spec, rng),
        "contributions.npz": _contributions(spec, rng),
    }
    for name, content in arrays.items():
        if name not in spec.omit:
            np.savez_compressed(folder / name, **content)
    return folder


def _predictions(spec: RunSpec, rng: np.random.Generator) -> dict[str, np.ndarray]:
    poses, rows = [], []
    truth = np.random.default_rng(7)
    recording = 0
    for subject in spec.subjects:
        size = truth.uniform(0.9, 1.1)
        for action in ACTIONS:
            time = (np.arange(spec.frames) + truth.uniform(0, 20)) / 10.0
            pose = walking_pose(spec.skeleton, time)
            poses.append((pose - pose.mean((0, 1))) * size * (1 + 0.01 * action) + pose.mean((0, 1)))
            environment = 1 + (subject - 1) // 10
            rows += [(environment, subject, action, f + 1, recording) for f in range(spec.frames)]
            recording += 1
    target = np.concatenate(poses).astype(np.float32)
    keys = np.array(rows)
    joints = len(spec.skeleton)
    scale = spec.gain * (0.012 + 0.007 * np.array([_depth(spec.skeleton, j) for j in range(joints)]))
    hardness = 1 + 0.02 * keys[:, 2]
    person = {s: truth.uniform(0.8, 1.3) for s in spec.subjects}
    hardness = hardness * np.array([person[s] for s in keys[:, 1]])
    noise = rng.normal(size=target.shape) * scale[None, :, None] * hardness[:, None, None]
    columns = {
        name: keys[:, i].astype(np.int64)
        for i, name in enumerate(("environment", "subject", "action", "frame", "recording"))
    }
    return {"joints": (target + noise).astype(np.float32), "target": target, **columns}


def _metrics(spec: RunSpec, predictions: dict[str, np.ndarray], rng: np.random.Generator) -> dict:
    distance = 1000 * np.linalg.norm(predictions["joints"].astype(float) - predictions["target"].astype(float), axis=-1)
    frame = distance.mean(1)
    full = float(frame.mean())
    coalitions, value = [], {}
    count = len(spec.modalities)
    for row in range(2**count):
        members = tuple(m for i, m in enumerate(spec.modalities) if row >> i & 1)
        error = 1 / np.sqrt(sum(1 / STRENGTH.get(m, 120.0) ** 2 for m in members)) if members else 233.1
        error *= 0.9 if len(members) > 1 else 1.0
        if "wifi" in members and len(members) == 3:
            error += 4.0
        if len(members) == count:
            error = full
        value[members] = error
        coalitions.append(
            {
                "name": "+".join(members) or "none",
                "modalities": list(members),
                "mpjpe_mm": error,
                "interval": [0.95 * error, 1.06 * error],
                "pa_mpjpe_mm": 0.68 * error,
                "pa_interval": [0.65 * error, 0.71 * error],
            }
        )
    additions = []
    for size in range(1, count):
        for members in combinations(spec.modalities, size):
            for added in spec.modalities:
                if added in members:
                    continue
                after = tuple(m for m in spec.modalities if m in (*members, added))
                change = value[after] - value[members]
                additions.append(
                    {
                        "from": "+".join(members) or "none",
                        "added": added,
                        "change_mm": change,
                        "interval": [change - 1.5, change + 1.5],
                        "hurts": bool(change - 1.5 > 0),
                    }
                )

    def grouped(column: str, key: str, names: dict | None = None) -> list[dict]:
        return [
            {
                key: int(n),
                **({"name": names[int(n)]} if names else {}),
                "mpjpe_mm": float(frame[predictions[column] == n].mean()),
                "interval": [float(frame[predictions[column] == n].mean()) * f for f in (0.94, 1.07)],
            }
            for n in np.unique(predictions[column])
        ]

    return {
        "split": "test",
        "samples": len(frame),
        "subjects": list(spec.subjects),
        "modalities": list(spec.modalities),
        "joints": list(spec.skeleton.joints),
        "skeleton": spec.skeleton.name,
        "mean_pose_mpjpe_mm": 233.1,
        "room_mean_mpjpe_mm": 191.4,
        "subject_mean_mpjpe_mm": 147.2,
        "coalitions": coalitions,
        "hurts": additions,
        "per_joint_mm": distance.mean(0).tolist(),
        "per_action": grouped("action", "action", ACTIONS),
        "per_environment": grouped("environment", "environment"),
        "per_subject": grouped("subject", "subject"),
        "collapse": {m: 0.03 if m in spec.ignored else 0.4 + 0.5 * float(rng.uniform()) for m in spec.modalities},
        "alarms": [
            f"{m} has collapsed: alone, its prediction spreads 0.030 times as much as the truth" for m in spec.ignored
        ],
        "training_seconds": 61.5 if spec.strategy == "joint" else 74.2,
        "parameters": {**{m: 120_000 + 1000 * i for i, m in enumerate(spec.modalities)}, "shared": 310_000},
        "peak_memory_mb": 812.0,
        "simulated": list(spec.simulated),
    }


def _epochs(spec: RunSpec, rng: np.random.Generator, metrics: dict) -> list[dict]:
    final = metrics["coalitions"][-1]["mpjpe_mm"]
    lines = []
    for epoch in range(spec.epochs):
        decay = float(np.exp(-epoch / 4))
        phi = {
            m: (22.0 - 5 * i + (6 if spec.strategy == "awc" else 0) * i / 3) * (1 - 0.8 * decay)
            + float(rng.normal(0, 0.2))
            for i, m in enumerate(spec.modalities)
        }
        total = sum(max(v, 0) for v in phi.values())
        balanced = spec.strategy == "awc"
        window = balanced and epoch < spec.epochs // 2
        median = sorted(phi.values())[len(phi) // 2]
        lines.append(
            {
                "epoch": epoch,
                "step": 90 * (epoch + 1),
                "train_mpjpe_mm": 0.9 * final + 150 * decay,
                "validation_mpjpe_mm": final + 130 * decay,
                "learning_rate": 1e-3,
                "seconds": 3.7 if balanced else 3.07,
                "contribution_seconds": 0.021,
                "balance_seconds": 0.38 if balanced else 0.0,
                "terms": {"pose": 0.1},
                "contribution": phi,
                "share": {m: max(v, 0) / total for m, v in phi.items()},
                "entropy": 0.93,
                "balance": {
                    "window_open": window,
                    "groups": {m: "superior" if v >= median else "inferior" for m, v in phi.items()},
                    "alpha": dict.fromkeys(phi, 0.1),
                    "fisher_trace": dict.fromkeys(phi, 1.0),
                    "penalty": 0.01,
                }
                if balanced
                else {},
            }
        )
    return lines


def _contributions(spec: RunSpec, rng: np.random.Generator) -> dict[str, np.ndarray]:
    phi = np.array([19.0 - 5 * i for i in range(len(spec.modalities))]) * (1.1 if spec.strategy == "awc" else 1.0)
    phi = np.maximum(phi, 0.4)
    share = phi / phi.sum()
    pairs = rng.normal(0, 0.5, (len(phi), len(phi)))
    return {
        "format": np.array("equipose-contributions-1"),
        "unit": np.array("sum of correlations"),
        "baseline": np.array("zero"),
        "interaction_index": np.array("SII"),
        "interactions": pairs + pairs.T,
        "profits": np.array(["pearson", "mpjpe"]),
        "phi_by_profit": np.stack([phi, 100 * phi / phi.sum()]),
        "modalities": np.array(spec.modalities),
        "profit": np.array("pearson"),
        "phi": phi,
        "phi_interval": np.stack([phi - 1.2, phi + 1.2], 1),
        "share": share,
        "share_interval": np.stack([share - 0.03, share + 0.03], 1),
    }


def _scenes(spec: RunSpec, rng: np.random.Generator) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    truth = np.random.default_rng(5)
    for i, label in enumerate(("best", "median", "worst")):
        time = np.arange(40)
        target = walking_pose(spec.skeleton, time / 10 + i).astype(np.float32)
        arrays[f"scene{i}_name"] = np.array(f"{label}: S{spec.subjects[i % len(spec.subjects)]:02d} A02")
        arrays[f"scene{i}_frames"] = time + 1
        arrays[f"scene{i}_target"] = target
        arrays[f"scene{i}_joints"] = target + rng.normal(0, 0.02 * (i + 1), target.shape).astype(np.float32)
        for name, per_frame, spread in (("lidar", 120, 0.06), ("mmwave", 9, 0.15)):
            if name in spec.modalities:
                frame = np.repeat(time, per_frame)
                joint = truth.integers(0, len(spec.skeleton), len(frame))
                points = target[frame, joint] + truth.normal(0, spread, (len(frame), 3))
                arrays[f"scene{i}_{name}"] = np.concatenate([points, frame[:, None]], 1).astype(np.float32)
    return arrays


@pytest.fixture(scope="session")
def make_run(tmp_path_factory):
    """``make_run(strategy="awc", seed=1, ...)`` -> a new run folder."""

    def make(**options) -> Path:
        spec = RunSpec(**options)
        return write_run(tmp_path_factory.mktemp("runs") / f"run_{spec.strategy}_s{spec.seed}", spec)

    return make


@pytest.fixture(scope="session")
def joint_run(make_run) -> Path:
    return make_run(strategy="joint", gain=1.0, ignored=("wifi",))


@pytest.fixture(scope="session")
def awc_run(make_run) -> Path:
    return make_run(strategy="awc", gain=0.93)


@pytest.fixture(scope="session")
def kinect_run(make_run) -> Path:
    return make_run(modalities=("mmwave", "lidar"), skeleton=SKELETONS["kinect25"], simulated=("lidar",))
