"""Runs of a few steps through the real training loop, on random data held in memory."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch

from equipose.config import load_recipe
from equipose.data.dataset import datasets
from equipose.data.store import recording_table
from equipose.modality import MODALITIES
from equipose.skeleton import H36M17
from equipose.train import fit, probing
from equipose.train.build import build_session
from equipose.train.loop import train_epoch
from equipose.train.processes import Processes

SETTINGS = (
    "train.batch_size=4",
    "train.accelerator=cpu",
    "train.probe_samples=6",
    "contribution.samples_per_epoch=8",
    "data.windows={rgb: 1, infra1: 1, infra2: 1, lidar: 1, mmwave: 1, wifi: 1}",
    "data.points={lidar: 8, mmwave: 8}",
    "data.split=given",
    "model.width=8",
)
SENSORS = ("rgb", "infra1", "infra2", "wifi", "lidar", "mmwave")
FRAMES = {"train": 14, "validation": 6, "test": 2}  # three batches of four, and two samples left over


class MemoryStore:
    """A ``FrameStore`` of random frames; 2D joints tell something of the pose.

    ``missing``: share of the frames that each sensor lost, never all sensors at once; ``never``: sensors without any.
    """

    skeleton = H36M17
    simulated = frozenset()
    frame_rate_hz = 10.0
    action_names: dict = {}  # noqa: RUF012 -- the protocol asks for a plain mapping

    def __init__(self, modalities, missing=0.0, never=(), seed=0):
        generator = np.random.default_rng(seed)
        self.modalities = tuple(modalities)
        count = sum(FRAMES.values())
        self.recordings = recording_table([1, 1, 2], [1, 2, 3], [1, 1, 2], list(FRAMES.values()), list(FRAMES))
        self.frame_recording = np.repeat(np.arange(3), list(FRAMES.values())).astype(np.int32)
        self.frame_number = np.concatenate([np.arange(n) + 1 for n in FRAMES.values()]).astype(np.int32)
        self.labelled = np.ones(count, bool)
        there = generator.random((count, len(self.modalities))) >= missing
        there[np.arange(count), generator.integers(len(self.modalities), size=count)] = True
        there[:, [m in never for m in self.modalities]] = False
        self.present = {m: there[:, i] for i, m in enumerate(self.modalities)}
        hidden = generator.normal(size=(count, 4))
        mixing = generator.normal(size=(4, 51))
        self._target = (0.1 * hidden @ mixing).reshape(count, 17, 3).astype(np.float32) + np.float32([0, 0, 3])
        self._frames = {m: _frames(m, hidden, generator) for m in self.modalities}

    def target(self, rows):
        return self._target[rows]

    def dense(self, modality, rows):
        valid = self.present[modality][rows]
        values = self._frames[modality][rows].copy()
        values[~valid] = 0.0
        return values, valid

    def cloud(self, modality, rows):
        valid = self.present[modality][rows]
        points = self._frames[modality][rows]
        return points[valid].reshape(-1, points.shape[-1]), np.where(valid, points.shape[1], 0), valid


def _frames(modality, hidden, generator):
    spec, count = MODALITIES[modality], len(hidden)
    if spec.kind == "joints2d":
        seen = 320 + 60 * (hidden @ generator.normal(size=(hidden.shape[1], 34))).reshape(count, 17, 2)
        return (seen + generator.normal(size=seen.shape)).astype(np.float32)
    if spec.kind == "csi":
        return generator.normal(size=(count, *spec.shape)).astype(np.float32)
    centre = np.zeros(len(spec.channels))
    centre[0] = 3.0
    return (centre + 0.3 * generator.normal(size=(count, 8, len(centre)))).astype(np.float32)


class OneProcess(SimpleNamespace):
    """What ``Processes`` asks of Fabric, for one process on the CPU."""

    def __init__(self):
        super().__init__(device=torch.device("cpu"), global_rank=0, world_size=1)

    def autocast(self):
        return torch.autocast("cpu", enabled=False)


class Run:
    """A session and its epochs, as ``fit`` runs them but without a run folder."""

    def __init__(
        self, strategy, modalities=SENSORS[:3], settings=None, missing=0.0, never=(), overrides=(), fabric=None
    ):
        changes = [f"balance.settings.{k}={v!r}" for k, v in (settings or {}).items()]
        changes = [c.replace("True", "true").replace("False", "false").replace("None", "null") for c in changes]
        names = f"data.modalities=[{', '.join(modalities)}]"
        recipe = load_recipe(None, [*SETTINGS, names, f"balance.name={strategy}", *changes, *overrides])
        self.splits = datasets(MemoryStore(modalities, missing, never), recipe.data)
        torch.manual_seed(recipe.train.seed)
        self.session = build_session(recipe, self.splits["train"], Processes(fabric or OneProcess()))

    def go(self, stop_after=None, saved=None):
        """Train to the end, or stop after some steps; ``saved`` gets the state there."""
        session, recipe = self.session, self.session.recipe
        steps = 0

        def count():
            nonlocal steps
            steps += 1

        while session.progress.epoch < recipe.train.epochs:
            if session.progress.batch == 0:
                fit.begin_epoch(session, self.splits)
            done = train_epoch(
                session,
                self.splits["train"],
                stop_requested=lambda: stop_after is not None and steps == stop_after - 1,
                save_due=lambda: False,
                after_step=count,
                save=lambda: saved.append(self.state()),
            )
            if not done:
                return self
            self._end_epoch()
        return self

    def _end_epoch(self):
        session, state = self.session, self.session.progress
        if session.tracker is not None:
            state.contribution = session.tracker.contribution(session.processes.sum)
        fit.validation_error(session, self.splits["validation"])
        session.strategy.end_epoch(session.model, probing.probe(session, self.splits, state.contribution))
        state.epoch, state.batch, state.sums = state.epoch + 1, 0, {}

    def state(self):
        return {
            "model": {k: v.clone() for k, v in self.session.model.state_dict().items()},
            "session": self.session.state_dict(),
        }

    def load(self, state):
        self.session.model.load_state_dict(state["model"])
        self.session.load_state_dict(state["session"])
        return self

    def weights(self):
        return torch.cat([p.detach().flatten() for p in self.session.model.state_dict().values()])
