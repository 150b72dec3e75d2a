"""A tiny model of four sensors, two of them clouds, experiences for it, and the loop over them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from equipose.config import validate
from equipose.continual.base import Clean, End, Setup, Start
from equipose.nn.fusion import ConcatFusion, MlpFusion
from equipose.nn.model import PoseModel
from equipose.registry import CONTINUAL
from equipose.train.losses import mpjpe_loss, mse_loss
from equipose.types import Batch, Cloud, Dense, FrameMeta

SENSORS = ("rgb", "lidar", "wifi", "mmwave")
JOINTS, WIDTH = 3, 6
MEAN_POSE = torch.tensor([0.0, 0.0, 3.0]).expand(JOINTS, 3)


class DenseEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, WIDTH)
        self.dropout = nn.Dropout(0.1)

    def forward(self, window):
        return self.second(self.dropout(torch.tanh(self.first(window.values.flatten(1)))))


class CloudEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.point, self.out = nn.Linear(4, 8), nn.Linear(8, WIDTH)

    def forward(self, cloud):
        each = torch.tanh(self.point(cloud.points)) * cloud.mask[..., None]
        return self.out(each.sum(1) / cloud.mask.sum(1, keepdim=True).clamp(min=1))


class BothFeatures(nn.Module):
    """A pair: what two sensors' features say together."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, one, other, feature, other_feature):
        return torch.tanh(self.mix(torch.cat([feature, other_feature], 1)))


def tiny_model(modalities=SENSORS, seed=0, fusion=MlpFusion, pairs=()):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoders = {m: CloudEncoder() if m in ("lidar", "mmwave") else DenseEncoder() for m in modalities}
        head = fusion((*modalities, *pairs), WIDTH, 3 * JOINTS)
        return PoseModel(modalities, encoders, head, MEAN_POSE, WIDTH, {pair: BothFeatures() for pair in pairs})


def origin(size, first=0):
    number = torch.arange(first, first + size)
    return FrameMeta(number, number % 2 + 1, number % 5 + 1, number % 3 + 1, number, number % 4)


def samples(size=16, seed=0, modalities=SENSORS, room=0, missing=0.0, never=(), points=5, shift=0.03):
    """A batch of one room; what a sensor shows of a pose differs from room to room."""
    generator = torch.Generator().manual_seed(1000 * room + seed)
    hidden = torch.randn(size, 4, generator=generator)
    mixing = torch.randn(4, 3 * JOINTS, generator=torch.Generator().manual_seed(99))
    inputs = {}
    for i, m in enumerate(modalities):
        view = torch.randn(4, 6, generator=torch.Generator().manual_seed(10 * room + i))
        seen = hidden @ view + 0.1 * torch.randn(size, 6, generator=generator)
        if m in ("lidar", "mmwave"):
            mask = torch.rand(size, points, generator=generator) < 0.8
            cloud = torch.cat([seen[:, :3], seen[:, 3:4]], 1)[:, None].repeat(1, points, 1)
            inputs[m] = Cloud(cloud * mask[..., None], mask)
        else:
            inputs[m] = Dense(seen.view(size, 2, 3), torch.ones(size, 2, dtype=torch.bool))
    present = torch.rand(size, len(modalities), generator=generator) >= missing
    present[torch.arange(size), torch.arange(size) % len(modalities)] = True
    present[:, [m in never for m in modalities]] = False
    target = MEAN_POSE + 0.1 * (hidden @ mixing).unflatten(1, (JOINTS, 3)) + shift * room
    return Batch(tuple(modalities), inputs, present, target, origin(size, 100 * seed))


def build(name, modalities, settings):
    cls = CONTINUAL[name]
    return cls(validate(cls.Settings, dict(settings), name), tuple(modalities))


