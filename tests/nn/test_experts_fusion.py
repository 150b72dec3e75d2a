from __future__ import annotations

import numpy as np
import pytest
import torch

from equipose.nn.experts_fusion import ExpertsFusion

MODALITIES = ("rgb", "lidar", "wifi")
WIDTH, JOINTS = 6, 4


@pytest.fixture
def fusion() -> ExpertsFusion:
    torch.manual_seed(0)
    made = ExpertsFusion(MODALITIES, WIDTH, 3 * JOINTS)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return made


def features(batch: int = 5) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn(batch, WIDTH, generator=generator) for name in MODALITIES}


def combined(fusion: ExpertsFusion, inside: tuple[str, ...]) -> torch.Tensor:
    given = features()
    zero = torch.zeros(1, WIDTH)
    parts = [
        fusion.part(name, given[name]) if name in inside else fusion.absent(name, zero).expand(5, -1)
        for name in MODALITIES
    ]
    return fusion.combine(parts)


def test_a_sensor_alone_is_its_expert(fusion: ExpertsFusion) -> None:
    for name in MODALITIES:
        answer, _ = fusion.expert(name, features()[name])
        torch.testing.assert_close(combined(fusion, (name,)), answer)


def test_nobody_gives_the_mean_pose(fusion: ExpertsFusion) -> None:
    assert torch.equal(combined(fusion, ()), torch.zeros(5, 3 * JOINTS))


def test_without_correction_it_is_the_product_of_gaussians(fusion: ExpertsFusion) -> None:
    """The mean of a product of Gaussians, written out in float64 for every joint and axis."""
    torch.nn.init.zeros_(fusion.out.weight)
    torch.nn.init.zeros_(fusion.out.bias)
    inside = ("rgb", "wifi")
    pairs = [fusion.expert(name, features()[name]) for name in inside]
    means = [answer.detach().double().numpy().reshape(5, JOINTS, 3) for answer, _ in pairs]
    weights = [np.exp(s.detach().double().numpy())[..., None] for _, s in pairs]
    expected = (means[0] * weights[0] + means[1] * weights[1]) / (weights[0] + weights[1])
    found = combined(fusion, inside).detach().numpy().reshape(5, JOINTS, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_a_sensor_that_knows_nothing_changes_nothing(fusion: ExpertsFusion) -> None:
    torch.nn.init.zeros_(fusion.out.weight)
    torch.nn.init.zeros_(fusion.out.bias)
    with torch.no_grad():
        fusion.confidence["wifi"].bias.fill_(-1e9)
        fusion.confidence["wifi"].weight.zero_()
    with_wifi, without = combined(fusion, MODALITIES), combined(fusion, ("rgb", "lidar"))
    assert (with_wifi - without).abs().max() < 0.05 * without.abs().max()


def test_the_correction_starts_at_zero_and_serves_two_or_more() -> None:
    fresh = ExpertsFusion(MODALITIES, WIDTH, 3 * JOINTS)
    assert torch.equal(fresh.out.weight, torch.zeros_like(fresh.out.weight))
    assert torch.equal(fresh.log_precision("rgb", features()["rgb"]), torch.zeros(5, JOINTS))
    with torch.no_grad():
        fresh.out.bias.fill_(3.0)
    alone, pair = combined(fresh, ("rgb",)), combined(fresh, ("rgb", "lidar"))
    answers = torch.stack([fresh.expert(name, features()[name])[0] for name in ("rgb", "lidar")])
    torch.testing.assert_close(alone, answers[0])
    torch.testing.assert_close(pair, answers.mean(0) + 3.0)  # equal confidence: the plain mean


def test_gradients_are_finite_for_every_coalition(fusion: ExpertsFusion) -> None:
    for inside in ((), ("lidar",), ("rgb", "lidar"), MODALITIES):
        fusion.zero_grad()
        combined(fusion, inside).square().sum().backward()
        assert all(p.grad is None or torch.isfinite(p.grad).all() for p in fusion.parameters())
