from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from equipose.contribution.measure import load_npz, mean_features, measure, save_npz
from equipose.contribution.profit import Pearson
from equipose.contribution.shapley import shapley_values
from equipose.contribution.statistics import batch_statistics
from equipose.errors import DataError, UsageError
from equipose.types import all_coalitions


@pytest.fixture
def batches(toy_batch):
    return [toy_batch(50, seed) for seed in range(3)]


def arrays(contributions):
    flat = {}
    for field in fields(contributions):
        value = getattr(contributions, field.name)
        flat[field.name] = value if isinstance(value, np.ndarray) else None
    return {k: v for k, v in flat.items() if v is not None}


def same(a, b, tolerance=0.0):
    for name, value in arrays(a).items():
        np.testing.assert_allclose(value, arrays(b)[name], rtol=0, atol=tolerance, err_msg=name)


def joined(batches):
    from equipose.types import Batch, Dense, FrameMeta

    def cat(get):
        return torch.cat([get(b) for b in batches])

    first = batches[0]
    return Batch(
        first.modalities,
        {
            m: Dense(cat(lambda b, m=m: b.inputs[m].values), cat(lambda b, m=m: b.inputs[m].valid))
            for m in first.modalities
        },
        cat(lambda b: b.present),
        cat(lambda b: b.target),
        FrameMeta(*(cat(lambda b, f=f: getattr(b.meta, f.name)) for f in fields(FrameMeta))),
    )


def test_efficiency_overall_and_per_group(toy_model, batches):
    found = measure(toy_model, batches, bootstrap=0)
    assert found.phi.sum() == pytest.approx(found.values[-1] - found.values[0], abs=1e-10)
    whole = joined(batches)
    assert found.samples == 150
    assert found.subjects == tuple(sorted(set(whole.meta.subject.tolist())))
    toy_model.eval()
    with torch.no_grad():
        features = toy_model.encode(whole)
        joints = toy_model.decode_coalitions(features, all_coalitions(3), whole.present)
    for kind, labels, per in (
        ("subject", found.subjects, found.per_subject),
        ("action", found.actions, found.per_action),
        ("environment", found.environments, found.per_environment),
    ):
        for column, label in enumerate(labels):
            rows = getattr(whole.meta, kind) == label
            sums = batch_statistics(joints[:, rows], whole.target[rows], toy_model.mean_pose)
            np.testing.assert_allclose(
                per[:, column], shapley_values(Pearson().value(sums)[0]).numpy(), rtol=0, atol=1e-7
            )
    np.testing.assert_allclose(found.per_joint.sum(1), found.phi, atol=1e-10)


def test_batches_and_chunks_do_not_matter(toy_model, batches, monkeypatch):
    found = measure(toy_model, batches)
    same(found, measure(toy_model, [joined(batches)]), 1e-6)
    monkeypatch.setattr("equipose.contribution.measure._NUMBERS_AT_ONCE", 1)
    same(found, measure(toy_model, batches), 1e-12)


def test_coalition_chunks_do_not_matter(toy_model, batches):
    from equipose.contribution.tracker import coalition_statistics

    batch = batches[0]
    toy_model.eval()
    with torch.no_grad():
        features = toy_model.encode(batch)
        whole, pieces = (
            coalition_statistics(
                toy_model, features, batch, all_coalitions(3), toy_model.mean_pose, rows_at_once=rows
            ).to_dict()
            for rows in (10_000, 100)
        )
    for name, tensor in whole.items():
        assert torch.equal(tensor, pieces[name]), name


def test_leaves_no_trace(toy_model, batches):
    toy_model.train()
    toy_model.norm.eval()
    flags = [m.training for m in toy_model.modules()]
    state = {k: v.clone() for k, v in toy_model.state_dict().items()}
    marker = torch.ones_like(toy_model.head.weight)
    toy_model.head.weight.grad = marker
    random, numpy_random = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = measure(toy_model, batches)
    mean_features(toy_model, batches)
    assert [m.training for m in toy_model.modules()] == flags
    assert all(torch.equal(v, state[k]) for k, v in toy_model.state_dict().items())
    assert toy_model.head.weight.grad is marker
    assert torch.equal(marker, torch.ones_like(marker))
    assert toy_model.head.bias.grad is None
    assert torch.equal(torch.get_rng_state(), random)
    assert np.array_equal(np.random.get_state()[1], numpy_random)
    same(first, measure(toy_model, batches))


def test_a_duplicated_sensor_shares_and_a_dead_one_has_nothing(make_model, toy_batch):
    model = make_model(("one", "copy", "dead"))
    with torch.no_grad():
        for p, q in zip(model.encoders["one"].parameters(), model.encoders["copy"].parameters(), strict=True):
            q.copy_(p)
        for columns in (model.head.weight.T, model.norm.weight, model.norm.bias):
            columns[5:10] = columns[:5]
        for p in model.encoders["dead"].parameters():
            p.zero_()
    batch = toy_batch(200, modalities=("one", "copy", "dead"))
    batch.present[:] = True
    batch.inputs["copy"].values.copy_(batch.inputs["one"].values)
    found = measure(model, [batch])
    assert found.phi[0] == pytest.approx(found.phi[1], abs=1e-5)
    assert found.phi[2] == pytest.approx(0.0, abs=1e-6)
    assert found.collapse["dead"] < 1e-5
    assert any("dead has collapsed" in alarm for alarm in found.alarms)
    assert not any("one has collapsed" in alarm for alarm in found.alarms)


