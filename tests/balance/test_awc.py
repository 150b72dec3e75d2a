import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from equipose.balance import awc as awc_module
from equipose.balance.awc import DEFAULT_ALPHA, Awc, AwcSettings
from equipose.balance.base import Probe
from equipose.balance.joint import Joint
from equipose.config import Settings
from equipose.errors import UsageError
from equipose.types import PoseOutput

SCORES = {"rgb": 9.0, "lidar": 8.0, "wifi": 0.5}
GROUPS = {"rgb": "superior", "lidar": "superior", "wifi": "inferior"}


def loss_in(unit):
    def loss(output, batch):
        return unit * torch.linalg.vector_norm(output.joints - batch.target, dim=-1).mean(-1)

    return loss


def make_probe(batches, epoch=0, unit=1.0, **changes):
    probe = Probe(epoch, lambda: iter(batches), loss_in(unit), SCORES, epochs=10, learning_rate=0.01)
    return replace(probe, **changes)


def train(model, strategy, probe, batches, epochs=2, optimizer="adam", unit=1.0, resume_at=None):
    """The loop of balance/base.py; with ``resume_at`` the strategy is rebuilt from its state before that step."""
    make = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[optimizer]
    optim = make(model.parameters(), lr=0.01)
    torch.manual_seed(0)
    step = 0
    for epoch in range(epochs):
        model.train()
        strategy.begin_epoch(model, replace(probe, epoch=epoch))
        for batch in batches:
            if step == resume_at:
                state = copy.deepcopy(strategy.state_dict())
                strategy = type(strategy)(strategy.settings, strategy.modalities)
                strategy.load_state_dict(state)
            optim.zero_grad()
            features = strategy.features(model.encode(batch), batch)
            output = model.decode(features, batch.present)
            terms = strategy.objective(model, features, output, batch, loss_in(unit)(output, batch).mean())
            strategy.backward(terms)
            strategy.gradients(model, output, batch)
            optim.step()
            strategy.after_step(model)
            step += 1
        strategy.end_epoch(model, replace(probe, epoch=epoch))
    return strategy


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def awc(**settings):
    return Awc(AwcSettings(**settings), ("rgb", "lidar", "wifi"))


@pytest.fixture
def batches(make_batch):
    return [make_batch(16, seed) for seed in range(4)]


def objective(strategy, model, batch):
    output = PoseOutput(model.mean_pose.expand(len(batch), -1, 3))
    return strategy.objective(model, {}, output, batch, torch.tensor(0.25))


def energy(terms):
    return float(terms.terms["awc"].detach())


def numpy_fisher(model, batches, unit=1.0):
    """Mean squared gradient, sample by sample, in float64."""
    squares, losses = {}, []
    model.eval()
    for batch in batches:
        for i in range(len(batch)):
            one = batch.select(torch.tensor([i]))
            model.zero_grad()
            loss = loss_in(unit)(model(one), one)[0]
            loss.backward()
            losses.append(float(loss.detach()))
            for m in model.modalities:
                for name, p in model.named_parameters_of(m).items():
                    squares.setdefault(m, {}).setdefault(name, []).append(p.grad.double().numpy() ** 2)
    model.zero_grad()
    return {m: {n: np.mean(g, 0) for n, g in named.items()} for m, named in squares.items()}, np.mean(losses)


@pytest.mark.parametrize("scaling", ["scale_free", "raw"])
def test_penalty_equals_the_equation(make_model, batches, scaling):
    model = make_model()
    fisher, _ = numpy_fisher(model, batches)
    start = {name: p.detach().double().numpy().copy() for name, p in model.named_parameters()}
    strategy = awc(alpha_superior=3.0, alpha_inferior=0.7, alpha_scaling=scaling)
    strategy.begin_epoch(model, make_probe(batches))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    mean = np.mean(np.concatenate([f.ravel() for named in fisher.values() for f in named.values()]))
    factor = 1.0 if scaling == "raw" else mean**-0.5
    expected, gradients = 0.0, {}
    for m, alpha in (("rgb", 3.0), ("lidar", 3.0), ("wifi", 0.7)):
        for name, p in model.named_parameters_of(m).items():
            way = p.detach().double().numpy() - start[name]
            expected += 0.5 * alpha * factor * (fisher[m][name] * way**2).sum()
            gradients[name] = alpha * factor * fisher[m][name] * way
    terms = objective(strategy, model, batches[0])
    assert list(terms.terms) == ["pose", "awc"]
    assert energy(terms) == pytest.approx(expected, rel=1e-4)
    terms.terms["awc"].backward()
    for name, p in model.named_parameters():
        if name in gradients:
            np.testing.assert_allclose(p.grad.numpy(), gradients[name], rtol=2e-3, atol=1e-7 * factor)
        else:
            assert p.grad is None  # fusion and head are free
    assert strategy.log()["penalty"] == pytest.approx(expected, rel=1e-4)
    for m in model.modalities:
        trace = sum(f.sum() for f in fisher[m].values())
        assert strategy.log()["fisher_trace"][m] == pytest.approx(trace, rel=1e-4)


