import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from equipose.balance.spring import Spring


def parts(seed, count=3):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(4, 2), (7,), (2, 3, 2)][:count]
    draw = [[torch.randn(s, generator=generator) for s in shapes] for _ in range(3)]
    parameters = [torch.nn.Parameter(p) for p in draw[0]]
    return parameters, draw[1], [k.abs() for k in draw[2]]


@given(st.integers(0, 10_000))
def test_energy_and_gradient_equal_the_equation_in_float64(seed):
    parameters, anchors, stiffness = parts(seed)
    energy = Spring(parameters, anchors, stiffness).energy()
    (3.0 * energy).backward()
    expected = 0.0
    for p, a, k in zip(parameters, anchors, stiffness, strict=True):
        p64, a64, k64 = (t.detach().double().numpy() for t in (p, a, k))
        expected += 0.5 * (k64 * (p64 - a64) ** 2).sum()
        np.testing.assert_allclose(p.grad.numpy(), 3.0 * k64 * (p64 - a64), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(float(energy.detach()), expected, rtol=1e-5)


def test_rest_is_exactly_zero():
    parameters, _, stiffness = parts(0)
    energy = Spring(parameters, [p.detach().clone() for p in parameters], stiffness).energy()
    energy.backward()
    assert float(energy.detach()) == 0.0
    assert all((p.grad == 0).all() for p in parameters)


def test_follows_the_live_parameters():
    parameters, anchors, stiffness = parts(1)
    spring = Spring(parameters, anchors, stiffness)
    with torch.no_grad():
        for p, a in zip(parameters, anchors, strict=True):
            p.copy_(a)
    assert float(spring.energy().detach()) == 0.0


@given(st.integers(0, 10_000), st.floats(1e-4, 10.0), st.floats(0.01, 1.0))
def test_relaxing_equals_the_equation_in_float64(seed, rate, largest):
    parameters, anchors, stiffness = parts(seed)
    before = [p.detach().double().numpy().copy() for p in parameters]
    Spring(parameters, anchors, stiffness).relax(rate, largest)
    for p, old, a, k in zip(parameters, before, anchors, stiffness, strict=True):
        expected = old - largest * np.minimum(1.0, rate * k.double().numpy()) * (old - a.double().numpy())
        np.testing.assert_allclose(p.detach().numpy(), expected, rtol=1e-5, atol=1e-6)