def test_baselines_differ_and_the_mean_baseline_is_the_mean(toy_model, batches):
    mean = mean_features(toy_model, batches)
    whole = joined(batches)
    expected = torch.stack(
        [f[whole.present[:, i]].mean(0) for i, f in enumerate(toy_model.eval().encode(whole).values())]
    )
    torch.testing.assert_close(torch.stack(list(mean.values())), expected)
    zero, centred = measure(toy_model, batches), measure(toy_model, batches, baseline=mean)
    assert (zero.baseline, centred.baseline) == ("zero", "mean")
    assert not np.allclose(zero.phi, centred.phi)
    assert centred.values[-1] != zero.values[-1]  # some samples lack a sensor


def test_intervals_are_seeded_and_hold_the_estimate(toy_model, batches):
    def drawn(seed):
        return measure(toy_model, batches, generator=np.random.default_rng(seed))

    same(drawn(3), drawn(3))
    assert not np.array_equal(drawn(3).phi_interval, drawn(4).phi_interval)
    found = drawn(0)
    assert found.resamples == 1000
    assert (found.phi_interval[:, 0] < found.phi_interval[:, 1]).all()
    assert ((found.share_interval >= 0) & (found.share_interval <= 1)).all()
    assert measure(toy_model, batches, bootstrap=0).resamples == 0
    one = [replace(b, meta=replace(b.meta, subject=torch.ones_like(b.meta.subject))) for b in batches]
    assert np.isnan(measure(toy_model, one).phi_interval).all()


def test_all_profits_come_from_the_same_pass(toy_model, batches):
    found = measure(toy_model, batches, profit="skill")
    for name, phi in zip(found.profits, found.phi_by_profit, strict=True):
        np.testing.assert_allclose(phi, measure(toy_model, batches, profit=name, bootstrap=0).phi, atol=1e-12)


def test_file_round_trip(toy_model, batches, tmp_path):
    found = measure(toy_model, batches, interaction_index="STII")
    save_npz(tmp_path / "contributions.npz", found)
    back = load_npz(tmp_path / "contributions.npz")
    same(found, back)
    for field in fields(found):
        value = getattr(found, field.name)
        if not isinstance(value, np.ndarray):
            assert getattr(back, field.name) == value, field.name
    assert back.interaction_index == "STII"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["contributions.npz"]
    with np.load(tmp_path / "contributions.npz", allow_pickle=False) as stored:
        assert {stored[name].dtype.kind for name in stored.files} <= set("fiU")
        documented = __import__("equipose.contribution.result", fromlist=["_"]).__doc__
        assert all(name in documented for name in stored.files)
    assert "collapse" in back.table()


@pytest.mark.parametrize("damage", ["missing", "cut", "other", "garbage"])
def test_a_damaged_file_is_told(toy_model, batches, tmp_path, damage):
    path = tmp_path / "contributions.npz"
    if damage == "cut":
        save_npz(path, measure(toy_model, batches, bootstrap=0))
        path.write_bytes(path.read_bytes()[:-200])
    elif damage == "other":
        np.savez(path, phi=np.zeros(3))
    elif damage == "garbage":
        path.write_bytes(b"no zip at all")
    with pytest.raises(DataError, match="equipose contributions"):
        load_npz(path)


def test_one_sensor(make_model, toy_batch):
    found = measure(make_model(("only",)), [toy_batch(40, modalities=("only",))])
    assert found.phi.shape == (1,)
    assert found.phi[0] == pytest.approx(found.values[1] - found.values[0])
    assert found.interactions.shape == (1, 1)
    assert found.entropy == 0.0


def test_ten_sensors(make_model, toy_batch):
    names = tuple(f"m{i}" for i in range(10))
    model = make_model(names, width=2)
    found = measure(model, [toy_batch(16, modalities=names)], bootstrap=20)
    assert found.phi.sum() == pytest.approx(found.values[-1] - found.values[0], abs=1e-8)
    assert found.values.shape == (1024,)


def test_nothing_to_measure_and_mistakes_are_told(toy_model, toy_batch, batches):
    with pytest.raises(UsageError, match="no sample"):
        measure(toy_model, [])
    with pytest.raises(UsageError, match="unknown profit"):
        measure(toy_model, batches, profit="persn")
    with pytest.raises(UsageError, match="interaction index"):
        measure(toy_model, batches, interaction_index="XII")
    absent = toy_batch(10)
    absent.present[:, 1] = False
    with pytest.raises(UsageError, match="two"):
        mean_features(toy_model, [absent])