@pytest.mark.parametrize("penalty", ["loss", "proximal"])
def test_alpha_zero_is_joint_training_bit_for_bit(make_model, batches, penalty):
    models = [make_model(), make_model()]
    train(models[0], Joint(Settings(), models[0].modalities), make_probe(batches), batches)
    random = torch.get_rng_state()
    none = awc(alpha_superior=0, alpha_inferior=0, penalty=penalty)
    train(models[1], none, make_probe(batches), batches)
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(weights(models[0]), weights(models[1]))


def test_a_closed_window_is_joint_training_bit_for_bit(make_model, batches):
    models = [make_model(), make_model()]
    train(models[0], Joint(Settings(), models[0].modalities), make_probe(batches), batches)
    train(models[1], awc(window_epochs=0), make_probe(batches), batches)
    assert torch.equal(weights(models[0]), weights(models[1]))


def test_the_constraint_changes_training_and_leaves_random_state_alone(make_model, batches):
    models = [make_model(), make_model()]
    train(models[0], Joint(Settings(), models[0].modalities), make_probe(batches), batches)
    random = torch.get_rng_state()
    train(models[1], awc(), make_probe(batches), batches)
    assert torch.equal(torch.get_rng_state(), random)
    assert not torch.equal(weights(models[0]), weights(models[1]))


@pytest.mark.parametrize("penalty", ["loss", "proximal"])
def test_a_stronger_constraint_moves_encoders_less(make_model, batches, penalty):
    moved = []
    for alpha in (0.0, 2.0, 10.0) if penalty == "loss" else (0.0, 10.0, 1000.0):
        model = make_model()
        start = torch.cat([p.detach().flatten().clone() for p in model.parameters_of("rgb")])
        train(
            model,
            awc(alpha_superior=alpha, alpha_inferior=alpha, penalty=penalty),
            make_probe(batches),
            batches,
            epochs=1,
            optimizer="sgd",  # Adam normalises a penalty away, and swings about a stiff one
        )
        moved.append(float((torch.cat([p.detach().flatten() for p in model.parameters_of("rgb")]) - start).norm()))
    assert moved[0] > moved[1] > moved[2]


def test_penalty_is_exactly_zero_at_each_epochs_start(make_model, batches):
    model, strategy = make_model(), awc()
    for epoch in range(3):
        strategy.begin_epoch(model, make_probe(batches, epoch))
        assert energy(objective(strategy, model, batches[0])) == 0.0
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.05)
        assert energy(objective(strategy, model, batches[0])) > 0.0


def test_the_initial_anchor_stays(make_model, batches):
    model, strategy = make_model(), awc(anchor="init")
    strategy.begin_epoch(model, make_probe(batches, 0))
    start = {k: v.clone() for k, v in strategy.state_dict()["anchor"].items()}
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05)
    strategy.begin_epoch(model, make_probe(batches, 1))
    assert energy(objective(strategy, model, batches[0])) > 0.0
    assert all(torch.equal(v, start[k]) for k, v in strategy.state_dict()["anchor"].items())


@pytest.mark.parametrize(("optimizer", "penalty"), [("adam", "loss"), ("adam", "proximal"), ("sgd", "loss")])
def test_the_unit_of_the_loss_does_not_matter(make_model, batches, optimizer, penalty):
    """A power of two changes no rounding; Adam's epsilon is the only thing left that knows the unit."""
    results = []
    for unit in (1.0, 1024.0):
        model = make_model()
        if optimizer == "sgd":
            strategy = awc()
            strategy.begin_epoch(model, make_probe(batches, unit=unit))
            with torch.no_grad():
                for p in model.parameters():
                    p.add_(0.1)
            objective(strategy, model, batches[0]).terms["awc"].backward()
            results.append(torch.cat([p.grad.flatten() / unit for p in model.parameters_of("rgb")]))
        else:
            train(model, awc(penalty=penalty), make_probe(batches, unit=unit), batches, unit=unit)
            results.append(weights(model))
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-5)


