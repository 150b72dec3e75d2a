import json

import numpy as np
import pytest
import torch

from balance.steps import mpjpe, probe_of, started, step, without
from equipose.balance.g_blend import GBlend, GBlendSettings, blended, changes
from equipose.types import PoseOutput

THREE = ("rgb", "lidar", "wifi")
NAMES = (*THREE, "joint")


def g_blend(**settings):
    return GBlend(GBlendSettings(**settings), THREE)


def measured(strategy, model, batches):
    """Mean loss of each head, sample by sample in numpy."""
    rows = {name: [] for name in NAMES}
    for batch in batches:
        features = model.encode(batch)
        poses = strategy.modules["heads"].poses(model, features)
        for i, m in enumerate(THREE):
            rows[m] += mpjpe(PoseOutput(poses[m]), batch)[batch.present[:, i]].tolist()
        rows["joint"] += mpjpe(model(batch), batch).tolist()
    return {name: np.mean(values) for name, values in rows.items()}


def test_shares_are_gain_over_overfitting_squared():
    found = blended({"a": 2.0, "b": 1.0, "joint": 4.0}, {"a": 1.0, "b": -0.5, "joint": 2.0}, 1e-6)
    assert found == pytest.approx({"a": 2 / 7, "b": 4 / 7, "joint": 1 / 7})


def test_shares_have_no_unit():
    gain, overfitting = {"a": 0.2, "b": 0.1}, {"a": 0.01, "b": 0.05}
    millimetres = blended({k: 1000 * v for k, v in gain.items()}, {k: 1000 * v for k, v in overfitting.items()}, 20.0)
    assert millimetres == pytest.approx(blended(gain, overfitting, 0.02))


def test_overfitting_has_a_floor_and_a_loss_that_rose_earns_nothing():
    assert blended({"a": 1.0, "b": 1.0}, {"a": 0.0, "b": 0.1}, 0.1) == pytest.approx({"a": 0.5, "b": 0.5})
    assert blended({"a": -1.0, "b": 1.0}, {"a": 0.1, "b": 0.1}, 0.1) == {"a": 0.0, "b": 1.0}
    assert blended({"a": -1.0, "b": 0.0}, {"a": 0.1, "b": 0.1}, 0.1) == {}


def test_changes_of_a_super_epoch():
    gain, overfitting = changes({"a": (5.0, 6.0), "gone": (1.0, 1.0)}, {"a": (2.0, 4.0)})
    assert gain == {"a": 2.0}
    assert overfitting == {"a": 1.0}


@pytest.mark.parametrize("settings", [{}, {"blend": 0.5}, {"floor": 0.0}, {"floor": 1.0}])
def test_weights_sum_to_one_and_keep_their_floor(settings):
    strategy = g_blend(**settings)
    strategy._shares = {"rgb": 1.0, "lidar": 0.0, "wifi": 0.0, "joint": 0.0}
    weights = strategy.weights()
    blend, floor = settings.get("blend", 1.0), settings.get("floor", 0.2)
    assert sum(weights.values()) == pytest.approx(1.0)
    assert weights["lidar"] == pytest.approx(blend * floor / 4)
    assert weights["joint"] == pytest.approx(blend * floor / 4 + 1 - blend)


def test_a_super_epoch_is_measured_on_probe_and_validation(make_model, make_batch):
    model = make_model().eval()
    train = [make_batch(8, 1), without(make_batch(8, 2), "wifi", [0, 1, 2])]
    validation = [make_batch(6, 3), make_batch(6, 4)]
    strategy = started(g_blend(super_epoch=2, floor=0.0), model)
    optimizer = torch.optim.SGD([*model.parameters(), *strategy.modules.parameters()], lr=0.05)
    strategy.begin_epoch(model, probe_of(train, 0, validation))
    assert strategy.weights() == pytest.approx(dict.fromkeys(NAMES, 0.25))
    start = measured(strategy, model, train), measured(strategy, model, validation)
    for epoch in (0, 1):
        for _ in range(10):
            step(strategy, model, train[0])
            optimizer.step()
        if epoch == 0:
            strategy.begin_epoch(model, probe_of(train, 1, validation))
            assert strategy.weights() == pytest.approx(dict.fromkeys(NAMES, 0.25)), "in the middle of a super-epoch"
    end = measured(strategy, model, train), measured(strategy, model, validation)
    strategy.begin_epoch(model, probe_of(train, 2, validation))
    gain = {k: max(start[1][k] - end[1][k], 0.0) for k in NAMES}
    overfit = {k: (end[1][k] - end[0][k]) - (start[1][k] - start[0][k]) for k in NAMES}
    raw = {k: gain[k] / max(abs(overfit[k]), 0.02 * end[1]["joint"]) ** 2 for k in NAMES}
    assert sum(raw.values()) > 0
    assert strategy.weights() == pytest.approx({k: v / sum(raw.values()) for k, v in raw.items()}, abs=1e-4)
    assert strategy.log()["gain"] == pytest.approx({k: start[1][k] - end[1][k] for k in NAMES}, abs=1e-5)


def test_the_loss_is_the_weighted_sum(make_model, make_batch):
    model, batch = make_model().eval(), make_batch(8)
    strategy = started(g_blend(floor=0.5), model)
    strategy._shares = {"rgb": 0.1, "lidar": 0.2, "wifi": 0.3, "joint": 0.4}
    terms, _ = step(strategy, model, batch)
    losses, weights = measured(strategy, model, [batch]), strategy.weights()
    assert float(sum(terms.values()).detach()) == pytest.approx(sum(weights[k] * losses[k] for k in NAMES), rel=1e-5)


def test_measuring_leaves_no_trace(make_model, make_batch):
    model = make_model().train()
    strategy = started(g_blend(), model)
    state = torch.get_rng_state()
    strategy.begin_epoch(model, probe_of([make_batch(8)], 0, [make_batch(8)]))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in model.modules())
    assert all(p.grad is None for p in model.parameters())


def test_a_sensor_that_is_never_there_keeps_to_the_floor(make_model, make_batch):
    model = make_model().eval()
    strategy = started(g_blend(super_epoch=1), model)
    batch = without(make_batch(8), "wifi", slice(None))
    optimizer = torch.optim.SGD([*model.parameters(), *strategy.modules.parameters()], lr=0.05)
    for epoch in range(2):
        strategy.begin_epoch(model, probe_of([batch], epoch, [batch]))
        for _ in range(5):
            step(strategy, model, batch)
            optimizer.step()
    strategy.begin_epoch(model, probe_of([batch], 2, [batch]))
    assert strategy.weights()["wifi"] == pytest.approx(0.05)
    json.dumps(strategy.log(), allow_nan=False)


def test_a_note_where_the_run_ends_before_the_first_weighing(make_model):
    assert "super_epoch=1" in started(g_blend(), make_model(), epochs=5).notes()[0]
    assert started(g_blend(), make_model(), epochs=6).notes() == []
    assert started(g_blend(blend=0.0), make_model(), epochs=5).notes() == []


def test_without_validation_samples_weights_stay_equal(make_model, make_batch):
    model = make_model().eval()
    strategy = started(g_blend(super_epoch=1), model)
    for epoch in range(2):
        strategy.begin_epoch(model, probe_of([make_batch(8)], epoch))
    assert strategy.weights() == pytest.approx(dict.fromkeys(NAMES, 0.25))
