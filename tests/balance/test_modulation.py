from __future__ import annotations

import pytest
import torch

from equipose.balance.modulation import Modulation, adam_note


def one_step(model, batch, optimizer, modulation, factors):
    """Weights of the rgb encoder before and after a step under factors on the encoders."""
    before = [p.detach().clone() for p in model.parameters_of("rgb")]
    optimizer.zero_grad()
    (model(batch).joints - batch.target).square().sum().backward()
    modulation.gradients(model, factors)
    optimizer.step()
    modulation.after_step()
    return before, [p.detach().clone() for p in model.parameters_of("rgb")]


def moved(pair) -> float:
    before, after = pair
    return float(torch.cat([(b - a).flatten() for b, a in zip(before, after, strict=True)]).norm())


@pytest.mark.parametrize(
    ("optimizer", "scale", "ratio"),
    [
        ("adam", "step", 0.3),
        ("adam", "gradient", 1.0),
        ("sgd", "step", 0.3),
        ("sgd", "gradient", 0.3),
    ],
)
def test_what_a_factor_does_to_the_step(make_model, make_batch, optimizer, scale, ratio):
    """Under Adam a factor on the gradient leaves the first step as it is; a factor on the step always works."""
    sizes = []
    for factors in ({}, {"rgb": 0.3}):
        model = make_model().eval()
        cls = torch.optim.Adam if optimizer == "adam" else torch.optim.SGD
        sizes.append(moved(one_step(model, make_batch(), cls(model.parameters(), lr=1e-3), Modulation(scale), factors)))
    assert sizes[1] / sizes[0] == pytest.approx(ratio, rel=1e-3)


def test_other_encoders_and_a_factor_of_one_are_left_alone(make_model, make_batch):
    results = []
    for factors in ({}, {"rgb": 1.0, "lidar": 0.5}):
        model = make_model().eval()
        results.append(one_step(model, make_batch(), torch.optim.Adam(model.parameters()), Modulation("step"), factors))
    assert all(torch.equal(a, b) for a, b in zip(results[0][1], results[1][1], strict=True))


def test_the_warning_names_the_way_out():
    assert adam_note("ogm", "step", "adam") == [] == adam_note("ogm", "gradient", "sgd")
    assert "scale=step" in adam_note("ogm", "gradient", "adamw")[0]
