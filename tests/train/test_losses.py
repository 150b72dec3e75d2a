"""The pose losses: units, and how much each sample counts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from equipose.train.losses import pose_loss
from equipose.types import Batch, FrameMeta, PoseOutput


@pytest.fixture
def pair():
    """A batch, and a model's answer that is 30, 40 and 0 cm off in x, y, z at every joint."""
    target = torch.randn(6, 17, 3, generator=torch.Generator().manual_seed(0))
    index = torch.arange(6)
    batch = Batch(("rgb",), {}, torch.ones(6, 1, dtype=torch.bool), target, FrameMeta(*[index] * 6))
    return PoseOutput(target + torch.tensor([0.3, 0.4, 0.0])), batch


@pytest.mark.parametrize(
    ("name", "unit", "expected"),
    [("mpjpe", "m", 0.5), ("mpjpe", "mm", 500.0), ("mse", "m", 0.25), ("mse", "mm", 2.5e5)],
)
def test_units(pair, name, unit, expected):
    found = pose_loss(name, unit)(*pair)
    torch.testing.assert_close(found, torch.full_like(found, expected))


@pytest.mark.parametrize("name", ["mpjpe", "mse"])
def test_a_sample_counts_by_its_weight(pair, name):
    output, batch = pair
    weight = torch.linspace(0.0, 1.0, len(batch))
    loss = pose_loss(name, "m")
    torch.testing.assert_close(loss(output, replace(batch, weight=weight)), weight * loss(output, batch))
