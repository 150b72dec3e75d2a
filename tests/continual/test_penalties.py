"""EWC and its kin where the answer is known."""

import numpy as np
import pytest
import torch

from continual.world import JOINTS, MEAN_POSE, Run, build, linear_batch, linear_model, samples, singles, tiny_model
from equipose.balance.base import Setup
from equipose.balance.spring import Spring
from equipose.continual.base import End, Start
from equipose.continual.importance import PullSettings, damped, measure, normalised, predicted_drift, pull_of, stiffness
from equipose.continual.kfac_factors import Factors, kronecker_factors, linear_layers
from equipose.continual.mas import squared_size
from equipose.continual.weights import flat, weights_of
from equipose.fisher_outputs import output_fisher, parameter_groups
from equipose.train.losses import mpjpe_loss, mse_loss
from equipose.types import PoseOutput

INPUTS, OUTPUTS = 5, 3 * JOINTS


def rooms(correlated, count=3, size=40):
    """Inputs and poses of linear rooms, each with laws of its own; second moments diagonal unless ``correlated``."""
    generator = np.random.default_rng(3)
    found = []
    for _ in range(count):
        drawn = np.concatenate([np.ones((size, 1)), generator.normal(size=(size, INPUTS))], 1)
        white = np.linalg.qr(drawn)[0][:, 1:] * np.sqrt(size)  # no correlations, also not with the bias
        x = white * generator.uniform(0.3, 2.0, INPUTS)
        if correlated:
            x = x @ generator.normal(size=(INPUTS, INPUTS))
        law = 0.3 * generator.normal(size=(INPUTS, OUTPUTS))
        y = x @ law + 0.1 * generator.normal(size=(1, OUTPUTS)) + 0.02 * generator.normal(size=(size, OUTPUTS))
        found.append((x, y))
    return found


def joint_solution(data):
    """(inputs + 1, outputs) least squares of all rooms together, the last row the bias."""
    x = np.concatenate([x for x, _ in data])
    y = np.concatenate([y for _, y in data])
    return np.linalg.lstsq(np.concatenate([x, np.ones((len(x), 1))], 1), y, rcond=None)[0]


def solution(model):
    fusion = model.fusion
    return np.concatenate([fusion.weights["rgb"].weight.detach().double().numpy().T, fusion.bias.detach()[None]], 0)


def whole(batch):
    return [batch]


def learn(name, data, split=singles, **settings):
    """Minimise each room's squared error and the strategy's terms, room after room; the solution after each."""
    model, strategy = linear_model(INPUTS), build(name, ("rgb",), settings)
    strategy.setup(model, Setup(mse_loss, 0, "sgd"))
    found = []
    for index, (x, y) in enumerate(data):
        batch = linear_batch(torch.from_numpy(x).float(), torch.from_numpy(y).float())
        strategy.begin_experience(model, Start(index, ("rgb",)))
        optimizer = torch.optim.LBFGS(
            model.parameters(), max_iter=200, line_search_fn="strong_wolfe", tolerance_grad=1e-9, tolerance_change=1e-12
        )

        def closure(batch=batch, optimizer=optimizer):
            optimizer.zero_grad()
            features = model.encode(batch)
            output = model.decode(features, batch.present)
            terms = strategy.objective(model, features, output, batch)
            total = mse_loss(output, batch).mean() + sum(terms.values(), torch.zeros(()))
            total.backward()
            return total

        optimizer.step(closure)
        strategy.end_experience(model, End(index, lambda batch=batch: iter(split(batch))))
        found.append(solution(model))
    return found


def penalty(run, batch):
    return run.strategy.objective(run.model, {}, PoseOutput(batch.target), batch)["anchor"]


def test_online_ewc_is_recursive_bayes_where_weights_are_independent():
    data = rooms(correlated=False)
    found = learn("online_ewc", data, normalise="none", damping=0.0, probes=1)
    for t, each in enumerate(found):
        np.testing.assert_allclose(each, joint_solution(data[: t + 1]), atol=2e-4)
    alone = learn("fine_tune", data)[-1]
    assert np.abs(alone - joint_solution(data)).max() > 0.1, "the rooms do differ"


def test_blocks_are_recursive_bayes_for_a_linear_head_and_a_diagonal_is_not():
    data = rooms(correlated=True)
    target = joint_solution(data)
    solutions = {
        "kfac": learn("kfac", data, whole, normalise="none", damping=0.0, probes=64),
        "online_ewc": learn("online_ewc", data, normalise="none", damping=0.0, probes=1),
    }
    far = {name: np.abs(found[-1] - target).mean() for name, found in solutions.items()}
    assert far["kfac"] < 0.1 * far["online_ewc"]


