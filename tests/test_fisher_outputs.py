"""Information of the outputs against the exact J'J, and what must not change it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch.func import functional_call, jacrev

from continual.world import JOINTS, SENSORS, linear_batch, linear_model, samples, singles, tiny_model, without_label
from equipose.errors import UsageError
from equipose.fisher import diagonal_fisher
from equipose.fisher_outputs import Weights, output_fisher, parameter_groups
from equipose.train.losses import mpjpe_loss

BATCH = samples(48, 3, missing=0.2)
PROBES = 64


@pytest.fixture
def model():
    return tiny_model(seed=1)


def exact(model, batch, weights=None):
    """Parameter id -> mean over samples and coordinates of the squared Jacobian, mm^2; by forming the Jacobian."""
    names = {name: p.detach() for name, p in model.named_parameters()}
    model.eval()
    sums = {name: torch.zeros_like(p) for name, p in names.items()}
    weights = torch.ones(len(batch)) if weights is None else weights
    for i in range(len(batch)):
        one = batch.select(torch.tensor([i]))
        rows = jacrev(lambda p, one=one: functional_call(model, p, (one,)).joints.flatten())(names)
        for name, each in rows.items():
            sums[name] += weights[i] * each.square().sum(0)
    owners = dict(model.named_parameters())
    scale = 1e6 / (weights.sum() * 3 * JOINTS)
    return {id(owners[name]): total * scale for name, total in sums.items()}


def flat(fisher):
    return np.concatenate([t.double().flatten().numpy() for each in fisher.diagonal.values() for t in each])


def in_order(model, found):
    groups = parameter_groups(model)
    return np.concatenate([found[id(p)].double().flatten().numpy() for each in groups.values() for p in each])


def test_equals_the_exact_diagonal(model):
    truth = in_order(model, exact(model, BATCH))
    found = flat(output_fisher(model, [BATCH], probes=PROBES))
    assert spearmanr(found, truth).statistic >= 0.98
    assert found.sum() / truth.sum() == pytest.approx(1.0, abs=0.03)
    assert np.abs(np.log(found[truth > 1] / truth[truth > 1])).mean() < 0.2


def test_one_sample_and_one_layer_need_one_probe():
    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    model, batch = linear_model(4), linear_batch(x, torch.zeros(20, 3 * JOINTS))
    found = output_fisher(model, [batch.select(torch.tensor([i])) for i in range(20)], probes=1)
    expected = 1e6 * x.square().mean(0) / (3 * JOINTS)
    (bias, weight) = found.diagonal["shared"]
    torch.testing.assert_close(weight, expected.expand(3 * JOINTS, 4))
    torch.testing.assert_close(bias, torch.full((3 * JOINTS,), 1e6 / (3 * JOINTS)))


@pytest.mark.parametrize("size", [1, 7, 48])
def test_batch_size_and_order_do_not_matter(model, size):
    truth = in_order(model, exact(model, BATCH))
    order = torch.randperm(48, generator=torch.Generator().manual_seed(size))
    batches = [BATCH.select(order[i : i + size]) for i in range(0, 48, size)]
    found = flat(output_fisher(model, batches, probes=PROBES if size > 1 else 8, seed=size))
    assert found.sum() / truth.sum() == pytest.approx(1.0, abs=0.04)
    assert spearmanr(found, truth).statistic >= 0.97


def test_squared_batch_gradients_depend_on_the_batch_size(model):
    """The mistake that the alternative is there to show."""
    traces = []
    for size in (1, 48):
        batches = [BATCH.select(torch.arange(i, i + size)) for i in range(0, 48, size)]
        traces.append(flat(output_fisher(model, batches, "batch", loss=mpjpe_loss)).sum())
    assert traces[1] < 0.8 * traces[0]


def test_labels_do_not_matter(model):
    found = output_fisher(model, [BATCH], probes=2)
    other = output_fisher(model, [without_label(BATCH)], probes=2)
    assert np.array_equal(flat(found), flat(other))


def test_empirical_information_is_that_of_the_labels(model):
    found = output_fisher(model, [BATCH], "per_sample", loss=mpjpe_loss)
    loop = output_fisher(model, [BATCH], "loop", loss=mpjpe_loss)
    expected = diagonal_fisher(model, SENSORS, [BATCH], mpjpe_loss)
    np.testing.assert_allclose(flat(found), flat(loop), rtol=2e-3, atol=1e-9)
    for m in SENSORS:
        for ours, theirs in zip(found.diagonal[m], expected.diagonal[m].values(), strict=True):
            torch.testing.assert_close(ours, theirs)


def test_weights_of_samples(model):
    weight = torch.rand(48, generator=torch.Generator().manual_seed(0))
    truth = in_order(model, exact(model, BATCH, weight))

    def weigh(batch):
        return Weights(weight, torch.ones(batch.present.shape))

    found = flat(output_fisher(model, [BATCH], probes=PROBES, weigh=weigh))
    assert found.sum() / truth.sum() == pytest.approx(1.0, abs=0.04)
    assert spearmanr(found, truth).statistic >= 0.97


def test_cells_of_weight_zero_add_nothing_and_do_not_dilute(model):
    def weigh(batch):
        cells = torch.ones(len(batch), 4)
        cells[batch.meta.sample - BATCH.meta.sample[0] >= 10, 1] = 0.0
        return Weights(torch.ones(len(batch)), cells)

    found = output_fisher(model, singles(BATCH), probes=4, weigh=weigh)
    whole = output_fisher(model, singles(BATCH), probes=4)
    alone = output_fisher(model, singles(BATCH)[:10], probes=4)
    assert found.trace("lidar") == pytest.approx(alone.trace("lidar"), rel=1e-4)
    assert abs(found.trace("lidar") / whole.trace("lidar") - 1) > 0.02, "the first ten are no others"
    assert found.trace("rgb") == pytest.approx(whole.trace("rgb"), rel=1e-5)
    none = output_fisher(model, [BATCH], weigh=lambda b: Weights(torch.ones(48), torch.zeros(48, 4)))
    assert none.trace("lidar") == 0.0
    assert none.trace("shared") > 0.0


def test_an_absent_sensor_has_none_and_frozen_weights_have_none(model):
    batch = replace(BATCH, present=BATCH.present & torch.tensor([True, False, True, True]))
    model.encoders["rgb"].second.bias.requires_grad_(False)
    found = output_fisher(model, [batch], probes=1)
    assert found.trace("lidar") == 0.0
    assert found.trace("rgb") > 0.0
    place = [p is model.encoders["rgb"].second.bias for p in model.parameters_of("rgb")].index(True)
    assert not found.diagonal["rgb"][place].any()
    assert all(a.shape == p.shape for a, p in zip(found.diagonal["rgb"], model.parameters_of("rgb"), strict=True))


def test_subsets_keep_what_a_sensor_can_do_alone(model):
    found = output_fisher(model, [BATCH], probes=PROBES, subsets=True)
    assert all(found.trace(g) > 0 for g in found.diagonal)
    assert not np.array_equal(flat(found), flat(output_fisher(model, [BATCH], probes=PROBES)))


@pytest.mark.parametrize("method", ["jacobian", "per_sample", "batch"])
def test_leaves_no_trace(model, method):
    model.train()
    model.encoders["rgb"].eval()
    model.register_buffer("statistics", torch.ones(2))
    flags = [m.training for m in model.modules()]
    state = {k: v.clone() for k, v in model.state_dict().items()}
    kept = next(model.parameters())
    kept.grad = torch.ones_like(kept)
    random = torch.get_rng_state()
    output_fisher(model, [BATCH], method, probes=2, loss=mpjpe_loss)
    assert [m.training for m in model.modules()] == flags
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert torch.equal(kept.grad, torch.ones_like(kept))
    assert all(p.grad is None for p in model.parameters() if p is not kept)
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.is_grad_enabled()


def test_no_samples_and_no_loss_are_told(model):
    with pytest.raises(UsageError, match="no sample"):
        output_fisher(model, [])
    with pytest.raises(UsageError, match="needs a loss"):
        output_fisher(model, [BATCH], "batch")
