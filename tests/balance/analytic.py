"""A linear-Gaussian world in which every contribution is known, and rehearsals of strategies in it.

Every coordinate of the pose is ``c . g`` with g independent standard normal numbers, and sensor m adds ``r_m . g`` plus
a constant to the prediction of that coordinate. A coalition S then predicts ``r_S . g`` with r_S the sum of its rows,
and all profits follow from three numbers: c . c, r_S . r_S and c . r_S.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
import torch
from torch import nn

from equipose.balance.base import Probe, Setup
from equipose.config import validate
from equipose.nn.fusion import ConcatFusion
from equipose.nn.model import PoseModel
from equipose.registry import BALANCE
from equipose.train.losses import mpjpe_loss
from equipose.types import Batch, Dense, FrameMeta

MEAN_NORM = np.sqrt(8 / np.pi)
"""Mean length of a vector of three independent standard normal numbers."""


@dataclass(frozen=True)
class World:
    """``truth``: c, (latent,) metres. ``rows``: sensor -> r_m, (latent,). ``offsets``: sensor -> constant, metres."""

    truth: tuple[float, ...]
    rows: dict[str, tuple[float, ...]]
    offsets: dict[str, float]
    joints: int = 4

    @property
    def sensors(self):
        return tuple(self.rows)

    def coalition_values(self, profit):
        """(2^M,) closed form, in the order of ``all_coalitions``."""
        return np.array([self._value(profit, k) for k in range(2 ** len(self.rows))])

    def _value(self, profit, k):
        inside = [m for i, m in enumerate(self.sensors) if k >> i & 1]
        c = np.array(self.truth)
        r = sum((np.array(self.rows[m]) for m in inside), np.zeros_like(c))
        b = sum(self.offsets.get(m, 0.0) for m in inside)
        coordinates = 3 * self.joints
        if profit in ("pearson", "weighted_pearson"):
            return coordinates * (c @ r) / np.sqrt((c @ c) * (r @ r)) if r.any() else 0.0
        if profit == "concordance":
            return coordinates * 2 * (c @ r) / (c @ c + r @ r + b**2) if r.any() else 0.0
        assert b == 0.0, "the length of a vector about another centre has no such closed form"
        error = np.linalg.norm(c - r)
        return -1000 * MEAN_NORM * error if profit == "mpjpe" else 1 - error / np.linalg.norm(c)

    def shapley(self, profit):
        """(M,) mean marginal worth over all orders of the sensors."""
        values, count = self.coalition_values(profit), len(self.rows)
        phi = np.zeros(count)
        orders = list(permutations(range(count)))
        for order in orders:
            held = 0
            for player in order:
                phi[player] += values[held | 1 << player] - values[held]
                held |= 1 << player
        return phi / len(orders)

    def interaction(self, profit, i, j):
        """Shapley interaction index of a pair: mean over orders of what the pair adds beyond its members alone."""
        values, count = self.coalition_values(profit), len(self.rows)
        total, orders = 0.0, list(permutations([p for p in range(count) if p not in (i, j)] + [-1]))
        for order in orders:
            held = sum(1 << p for p in order[: order.index(-1)])
            a, b = 1 << i, 1 << j
            total += values[held | a | b] - values[held | a] - values[held | b] + values[held]
        return total / len(orders)

    def model(self):
        """A network that adds up what the sensors say."""
        width = 3 * self.joints
        fusion = ConcatFusion(self.sensors, width, width)
        with torch.no_grad():
            for name in self.sensors:
                fusion.weights[name].weight.copy_(torch.eye(width))
        mean_pose = torch.tensor([0.0, 0.0, 3.0]).expand(self.joints, 3)
        return PoseModel(self.sensors, {m: _Values() for m in self.sensors}, fusion, mean_pose, width)

    def batch(self, samples=2000, seed=0):
        """Samples whose latent numbers have exactly zero means, unit variances and no correlation."""
        generator = np.random.default_rng(seed)
        latents, width = len(self.truth), 3 * self.joints
        drawn = generator.normal(size=(samples, width * latents))
        whitened = np.linalg.qr(drawn - drawn.mean(0))[0] * np.sqrt(samples)
        g = whitened.reshape(samples, width, latents)
        inputs = {m: _dense(g @ np.array(row) + self.offsets.get(m, 0.0)) for m, row in self.rows.items()}
        target = (g @ np.array(self.truth)).reshape(samples, self.joints, 3) + np.array([0.0, 0.0, 3.0])
        return make_batch(inputs, torch.from_numpy(target).float())


class _Values(nn.Module):
    def forward(self, window):
        return window.values[:, 0]


def _dense(values):
    tensor = torch.from_numpy(values).float()[:, None]
    return Dense(tensor, torch.ones(len(tensor), 1, dtype=torch.bool))


def make_batch(inputs, target):
    """A batch of the given inputs, all present."""
    number = torch.arange(len(target))
    meta = FrameMeta(number, number % 2 + 1, number % 5 + 1, number % 3 + 1, number, number % 4)
    return Batch(tuple(inputs), inputs, torch.ones(len(target), len(inputs), dtype=torch.bool), target, meta)


def unequal_batch(tiny_batch, size=64, seed=0, shares=(0.3, 0.06, 0.02)):
    """A batch of the tiny model whose pose depends on its sensors unequally: rgb much, lidar less, wifi little."""
    batch = tiny_batch(size, seed)
    generator = torch.Generator().manual_seed(99)
    joints = batch.target.shape[1]
    target = torch.tensor([0.0, 0.0, 3.0]).expand(size, joints, 3)
    for name, share in zip(batch.modalities, shares, strict=True):
        mixing = torch.randn(6, 3 * joints, generator=generator)
        target = target + share * (batch.inputs[name].values.flatten(1) @ mixing).unflatten(1, (joints, 3))
    return replace(batch, target=target)


class Rehearsal:
    """A strategy set up on a copy of a model, with hooks called in the order of the training loop."""

    def __init__(
        self, name, model, batches, validation=None, epochs=10, contribution=None, load_model=None, **settings
    ):
        cls = BALANCE[name]
        self.model, self.batches = copy.deepcopy(model), list(batches)
        self.strategy = cls(validate(cls.Settings, settings, name), model.modalities)
        samples = max(int(b.meta.sample.max()) for b in self.batches) + 1
        setup = Setup(mpjpe_loss, 0, "sgd", epochs, len(self.batches), samples, load_model=load_model)
        torch.manual_seed(0)
        self.strategy.setup(self.model, setup)
        self.reset = []
        self.probe = Probe(
            0,
            lambda: iter(self.batches),
            mpjpe_loss,
            contribution or {m: 1.0 / (1 + i) for i, m in enumerate(model.modalities)},
            epochs=epochs,
            learning_rate=0.01,
            validation=lambda: iter(validation or self.batches),
            reset_optimizer=lambda parameters: self.reset.extend(parameters),
        )
        self.epoch = 0

    def begin(self):
        self.strategy.begin_epoch(self.model, replace(self.probe, epoch=self.epoch))
        self.model.train()
        self.epoch += 1
        return self

    def terms(self, batch):
        """Loss terms of a batch, gradients cleared."""
        for p in [*self.model.parameters(), *self.strategy.modules.parameters()]:
            p.grad = None
        features = self.strategy.features(self.model.encode(batch), batch)
        self.output = self.model.decode(features, batch.present)
        loss = mpjpe_loss(self.output, batch).mean()
        return self.strategy.objective(self.model, features, self.output, batch, loss)

    def step(self, batch, optimizer):
        torch.manual_seed(1)  # the encoders' dropout is that of every other rehearsal
        self.strategy.backward(self.terms(batch))
        self.strategy.gradients(self.model, self.output, batch)
        optimizer.step()
        self.strategy.after_step(self.model)

    def train(self, epochs=1, rate=0.01, kind=torch.optim.SGD):
        optimizer = kind([*self.model.parameters(), *self.strategy.modules.parameters()], lr=rate)
        for _ in range(epochs):
            self.begin()
            for batch in self.batches:
                self.step(batch, optimizer)
            self.strategy.end_epoch(self.model, replace(self.probe, epoch=self.epoch - 1))
        return self

    def encoder(self, name):
        """An encoder's weights as one vector."""
        return torch.cat([p.detach().flatten().clone() for p in self.model.parameters_of(name)])

    def encoder_gradient(self, name):
        """Its gradient as one vector; zero where there is none."""
        own = self.model.parameters_of(name)
        return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in own])

    def fusion_gradient(self):
        return torch.cat(
            [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in self.model.fusion.parameters()]
        )
