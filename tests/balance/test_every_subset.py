from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from equipose.balance.base import Setup
from equipose.balance.every_subset import EverySubset, EverySubsetSettings, to_draw
from equipose.nn.experts_fusion import ExpertsFusion
from equipose.nn.model import PoseModel
from equipose.types import PoseOutput


def per_sample(output, batch):
    return torch.linalg.vector_norm(output.joints - batch.target, dim=-1).mean(-1)


def made(model, **settings):
    strategy = EverySubset(EverySubsetSettings(**settings), model.modalities)
    strategy.setup(model, Setup(loss=per_sample, seed=3))
    return strategy


def terms_of(strategy, model, batch):
    features = model.encode(batch)
    output = model.decode(features, batch.present)
    return strategy.objective(model, features, output, batch, per_sample(output, batch).mean()).terms


def _none_or_zero(gradient):
    return gradient is None or not gradient.abs().sum()


def with_experts(model):
    torch.manual_seed(0)
    model.fusion = ExpertsFusion(model.modalities, model.width, 3 * model.num_joints)
    return model


def test_alone_is_the_mean_error_of_each_sensor_by_itself(make_model, make_batch):
    model, batch = make_model().eval(), make_batch()
    found = terms_of(made(model, alone=2.0), model, batch)["alone"]
    single = [
        per_sample(model(batch, torch.zeros_like(batch.present).index_fill(1, torch.tensor([m]), True)), batch).mean()
        for m in range(3)
    ]
    torch.testing.assert_close(found, 2.0 * torch.stack(single).mean())


@pytest.mark.parametrize(("alone", "wanted"), [(0.0, 6), (2.0, 3)])
def test_all_subsets_that_may_be_drawn_occur_equally_often(make_model, make_batch, alone, wanted):
    model = make_model().eval()
    strategy = made(model, alone=alone)
    seen: Counter[tuple[bool, ...]] = Counter()
    for _ in range(40):
        rows = strategy._subsets(make_batch(64))
        assert rows.any(1).all() and not rows.all(1).any()
        seen.update(tuple(row) for row in rows.tolist())
        strategy._steps += 1
    assert len(seen) == wanted and all(sum(row) > 1 for row in seen) == (alone > 0)
    share = np.array(list(seen.values())) / (64 * 40)
    assert np.abs(share - 1 / wanted).max() < 4 * np.sqrt(1 / wanted / (64 * 40))


def names(rows):
    return {"".join(n for n, inside in zip("rlmw", row, strict=False) if inside) for row in rows.tolist()}


def test_what_has_a_loss_of_its_own_is_not_drawn():
    sensors = ("rgb", "lidar", "mmwave", "wifi")
    assert names(to_draw(sensors, ("rgb+lidar",), alone=True)) == {"rm", "rw", "lm", "lw", "mw", "rmw", "lmw"}
    assert len(to_draw(sensors, (), alone=True)) == 10 and len(to_draw(sensors, ("rgb+lidar",), alone=False)) == 14
    few = to_draw(("rgb", "lidar"), ("rgb+lidar",), alone=True), to_draw(("rgb",), (), alone=True)
    assert [len(rows) for rows in few] == [0, 0], "two sensors and their pair are trained without a draw"
    both = to_draw(("rgb", "lidar", "mmwave"), ("rgb+lidar", "rgb+mmwave"), alone=True)
    assert names(both) == {"lm"}
    all_hold_one = to_draw(("a", "b", "c"), ("a+b", "a+c", "b+c"), alone=True)
    assert len(all_hold_one) == 3


def test_pairs_are_drawn_where_they_have_no_loss_of_their_own(make_model):
    model = make_model().eval()  # concatenation
    model.pairs["+".join(model.modalities[:2])] = torch.nn.Identity()
    assert len(made(model)._choices) == 3
    assert len(made(with_experts(model))._choices) == 2


