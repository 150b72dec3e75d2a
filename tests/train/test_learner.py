"""A learner on a stream without end: judged before learned, bounded, exact on save and load, and what it finds."""

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
from equipose.types import Cloud
from separation.toy import corrupted, toy, toy_model

QUICK = ("train.accelerator=cpu", "train.batch_size=8", "contribution.samples_per_epoch=16", "live.epoch=6")
FEW = ("separation.calibration=110", "separation.rounds=1", "live.window=24", "live.warm_up=2", "live.recent=24")
STILL = ("train.learning_rate=1e-9", "balance.name=joint", "continual.name=fine_tune")


def settings(*overrides):
    return load_settings(LiveRecipe, None, [*QUICK, *overrides])


def world_learner(*overrides):
    return Learner.start(settings(*overrides), tiny_model())


def moment(number, size=16, room=0, **holes):
    """The batch at a time: frames go on from batch to batch."""
    batch = samples(size, number, room=room, **holes)
    frame = torch.arange(size) + size * number + 1
    return replace(batch, meta=replace(batch.meta, frame=frame, recording=torch.full((size,), room)))


def follow(learner, numbers, room=0, **holes):
    return [learner.observe(moment(n, room=room, **holes)) for n in numbers]


def toy_batches(data, size=20):
    return [data.batch(range(i, min(i + size, len(data)))) for i in range(0, len(data), size)]