def test_separate_anchors_in_one_spring():
    """The merged pull has the gradient of the sum over anchors."""
    run = Run("ewc", rooms=(0, 1))
    pulls = []
    original = run.strategy.end_experience

    def end_experience(model, end):
        original(model, end)
        fisher = measure(model, end, run.strategy.settings, run.strategy._setup).diagonal
        k = pull_of(fisher, run.strategy.settings, run.strategy._setup, end)
        pulls.append((weights_of(model), k))

    run.strategy.end_experience = end_experience
    run.go()
    parameters = flat(parameter_groups(run.model))
    with torch.no_grad():
        for p in parameters:
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    energies = [Spring(parameters, flat(anchor), flat(k)).energy() for anchor, k in pulls]
    expected = torch.autograd.grad(sum(energies), parameters)
    found = torch.autograd.grad(penalty(run, run.rooms[0][0]), parameters)
    scale = max(float(g.abs().max()) for g in expected)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5 * scale, rtol=1e-3)


@pytest.mark.parametrize("rate", [1e-3, 1.0, 1e6])
def test_settling_is_the_minimiser_at_any_rate(rate):
    generator = torch.Generator().manual_seed(0)
    anchor, start = (torch.randn(50, generator=generator, dtype=torch.float64) for _ in range(2))
    k = torch.rand(50, generator=generator, dtype=torch.float64) * 1e3
    theta = start.clone()
    Spring([theta], [anchor], [k]).settle(rate)
    # d/dtheta of 1/2 |theta - start|^2 + rate/2 k (theta - anchor)^2 is zero:
    torch.testing.assert_close((theta - start) / (1 + rate * k) + rate * k / (1 + rate * k) * (theta - anchor), 0 * k)
    assert ((theta - anchor).abs() <= (start - anchor).abs()).all()


@pytest.mark.parametrize(("step", "stable"), [("proximal", True), ("loss", False)])
def test_only_the_implicit_step_is_stable_where_strength_is_large(step, stable):
    run = Run("online_ewc", {"strength": 1e6, "step": step}, optimizer="sgd", loss=mse_loss)
    run.go(6)
    before = run.weights()
    run.go(3)
    distance = float((run.weights() - before).norm())
    assert (distance < 0.5) is stable


def test_strength_one_costs_what_an_equal_error_costs():
    """For a squared loss the penalty is the drift itself; for MPJPE it is the error of the reference distance there."""
    model, batch = tiny_model(), samples(16)
    end = End(0, lambda: iter([batch]))
    fisher = output_fisher(model, [batch], probes=4).diagonal
    move = {g: [1e-3 * torch.ones_like(t) for t in each] for g, each in fisher.items()}
    drift = predicted_drift(fisher, move)
    for loss, scale in ((mse_loss, drift**2), (mpjpe_loss, drift**2 / 0.05)):
        k = pull_of(fisher, PullSettings(), Setup(loss, 0, "sgd"), end)
        pairs = zip(flat(k), flat(move), strict=True)
        assert sum(float(0.5 * (a * b.square()).sum()) for a, b in pairs) == pytest.approx(scale, rel=1e-4)
    millimetres = pull_of(fisher, PullSettings(), Setup(lambda o, b: 1000 * mpjpe_loss(o, b), 0, "sgd"), end)
    metres = pull_of(fisher, PullSettings(), Setup(mpjpe_loss, 0, "sgd"), end)
    torch.testing.assert_close(flat(millimetres)[0], 1000 * flat(metres)[0])


def test_predicted_drift_is_the_drift_of_a_linear_model():
    x = torch.randn(200, INPUTS, generator=torch.Generator().manual_seed(0))
    model, batch = linear_model(INPUTS), linear_batch(x, torch.zeros(200, OUTPUTS))
    fisher = output_fisher(model, singles(batch), probes=1).diagonal
    move = {g: [torch.zeros_like(t) for t in each] for g, each in fisher.items()}
    move["shared"][1][:, 2] = 0.01  # W of input 2
    with torch.no_grad():
        before = model(batch).joints
        model.fusion.weights["rgb"].weight.add_(move["shared"][1])
        moved = model(batch).joints - before
    assert predicted_drift(fisher, move) == pytest.approx(float(moved.square().sum(-1).mean().sqrt()), rel=1e-4)
    energy = Spring(flat(move), [torch.zeros_like(t) for t in flat(move)], flat(stiffness(fisher, 1.0))).energy()
    assert float(energy) ** 0.5 == pytest.approx(predicted_drift(fisher, move), rel=1e-5)


def test_normalising_gives_every_group_the_same_mean_and_keeps_the_sum():
    fisher = output_fisher(tiny_model(), [samples(16)], probes=2)
    equal = normalised(fisher)
    means = [equal.mean(g) for g in equal.diagonal]
    assert means == pytest.approx([means[0]] * len(means), rel=1e-4)
    assert equal.mean() == pytest.approx(fisher.mean(), rel=1e-4)
    assert max(fisher.mean(g) for g in fisher.diagonal) > 2 * min(fisher.mean(g) for g in fisher.diagonal)


