"""What every registered strategy promises."""

import io
import json
from functools import cache
from inspect import getdoc

import pytest
import torch

from continual.world import SENSORS, Run, samples, tiny_model
from equipose.cli.inspect import _description
from equipose.config import validate
from equipose.fisher_outputs import parameter_groups
from equipose.registry import CONTINUAL

NAMES = list(CONTINUAL)
ACTIVE = {
    "adaptive_ewc": {"calibrate_every": 2},
    "adaptive_ewc_replay": {"ewc": {"calibrate_every": 2}, "replay": {"capacity": 12}},
    "agem": {"capacity": 12},
    "gdumb": {"capacity": 12},
    "rwalk": {"interval": 4},
    "derpp": {"capacity": 12},
}
"""Settings under which everything a strategy does happens within these few steps."""
every_strategy = pytest.mark.parametrize("name", NAMES)


@cache
def fine_tuned(optimizer="adam"):
    return Run("fine_tune", optimizer=optimizer).go().weights()


@every_strategy
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_strength_zero_is_fine_tuning_bit_for_bit(name, optimizer):
    zero = CONTINUAL[name].strength_zero()
    assert torch.equal(Run(name, zero, optimizer=optimizer).go().weights(), fine_tuned(optimizer))


def test_no_budget_is_fine_tuning_bit_for_bit():
    assert torch.equal(Run("adaptive_ewc", {"budget_mm": 0.0}).go().weights(), fine_tuned())


@every_strategy
def test_at_strength_it_is_not_fine_tuning(name):
    if name in ("fine_tune", "agem"):
        return  # a projection is made where gradients disagree; see test_projection
    run = Run(name, ACTIVE.get(name, {})).go()
    assert not torch.equal(run.weights(), fine_tuned())
    assert run.weights().isfinite().all()


@every_strategy
def test_resuming_in_the_middle_of_an_experience_is_exact(name):
    settings = ACTIVE.get(name, {})
    whole = Run(name, settings, rooms=(0, 1, 2), missing=0.2).go()
    file = io.BytesIO()
    torch.save(Run(name, settings, rooms=(0, 1, 2), missing=0.2).go(15).state(), file)
    file.seek(0)
    resumed = Run(name, settings, rooms=(0, 1, 2), missing=0.2)
    resumed.load(torch.load(file, weights_only=True)).go()
    assert torch.equal(whole.weights(), resumed.weights())
    assert whole.strategy.log() == resumed.strategy.log()
    assert whole.strategy.memory_bytes() == resumed.strategy.memory_bytes()


@every_strategy
def test_a_pair_of_sensors_with_a_feature_of_its_own(name):
    run = Run(name, ACTIVE.get(name, {}), model=tiny_model(pairs=("rgb+lidar",)), missing=0.2).go()
    assert run.weights().isfinite().all()
    json.dumps(run.strategy.log(), allow_nan=False)


@every_strategy
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_any_number_of_sensors(name, count):
    run = Run(name, ACTIVE.get(name, {}), SENSORS[:count]).go()
    assert run.weights().isfinite().all()
    json.dumps(run.strategy.log(), allow_nan=False)


@every_strategy
@pytest.mark.parametrize("holes", [{"missing": 0.5}, {"missing": 0.3, "never": ("lidar",)}], ids=["some", "whole"])
def test_missing_sensors_give_finite_weights(name, holes):
    run = Run(name, ACTIVE.get(name, {}), **holes).go()
    assert run.weights().isfinite().all()
    json.dumps(run.strategy.log(), allow_nan=False)


@pytest.mark.parametrize("name", ["ewc", "online_ewc", "adaptive_ewc", "kfac", "mas", "si", "rwalk", "lwf"])
def test_terms_and_their_gradients_are_zero_at_the_anchor(name):
    settings = {"step": "loss"} if name == "adaptive_ewc" else {}
    run = Run(name, settings, rooms=(0,)).go()
    run.model.eval()
    batch = samples(8, 7, room=1)
    features = run.model.encode(batch)
    terms = run.strategy.objective(run.model, features, run.model.decode(features, batch.present), batch)
    assert terms
    gradients = torch.autograd.grad(sum(terms.values()), list(run.model.parameters()), allow_unused=True)
    assert all(float(term.detach()) == 0.0 for term in terms.values())
    assert all(g is None or not g.any() for g in gradients)


@pytest.mark.parametrize("name", ["ewc", "online_ewc", "adaptive_ewc", "mas"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_proximal_step_leaves_the_anchor_and_returns_to_it(name, optimizer):
    run = Run(name, {"step": "proximal", "strength": 1e12}, rooms=(0,), optimizer=optimizer).go()
    anchor = run.weights()
    run.strategy.after_step(run.model, 0.01)
    assert torch.equal(run.weights(), anchor)
    with torch.no_grad():
        for p in run.model.parameters():
            p.add_(0.1)
    run.strategy.after_step(run.model, 0.01)
    used = (run.weights() - anchor).abs() < 1e-4
    assert used.double().mean() > 0.8, "all weights with information are back"


@every_strategy
def test_the_state_shares_no_memory_with_the_model(name):
    run = Run(name, ACTIVE.get(name, {})).go(8)
    own = {p.untyped_storage().data_ptr() for p in [*run.model.parameters(), *run.model.buffers()]}
    for tensor in tensors(run.strategy.state_dict()):
        assert tensor.untyped_storage().data_ptr() not in own


@every_strategy
def test_a_state_taken_in_passing_does_not_move_on(name):
    run = Run(name, ACTIVE.get(name, {})).go(8)
    state = run.strategy.state_dict()
    before = [t.clone() for t in tensors(state)]
    run.go()
    assert all(torch.equal(a, b) for a, b in zip(before, tensors(state), strict=True))


@every_strategy
def test_three_candidates_the_defaults_first(name):
    cls = CONTINUAL[name]
    made = [validate(cls.Settings, dict(candidate), name) for candidate in cls.candidates]
    assert dict(cls.candidates[0]) == {}
    assert len({repr(settings) for settings in made}) == (3 if cls.Settings.model_fields else 1)
    assert repr(validate(cls.Settings, dict(cls.strength_zero()), name)) not in {repr(m) for m in made} or name == (
        "fine_tune"
    )


@every_strategy
def test_describe_says_what_it_does_where_it_is_from_and_what_differs(name):
    cls = CONTINUAL[name]
    text = _description(name, cls)
    first = getdoc(cls).split("\n")[0]
    assert first.endswith(".")
    assert len(first) <= 120
    for field, info in cls.Settings.model_fields.items():
        assert info.description, f"{field} has no docstring"
    if name != "fine_tune":
        assert "Differs" in text or "our own" in text
        assert any(str(year) in text for year in range(1985, 2027)), "no source"


@pytest.mark.parametrize("name", ["ewc", "lwf", "er", "adaptive_ewc"])
def test_memory_is_counted(name):
    run = Run(name)
    before = run.strategy.memory_bytes()
    parameters = sum(p.numel() * 4 for p in run.model.parameters())
    run.go()
    assert run.strategy.memory_bytes() > before or name == "lwf"
    if name == "ewc":
        assert run.strategy.memory_bytes() == 2 * parameters


def test_groups_cover_the_model_once():
    model = tiny_model()
    groups = parameter_groups(model)
    assert list(groups) == [*SENSORS, "shared"]
    found = [id(p) for each in groups.values() for p in each]
    assert sorted(found) == sorted(id(p) for p in model.parameters())


def tensors(value):
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [t for each in value for t in tensors(each)] if isinstance(value, list | tuple) else []
