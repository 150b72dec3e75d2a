"""A toy model and batches that know nothing of the package's networks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import settings
from torch import nn

from equipose.types import Batch, Dense, FrameMeta

settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")

PLAYERS = ("one", "two", "three")
JOINTS = 4


class ToyModel(nn.Module):
    """Each sensor's feature is a linear map of its input; the pose is a small network of their concatenation."""

    def __init__(self, modalities=PLAYERS, width=5, joints=JOINTS, seed=0):
        super().__init__()
        self.modalities = tuple(modalities)
        generator = torch.Generator().manual_seed(seed)
        self.encoders = nn.ModuleDict({m: nn.Linear(6, width) for m in self.modalities})
        self.dropout = nn.Dropout(0.5)
        self.norm = nn.BatchNorm1d(width * len(self.modalities))
        self.head = nn.Linear(width * len(self.modalities), 3 * joints)
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.randn(p.shape, generator=generator) * 0.3)
        self.mean_pose = torch.randn(joints, 3, generator=generator)

    def encode(self, batch):
        return {m: self.encoders[m](batch.inputs[m].values.flatten(1)) for m in self.modalities}

    def decode_coalitions(self, features, coalitions, present, baseline=None):
        poses = []
        for members in coalitions:
            parts = []
            for i, name in enumerate(self.modalities):
                absent = torch.zeros(()) if baseline is None else baseline[name]
                inside = (members[i] & present[:, i])[:, None]
                parts.append(torch.where(inside, features[name], absent))
            hidden = torch.tanh(self.dropout(self.norm(torch.cat(parts, 1))))
            poses.append(self.mean_pose + self.head(hidden).unflatten(1, (-1, 3)))
        return torch.stack(poses)


def make_batch(size, seed=0, modalities=PLAYERS, joints=JOINTS):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    def number(high):
        return torch.randint(1, high, (size,), generator=generator)

    return Batch(
        modalities=tuple(modalities),
        inputs={m: Dense(normal(size, 2, 3), torch.ones(size, 2, dtype=torch.bool)) for m in modalities},
        present=torch.rand(size, len(modalities), generator=generator) > 0.1,
        target=0.2 * normal(size, joints, 3) + torch.tensor([0.0, 0.0, 3.0]),
        meta=FrameMeta(torch.arange(size), number(3), number(6), number(4), torch.arange(size), number(9)),
    )


@pytest.fixture
def toy_model():
    return ToyModel()


@pytest.fixture
def make_model():
    return ToyModel


@pytest.fixture
def toy_batch():
    return make_batch
