import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from balance.short_training import loss, setup_of
from equipose.balance.base import Probe
from equipose.balance.lots import Lots
from equipose.balance.opm import Opm, OpmSettings, drop_rates

SCORES = st.floats(0.01, 1.0)


@given(SCORES, SCORES, st.floats(0.0, 1.0), st.floats(0.0, 3.0))
def test_two_sensors_get_the_published_rates(a, v, base, growth):
    q = drop_rates({"a": a, "v": v}, base, growth)
    for own, other, found in ((a, v, q["a"]), (v, a, q["v"])):
        r = math.tanh(max(own / other - 1.0, 0.0))
        expected = min(base * (1.0 + growth * r), 1.0) if r > 0 else 0.0
        assert found == pytest.approx(expected, abs=1e-6) or abs(own - other) < 1e-9


@given(st.dictionaries(st.sampled_from("abcdef"), SCORES, min_size=1), st.floats(0.0, 1.0), st.floats(0.0, 9.0))
def test_the_mean_rate_stays_below_one(scores, base, growth):
    q = drop_rates(scores, base, growth)
    assert sum(q.values()) / len(q) <= (len(q) - 1) / len(q) + 1e-12
    assert all(0.0 <= rate <= 1.0 for rate in q.values())


def opm(model, batch, epoch=0, epochs=10, **settings):
    strategy = Opm(OpmSettings(**{"warm_up": 0.0, **settings}), model.modalities)
    strategy.setup(model, setup_of([batch], epochs=epochs))
    strategy.begin_epoch(model, Probe(epoch, lambda: iter([batch]), loss, epochs=epochs))
    return strategy


def pose_term(strategy, model, features, batch):
    output = model.decode(features, batch.present)
    pose = loss(output, batch).mean()
    return strategy.objective(model, features, output, batch, pose).terms["pose"], pose


def test_the_loss_equals_the_equation(make_model, make_batch):
    model, batch = make_model().eval(), make_batch(32)
    with torch.no_grad():
        features = model.encode(batch)
        strategy = opm(model, batch, probability=1.0)
        value, joint = pose_term(strategy, model, features, batch)
        q = torch.tensor([strategy.log()["rate"][m] for m in model.modalities])
        assert 0 < int((q > 0).sum()) < 3
        # The tiny model fuses by one linear layer: masked features times weights, and the bias.
        kept = Lots(0, 6, 32).of(batch, 0) >= q
        offset = model.fusion.bias
        for m, name in enumerate(model.modalities):
            offset = offset + model.fusion.weights[name](kept[:, m, None] * features[name] / (1.0 - q.mean()))
        pose = model.mean_pose + offset.reshape(-1, model.num_joints, 3)
        assert kept.any(1).all()
        assert float(value) == pytest.approx(float((pose - batch.target).norm(dim=-1).mean()), rel=1e-5)
        assert float(value) != float(joint)


def test_some_batches_are_left_alone(make_model, make_batch):
    model, batch = make_model().eval(), make_batch(8)
    with torch.no_grad():
        features = model.encode(batch)
        strategy = opm(model, batch, probability=0.7)
        values = [pose_term(strategy, model, features, batch) for _ in range(200)]
    assert sum(value is not joint for value, joint in values) / 200 == pytest.approx(0.7, abs=0.1)


def test_warm_up(make_model, make_batch):
    model, batch = make_model(), make_batch(8)
    active = [opm(model, batch, epoch, epochs=10, warm_up=0.3).log()["active"] for epoch in range(5)]
    assert active == [False, False, False, True, True]
