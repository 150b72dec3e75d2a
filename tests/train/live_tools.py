"""Small learners, and streams for them."""

from __future__ import annotations

from dataclasses import replace

import torch

from continual.world import samples, tiny_model
from equipose.config import load_settings
from equipose.train.learner import Learner
from equipose.train.live_recipe import LiveRecipe
from equipose.types import Cloud

QUICK = ("train.accelerator=cpu", "train.batch_size=8", "contribution.samples_per_epoch=16", "live.epoch=6")
FEW = ("separation.calibration=110", "separation.rounds=1", "live.window=24", "live.warm_up=2", "live.recent=24")
STILL = ("train.learning_rate=1e-9", "balance.name=joint", "continual.name=fine_tune")


def settings(*overrides):
    return load_settings(LiveRecipe, None, [*QUICK, *overrides])


def world_learner(*overrides):
    return Learner.start(settings(*overrides), tiny_model())


def moment(number, size=16, room=0, **holes):
    """The batch at a time: frames go on from batch to batch, and the points of a cloud are not all in one place."""
    batch = samples(size, number, room=room, **holes)
    generator = torch.Generator().manual_seed(number)
    for name, window in batch.inputs.items():
        if isinstance(window, Cloud):
            spread = 0.02 * torch.randn(window.points.shape, generator=generator) * window.mask[..., None]
            batch = with_input(batch, name, lambda points, spread=spread: points + spread)
    frame = torch.arange(size) + size * number + 1
    return replace(batch, meta=replace(batch.meta, frame=frame, recording=torch.full((size,), room)))


def follow(learner, numbers, room=0, **holes):
    return [learner.observe(moment(n, room=room, **holes)) for n in numbers]


def toy_batches(data, size=20):
    return [data.batch(range(i, min(i + size, len(data)))) for i in range(0, len(data), size)]


def same(a, b):
    """Whether two nests of tensors and plain values are equal bit for bit."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a.nan_to_num(-7.0), b.nan_to_num(-7.0))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b or a != a


def told(report):
    return {**report.verdict.tensors(), "terms": dict(report.terms), "experience": report.experience}


def blanked(batch, value=torch.nan):
    """Without labels."""
    return replace(batch, target=torch.full_like(batch.target, value))


def with_input(batch, name, change):
    window = batch.inputs[name]
    field = "points" if isinstance(window, Cloud) else "values"
    return replace(batch, inputs={**batch.inputs, name: replace(window, **{field: change(getattr(window, field))})})
