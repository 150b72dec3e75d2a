"""Examples: the right cells are picked, what is kept of them is what the data hold, and the file keeps it."""

from dataclasses import fields

import numpy as np
import pytest
import torch

from equipose.data.corrupt.table import KIND_NAMES
from equipose.errors import DataError
from equipose.separation.reasons import Reason
from equipose.separation.verdict import Verdict
from equipose.stream_benchmark.examples import (
    Example,
    examples_of,
    examples_of_run,
    examples_path,
    read_examples,
    write_examples,
)
from equipose.stream_benchmark.plan import rows
from equipose.train.stream_run import train_stream
from equipose.train.stream_work import Work

PLAN = {"sensor_rate": 0.4, "label_rate": 0.3, "severity": 3, "timing": "frame", "seed": 1}


@pytest.fixture
def stream_recipe(recipe):
    """Of a run that looks for planned noise."""
    values = {
        "methods": [{"continual": "fine_tune", "separation": "find"}],
        "noise": [{"label": "noisy", "corruption": PLAN}],
    }
    (row,) = rows(recipe(**values))
    return next(iter(row.cells.values())).recipe


@pytest.fixture
def work(stream_recipe, two_rooms):
    return Work.of(stream_recipe, two_rooms)


def verdict_of(dataset, wrong=()):
    """The truth as a verdict, turned round in the cells of ``wrong``: (row, column), the last column the label."""
    truth = dataset.truth(range(len(dataset)))
    out = torch.cat([truth.sensor, truth.label[:, None]], 1)
    for row, column in wrong:
        out[row, column] = ~out[row, column]
    present = torch.stack([torch.as_tensor(dataset.store.present[n][dataset.rows]) for n in dataset.modalities], 1)
    reason = torch.where(out[:, :-1], int(Reason.FAR), int(Reason.CLEAN))
    reason = torch.where(present, reason, int(Reason.ABSENT)).to(torch.int8)
    p = torch.linspace(0.001, 0.009, len(dataset))
    return Verdict(
        sensor_clean=(~out[:, :-1]).float(),
        label_clean=(~out[:, -1]).float(),
        reason=reason,
        label_reason=torch.where(out[:, -1], int(Reason.LABEL), int(Reason.CLEAN)).to(torch.int8),
        consensus=truth.target + 0.5,
        p=p[:, None].repeat(1, len(dataset.modalities)),
        label_p=p,
        score=torch.zeros(len(dataset), len(dataset.modalities)),
        label_score=torch.zeros(len(dataset)),
    )


def test_a_perfect_verdict_has_only_caught_ones_of_every_sensor(work):
    dataset = work.stages[0].train
    truth, verdict = dataset.truth(range(len(dataset))), verdict_of(dataset)
    found = examples_of("E01", dataset, verdict, work.model)
    assert len(found) == 6 and {each.outcome for each in found} == {"caught"}
    assert [each.sensor for each in found[:3]] == ["rgb", "lidar", "label"]
    kinds = {(each.sensor, each.kind) for each in found}
    assert len(kinds) == 6  # no kind of a sensor twice
    for each in found:
        column = [*dataset.modalities, "label"].index(each.sensor)
        kind = truth.label_kind if each.sensor == "label" else truth.kind[:, column]
        alike = kind == KIND_NAMES.index(each.kind)
        if each.sensor != "label":
            alike &= verdict.reason[:, column] != Reason.ABSENT
        ranked = verdict.label_p[alike].sort().values
        assert each.p == pytest.approx(float(ranked[len(ranked) // 2]))  # the middle one


def test_what_is_kept_is_what_the_data_hold(work):
    dataset = work.stages[0].train
    before = [p.clone() for p in work.model.parameters()]
    for each in examples_of("E01", dataset, verdict_of(dataset), work.model):
        (row,) = np.flatnonzero((dataset.subject == each.subject) & (dataset.frame == each.frame)).tolist()
        truth, noisy, clean = dataset.truth([row]), dataset.batch([row]), dataset.clean.batch([row])
        assert np.array_equal(each.truth, truth.target[0]) and np.array_equal(each.label, noisy.target[0])
        assert np.array_equal(each.consensus, truth.target[0].numpy() + np.float32(0.5))
        if each.sensor == "rgb":
            assert np.array_equal(each.seen, noisy.inputs["rgb"].values[0, 0])
            assert np.array_equal(each.clean, clean.inputs["rgb"].values[0, 0])
        if each.sensor == "lidar":
            cloud = clean.inputs["lidar"]
            assert np.array_equal(each.clean, cloud.points[0][cloud.mask[0]][:, :3])
        if each.sensor == "label":
            assert np.isnan(each.alone).all() and each.seen.size == 0
            assert not np.array_equal(each.label, each.truth)
        else:
            work.model.eval()
            only = torch.tensor([[name == each.sensor for name in dataset.modalities]])
            alone = work.model.decode(work.model.encode(noisy), only).joints[0].detach()
            assert np.allclose(each.alone, alone, atol=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(before, work.model.parameters(), strict=True))


def test_missed_ones_and_false_alarms_are_told_apart(work):
    dataset = work.stages[0].train
    truth = dataset.truth(range(len(dataset)))
    there = torch.as_tensor(dataset.store.present["rgb"][dataset.rows])
    missed = int((truth.sensor[:, 0] & there).nonzero()[0])
    alarm = int((~truth.touched[:, 1]).nonzero()[0])
    found = examples_of("E01", dataset, verdict_of(dataset, [(missed, 0), (alarm, 1)]), work.model, caught=1)
    assert [(each.outcome, each.sensor) for each in found] == [
        ("caught", "rgb"),
        ("missed", "rgb"),
        ("false alarm", "lidar"),
    ]
    assert found[1].kind and not found[2].kind and found[2].severity == 0
    assert found[1].frame == dataset.frame[missed] and found[2].subject == dataset.subject[alarm]


def test_a_finished_run_has_examples_of_its_last_experience(stream_recipe, two_rooms, tmp_path):
    run = train_stream(stream_recipe, two_rooms, tmp_path, "run", on_step=lambda steps: None)
    found = examples_of_run(run, two_rooms)
    assert found and {each.experience for each in found} == {"E02"}
    assert all(bool(each.kind) == (each.outcome != "false alarm") for each in found)
    off = stream_recipe.model_copy(update={"separation": stream_recipe.separation.model_copy(update={"mode": "off"})})
    other = train_stream(off, two_rooms, tmp_path, "other", on_step=lambda steps: None)
    assert examples_of_run(other, two_rooms) == ()


def test_the_file_keeps_everything(work, tmp_path):
    found = examples_of("E01", work.stages[0].train, verdict_of(work.stages[0].train), work.model)
    path = examples_path(tmp_path, "name")
    assert path.name == "name_examples.npz"
    path.parent.mkdir()
    write_examples(path, found)
    for first, second in zip(found, read_examples(path), strict=True):
        for field in fields(Example):
            ours, theirs = getattr(first, field.name), getattr(second, field.name)
            assert np.array_equal(ours, theirs, equal_nan=True) if isinstance(ours, np.ndarray) else ours == theirs


def test_no_file_is_no_example_and_a_damaged_one_is_told(tmp_path):
    path = tmp_path / "name_examples.npz"
    assert read_examples(path) == ()
    path.write_bytes(b"PK\x03\x04 not an archive")
    with pytest.raises(DataError, match="is damaged"):
        read_examples(path)
