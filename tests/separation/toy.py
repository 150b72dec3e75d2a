"""A world in which sensors say poses: each cell is the true pose plus noise, and what is corrupt is known.

A person's pose follows a few slow latent numbers within a recording. Encoders are the identity and the fusion is the
precision-weighted mean, so that a sensor alone says what it measured.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from equipose.nn.fusion import Fusion
from equipose.nn.model import PoseModel
from equipose.separation.distances import consensus
from equipose.types import Batch, Dense, FrameMeta, all_coalitions

SENSORS = ("rgb", "infra1", "depth", "wifi")
NOISE = {"rgb": 0.02, "infra1": 0.03, "depth": 0.04, "wifi": 0.07}
JOINTS = 5
WIDTH = 3 * JOINTS
LATENTS = 4


@dataclass(frozen=True)
class Toy:
    """A data set; ``corrupt`` and ``label_corrupt`` are the known mask."""

    values: dict[str, torch.Tensor]
    target: torch.Tensor
    truth: torch.Tensor
    recording: np.ndarray
    frame: np.ndarray
    subject: np.ndarray
    present: torch.Tensor
    corrupt: torch.Tensor
    label_corrupt: torch.Tensor

    def __len__(self):
        return len(self.target)

    @property
    def modalities(self):
        return tuple(self.values)

    def batch(self, positions, generator=None):
        rows = torch.as_tensor(np.asarray(positions, np.int64))
        number = {name: torch.from_numpy(getattr(self, name))[rows] for name in ("recording", "frame", "subject")}
        one = torch.ones_like(rows)
        valid = torch.ones(len(rows), 1, dtype=torch.bool)
        return Batch(
            modalities=self.modalities,
            inputs={name: Dense(value[rows][:, None], valid) for name, value in self.values.items()},
            present=self.present[rows],
            target=self.target[rows],
            meta=FrameMeta(rows.clone(), one, number["subject"], one, number["frame"], number["recording"]),
        )

    def permuted(self, order):
        order = torch.as_tensor(order)
        return replace(
            self,
            values={m: v[order] for m, v in self.values.items()},
            **{n: getattr(self, n)[order] for n in ("target", "truth", "present", "corrupt", "label_corrupt")},
            **{n: getattr(self, n)[order.numpy()] for n in ("recording", "frame", "subject")},
        )


def toy(recordings=20, frames=60, seed=0, sensors=SENSORS, first_recording=0):
    generator = np.random.default_rng(seed)
    basis = np.random.default_rng(12345).normal(size=(LATENTS, WIDTH)) * 0.15
    n = recordings * frames
    steps = generator.normal(size=(recordings, frames, LATENTS))
    latent = np.empty_like(steps)
    latent[:, 0] = steps[:, 0]
    for t in range(1, frames):
        latent[:, t] = 0.95 * latent[:, t - 1] + np.sqrt(1 - 0.95**2) * steps[:, t]
    offset = latent.reshape(n, LATENTS) @ basis
    hard = np.exp(0.3 * generator.normal(size=(n, 1)))
    values = {
        m: torch.from_numpy(offset + NOISE[m] * hard * generator.normal(size=(n, WIDTH))).float() for m in sensors
    }
    target = torch.from_numpy(offset).float().reshape(n, JOINTS, 3) + torch.tensor([0.0, 0.0, 3.0])
    recording = np.repeat(np.arange(recordings) + first_recording, frames)
    nothing = torch.zeros(n, len(sensors), dtype=torch.bool)
    return Toy(
        values,
        target,
        target.clone(),
        recording,
        np.tile(np.arange(1, frames + 1), recordings),
        recording % 7 + 1 + 10 * (first_recording > 0),
        ~nothing,
        nothing,
        nothing[:, 0].clone(),
    )


def trusted_toy(seed=1000, recordings=30, **more):
    return toy(recordings, seed=seed, first_recording=500, **more)


def chosen(data, rate, generator, burst):
    """Which samples are hit: single frames, or bursts of 15."""
    n = len(data)
    if not burst:
        return torch.from_numpy(generator.random(n) < rate)
    blocks = data.recording * 1000 + (data.frame - 1) // 15
    _, which = np.unique(blocks, return_inverse=True)
    return torch.from_numpy((generator.random(which.max() + 1) < rate)[which])


def corrupted(data, kind="swap", rate=0.2, label_rate=0.0, seed=5, burst=False, sensors=None):
    """Sensor cells hit independently per sensor; labels swapped with those of other recordings."""
    generator = np.random.default_rng(seed)
    n = len(data)
    values, mask = dict(data.values), data.corrupt.clone()
    for m, name in enumerate(data.modalities):
        hit = chosen(data, rate, generator, burst)
        if sensors is not None and name not in sensors:
            continue
        other = data.values[name][(torch.arange(n) + int(generator.integers(n // 4, 3 * n // 4))) % n]
        noise = torch.from_numpy(generator.normal(size=(n, WIDTH))).float()
        wrong = {
            "swap": other,
            "gaussian": data.values[name] + 0.3 * noise,
            "zero": torch.zeros_like(other),
            "damped": 0.02 * data.values[name],
        }[kind]
        values[name] = torch.where(hit[:, None], wrong, data.values[name])
        mask[:, m] = hit
    label = chosen(data, label_rate, generator, burst)
    other = data.target[(torch.arange(n) + int(generator.integers(n // 4, 3 * n // 4))) % n]
    target = torch.where(label[:, None, None], other, data.target)
    return replace(data, values=values, target=target, corrupt=mask, label_corrupt=label)


class _Values(nn.Module):
    def forward(self, window):
        return window.values[:, 0]


class _Weighted(Fusion):
    """Mean of what the sensors say, weighted by 1 / noise^2; absent ones weigh nothing."""

    def __init__(self, modalities):
        super().__init__(modalities, WIDTH, WIDTH)
        self.scale = nn.Parameter(torch.ones(()))
        self.noise = nn.Dropout(0.5)

    def part(self, modality, feature):
        weight = torch.full_like(feature[:, :1], NOISE[modality] ** -2)
        return torch.cat([self.noise(feature) * self.scale, weight], 1)

    def absent(self, modality, feature):
        return torch.zeros_like(self.part(modality, feature))

    def combine(self, parts):
        total = sum(part[:, :-1] * part[:, -1:] for part in parts)
        return total / sum(part[:, -1:] for part in parts).clamp(min=1e-9)


def toy_model(sensors=SENSORS):
    mean_pose = torch.tensor([0.0, 0.0, 3.0]).expand(JOINTS, 3)
    return PoseModel(sensors, {m: _Values() for m in sensors}, _Weighted(sensors), mean_pose, WIDTH)


def refused(readings):
    """The readings with what the toy model would say together from their poses, after these or the labels changed."""
    noise = torch.tensor([NOISE[m] for m in readings.modalities])
    empty = torch.tensor([0.0, 0.0, 3.0], dtype=torch.float64)
    errors = []
    for inside in all_coalitions(len(noise)):
        pose = consensus(readings.poses, readings.alive & inside, noise).where(
            (readings.alive & inside).any(1)[:, None, None], empty
        )
        errors.append((pose - readings.target).norm(dim=-1).mean(-1))
    return replace(readings, fused=pose.float(), coalition_errors=torch.stack(errors, 1).float())