def test_a_silent_unit_is_not_free():
    """A hidden unit that is off on all old samples has no information, and must not be free to wake up."""
    model, batch = tiny_model(), samples(16)
    with torch.no_grad():
        model.fusion.bias[3] = -1e3
    fisher = output_fisher(model, [batch])
    place = [p is model.fusion.bias for p in model.shared_parameters()].index(True)
    assert float(fisher.diagonal["shared"][place][3]) == 0.0
    held = damped(fisher, 0.1)
    assert float(held.diagonal["shared"][place][3]) == pytest.approx(0.1 / 1.1 * fisher.mean("shared"), rel=1e-4)
    assert held.trace("shared") == pytest.approx(fisher.trace("shared"), rel=1e-4)
    silent = Factors(torch.diag(torch.tensor([1.0, 0.0])), torch.diag(torch.tensor([2.0, 0.0, 0.0]))).damped(0.1)
    assert float(silent.drift(torch.tensor([[0.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))) > 0


def test_factors_of_a_linear_layer_are_its_moments():
    x = torch.randn(30, INPUTS, generator=torch.Generator().manual_seed(0))
    model, batch = linear_model(INPUTS), linear_batch(x, torch.zeros(30, OUTPUTS))
    layers = linear_layers(model, 1024)
    assert len(layers) == 1
    (found,) = kronecker_factors(model, layers, [batch], probes=200)
    torch.testing.assert_close(found.inputs, x.T @ x / 30)
    torch.testing.assert_close(found.outputs.diagonal(), torch.full((OUTPUTS,), 1e6 / OUTPUTS))
    off = found.outputs - found.outputs.diagonal().diag()
    assert off.abs().max() < 0.1 * 1e6 / OUTPUTS
    assert linear_layers(model, 4) == []


def test_mas_does_not_look_at_where_the_person_stands():
    batch = samples(4)
    near = PoseOutput(torch.randn(4, JOINTS, 3))
    far = PoseOutput(near.joints + MEAN_POSE[0])
    torch.testing.assert_close(squared_size(near, batch), squared_size(far, batch), atol=1e-4, rtol=1e-4)


def test_si_adds_up_to_what_was_gained():
    """The path integral of the gradient is the fall of the loss, for small steps on one batch."""
    batch = samples(32)
    run = Run("si", optimizer="sgd", rate=0.003, loss=mse_loss, rooms=(0,), passes=300)
    run.rooms = [[batch]]
    run.model.encoders["rgb"].dropout.p = run.model.encoders["wifi"].dropout.p = 0.0
    before = float(mse_loss(run.model(batch), batch).mean().detach())
    run.go(299)
    run.model.train()
    after = float(mse_loss(run.model(batch), batch).mean().detach())
    gained = sum(float(t.sum()) for t in flat(run.strategy._path))
    assert gained == pytest.approx(before - after, rel=0.05)
    run.go()
    assert sum(float(t.sum()) for t in flat(run.strategy._importance)) > 0
    assert all((t >= 0).all() for t in flat(run.strategy._importance))


def test_the_path_leaves_the_penalty_out():
    """With a huge pull and no gradient of the task, nothing is worth keeping."""
    run = Run("si", {"strength": 100.0}, optimizer="sgd", rate=1e-4).go(6)
    frozen = [t.clone() for t in flat(run.strategy._importance)]
    batch = run.rooms[0][0]
    run.strategy.begin_experience(run.model, Start(1, run.strategy.modalities))
    with torch.no_grad():
        for p in run.model.parameters():
            p.add_(0.01)
    for p in run.model.parameters():
        p.grad = None
    penalty(run, batch).backward()
    run.strategy.gradients(run.model)
    largest = max(float((k * 0.01).abs().max()) for k in flat(run.strategy._stiffness))
    assert all(float(g.abs().max()) <= 1e-4 * largest for g in run.strategy._before.gradients)
    assert all(torch.equal(a, b) for a, b in zip(frozen, flat(run.strategy._importance), strict=True))


def test_rwalk_is_finite_where_nothing_moves():
    run = Run("rwalk", {"interval": 1}, never=("lidar",), optimizer="sgd")
    for p in run.model.parameters_of("wifi"):
        p.requires_grad_(False)
    run.go()
    assert all(t.isfinite().all() for t in flat(run.strategy._stiffness))
    assert max(float(t.max()) for t in flat(run.strategy._stiffness)) > 0
    still = Run("rwalk", optimizer="sgd", rate=1e-30).go()
    assert all(t.isfinite().all() for t in flat(still.strategy._stiffness))