def test_a_raw_alpha_depends_on_the_unit(make_model, batches):
    energies = []
    for unit in (1.0, 1000.0):
        model, strategy = make_model(), awc(alpha_scaling="raw", alpha_superior=1.0, alpha_inferior=1.0)
        strategy.begin_epoch(model, make_probe(batches, unit=unit))
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.1)
        energies.append(energy(objective(strategy, model, batches[0])))
    assert energies[1] == pytest.approx(1e6 * energies[0], rel=1e-3)


def test_the_proximal_step_equals_its_formula(make_model, batches):
    model = make_model()
    fisher, _ = numpy_fisher(model, batches)
    strategy = awc(penalty="proximal", alpha_superior=500.0, alpha_inferior=5.0, proximal_rate=0.5)
    strategy.begin_epoch(model, make_probe(batches, learning_rate=0.02))
    start = {name: p.detach().double().numpy().copy() for name, p in model.named_parameters()}
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1)
    assert list(objective(strategy, model, batches[0]).terms) == ["pose"]
    strategy.after_step(model)
    mean = np.mean(np.concatenate([f.ravel() for named in fisher.values() for f in named.values()]))
    for name, p in model.named_parameters():
        moved = start[name] + 0.1
        m = name.split(".")[1] if name.startswith("encoders") else None
        if m:
            alpha = 500.0 if GROUPS[m] == "superior" else 5.0
            pull = 0.5 * np.minimum(1.0, 0.02 * alpha * fisher[m][name] / mean)
            moved = moved - pull * (moved - start[name])
        np.testing.assert_allclose(p.detach().numpy(), moved, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("penalty", ["loss", "proximal"])
@pytest.mark.parametrize("anchor", ["epoch", "init"])
@pytest.mark.parametrize("resume_at", [0, 2, 5])
def test_resuming_in_the_middle_of_an_epoch_is_exact(make_model, batches, penalty, anchor, resume_at):
    models = [make_model(), make_model()]
    settings = {"penalty": penalty, "anchor": anchor}
    whole = train(models[0], awc(**settings), make_probe(batches), batches)
    parts = train(models[1], awc(**settings), make_probe(batches), batches, resume_at=resume_at)
    assert torch.equal(weights(models[0]), weights(models[1]))
    assert whole.log() == parts.log()


def test_state_holds_tensors_and_plain_values_only(make_model, batches, tmp_path):
    model, strategy = make_model(), awc()
    train(model, strategy, make_probe(batches), batches)
    torch.save(strategy.state_dict(), tmp_path / "state.pt")
    back = torch.load(tmp_path / "state.pt", weights_only=True)
    assert set(back["stiffness"]) == {n for m in model.modalities for n in model.named_parameters_of(m)}


def test_log_speaks_json(make_model, batches):
    import json

    model, strategy = make_model(), awc(window=0.1)
    assert json.loads(json.dumps(strategy.log()))["window_open"] is False
    strategy.begin_epoch(model, make_probe(batches))
    log = json.loads(json.dumps(strategy.log()))
    superior, inferior = DEFAULT_ALPHA["scale_free"]
    assert log["window_open"] is True
    assert log["groups"] == GROUPS
    assert log["alpha"] == {"rgb": superior, "lidar": superior, "wifi": inferior}
    assert superior == 2 * inferior
    strategy.begin_epoch(model, make_probe(batches, epoch=1))
    assert strategy.log() == {"window_open": False, "groups": {}, "alpha": {}, "fisher_trace": {}, "penalty": 0.0}
    assert list(objective(strategy, model, batches[0]).terms) == ["pose"]


@pytest.mark.parametrize(
    ("settings", "epochs", "expected"),
    [({}, 10, 4), ({}, 50, 20), ({"window": 1.0}, 3, 3), ({"window_epochs": 2}, 0, 2), ({"window": 0.0}, 9, 0)],
)
def test_window(make_model, batches, settings, epochs, expected):
    model, strategy = make_model(), awc(**settings)
    opened = []
    for epoch in range(max(epochs, 4)):
        strategy.begin_epoch(model, make_probe(batches[:1], epoch, epochs=epochs))
        opened.append(strategy.log()["window_open"])
    assert opened == [True] * expected + [False] * (len(opened) - expected)


def test_controls_of_the_grouping(make_model, batches):
    model = make_model()

    def groups(epoch=0, **settings):
        strategy = awc(**settings)
        strategy.begin_epoch(model, make_probe(batches[:1], epoch))
        return strategy.log()["groups"]

    assert set(groups(groups="none").values()) == {"superior"}
    flip = {"superior": "inferior", "inferior": "superior"}
    assert groups(groups="swapped") == {m: flip[g] for m, g in GROUPS.items()}
    dealt = [tuple(groups(epoch, groups="random", window=1.0).values()) for epoch in range(10)]
    assert all(sorted(d) == sorted(GROUPS.values()) for d in dealt)
    assert len(set(dealt)) == 3
    assert dealt == [tuple(groups(epoch, groups="random", window=1.0).values()) for epoch in range(10)]


def test_one_modality_and_frozen_parameters(make_model, make_batch):
    model = make_model(modalities=("rgb",))
    model.encoders["rgb"].first.weight.requires_grad_(False)
    batch = make_batch(8, modalities=("rgb",))
    strategy = Awc(AwcSettings(), ("rgb",))
    strategy.begin_epoch(model, make_probe([batch], contribution={"rgb": 1.0}))
    assert strategy.log()["groups"] == {"rgb": "superior"}
    assert "encoders.rgb.first.weight" not in strategy.state_dict()["anchor"]
    assert energy(objective(strategy, model, batch)) == 0.0


def test_wholly_frozen_encoders_are_left_alone(make_model, batches):
    model, strategy = make_model(), awc()
    for m in model.modalities:
        for p in model.parameters_of(m):
            p.requires_grad_(False)
    strategy.begin_epoch(model, make_probe(batches))
    assert list(objective(strategy, model, batches[0]).terms) == ["pose"]
    assert strategy.log()["fisher_trace"] == dict.fromkeys(model.modalities, 0.0)


def test_processes_agree_on_their_mean(make_model, batches):
    """Two processes with half the probe each, averaged, equal one with all of it."""
    model = make_model()
    whole, half = awc(), awc()
    whole.begin_epoch(model, make_probe(batches))
    messages = []
    other = awc()
    other.begin_epoch(model, make_probe(batches[2:], all_reduce=lambda t: messages.append(t) or t))
    half.begin_epoch(model, make_probe(batches[:2], all_reduce=lambda t: (t + messages[0]) / 2))
    for name, tensor in whole.state_dict()["stiffness"].items():
        torch.testing.assert_close(half.state_dict()["stiffness"][name], tensor, rtol=1e-4, atol=1e-8)
    assert len(messages) == 1


def test_what_is_missing_is_told(make_model, batches):
    model = make_model()
    with pytest.raises(UsageError, match="window_epochs"):
        awc().begin_epoch(model, make_probe(batches, epochs=0))
    with pytest.raises(UsageError, match="samples_per_epoch"):
        awc().begin_epoch(model, make_probe(batches, contribution={}))
    with pytest.raises(UsageError, match="learning rate"):
        awc(penalty="proximal").begin_epoch(model, make_probe(batches, learning_rate=0.0))
    awc(groups="none").begin_epoch(model, make_probe(batches, contribution={}))


def test_an_epoch_without_a_constrained_sensor_keeps_nothing_of_the_one_before(make_model, batches):
    model = make_model()
    strategy = awc(alpha_superior=0.0, alpha_inferior=1.0)
    strategy.begin_epoch(model, make_probe(batches))
    assert "awc" in objective(strategy, model, batches[0]).terms
    equal = dict.fromkeys(SCORES, 1.0)  # cannot be split: all are superior
    strategy.begin_epoch(model, make_probe(batches, epoch=1, contribution=equal))
    assert "awc" not in objective(strategy, model, batches[0]).terms
    assert strategy.log()["fisher_trace"] == {}


def test_only_grouping_needs_contributions():
    assert awc().needs_contribution
    assert not awc(groups="none").needs_contribution


@pytest.mark.parametrize("scaling", ["scale_free", "raw"])
def test_flat_holds_every_weight_alike_at_the_encoders_mean_stiffness(make_model, batches, scaling):
    model = make_model()
    stiffness = {}
    for shape in ("fisher", "flat"):
        strategy = awc(shape=shape, alpha_scaling=scaling)
        strategy.begin_epoch(model, make_probe(batches))
        stiffness[shape] = strategy.state_dict()["stiffness"]
    for m in model.modalities:
        own = {
            shape: torch.cat([k[n].flatten() for n in model.named_parameters_of(m)]) for shape, k in stiffness.items()
        }
        assert float(own["flat"].std()) == pytest.approx(0.0, abs=1e-6 * float(own["flat"].mean()))
        assert float(own["flat"].mean()) == pytest.approx(float(own["fisher"].mean()), rel=1e-4)


def test_continuous_strengths_lie_between_the_two(make_model, batches):
    model = make_model()

    def strengths(contribution, **settings):
        strategy = awc(groups="continuous", alpha_superior=30.0, alpha_inferior=10.0, **settings)
        strategy.begin_epoch(model, make_probe(batches[:1], contribution=contribution))
        assert strategy.needs_contribution
        return strategy.log()["alpha"]

    assert strengths({"rgb": 9.0, "lidar": 4.0, "wifi": -1.0}) == {"rgb": 30.0, "lidar": 20.0, "wifi": 10.0}
    assert strengths({"rgb": 5.0, "lidar": 5.2, "wifi": 4.9}) == dict.fromkeys(SCORES, 20.0)
    assert strengths({"rgb": 5.0, "lidar": 5.2, "wifi": 4.9}, gap=0.0)["lidar"] == 30.0
    assert strengths(dict.fromkeys(SCORES, 0.0), gap=0.0) == dict.fromkeys(SCORES, 20.0)
    with pytest.raises(UsageError, match="samples_per_epoch"):
        strengths({})


def test_a_window_that_ends_itself_closes_for_an_encoder_whose_trace_no_longer_grows(make_model, batches, monkeypatch):
    """(T - T') / T on traces that grow for a while, against the formula; each encoder by itself."""
    traces = {"rgb": [1.0, 2.0, 4.0, 4.0, 4.0, 4.0, 99.0], "lidar": [2.0**e for e in range(7)], "wifi": [1.0] * 7}
    model = make_model()
    strategy = awc(window_end="fisher", window=0.0, window_growth=0.1)
    real = awc_module.diagonal_fisher

    def scaled(*arguments):
        fisher = real(*arguments)
        factor = {m: traces[m][epoch] / float(fisher.trace(m)) for m in traces}
        return replace(
            fisher, diagonal={m: {n: t * factor[m] for n, t in named.items()} for m, named in fisher.diagonal.items()}
        )

    monkeypatch.setattr(awc_module, "diagonal_fisher", scaled)
    opened = {m: [] for m in traces}
    for epoch in range(7):
        strategy.begin_epoch(model, make_probe(batches[:1], epoch))
        for m in traces:
            opened[m].append(strategy.log()["alpha"][m] > 0)

    def expected(values):
        growth = [1.0] + [1.0 - np.mean(values[:e]) / np.mean(values[: e + 1]) for e in range(1, len(values))]
        return [min(growth[: e + 1]) >= 0.1 for e in range(len(values))]

    assert opened == {m: expected(values) for m, values in traces.items()}
    assert opened["wifi"] == [True] + [False] * 6
    assert opened["lidar"] == [True] * 7
    assert strategy.log()["window_open"] is True


def test_a_window_that_ended_itself_stays_closed_and_costs_nothing(make_model, batches, monkeypatch):
    model, strategy = make_model(), awc(window_end="fisher", window_growth=0.99)
    opened = []
    for epoch in range(3):
        if epoch == 2:
            monkeypatch.setattr(awc_module, "diagonal_fisher", None)  # no longer asked
        strategy.begin_epoch(model, make_probe(batches[:1], epoch))
        opened.append(strategy.log()["window_open"])
        if epoch == 0:
            resumed = awc(window_end="fisher", window_growth=0.99)
            resumed.load_state_dict(copy.deepcopy(strategy.state_dict()))
            strategy = resumed
    assert opened == [True, False, False]
    assert list(objective(strategy, model, batches[0]).terms) == ["pose"]


def test_candidates_are_the_defaults_and_ten_times_less_and_more():
    superior, inferior = DEFAULT_ALPHA["scale_free"]
    for factor, candidate in zip((0.1, 10.0), Awc.candidates[1:], strict=True):
        assert candidate == pytest.approx({"alpha_superior": factor * superior, "alpha_inferior": factor * inferior})
