from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from balance.analytic import Rehearsal, World
from balance.small_runs import Run
from equipose.balance.relearning import _skills


@pytest.fixture
def batches(make_batch):
    return [make_batch(16, seed) for seed in range(2)]


def pulled(rehearsal, epochs):
    """In which epochs encoders were diagnosed."""
    return [epoch for epoch in range(epochs) if rehearsal.begin().strategy.log()]


@pytest.mark.parametrize(
    ("settings", "epochs", "expected"),
    [
        ({}, 90, [20, 40, 60]),
        ({}, 20, [4, 8, 12]),
        ({"interval_epochs": 5, "times": 2}, 30, [5, 10]),
        ({"times": 0}, 20, []),
        ({"strength": 0.0}, 20, []),
        ({}, 2, [1]),
    ],
)
def test_when_encoders_are_pulled_back(settings, epochs, expected, make_model, batches):
    rehearsal = Rehearsal("relearning", make_model(), batches, epochs=epochs, **settings)
    assert pulled(rehearsal, epochs) == expected


def test_skill_is_the_correlation_of_the_sensor_alone():
    world = World((2.0, 1.0), {"rgb": (1.0, 0.5), "lidar": (0.3, -0.4), "wifi": (0.0, 0.0)}, {"rgb": 0.3, "wifi": 0.5})
    batch = world.batch(400)
    probe = Rehearsal("relearning", world.model(), [batch]).probe
    skills = _skills(world.model(), [batch.select(torch.arange(100)), batch.select(torch.arange(100, 400))], probe)
    c = np.array(world.truth)
    for name in ("rgb", "lidar"):
        r = np.array(world.rows[name])
        assert skills[name] == pytest.approx(c @ r / np.sqrt((c @ c) * (r @ r)), abs=1e-4)
    assert skills["wifi"] == 0.0


def test_skill_is_of_the_samples_that_have_the_sensor():
    world = World((2.0, 1.0), {"rgb": (1.0, 0.5), "lidar": (0.3, -0.4)}, {})
    batch = world.batch(400)
    some = torch.ones_like(batch.present)
    some[100:, 1] = False
    probe = Rehearsal("relearning", world.model(), [batch]).probe
    holes = _skills(world.model(), [replace(batch, present=some)], probe)
    first = _skills(world.model(), [batch.select(torch.arange(100))], probe)
    assert holes["lidar"] == pytest.approx(first["lidar"], abs=1e-6)
    never = some.clone()
    never[:, 1] = False
    assert _skills(world.model(), [replace(batch, present=never)], probe)["lidar"] == 0.0


def test_excess_pulls_nobody_for_what_all_share(make_model, batches):
    own = Rehearsal("relearning", make_model(), batches).strategy
    excess = Rehearsal("relearning", make_model(), batches, gap="excess").strategy
    training, validation = {"rgb": 0.9, "lidar": 0.8, "wifi": 0.7}, {"rgb": 0.7, "lidar": 0.6, "wifi": 0.8}
    assert own._gaps(training, validation) == pytest.approx({"rgb": 0.2, "lidar": 0.2, "wifi": 0.0})
    assert excess._gaps(training, validation) == pytest.approx({"rgb": 0.1, "lidar": 0.1, "wifi": 0.0})


def test_buffers_are_pulled_and_frozen_weights_left(make_model, batches):
    model = make_model()
    model.encoders["rgb"].register_buffer("running", torch.ones(3))
    model.encoders["rgb"].first.weight.requires_grad_(False)
    rehearsal = Rehearsal("relearning", model, batches)
    encoder = rehearsal.model.encoders["rgb"]
    with torch.no_grad():
        encoder.running.fill_(5.0)
        encoder.first.weight.fill_(5.0)
        encoder.second.weight.fill_(5.0)
    rehearsal.strategy._pull(rehearsal.model, "rgb", 0.25)
    assert torch.equal(encoder.running, torch.full((3,), 4.0))
    assert bool((encoder.first.weight == 5.0).all())
    torch.testing.assert_close(encoder.second.weight, 0.75 * 5.0 + 0.25 * model.encoders["rgb"].second.weight)


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.SGD])
def test_a_reset_parameter_is_new_to_the_optimizer(kind):
    """After a reset its next step is that of a parameter never seen before; others keep their momentum."""
    extra = {"momentum": 0.9} if kind is torch.optim.SGD else {}
    old, kept, new = (nn.Parameter(torch.ones(3)) for _ in range(3))
    optimizer = kind([old, kept], lr=0.1, **extra)
    for _ in range(3):
        old.grad = kept.grad = torch.tensor([1.0, -2.0, 3.0])
        optimizer.step()
    session = Run("joint", ("rgb",)).session
    session.optimizer = optimizer
    session.reset_optimizer([old])
    start, held = old.detach().clone(), kept.detach().clone()
    fresh = kind([new], lr=0.1, **extra)
    for parameter in (old, kept, new):
        parameter.grad = torch.tensor([-1.0, 0.5, 0.1])
    optimizer.step()
    fresh.step()
    torch.testing.assert_close(old.detach() - start, new.detach() - 1.0)
    assert not torch.allclose(kept.detach() - held, old.detach() - start)
