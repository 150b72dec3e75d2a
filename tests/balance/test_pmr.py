import numpy as np
import pytest
import torch

from balance.steps import exact, mpjpe, probe_of, started, step, without
from equipose.balance.codebook import nearest
from equipose.balance.pmr import Pmr, PmrSettings, lags, prototype_loss, shapes

TWO, THREE = ("rgb", "lidar"), ("rgb", "lidar", "wifi")


def pmr(modalities=THREE, **settings):
    return Pmr(PmrSettings(**{"codes": 4, **settings}), modalities)


def log_softmax(x):
    x = x - x.max(1, keepdims=True)
    return x - np.log(np.exp(x).sum(1, keepdims=True))


def numpy_parts(features, prototypes, kind):
    """Score and cross-entropy of one sensor, as published but for sums in place of means."""
    distance = np.linalg.norm(features[:, None] - prototypes[None], axis=-1)
    logs = log_softmax(-distance)[np.arange(len(kind)), kind]
    return np.exp(logs).mean(), -logs.mean()


@pytest.fixture
def at_work(make_model, make_batch):
    def make(modalities=THREE, **settings):
        model = make_model(modalities=modalities).eval().double()
        batches = [exact(make_batch(16, seed, modalities=modalities)) for seed in (1, 2)]
        strategy = started(pmr(modalities, **settings), model)
        strategy.begin_epoch(model, probe_of(batches))
        return strategy, model, batches

    return make


@pytest.mark.parametrize("scores", [(0.5, 0.4), (0.2, 0.9), (0.3, 0.3)])
def test_with_two_sensors_the_weight_is_the_published_one(scores):
    ratio = scores[0] / scores[1]
    expected = [np.clip(1 / ratio - 1, 0, 1), np.clip(ratio - 1, 0, 1)]  # of the first, of the second
    np.testing.assert_allclose(lags(torch.tensor(scores)).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_every_sensor_is_compared_with_the_best():
    found = lags(torch.tensor([0.5, 0.4, 0.1, 0.0]))
    torch.testing.assert_close(found, torch.tensor([0.0, 0.25, 1.0, 1.0]))


def test_prototypes_are_the_mean_features_of_their_kind(at_work):
    strategy, model, batches = at_work()
    kind = torch.cat([nearest(shapes(b.target), strategy._codes) for b in batches]).numpy()
    for m in THREE:
        features = np.concatenate([model.encode(b)[m].detach().numpy() for b in batches])
        for k in range(len(strategy._codes)):
            np.testing.assert_allclose(strategy._prototypes[m][k].numpy(), features[kind == k].mean(0), atol=1e-6)


def test_prototypes_keep_some_of_the_old_and_samples_without_the_sensor_do_not_count(at_work):
    strategy, model, batches = at_work(momentum=0.2)
    old = {m: p.clone() for m, p in strategy._prototypes.items()}
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1.5)
    hidden = without(batches[0], "lidar", [0, 3, 4])
    strategy.begin_epoch(model, probe_of([hidden], epoch=1))
    kind = nearest(shapes(hidden.target), strategy._codes).numpy()
    features = model.encode(hidden)["lidar"].detach().numpy()
    inside = hidden.present[:, 1].numpy()
    for k in range(len(strategy._codes)):
        rows = (kind == k) & inside
        expected = 0.8 * features[rows].mean(0) + 0.2 * old["lidar"][k].numpy() if rows.any() else old["lidar"][k]
        np.testing.assert_allclose(strategy._prototypes["lidar"][k].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("modalities", [TWO, THREE], ids=len)
def test_the_term_is_the_published_one_with_kinds_for_classes(at_work, make_batch, modalities):
    strategy, model, _ = at_work(modalities, strength=0.7)
    batch = exact(make_batch(12, 9, modalities=modalities))
    terms, _ = step(strategy, model, batch)
    kind = nearest(shapes(batch.target), strategy._codes).numpy()
    features = {m: f.detach().numpy() for m, f in model.encode(batch).items()}
    parts = {m: numpy_parts(features[m], strategy._prototypes[m].numpy(), kind) for m in modalities}
    best = max(score for score, _ in parts.values())
    weighted = sum(np.clip(best / score - 1, 0, 1) * entropy for score, entropy in parts.values())
    assert weighted > 0
    pose = float(mpjpe(model(batch), batch).mean().detach())
    expected = 0.7 * pose / np.log(len(strategy._codes)) * weighted
    assert float(terms["prototypes"].detach()) == pytest.approx(expected, rel=1e-4)


def test_the_best_sensor_is_left_alone_and_the_weakest_is_not(at_work, make_batch):
    strategy, model, _ = at_work()
    batch = exact(make_batch(12, 9))
    step(strategy, model, batch)
    scores = strategy.log()["score"]
    best, worst = max(THREE, key=scores.get), min(THREE, key=scores.get)
    features = model.encode(batch)
    terms = strategy.objective(
        model, features, model.decode(features, batch.present), batch, torch.ones((), dtype=torch.float64)
    ).terms
    found = torch.autograd.grad(terms["prototypes"], [features[m] for m in THREE])
    gradients = dict(zip(THREE, found, strict=True))
    assert not gradients[best].any()
    assert gradients[worst].any()


def test_kinds_that_a_sensor_never_saw_do_not_teach_it():
    feature = torch.randn(5, 3, requires_grad=True)
    known = torch.tensor([True, False, True])
    losses = prototype_loss(feature, torch.randn(3, 3), known, torch.tensor([0, 1, 2, 1, 0]), 1.0)
    assert losses.isinf().tolist() == [False, True, False, True, False]
    losses[[0, 2, 4]].sum().backward()
    assert feature.grad.isfinite().all()


def test_a_feature_on_its_prototype_has_a_gradient_of_zero():
    feature = torch.ones(1, 3, requires_grad=True)
    prototypes = torch.stack([torch.ones(3), torch.zeros(3)])
    loss = prototype_loss(feature, prototypes, torch.ones(2, dtype=torch.bool), torch.tensor([0]), 1.0)
    loss.sum().backward()
    assert feature.grad.isfinite().all()


def test_a_sensor_that_is_never_there_gives_numbers(make_model, make_batch):
    model, batch = make_model().eval(), without(make_batch(16), "wifi", slice(None))
    strategy = started(pmr(), model)
    strategy.begin_epoch(model, probe_of([batch]))
    _, found = step(strategy, model, batch)
    assert all(g.isfinite().all() for g in found.values())
    assert strategy.log()["score"]["wifi"] is None


def test_poses_are_told_apart_by_shape_and_not_by_place(make_batch):
    target = make_batch(6).target
    moved = target + torch.tensor([1.0, -2.0, 0.5])
    torch.testing.assert_close(shapes(moved), shapes(target))


def test_with_one_sensor_there_is_nobody_to_lag_behind(make_model, make_batch):
    model, batch = make_model(modalities=("rgb",)), make_batch(8, modalities=("rgb",))
    strategy = started(pmr(("rgb",)), model)
    strategy.begin_epoch(model, probe_of([batch]))
    terms, _ = step(strategy, model, batch)
    assert list(terms) == ["pose"]
