"""A real ``PoseModel`` with tiny encoders, and batches for it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import settings
from torch import nn

from equipose.nn.fusion import ConcatFusion
from equipose.nn.model import PoseModel
from equipose.types import Batch, Dense, FrameMeta

settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")

MODALITIES = ("rgb", "lidar", "wifi")
JOINTS, WIDTH = 3, 8


class TinyEncoder(nn.Module):
    def __init__(self, hidden, generator):
        super().__init__()
        self.first = nn.Linear(6, hidden)
        self.dropout = nn.Dropout(0.3)
        self.second = nn.Linear(hidden, WIDTH)
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(0.4 * torch.randn(p.shape, generator=generator))

    def forward(self, window):
        return self.second(self.dropout(torch.tanh(self.first(window.values.flatten(1)))))


def tiny_model(seed=0, modalities=MODALITIES):
    generator = torch.Generator().manual_seed(seed)
    encoders = {name: TinyEncoder(4 + 3 * i, generator) for i, name in enumerate(modalities)}
    fusion = ConcatFusion(modalities, WIDTH, 3 * JOINTS)
    with torch.no_grad():
        for p in fusion.parameters():
            p.copy_(0.3 * torch.randn(p.shape, generator=generator))
    return PoseModel(modalities, encoders, fusion, torch.tensor([0.0, 0.0, 3.0]).expand(JOINTS, 3), WIDTH)


def tiny_batch(size=16, seed=0, modalities=MODALITIES):
    generator = torch.Generator().manual_seed(seed)
    number = torch.arange(size)
    inputs = {
        m: Dense(torch.randn(size, 2, 3, generator=generator), torch.ones(size, 2, dtype=torch.bool))
        for m in modalities
    }
    signal = torch.cat([inputs[m].values.flatten(1) for m in modalities], 1)
    weight = torch.randn(signal.shape[1], 3 * JOINTS, generator=torch.Generator().manual_seed(99))
    target = 0.1 * (signal @ weight).unflatten(1, (JOINTS, 3)) + torch.tensor([0.0, 0.0, 3.0])
    meta = FrameMeta(number, number % 2 + 1, number % 5 + 1, number % 3 + 1, number, number % 4)
    return Batch(tuple(modalities), inputs, torch.ones(size, len(modalities), dtype=torch.bool), target, meta)


@pytest.fixture
def make_model():
    return tiny_model


@pytest.fixture
def make_batch():
    return tiny_batch
