"""A learner on a stream without end: judged before learned, bounded, exact on save and load, any batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from continual.world import SENSORS, samples, tiny_model
from equipose.config import load_settings
from equipose.errors import DataError, UsageError
from equipose.registry import BALANCE, CONTINUAL
from equipose.separation.reasons import Reason
from equipose.train.learner import Learner
from equipose.train.live_recipe import LiveRecipe
from train.live_tools import (
    FEW,
    blanked,
    follow,
    moment,
    same,
    settings,
    told,
    with_input,
    world_learner,
)


@pytest.mark.parametrize(
    ("strategies", "before"),
    [
        (("continual.name=adaptive_ewc_replay",), 1),
        (("continual.name=adaptive_ewc_replay",), 14),
        (("continual.name=derpp", "balance.name=awc", "live.steps=2"), 13),
        (("continual.name=si", "balance.name=modality_dropout"), 9),
    ],
)
def test_a_saved_learner_goes_on_bit_for_bit(strategies, before, tmp_path):
    straight = world_learner(*FEW, *strategies)
    numbers = list(range(20))

    def go(learner, these):
        for n in these:
            if n == 9:
                learner.begin_experience("second")
            yield told(learner.observe(moment(n, room=int(n >= 9), missing=0.1)))

    expected = list(go(straight, numbers))
    halted = world_learner(*FEW, *strategies)
    list(go(halted, numbers[:before]))
    halted.save(tmp_path / "learner")
    resumed = Learner.load(tmp_path / "learner", tiny_model(seed=5))
    torch.manual_seed(99)
    assert same(list(go(resumed, numbers[before:])), expected[before:])
    assert same(resumed.model.state_dict(), straight.model.state_dict())
    assert resumed.log() == straight.log() and resumed.events() == straight.events()
    assert same(resumed.summary(), straight.summary())


def test_the_callers_random_state_is_left_alone():
    learner = world_learner(*FEW)
    before = torch.get_rng_state()
    follow(learner, range(3))
    learner.begin_experience()
    learner.predict(moment(4))
    assert torch.equal(torch.get_rng_state(), before)


def test_nothing_grows_with_the_stream(tmp_path):
    script = Path(__file__).with_name("long_stream.py")
    path = {**os.environ, "PYTHONPATH": str(script.parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(tmp_path / "state")]
    found = json.loads(subprocess.run(command, env=path, capture_output=True, text=True, check=True).stdout)
    (first, first_saved), (last, last_saved) = found["sizes"]
    assert found["batches"] == 2000 and found["rows"] == 30
    assert last == first
    assert last_saved <= first_saved + 1000  # counters have more digits


def test_memory_with_separation_stays_within_what_the_settings_say():
    learner = world_learner(*FEW, "live.aside=8", "live.rows=50", "continual.settings={capacity: 16}")
    follow(learner, range(30))
    first = learner.memory_bytes()
    follow(learner, range(30, 90))
    last = learner.memory_bytes()
    assert {**last, "log": 0} == {**first, "log": 0}
    assert last["log"] <= 8 * 1000 + 2 * 50 * 600  # samples, rows and events


def test_a_verdict_does_not_depend_on_what_is_learned_of_its_batch():
    """Judged by the model before: any number of steps on the batch, or none, and the verdict is the same."""
    learners = [world_learner(*FEW, f"live.steps={k}", "train.learning_rate=1e-9") for k in (1, 1)]
    for learner in learners:
        follow(learner, range(10))
    batch = moment(10)
    foreseen = learners[0].check(batch)
    before = learners[0].predict(batch)
    hard = learners[1]
    hard._training._live = hard.recipe.live.model_copy(update={"steps": 7})
    hard._training._recipe = hard.recipe.model_copy(
        update={"train": hard.recipe.train.model_copy(update={"learning_rate": 0.1})}
    )
    reports = [learner.observe(batch) for learner in learners]
    assert same(reports[0].verdict.tensors(), reports[1].verdict.tensors())
    assert same(reports[0].verdict.tensors(), foreseen.tensors())
    assert reports[0].error_mm == reports[1].error_mm
    expected = 1000 * torch.linalg.vector_norm(before - batch.target, dim=-1).mean()
    assert reports[0].error_mm == pytest.approx(float(expected), rel=1e-5)
    assert not torch.equal(hard.predict(batch), before)


def test_checking_changes_nothing(tmp_path):
    one, other = world_learner(*FEW), world_learner(*FEW)
    for learner in (one, other):
        follow(learner, range(9))
    for n in range(20, 24):
        one.check(moment(n))
        one.predict(moment(n))
    assert same(told(one.observe(moment(9))), told(other.observe(moment(9))))


def errors_after_two_rooms(name):
    plain = ("train.learning_rate=0.01", "balance.name=joint", "live.separate=false", "live.steps=2")
    learner = world_learner(*plain, f"continual.name={name}")
    follow(learner, range(60))
    mid = mean_error(learner, 0)
    learner.begin_experience("room 1")
    follow(learner, range(60), room=1)
    return mid, mean_error(learner, 0), mean_error(learner, 1)


def mean_error(learner, room):
    batch = moment(500, 64, room=room)
    return 1000 * float(torch.linalg.vector_norm(learner.predict(batch) - batch.target, dim=-1).mean())


def test_it_forgets_less_than_plain_fine_tuning():
    learned, forgotten, fitted = errors_after_two_rooms("fine_tune")
    assert forgotten - learned > 100  # there is something to forget
    _, kept, new = errors_after_two_rooms("er")
    assert kept - learned < 0.2 * (forgotten - learned) and new < 1.2 * fitted


@pytest.mark.parametrize("name", sorted(CONTINUAL))
def test_every_continual_strategy_follows(name):
    learner = world_learner(*FEW, f"continual.name={name}")
    follow(learner, range(5), missing=0.3)
    learner.begin_experience()
    reports = follow(learner, range(5, 9), room=1, missing=0.3)
    for report in reports:
        assert torch.equal(report.learned, (report.verdict.reason == Reason.CLEAN).any(1)) and report.loss > 0
    assert learner.experiences == 1


@pytest.mark.parametrize("name", sorted(set(BALANCE) - {"sample_resampling", "modality_resampling", "umt"}))
def test_every_balance_strategy_follows(name):
    learner = world_learner("live.epoch=2", "live.separate=false", "continual.name=er", f"balance.name={name}")
    reports = follow(learner, range(5))
    assert all(report.learned.all() for report in reports)
    assert all(p.isfinite().all() for p in learner.model.parameters())
    assert learner._training.session.progress.epoch == 2


@pytest.mark.parametrize("name", ["sample_resampling", "modality_resampling"])
def test_strategies_that_choose_their_samples_are_refused(name):
    with pytest.raises(UsageError, match="comes as it comes"):
        world_learner(f"balance.name={name}")


def test_a_batch_of_one_and_sensors_that_are_missing():
    learner = world_learner(*FEW)
    for n in range(12):
        report = learner.observe(moment(n, 1, missing=0.5, never=("lidar",)))
        reason = report.verdict.reason[0]
        assert reason[SENSORS.index("lidar")] == Reason.ABSENT
        assert set(reason.tolist()) <= {Reason.CLEAN, Reason.ABSENT, Reason.EMPTY, Reason.CONSTANT}
        assert report.learned.tolist() == [bool((reason == Reason.CLEAN).any())]


def test_samples_without_a_label_are_left_out_of_a_batch_that_has_some():
    whole, part = world_learner(*FEW), world_learner(*FEW)
    batch = moment(0)
    target = batch.target.clone()
    target[::2, 1] = torch.nan  # one joint is enough
    report = part.observe(replace(batch, target=target))
    assert report.learned.tolist() == [False, True] * 8
    assert report.loss == pytest.approx(report.loss) and report.error_mm > 0
    assert whole.observe(batch).learned.all()
    assert all(p.isfinite().all() for p in part.model.parameters())


def test_where_all_cells_are_corrupt_nothing_is_learned_and_it_is_said():
    learner = world_learner(*FEW)
    follow(learner, range(3))
    before = {k: v.clone() for k, v in learner.model.state_dict().items()}
    batch = moment(3)
    for name in SENSORS:
        batch = with_input(batch, name, torch.zeros_like)
    report = learner.observe(batch)
    assert same(dict(learner.model.state_dict()), before) and not report.learned.any()
    assert report.flagged.sum() == batch.present.sum()
    assert report.notes == ("nothing was learned: no sensor of any sample can be trusted",)
    assert learner.observe(moment(4)).learned.all()


def test_numbers_that_are_not_finite_reach_no_weight():
    learner = world_learner(*FEW)

    def broken(values):
        values = values.clone()
        values[1::3] = torch.nan
        values[2, 0] = torch.inf
        return values

    for n in range(4):
        batch = moment(n)
        for name in ("rgb", "lidar"):
            batch = with_input(batch, name, broken)
        report = learner.observe(batch)
        assert report.verdict.reason[1, 0] == Reason.NOT_FINITE and report.learned.all()
        assert all(p.isfinite().all() for p in learner.model.parameters())
        assert learner.predict(batch).isfinite().all()
    learner.begin_experience()
    assert learner.observe(moment(5)).learned.all()


def test_it_starts_from_nothing_and_from_a_run_and_comes_back_without_a_model(recipe, packed, tmp_path):
    from equipose.data.dataset import datasets
    from equipose.train.fit import train

    made = recipe("train.epochs=1")
    run = train(made, packed, tmp_path, "run", lambda steps: None)
    data = datasets(packed, made.data)["train"]
    plain = made.model_dump(mode="json", exclude_unset=True)
    live = load_settings(LiveRecipe, None, [f"{g}.{k}={v}" for g, each in plain.items() for k, v in each.items()])
    first = data.batch(range(8))
    for learner in (Learner.start(live, run.path), Learner.start(live, mean_pose=first.target.mean(0))):
        assert learner.model.modalities == data.modalities
        learner.observe(first)
        learner.save(tmp_path / "learner")
        loaded = Learner.load(tmp_path / "learner")
        assert torch.equal(loaded.predict(first), learner.predict(first))
        assert same(told(loaded.observe(data.batch(range(8, 12)))), told(learner.observe(data.batch(range(8, 12)))))
    with pytest.raises(DataError, match="no learner"):
        Learner.load(run.checkpoint("last"))


def test_refusals_say_what_to_type(tmp_path):
    learner = world_learner()
    with pytest.raises(UsageError, match="give all of the model's"):
        learner.observe(samples(4, modalities=("rgb",)))
    wrong = replace(moment(0), target=torch.zeros(16, 7, 3))
    with pytest.raises(UsageError, match=r"expected \(batch, 3, 3\)"):
        learner.observe(wrong)
    with pytest.raises(UsageError, match="mean_pose"):
        Learner.start(settings())
    with pytest.raises(UsageError, match="labelled"):
        learner.trust(blanked(moment(0)))
    with pytest.raises(DataError, match=r"Learner\.save"):
        Learner.load(tmp_path)
    with pytest.raises(UsageError, match="fusion"):
        settings("separation.readout=ridge")
    with pytest.raises(UsageError, match="diverged"):
        follow(world_learner("train.learning_rate=1e30", "balance.name=joint"), range(4))
