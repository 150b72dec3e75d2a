"""What a learner finds in a stream: corrupt cells, dead sensors, other rooms."""

from __future__ import annotations

from dataclasses import replace

import torch

from equipose.separation.reasons import Reason
from equipose.train.learner import Learner
from separation.toy import corrupted, toy, toy_model
from train.live_tools import (
    STILL,
    blanked,
    same,
    settings,
    toy_batches,
    with_input,
)


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