def same(a, b):
    """Whether two nests of tensors and plain values are equal bit for bit."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a.nan_to_num(-7.0), b.nan_to_num(-7.0))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b or a != a


def told(report):
    return {**report.verdict.tensors(), "terms": dict(report.terms), "experience": report.experience}


def blanked(batch, value=torch.nan):
    """Without labels."""
    return replace(batch, target=torch.full_like(batch.target, value))


def with_input(batch, name, change):
    window = batch.inputs[name]
    field = "points" if isinstance(window, Cloud) else "values"
    return replace(batch, inputs={**batch.inputs, name: replace(window, **{field: change(getattr(window, field))})})


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
    assert learner.memory_bytes() == first


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


def test_a_clean_stream_has_few_false_alarms_and_a_noisy_one_is_found_out():
    clean = toy(recordings=18, frames=60, seed=3)
    data = corrupted(clean, "swap", 0.15, label_rate=0.1, seed=4)
    rates = {}
    for name, stream in (("clean", clean), ("noisy", data)):
        learner = Learner.start(settings(*STILL, "separation.rounds=2", "live.warm_up=10"), toy_model())
        reports = [learner.observe(batch) for batch in toy_batches(stream, 30)]
        judged = slice(450, None)  # after the warm-up, with enough to compare with
        flags = torch.cat([r.flagged for r in reports])[judged]
        labels = torch.cat([r.bad_labels for r in reports])[judged]
        cells, wrong = stream.corrupt[judged], stream.label_corrupt[judged]
        rates[name] = {
            "false": float(flags[~cells].float().mean()),
            "false label": float(labels[~wrong].float().mean()),
            "found": float(flags[cells].float().mean()) if bool(cells.any()) else None,
            "label": float(labels[wrong].float().mean()) if bool(wrong.any()) else None,
        }
        assert not learner.events()
    assert rates["clean"]["false"] < 0.04 and rates["clean"]["false label"] < 0.03
    assert rates["noisy"]["false"] < 0.05 and rates["noisy"]["false label"] < 0.05
    assert rates["noisy"]["found"] > 0.8 and rates["noisy"]["label"] > 0.7


def test_trusted_samples_judge_from_the_start():
    learner = Learner.start(
        settings(*STILL, "live.warm_up=0"), toy_model(), trusted=toy(6, 60, seed=8).batch(range(360))
    )
    data = corrupted(toy(recordings=4, frames=60, seed=3), "swap", 0.2, seed=4)
    reports = [learner.observe(batch) for batch in toy_batches(data)]
    flags = torch.cat([r.flagged for r in reports])
    assert flags[data.corrupt].float().mean() > 0.8 and flags[~data.corrupt].float().mean() < 0.05


def test_a_sensor_that_dies_in_the_stream_is_masked_at_once_and_reported():
    learner = Learner.start(settings(*STILL), toy_model())
    batches = toy_batches(toy(recordings=6, frames=60))
    for batch in batches[:4]:
        learner.observe(batch)
    reports = [learner.observe(with_input(batch, "depth", torch.zeros_like)) for batch in batches[4:14]]
    column = learner.model.modalities.index("depth")
    for report in reports:
        assert (report.verdict.reason[:, column] == Reason.ZERO).all()
        assert report.flagged[:, column].all() and not report.flagged[:, :column].any()
        assert report.learned.all()
    downs = [e for e in learner.events() if e["kind"] == "sensor down"]
    assert [e["subject"] for e in downs] == ["depth"] and learner.experiences == 0
    for batch in batches[14:]:
        learner.observe(batch)
    assert learner.events()[-1]["kind"] == "sensor back"


def test_a_frame_that_repeats_the_last_one_of_the_batch_before_is_stale():
    learner = Learner.start(settings(*STILL), toy_model())
    data = toy(recordings=1, frames=20)
    learner.observe(data.batch(range(10)))
    batch = data.batch(range(10, 11))
    frozen = with_input(batch, "wifi", lambda _: data.batch([9]).inputs["wifi"].values)
    report = learner.observe(frozen)
    assert report.verdict.reason[0].tolist() == [0, 0, 0, int(Reason.STALE)]


def test_a_room_change_opens_an_experience_and_flags_nothing_in_its_warm_up():
    """In the other room one sensor shows poses another way, of which the labels know nothing."""
    learner = Learner.start(settings(*STILL, "live.warm_up=6", "separation.rounds=2"), toy_model())
    here, there = toy(recordings=10, frames=60, seed=3), toy(recordings=8, frames=60, seed=4, first_recording=50)
    turned = {**there.values, "wifi": there.values["wifi"].flip(1) + 0.5}
    for batch in toy_batches(here):
        learner.observe(batch)
    assert not learner.events() and learner.experience == "0"
    reports = [learner.observe(batch) for batch in toy_batches(replace(there, values=turned))]
    at = [i for i, report in enumerate(reports) if report.events]
    assert len(at) == 1 and at[0] <= 3  # 60 % of the 64 latest samples and the batch's own
    event = reports[at[0]].events[0]
    assert (event.kind, event.subject) == ("modality shift", "wifi")
    assert learner.experience == "1" and "warm-up" in reports[at[0]].notes[0]
    for report in reports[at[0] : at[0] + 6]:
        assert not report.flagged.any() and not report.bad_labels.any()
    late = torch.cat([report.flagged[:, 3] for report in reports[at[0] + 8 :]])
    assert late.float().mean() < 0.05  # the new place is what it is compared with


def test_events_may_be_reported_only():
    learner = Learner.start(settings(*STILL, "live.warm_up=6", "live.events=false", "separation.rounds=1"), toy_model())
    here = toy(recordings=12, frames=60, seed=3)
    turned = replace(here, values={**here.values, "wifi": here.values["wifi"].flip(1) + 0.5})
    for batch in [*toy_batches(here), *toy_batches(turned)[:8]]:
        learner.observe(batch)
    assert {e["kind"] for e in learner.events()} == {"modality shift"} and learner.experiences == 0


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


def test_an_unlabelled_batch_is_checked_and_not_learned_from():
    learner = Learner.start(settings(*STILL, "live.warm_up=5", "separation.rounds=2"), toy_model())
    data = corrupted(toy(recordings=14, frames=60, seed=3), "swap", 0.2, seed=4)
    batches = toy_batches(data)
    clean = toy_batches(toy(recordings=14, frames=60, seed=3))
    for batch in clean[:20]:
        learner.observe(batch)
    before = {k: v.clone() for k, v in learner.model.state_dict().items()}
    reports = [learner.observe(blanked(batch)) for batch in batches[20:]]
    assert same(dict(learner.model.state_dict()), before)
    assert all(not r.learned.any() and r.loss is None and r.error_mm is None for r in reports)
    assert all("no sample has a label" in r.notes[0] for r in reports)
    flags, cells = torch.cat([r.flagged for r in reports]), data.corrupt[400:]
    assert flags[cells].float().mean() > 0.5 and flags[~cells].float().mean() < 0.05
    assert not torch.cat([r.bad_labels for r in reports]).any()


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


def test_what_was_set_aside_can_be_learned_from_after_all():
    learner = Learner.start(settings(*STILL, "live.warm_up=5", "separation.rounds=1"), toy_model())
    data = toy(recordings=10, frames=60, seed=3)
    batches = toy_batches(data)
    for batch in batches[:-1]:
        learner.observe(batch)
    values = batches[-1].inputs["rgb"].values.clone()
    values[3] += 2.0
    report = learner.observe(with_input(batches[-1], "rgb", lambda _: values))
    number = report.first + 3
    rows = [row for row in learner.log() if row["sample"] == number and row["sensor"] == "rgb"]
    assert report.flagged[3, 0] and len(rows) == 1 and rows[0]["reason"] in ("far", "odd") and not rows[0]["restored"]
    steps = learner._training.session.progress.step
    assert learner.restore([number, 10**9]) == 1
    assert learner._training.session.progress.step == steps + 1
    assert all(row["restored"] for row in learner.log() if row["sample"] == number)
    assert learner.restore([number]) == 0


def test_frames_that_tell_nothing_are_numbered_as_they_come():
    """As from a loader without numbers: all samples of one recording and frame."""
    numberless = Learner.start(settings(*STILL, "separation.rounds=1", "live.warm_up=5"), toy_model())
    for batch in toy_batches(toy(recordings=9, frames=60, seed=3)):
        nothing = torch.zeros_like(batch.meta.frame)
        report = numberless.observe(replace(batch, meta=replace(batch.meta, frame=nothing, recording=nothing)))
    assert report.verdict.p.isfinite().all() and report.flagged.float().mean() < 0.2


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
