"""Random batches of any sensors, small enough for every encoder to be tested."""

from __future__ import annotations

import pytest
import torch

from equipose.modality import MODALITIES
from equipose.types import Batch, Cloud, Dense, FrameMeta

SHAPES = {"depth": (24, 32), "wifi": (2, 3, 114, 10)}
POINTS = {"lidar": 40, "mmwave": 20}


def _input(name, batch, generator):
    spec = MODALITIES[name]

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    if spec.kind == "cloud":
        points = POINTS[name]
        position = normal(batch, points, 3) * torch.tensor([0.3, 0.5, 0.3]) + torch.tensor([0.0, 0.0, 3.0])
        extra = normal(batch, points, len(spec.channels) - 3) * 5.0
        time = torch.randint(-2, 3, (batch, points, 1), generator=generator) * 0.1
        mask = torch.rand(batch, points, generator=generator) < 0.8
        return Cloud(torch.cat([position, extra, time], -1) * mask[..., None], mask)
    if spec.kind == "joints2d":
        values = normal(batch, 9, 17, 2) * 60.0 + torch.tensor([320.0, 240.0])
    elif spec.kind == "csi":
        amplitude = normal(batch, 3, 3, 114, 10) * 4.0 + 41.0
        phase = (torch.rand(batch, 3, 3, 114, 10, generator=generator) * 2 - 1) * torch.pi
        values = torch.stack([amplitude, phase], 2)
    else:
        values = torch.rand(batch, 1, *SHAPES["depth"], generator=generator) * 2.0 + 2.0
    return Dense(values, torch.ones(values.shape[:2], dtype=torch.bool))


@pytest.fixture
def random_batch():
    def make(modalities=("rgb", "lidar", "mmwave", "wifi"), batch=3, seed=0, joints=17):
        generator = torch.Generator().manual_seed(seed)
        inputs = {name: _input(name, batch, generator) for name in modalities}
        target = torch.randn(batch, joints, 3, generator=generator) * 0.2 + torch.tensor([0.0, 0.0, 3.0])
        index = torch.arange(batch)
        ones = torch.ones_like(index)
        return Batch(
            modalities=tuple(modalities),
            inputs=inputs,
            present=torch.ones(batch, len(modalities), dtype=torch.bool),
            target=target,
            meta=FrameMeta(sample=index, environment=ones, subject=ones, action=ones, frame=index, recording=ones),
        )

    return make
