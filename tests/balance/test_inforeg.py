import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from balance.short_training import loss, setup_of
from equipose.balance.base import Probe
from equipose.balance.inforeg import InfoReg, InfoRegSettings, growth, pulls

SCORE = st.floats(0.0, 1.0)


@given(SCORE, SCORE, st.floats(0.0, 50.0))
def test_two_sensors_get_the_published_beta(a, v, beta):
    found = pulls({"a": a, "v": v}, beta)
    ahead, gap = ("a", a - v) if a > v else ("v", v - a)
    expected = {"a": 0.0, "v": 0.0}
    if gap > 0:
        expected[ahead] = beta * math.exp(math.tanh(gap))
    assert found == pytest.approx(expected)


def published_growth(traces):
    """As the release has it: sums over ten entries of a list that starts empty, divided by ten."""
    latest, earlier = sum(traces[-10:]) / 10, sum(traces[-11:-1]) / 10
    return (latest - earlier) / latest


@given(st.lists(st.floats(0.01, 10.0), min_size=1, max_size=30))
def test_growth_is_the_published_one(traces):
    assert growth(traces, 10) == pytest.approx(published_growth(traces), abs=1e-9)


def test_growth_closes_the_window_some_time():
    assert growth([], 10) == 1.0
    assert growth([0.0, 0.0], 10) == 0.0
    steady = [growth([1.0] * n, 10) > 0.05 for n in range(15)]
    assert steady == [True] * 11 + [False] * 4


def reg(model, batch, epoch=0, **settings):
    strategy = InfoReg(InfoRegSettings(**settings), model.modalities)
    strategy.setup(model, setup_of([batch]))
    strategy.begin_epoch(model, Probe(epoch, lambda: iter([batch]), loss, epochs=2))
    return strategy


def gradients_of(strategy, model, batch):
    """(gradients before, gradients after the pull)."""
    model.zero_grad()
    features = model.encode(batch)
    output = model.decode(features, batch.present)
    strategy.backward(strategy.objective(model, features, output, batch, loss(output, batch).mean()))
    before = {name: p.grad.double().numpy().copy() for name, p in model.named_parameters()}
    strategy.gradients(model, output, batch)
    return before, {name: p.grad.double().numpy().copy() for name, p in model.named_parameters()}


@pytest.mark.parametrize("scaling", ["raw", "scale_free"])
def test_the_pull_equals_the_equation(scaling, make_model, make_batch):
    model, batch = make_model().eval(), make_batch(16)
    strategy = reg(model, batch, beta=3.0, beta_scaling=scaling)
    start = {name: p.detach().double().numpy().copy() for name, p in model.named_parameters()}
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    before, after = gradients_of(strategy, model, batch)
    beta = strategy.log()["beta"]
    assert 0 < sum(b > 0 for b in beta.values()) < 3
    squares = np.concatenate([g.ravel() ** 2 for n, g in before.items() if n.startswith("encoders")])
    size = 1.0 if scaling == "raw" else np.sqrt(squares.mean())
    for name, p in model.named_parameters():
        expected = before[name]
        if name.startswith("encoders"):
            way = p.detach().double().numpy() - start[name]
            expected = expected + beta[name.split(".")[1]] * size * way
        np.testing.assert_allclose(after[name], expected, rtol=1e-3, atol=1e-6)


def test_information_equals_its_definition(make_model, make_batch):
    """Mean over a weight's entries of the squared gradients summed over steps, summed over weights."""
    model, batches = make_model().eval(), [make_batch(16, seed) for seed in range(3)]
    strategy = reg(model, batches[0], beta=1e-9)
    sums = {}
    for batch in batches:
        before, _ = gradients_of(strategy, model, batch)
        for name, g in before.items():
            sums[name] = sums.get(name, 0.0) + g**2
    information = strategy.log()["information"]
    for m in model.modalities:
        named = model.named_parameters_of(m)
        expected = sum(sums[name].mean() for name, p in named.items() if p.ndim >= 2)
        assert information[m] == pytest.approx(expected, rel=1e-4)
    strategy.end_epoch(model, Probe(0, lambda: iter(batches), loss))
    assert strategy.state_dict()["history"]["rgb"] == [pytest.approx(information["rgb"])]


def test_each_sensor_has_its_own_window(make_model, make_batch):
    model, batch = make_model(), make_batch(8)
    strategy = reg(model, batch, trace_epochs=2)
    state = strategy.state_dict()
    strategy.load_state_dict({**state, "history": {"rgb": [1.0, 1.0, 2.0], "lidar": [2.0, 1.0, 1.0], "wifi": []}})
    strategy.begin_epoch(model, Probe(3, lambda: iter([batch]), loss, epochs=9))
    assert strategy.log()["window_open"] == {"rgb": True, "lidar": False, "wifi": True}
    assert {name.split(".")[1] for name in strategy.state_dict()["anchor"]} == {"rgb", "wifi"}


def test_a_fixed_window(make_model, make_batch):
    model, batch = make_model(), make_batch(8)
    strategy = reg(model, batch, window=0.5)
    assert all(strategy.log()["window_open"].values())
    strategy.begin_epoch(model, Probe(1, lambda: iter([batch]), loss, epochs=2))
    assert not any(strategy.log()["window_open"].values())


def test_unimodal_losses_equal_the_masked_errors(make_model, make_batch):
    model, batch = make_model().eval(), make_batch(16)
    batch.present[::2, 1] = False
    strategy = reg(model, batch, unimodal=0.5, beta=0.0)
    features = model.encode(batch)
    output = model.decode(features, batch.present)
    terms = strategy.objective(model, features, output, batch, loss(output, batch).mean()).terms
    expected = 0.0
    for m in range(3):
        only = torch.zeros_like(batch.present)
        only[:, m] = True
        expected += float(loss(model.decode(features, only), batch)[batch.present[:, m]].mean().detach())
    assert float(terms["unimodal"].detach()) == pytest.approx(0.5 * expected, rel=1e-5)


def test_the_scale_free_pull_does_not_know_the_unit(make_model, make_batch):
    pulled = []
    for unit in (1.0, 1024.0):
        model, batch = make_model().eval(), make_batch(16)
        strategy = reg(model, batch)
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.05)
        output = model(batch)
        (unit * loss(output, batch)).mean().backward()
        before = torch.cat([p.grad.flatten() for p in model.parameters_of("rgb")])
        strategy._pulls = dict.fromkeys(model.modalities, 20.0)
        strategy.gradients(model, output, batch)
        pulled.append((torch.cat([p.grad.flatten() for p in model.parameters_of("rgb")]) - before) / unit)
    torch.testing.assert_close(pulled[0], pulled[1], rtol=1e-3, atol=1e-6)
    assert pulled[0].abs().max() > 0


def test_frozen_encoders_are_left_alone(make_model, make_batch):
    model, batch = make_model(), make_batch(8)
    for p in model.parameters_of("rgb"):
        p.requires_grad_(False)
    strategy = reg(model, batch)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1)
    model.zero_grad()
    output = model(batch)
    strategy.backward(strategy.objective(model, model.encode(batch), output, batch, loss(output, batch).mean()))
    strategy.gradients(model, output, batch)
    assert all(p.grad is None for p in model.parameters_of("rgb"))
    assert "rgb" not in strategy.log()["information"]