class Run:
    """Two experiences of a few batches, hooks in the order of ``continual.base``."""

    def __init__(
        self,
        name,
        settings=(),
        modalities=SENSORS,
        passes=2,
        optimizer="adam",
        rate=None,
        loss=mpjpe_loss,
        rooms=(0, 1),
        model=None,
        contribution=None,
        batches=3,
        **holes,
    ):
        self.model = tiny_model(modalities) if model is None else model
        self.strategy = build(name, modalities, dict(settings))
        kind, usual = {"adam": (torch.optim.Adam, 0.01), "sgd": (torch.optim.SGD, 0.02)}[optimizer]
        self.optimizer = kind(self.model.parameters(), lr=rate or usual)
        self.loss, self.passes = loss, passes
        self.rooms = [[samples(8, k, modalities, room, **holes) for k in range(batches)] for room in rooms]
        self.contribution = contribution or {m: 1.0 / (1 + i) for i, m in enumerate(modalities)}
        self.experience, self.step, self.terms = 0, 0, {}
        with torch.random.fork_rng(devices=[]):
            self.strategy.setup(self.model, Setup(loss, 0, optimizer))
        self.random = torch.Generator().manual_seed(5).get_state()

    def go(self, steps=None):
        """Train on, to the end or for some steps."""
        outside = torch.get_rng_state()
        torch.set_rng_state(self.random)
        left = 10**9 if steps is None else steps
        while self.experience < len(self.rooms) and left > 0:
            batches = self.rooms[self.experience]
            if self.step == 0:
                start = Start(self.experience, self.strategy.modalities, self.passes * len(batches), self._reset)
                self.strategy.begin_experience(self.model, start)
            self._train(batches[self.step % len(batches)])
            self.step, left = self.step + 1, left - 1
            if self.step == self.passes * len(batches):
                self.end()
        self.random = torch.get_rng_state()
        torch.set_rng_state(outside)
        return self

    def end(self):
        noise = dict.fromkeys(self.strategy.modalities, 0.1)
        batches = self.rooms[self.experience]
        end = End(self.experience, lambda: iter(batches), lambda: iter(batches), self.contribution, noise)
        self.strategy.end_experience(self.model, end)
        self.experience, self.step = self.experience + 1, 0

    def state(self):
        return {
            "model": {k: v.clone() for k, v in self.model.state_dict().items()},
            "optimizer": self.optimizer.state_dict(),
            "strategy": self.strategy.state_dict(),
            "place": (self.experience, self.step),
            "random": self.random,
        }

    def load(self, state):
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.strategy.load_state_dict(state["strategy"])
        (self.experience, self.step), self.random = state["place"], state["random"]
        return self

    def weights(self):
        return torch.cat([p.detach().flatten() for p in self.model.parameters()])

    def error(self, room):
        """MPJPE in mm on a room's samples."""
        self.model.eval()
        with torch.no_grad():
            errors = [mpjpe_loss(self.model(b), b).mean() for b in self.rooms[room]]
        return 1000 * float(torch.stack(errors).mean())

    def _train(self, batch):
        model, strategy = self.model, self.strategy
        model.train()
        self.optimizer.zero_grad(set_to_none=True)
        mixed = strategy.mix(batch, self.step)
        features = model.encode(mixed)
        output = model.decode(features, mixed.present)
        self.terms = strategy.objective(model, features, output, mixed)
        total = self.loss(output, mixed).mean()
        for term in self.terms.values():
            total = total + term
        total.backward()
        strategy.gradients(model)
        self.optimizer.step()
        strategy.after_step(model, self.optimizer.param_groups[0]["lr"])
        clean = Clean(torch.ones_like(batch.present), torch.ones(len(batch), dtype=torch.bool))
        strategy.observe(batch, output.joints[: len(batch)].detach(), clean)

    def _reset(self, parameters):
        for p in parameters:
            self.optimizer.state.pop(p, None)


class Values(nn.Module):
    def forward(self, window):
        return window.values[:, 0]


def linear_model(inputs):
    """pose = mean pose + W x + b of one sensor: the only weights are W and b."""
    width = inputs
    fusion = ConcatFusion(("rgb",), width, 3 * JOINTS)
    with torch.no_grad():
        for p in fusion.parameters():
            p.zero_()
    return PoseModel(("rgb",), {"rgb": Values()}, fusion, MEAN_POSE, width)


def linear_batch(x, y):
    """Samples with inputs (n, inputs) and poses ``mean + y``, y (n, 3 joints)."""
    n = len(x)
    there = torch.ones(n, 1, dtype=torch.bool)
    return Batch(("rgb",), {"rgb": Dense(x[:, None], there)}, there, MEAN_POSE + y.unflatten(1, (JOINTS, 3)), origin(n))


def singles(batch):
    return [batch.select(torch.tensor([i])) for i in range(len(batch))]


def without_label(batch):
    return replace(batch, target=torch.full_like(batch.target, torch.nan))


__all__ = ["mpjpe_loss", "mse_loss"]