def test_luck_belongs_to_the_sample_and_survives_a_resume(make_model, make_batch):
    model, batch = make_model().eval(), make_batch()
    first, second = made(model), made(model)
    for _ in range(3):
        terms_of(first, model, batch)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first._subsets(batch), second._subsets(batch))
    half = batch.select(torch.arange(8, 16))
    assert torch.equal(first._subsets(batch)[8:], first._subsets(half))


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_missing_sensor_adds_nothing(make_model, make_batch, missing):
    model, batch = with_experts(make_model().eval()), make_batch()
    batch.present[:, missing] = False
    terms = terms_of(made(model), model, batch)
    sum(terms.values()).backward()
    name = model.modalities[missing]
    assert all(_none_or_zero(p.grad) for p in model.parameters_of(name))
    assert all(torch.isfinite(value) for value in terms.values())


def test_confidence_learns_who_is_right_and_bends_no_answer(make_model, make_batch):
    """With rgb's answers made nearly right and lidar's far off, only the precisions move, and they part."""
    model, batch = with_experts(make_model().eval()), make_batch(64)
    strategy = made(model, alone=0.0, subset=0.0, confidence=1.0)
    answers = {m: model.fusion.expert(m, f)[0].detach() for m, f in model.encode(batch).items()}
    goal = (batch.target - model.mean_pose).flatten(1)
    with torch.no_grad():  # a last layer that is a constant: the mean of the goal, and a metre beside it
        for name, offset in (("rgb", 0.0), ("lidar", 1.0)):
            model.fusion.heads[name][-1].weight.zero_()
            model.fusion.heads[name][-1].bias.copy_(goal.mean(0) + offset)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        terms_of(strategy, model, batch)["confidence"].backward()
        assert all(_none_or_zero(p.grad) for p in model.parameters_of("rgb"))
        assert _none_or_zero(model.fusion.heads["rgb"][-1].bias.grad)
        optimizer.step()
    sure = {m: model.fusion.log_precision(m, f).mean().item() for m, f in model.encode(batch).items()}
    assert sure["rgb"] > sure["lidar"] + 1.0
    # The optimum of r exp(s / 2) - s / 2 over s: exp(-s / 2) is the mean error; a metre per axis makes sqrt(3).
    assert sure["lidar"] == pytest.approx(-2 * torch.log(torch.tensor(3.0).sqrt()).item(), abs=0.3)
    assert answers["wifi"].shape == (64, 9)


class _Both(torch.nn.Module):
    """A pair's feature: the sum of its sensors'."""

    def forward(self, first, second, first_feature, second_feature):
        return first_feature + second_feature


def with_pair(model):
    model = PoseModel(
        model.modalities, dict(model.encoders), model.fusion, model.mean_pose, model.width, {"rgb+lidar": _Both()}
    )
    torch.manual_seed(0)
    model.fusion = ExpertsFusion(model.names, model.width, 3 * model.num_joints)
    return model


def test_a_pair_answers_by_itself_and_adds_as_much_as_one_sensor(make_model, make_batch):
    model, batch = with_pair(make_model().eval()), make_batch(8)
    batch.present[:3, 0] = False  # the pair is there only where both of its sensors are
    features = model.encode(batch)
    means = []
    for name in model.names:
        pose = model.mean_pose + model.fusion.expert(name, features[name])[0].reshape(-1, model.num_joints, 3)
        there = batch.present[:, [model.modalities.index(each) for each in name.split("+")]].all(1)
        means.append(per_sample(PoseOutput(pose), batch)[there].mean())
    found = terms_of(made(model, alone=2.0), model, batch)["alone"]
    torch.testing.assert_close(found, 2.0 / len(model.modalities) * torch.stack(means).sum())


def test_the_pair_is_taught_by_it_even_where_it_is_never_heard_together(make_model, make_batch):
    model, batch = with_pair(make_model().eval()), make_batch(8)
    terms_of(made(model, alone=1.0, subset=0.0, confidence=0.0), model, batch)["alone"].backward()
    assert model.fusion.heads["rgb+lidar"][-1].weight.grad.abs().sum() > 0
