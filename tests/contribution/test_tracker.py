import pytest
import torch

from equipose.contribution.shapley import shapley_values
from equipose.contribution.tracker import ContributionTracker
from equipose.errors import UsageError
from equipose.types import all_coalitions


def tracked(model, batches, profit="pearson", pieces=1):
    tracker = ContributionTracker(model.modalities, 4, profit, model.mean_pose)
    for batch in batches:
        for index in torch.arange(len(batch)).chunk(pieces):
            part = batch.select(index)
            tracker.update(model, model.encode(part), part)
    return tracker


def test_equals_a_naive_computation(toy_model, toy_batch):
    batch = toy_batch(64)
    tracker = tracked(toy_model, [batch])
    toy_model.eval()
    with torch.no_grad():
        features = toy_model.encode(batch)
        worths = []
        for members in all_coalitions(3):
            joints = toy_model.decode_coalitions(features, members[None], batch.present)[0]
            stacked = torch.stack([joints.flatten(1), batch.target.flatten(1)]).double()
            correlations = [torch.corrcoef(stacked[:, :, c])[0, 1] for c in range(12)]
            worths.append(sum(correlations) if members.any() else torch.zeros((), dtype=torch.float64))
    torch.testing.assert_close(tracker.values(), torch.stack(worths), rtol=1e-8, atol=1e-8)
    expected = shapley_values(torch.stack(worths)).tolist()
    assert list(tracker.contribution().values()) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("profit", ["pearson", "mpjpe", "skill", "concordance", "weighted_pearson"])
def test_does_not_depend_on_the_batch_size(toy_model, toy_batch, profit):
    batches = [toy_batch(60, seed) for seed in range(3)]
    whole = tracked(toy_model, batches, profit).contribution()
    pieces = tracked(toy_model, batches, profit, pieces=7).contribution()
    assert whole == pytest.approx(pieces, abs=1e-5)


def test_leaves_model_features_and_random_state_alone(toy_model, toy_batch):
    toy_model.train()
    toy_model.encoders["two"].eval()
    flags = [m.training for m in toy_model.modules()]
    state = {k: v.clone() for k, v in toy_model.state_dict().items()}
    random = torch.get_rng_state()
    batch = toy_batch(32)
    features = toy_model.encode(batch)
    ContributionTracker(toy_model.modalities, 4, "pearson", toy_model.mean_pose).update(toy_model, features, batch)
    assert [m.training for m in toy_model.modules()] == flags
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(v, state[k]) for k, v in toy_model.state_dict().items())
    assert all(p.grad is None for p in toy_model.parameters())
    assert features["one"].requires_grad
    assert torch.is_grad_enabled()


def test_flags_are_restored_after_an_error(toy_model, toy_batch):
    tracker = ContributionTracker(toy_model.modalities, 4, "pearson", toy_model.mean_pose)
    with pytest.raises(KeyError):
        tracker.update(toy_model, {}, toy_batch(4))
    assert toy_model.training
    assert torch.is_grad_enabled()


def test_state_goes_on_exactly(toy_model, toy_batch):
    first, second = toy_batch(30, 1), toy_batch(30, 2)
    tracker = tracked(toy_model, [first])
    copy = ContributionTracker(toy_model.modalities, 4, "pearson", toy_model.mean_pose)
    copy.load_state_dict({k: v.clone() for k, v in tracker.state_dict().items()})
    for each in (tracker, copy):
        each.update(toy_model, toy_model.encode(second), second)
    assert copy.contribution() == tracker.contribution()
    assert copy.samples == 60


def test_reset_forgets(toy_model, toy_batch):
    tracker = tracked(toy_model, [toy_batch(30, 1)])
    tracker.reset()
    assert tracker.samples == 0
    assert tracker.values().isnan().all()
    tracker.update(toy_model, toy_model.encode(toy_batch(30, 2)), toy_batch(30, 2))
    assert tracker.contribution() == tracked(toy_model, [toy_batch(30, 2)]).contribution()


def test_processes_pool_by_sum_or_by_mean(toy_model, toy_batch):
    parts = [tracked(toy_model, [toy_batch(40, seed)]) for seed in range(2)]
    whole = tracked(toy_model, [toy_batch(40, 0), toy_batch(40, 1)])
    others = list(parts[1].state_dict().values())

    def reduce(scale):
        remaining = iter(others)
        return lambda tensor: scale * (tensor + next(remaining))

    for scale in (1.0, 0.5):
        assert parts[0].contribution(reduce(scale)) == pytest.approx(whole.contribution(), abs=1e-9)


def test_half_precision_features_are_accepted(toy_model, toy_batch):
    batch = toy_batch(32)
    tracker = ContributionTracker(toy_model.modalities, 4, "pearson", toy_model.mean_pose)
    features = {k: v.bfloat16() for k, v in toy_model.encode(batch).items()}
    tracker.update(toy_model, features, batch)
    assert all(torch.isfinite(torch.tensor(v)) for v in tracker.contribution().values())


def test_collapse_sees_a_dead_sensor(toy_model, toy_batch):
    with torch.no_grad():
        toy_model.encoders["three"].weight.zero_()
    batch = toy_batch(200)
    batch.present[:] = True
    ratio = tracked(toy_model, [batch]).collapse()
    assert ratio["three"] < 1e-5
    assert ratio["one"] > 0.1
    assert abs(tracked(toy_model, [batch]).contribution()["three"]) < 1e-6


def test_too_many_modalities_are_refused(toy_model):
    with pytest.raises(UsageError, match="13 players"):
        ContributionTracker(tuple("abcdefghijklm"), 4, "pearson", toy_model.mean_pose)
