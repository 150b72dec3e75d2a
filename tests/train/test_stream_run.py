"""A stream is trained experience by experience, measured after each, and goes on exactly wherever it stopped."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from equipose.config import load_settings
from equipose.data.stream import stream
from equipose.errors import UsageError
from equipose.train.run_dir import RunDir
from equipose.train.stream_errors import read_errors
from equipose.train.stream_recipe import StreamRecipe
from equipose.train.stream_run import resume_stream, train_stream

STREAM = (
    "data.protocol=P3",
    "data.frame_stride=2",
    "watch_steps=2",
    "watch_samples=4",
    "train.checkpoint_seconds=1e-6",
)
NOISY = ("corruption.sensor_rate=0.3", "corruption.label_rate=0.3", "corruption.timing=frame")
READ_OUTS = ("balance.name=every_subset", "model.fusion=experts")
FULL = (
    *NOISY,
    *READ_OUTS,
    "continual.name=adaptive_ewc_replay",
    "separation.mode=find",
    "separation.readout=fusion",
    "train.epochs=3",
)


def made_rooms(root, seed):
    """Four people in each of two rooms, two actions, eight frames."""
    from equipose.data.packed import pack
    from equipose.simulate.mmfi_writer import write_mmfi

    write_mmfi(root / "mmfi", subjects=(1, 2, 4, 5, 11, 12, 14, 15), actions=(13, 12), frames=8, seed=seed, jobs=1)
    pack(root / "mmfi", root / "packed", jobs=1)
    return root / "packed"


@pytest.fixture(scope="module")
def two_rooms(tmp_path_factory):
    return made_rooms(tmp_path_factory.mktemp("stream"), seed=0)


@pytest.fixture
def settings(recipe):
    tiny = recipe().model_dump(mode="json", exclude_unset=True)

    def make(*overrides):
        plain = [f"{group}.{key}={value}" for group, values in tiny.items() for key, value in values.items()]
        return load_settings(StreamRecipe, None, [*plain, *STREAM, *overrides])

    return make


def silent(steps):
    """No bar."""


def last_weights(run):
    return load_file(run.checkpoint("last") / "model.safetensors")


def test_every_row_is_the_model_as_it_was_then(settings, two_rooms, tmp_path):
    made = settings()
    run = train_stream(made, two_rooms, tmp_path, "run", silent)
    errors = read_errors(run.path / "errors.npz")
    assert errors.names == ("E01", "E02") and errors.trained.tolist() == [0, 1]
    assert run.status["state"] == "finished"
    from equipose.train.build import network
    from equipose.train.checkpoint import load_weights

    experiences = stream(two_rooms, made.data, made.stream)
    model = network(made, experiences[0].train)
    load_weights(run.checkpoint("last"), model)
    model.eval()
    for column, experience in enumerate(experiences):
        batch = experience.test.batch(range(len(experience.test)))
        with torch.no_grad():
            error = torch.linalg.vector_norm(model(batch).joints - batch.target, dim=-1).mean()
            still = torch.linalg.vector_norm(model.mean_pose - batch.target, dim=-1).mean()
        assert errors.matrix()[1, column] == pytest.approx(1000.0 * float(error), rel=1e-5)
        mine = errors.person[:, 0] == column
        assert errors.samples[mine].sum() == len(batch)
        assert errors.mean_pose_mm[mine].sum() / len(batch) == pytest.approx(1000.0 * float(still), rel=1e-5)
    assert set(errors.watched[:, 0]) == {1.0} and set(errors.watched[:, 2]) == {0.0}
    assert np.isfinite(errors.watched).all()


@pytest.mark.parametrize("flags", [(), FULL], ids=["plain", "everything"])
@pytest.mark.parametrize("when", ["first experience", "border", "second experience"])
def test_a_stopped_stream_ends_as_one_that_never_stopped(flags, when, settings, two_rooms, tmp_path):
    made = settings(*flags)
    steps = 0

    def count(more):
        nonlocal steps
        steps += more

    whole = train_stream(made, two_rooms, tmp_path, "whole", count)
    stop_at = {"first experience": 1, "border": steps // 2, "second experience": steps - 1}[when]

    class Stop(Exception):
        pass

    done = 0

    def crash(more):
        nonlocal done
        done += more
        if done == stop_at:
            raise Stop

    with pytest.raises(Stop):
        train_stream(made, two_rooms, tmp_path, "broken", crash)
    broken = RunDir.open(tmp_path / "broken")
    assert broken.status["state"] == "failed"
    resume_stream(broken, on_step=silent)
    ours, theirs = last_weights(broken), last_weights(whole)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    a, b = (read_errors(run.path / "errors.npz") for run in (broken, whole))
    for name in ("trained", "error_mm", "pa_error_mm", "samples", "watched"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    lines = [
        [{key: value for key, value in line.items() if "seconds" not in key} for line in run.epochs()]
        for run in (broken, whole)
    ]
    assert lines[0] == lines[1]


def test_the_bounds_train_on_what_they_say(settings, two_rooms, tmp_path):
    from equipose.train.stream_stages import stages_of

    found = {}
    for regime in ("stream", "single", "cumulative", "joint"):
        made = settings(f"regime={regime}", "watch_steps=0")
        stages = stages_of(made, stream(two_rooms, made.data, made.stream))
        found[regime] = [(stage.name, stage.trained, len(stage.train), stage.fresh) for stage in stages]
    (first, _, one, _), (second, _, two, _) = found["stream"]
    assert found["single"] == [(first, 0, one, True), (second, 1, two, True)]
    assert found["cumulative"] == [(first, 0, one, False), (second, 1, one + two, False)]
    assert found["joint"] == [("all", 1, one + two, False)]
    joint = train_stream(settings("regime=joint", "watch_steps=0"), two_rooms, tmp_path, "joint", silent)
    assert read_errors(joint.path / "errors.npz").matrix().shape == (1, 2)
    single = train_stream(settings("regime=single", "watch_steps=0"), two_rooms, tmp_path, "single", silent)
    plain = train_stream(settings("watch_steps=0"), two_rooms, tmp_path, "plain", silent)
    a, b = (read_errors(run.path / "errors.npz").matrix() for run in (single, plain))
    assert np.array_equal(a[0], b[0]), "the first experience is the same"
    assert not np.array_equal(a[1], b[1])


def test_fine_tuning_is_what_a_strategy_without_strength_is(settings, two_rooms, tmp_path):
    plain = train_stream(settings(), two_rooms, tmp_path, "plain", silent)
    other = settings("continual.name=online_ewc", "continual.settings.strength=0")
    weak = train_stream(other, two_rooms, tmp_path, "weak", silent)
    ours, theirs = last_weights(weak), last_weights(plain)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_oracle_keeps_every_planned_fault_out(settings, two_rooms):
    from equipose.train.separation import KnownNoise
    from equipose.train.stream_stages import stages_of

    made = settings(*NOISY)
    stage = stages_of(made, stream(two_rooms, made.data, made.stream))[0]
    oracle = KnownNoise(stage.train.modalities)
    oracle.begin_experience(stage.train)
    positions = np.arange(len(stage.train))
    batch, truth = stage.train.batch(positions), stage.train.truth(positions)
    kept, clean = oracle.cleaned(batch)
    assert truth.sensor.any() and truth.label.any()
    assert torch.equal(kept.present, batch.present & ~truth.sensor)
    assert torch.equal(kept.weight > 0, ~truth.label & kept.present.any(1))
    assert torch.equal(clean.cells, ~truth.sensor) and torch.equal(clean.labels, ~truth.label)


class TestRefusals:
    def test_an_oracle_without_planned_noise(self, settings, two_rooms, tmp_path):
        with pytest.raises(UsageError, match=r"separation\.mode=known.*corruption\.sensor_rate"):
            train_stream(settings("separation.mode=known"), two_rooms, tmp_path, "run", silent)

    def test_joint_training_on_a_stream_of_sensors(self, settings, two_rooms, tmp_path):
        with pytest.raises(UsageError, match=r"regime=joint.*use regime=stream or single"):
            train_stream(settings("regime=joint", "stream.kind=sensors"), two_rooms, tmp_path, "run", silent)

    def test_several_devices(self, settings, two_rooms, tmp_path):
        with pytest.raises(UsageError, match="one process: set it to 1"):
            train_stream(settings("train.devices=2"), two_rooms, tmp_path, "run", silent)

    def test_an_unknown_strategy(self, settings, two_rooms, tmp_path):
        with pytest.raises(UsageError, match=r"online_ewx.*Did you mean 'online_ewc'"):
            train_stream(settings("continual.name=online_ewx"), two_rooms, tmp_path, "run", silent)

    def test_a_rate_that_is_none(self, settings):
        with pytest.raises(UsageError, match=r"corruption\.sensor_rate.*1\.5"):
            settings("corruption.sensor_rate=1.5")


def test_memories_and_separation_see_scenes_as_they_were_recorded(settings, two_rooms, tmp_path, monkeypatch):
    """Scenes are mirrored and turned for the training step alone.

    A memory holds samples as they were, each at its place in the data set; and what separation puts in the place of a
    wrong label is mirrored with the sensors.
    """
    from equipose.train import loop
    from equipose.train.stream_work import Work

    made = settings(*FULL, "data.mirror=0.5", "data.move.share=0.3", "continual.settings={replay: {capacity: 64}}")
    seen = []
    cleaned = loop.changed

    def watch(batch, change):
        out = cleaned(batch, change)
        seen.append((batch, change, out))
        return out

    monkeypatch.setattr(loop, "changed", watch)
    works = []
    of = Work.of.__func__
    monkeypatch.setattr(Work, "of", classmethod(lambda cls, *args: works.append(of(cls, *args)) or works[-1]))
    train_stream(made, two_rooms, tmp_path, "run", silent)
    (work,) = works
    entries = work.continual.memory.entries
    assert entries is not None and len(set(entries.experience.tolist())) == 2
    for experience, stage in enumerate(work.stages):
        own = entries.select((entries.experience == experience).nonzero()[:, 0])
        expected = stage.train.batch(own.batch.meta.sample.numpy())
        assert torch.equal(own.batch.target, expected.target)
        assert torch.equal(own.batch.inputs["rgb"].values, expected.inputs["rgb"].values)
    flip = torch.tensor([-1.0, 1.0, 1.0])
    mirrored = 0
    for batch, change, out in seen:
        only = (change.mirror & ~change.move).nonzero()[:, 0]
        only = only[out.present[only].any(1) & (batch.present[only, :3].any(1))]
        swapped = batch.target[only][:, list(change.swap)] * flip
        assert torch.equal(out.target[only], swapped)
        mirrored += len(only)
    assert mirrored > 10


@pytest.mark.parametrize(("continual", "rooms"), [("er", {1, 2}), ("fine_tune", {2})])
def test_what_is_fitted_to_held_out_people_sees_earlier_rooms_where_a_memory_keeps_them(
    settings, two_rooms, tmp_path, monkeypatch, continual, rooms
):
    seen = []

    def note(self, model, probe):
        batches = list(probe.validation())
        seen.append({int(room) for batch in batches for room in batch.meta.environment})
        subjects.update(int(subject) for batch in batches for subject in batch.meta.subject)

    subjects: set[int] = set()
    monkeypatch.setattr("equipose.balance.every_subset.EverySubset.before_validation", note)
    made = settings(*READ_OUTS, f"continual.name={continual}")
    train_stream(made, two_rooms, tmp_path, "run", silent)
    assert seen[0] == {1} and seen[-1] == rooms
    trained = {int(s) for e in stream(two_rooms, made.data, made.stream) for s in e.train.subject}
    assert not trained & subjects


def test_a_stream_goes_on_with_its_own_data_only(settings, two_rooms, tmp_path):
    run = train_stream(settings(*NOISY), two_rooms, tmp_path, "run", silent)
    with pytest.raises(UsageError, match=r"other recordings.*--data FOLDER"):
        resume_stream(run, made_rooms(tmp_path, seed=1), silent)
    copy = tmp_path / "moved"
    shutil.copytree(two_rooms, copy)
    resume_stream(run, copy, silent)
