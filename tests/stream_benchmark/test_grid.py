"""Benchmarks on streams that really train: resuming after SIGKILL, failures, refusals, the command."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from equipose.benchmark.folder import locked
from equipose.cli.main import main
from equipose.config import dump_yaml
from equipose.errors import DataError, UsageError
from equipose.stream_benchmark.plan import wanted
from equipose.stream_benchmark.results import read_result
from equipose.stream_benchmark.run import continual, plan, write_continual
from equipose.train.run_dir import RunDir
from equipose.train.stream_errors import read_errors
from equipose.train.stream_run import resume_stream, train_stream

ORDERS = [["E01", "E02"], ["E02", "E01"]]
NOISE = ["clean", {"label": "noisy", "corruption": {"sensor_rate": 0.4, "label_rate": 0.3, "timing": "frame"}}]
ALL = {"continual": "adaptive_ewc_replay", "settings": {"replay": {"capacity": 10}}, "separation": "find"}
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def silent(steps):
    """No bar."""


def same(ours, theirs):
    for name, value in vars(theirs).items():
        np.testing.assert_array_equal(getattr(ours, name), value, err_msg=name)


@pytest.fixture
def no_page(monkeypatch):
    """Tables alone; the page has tests of its own."""
    from equipose.stream_benchmark import run

    monkeypatch.setattr(run, "_PAGE", "equipose.stream_benchmark.no_page")


def test_a_whole_benchmark_is_measured_and_not_repeated(recipe, two_rooms, inline, tmp_path, capsys, no_page):
    methods = [
        {"continual": "fine_tune"},
        {"continual": "er", "settings": {"capacity": 10}, "noise": ["clean"]},
        {
            "label": "er, known",
            "continual": "er",
            "settings": {"capacity": 10},
            "separation": "known",
            "noise": ["noisy"],
        },
        {"label": "er, off", "continual": "er", "settings": {"capacity": 10}, "noise": ["noisy"]},
    ]
    made = recipe(methods=methods, noise=NOISE, orders=ORDERS, bounds=[{"regime": "joint", "noise": ["clean"]}])
    out, executor = tmp_path / "out", inline()
    state = continual(made, two_rooms, out, executor=executor)
    assert not state.failed and not state.stopped and len(state.done) == 2 * (2 + 3) + 1
    assert "final" in capsys.readouterr().err
    for name, result in state.done.items():
        same(result.errors, read_errors(out / "runs" / name / "errors.npz"))
        assert result.record.step_seconds > 0 and result.record.parameters > 0 and result.record.peak_memory_mb > 50
        assert not (out / "runs" / name / "checkpoints" / "last").exists(), "a finished run keeps no state"
    known = [result.record for name, result in state.done.items() if name.startswith("er_known")]
    for each in (noise for record in known for noise in record.noise):
        assert each.judged and each.groups["all sensors"]["recall"] == each.groups["label"]["precision"] == 1.0
        assert each.memory["cells"] == each.memory["labels"] == 1.0, "the oracle lets nothing into the memory"
        assert all(numbers["auroc"] == 1.0 for numbers in each.kinds.values()) and each.kinds
    off = [r.record for n, r in state.done.items() if n.startswith("er_") and r.record.noise and r.record not in known]
    assert any(each.memory["cells"] < 1.0 for record in off for each in record.noise)
    assert not any(each.judged or "recall" in each.groups["rgb"] for record in off for each in record.noise)
    assert all(record.memory_bytes > 0 for record in known)
    again = inline()
    continual(made, two_rooms, out, executor=again)
    assert again.started == []
    more = made.model_copy(update={"seeds": (0, 1)})
    assert "22 runs; 11 are finished" in plan(more, two_rooms, out)
    assert write_continual(out).read_text().count("| er") >= 3
    assert {path.name for path in out.glob("*.csv")} == {"results.csv", "measures.csv", "noise.csv"}


def test_the_order_of_the_stream_is_that_of_the_recipe(recipe, two_rooms, inline, tmp_path):
    made = recipe(methods=["fine_tune"], orders=ORDERS)
    state = continual(made, two_rooms, tmp_path / "out", executor=inline())
    for cell, order in zip(wanted(made), ORDERS, strict=True):
        errors = state.done[cell.name].errors
        assert list(errors.names) == order
        rooms = {name: set(errors.person[errors.person[:, 0] == i, 1] // 10) for i, name in enumerate(errors.names)}
        assert rooms == {"E01": {0}, "E02": {1}}
        assert errors.watched[:, 1].min() == 0, "earlier experiences are looked at before the first step"


def test_a_failing_cell_is_named_and_stops_no_other(recipe, two_rooms, inline, tmp_path, no_page):
    made, out = recipe(methods=["er", "fine_tune"]), tmp_path / "out"

    class Crashing(inline):
        def start(self, job):
            if job.name.startswith("er_"):
                (out / "runs").mkdir(exist_ok=True)
                (out / "runs" / job.name).write_text("a file where a folder should be")
            super().start(job)

    state = continual(made, two_rooms, out, executor=Crashing())
    ((name, why),) = state.failed.items()
    assert name.startswith("er_") and len(state.done) == 1
    told = (out / "failed" / f"{name}.txt").read_text()
    assert "Traceback" in told and why in told
    write_continual(out)
    from equipose.stream_benchmark.study import build_study

    row = build_study(out, made).tables[0].rows[0]
    assert list(row.missing.values()) == [why] and not row.runs
    (out / "runs" / name).unlink()
    assert not continual(made, two_rooms, out, executor=inline()).failed, "it is tried again"
    assert not (out / "failed" / f"{name}.txt").exists()


@pytest.mark.parametrize("seed", [0, 1])
def test_a_run_that_is_killed_again_and_again_ends_exactly_as_one_that_is_not(seed, recipe, two_rooms, tmp_path):
    made = wanted(recipe(methods=[ALL], noise=NOISE[1:]))[0].recipe
    often = {"epochs": 4, "batch_size": 2, "checkpoint_seconds": 1e-6}
    made = made.model_copy(update={"train": made.train.model_copy(update=often)})
    file = tmp_path / "run.yaml"
    file.write_text(dump_yaml(made))
    script = Path(__file__).with_name("killed.py")
    words = [sys.executable, str(script), str(file), str(two_rooms), str(tmp_path / "runs"), str(seed), "4"]
    done = subprocess.run(words, capture_output=True, text=True, env=ENVIRONMENT, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split().count("killed") >= 2, "it was over before it could be killed"
    torch.set_num_threads(1)
    whole = train_stream(made, two_rooms, tmp_path, "whole", silent)
    killed = RunDir.open(tmp_path / "runs" / "run")
    assert killed.status["state"] == "finished"
    same(read_errors(killed.path / "errors.npz"), read_errors(whole.path / "errors.npz"))
    for stage in range(2):
        ours, theirs = (np.load(run.path / "verdicts" / f"{stage:02d}.npz") for run in (killed, whole))
        assert all(np.array_equal(ours[name], theirs[name], equal_nan=ours[name].dtype.kind == "f") for name in theirs)


def test_a_killed_benchmark_goes_on_with_the_same_command(recipe_file, two_rooms, inline, tmp_path, no_page):
    values = {"methods": [{"continual": "er", "recipe": {"train": {"epochs": 6, "checkpoint_seconds": 0.01}}}]}
    path, out = recipe_file(**values), tmp_path / "out"
    words = [
        sys.executable,
        "-m",
        "equipose.cli",
        "continual",
        str(path),
        str(two_rooms),
        "--out",
        str(out),
        "--jobs",
        "1",
    ]
    first = subprocess.Popen(
        words, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=ENVIRONMENT, start_new_session=True
    )
    until = time.monotonic() + 90
    while not list(out.glob("runs/*/checkpoints/last/model.safetensors")) and time.monotonic() < until:
        time.sleep(0.02)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert not list(out.glob("cells/*.json")), "it was over before it could be killed"
    second = subprocess.run(words, capture_output=True, text=True, env=ENVIRONMENT, timeout=120, check=False)
    assert second.returncode == 0, second.stderr
    assert (out / "results.csv").is_file() and "done: er, clean" in second.stderr
    (cell,) = (out / "cells").glob("*.json")
    run = RunDir.open(out / "runs" / cell.stem)
    assert len(run.epochs()) == 12
    whole = continual(_loaded(path), two_rooms, tmp_path / "other", executor=inline())
    same(read_result(out, cell.stem).errors, whole.done[cell.stem].errors)


def _loaded(path):
    from equipose.stream_benchmark.recipe import load_stream_benchmark

    return load_stream_benchmark(path)


class Stop(Exception):
    """Ends a run in its middle."""


@pytest.fixture
def halted(recipe, two_rooms, tmp_path):
    """A run folder that was left in its second experience."""
    made = wanted(recipe(methods=["online_ewc"]))[0].recipe
    made = made.model_copy(update={"train": made.train.model_copy(update={"checkpoint_seconds": 1e-6})})
    steps = 0

    def stop(more):
        nonlocal steps
        steps += more
        if steps == 3:
            raise Stop

    with pytest.raises(Stop):
        train_stream(made, two_rooms, tmp_path, "halted", stop)
    return RunDir.open(tmp_path / "halted")


class TestRefusals:
    def test_a_run_whose_recipe_was_changed_shows_the_difference(self, halted):
        file = halted.path / "config.yaml"
        values = yaml.safe_load(file.read_text())
        values["train"]["epochs"], values["continual"]["settings"] = 9, {"strength": 3.0}
        file.write_text(yaml.safe_dump(values))
        with pytest.raises(UsageError) as told:
            resume_stream(halted, on_step=silent)
        assert "train.epochs was 2 and is 9 now" in str(told.value)
        assert "continual.settings.strength was None and is 3.0 now" in str(told.value)

    def test_a_cell_whose_run_was_begun_with_other_settings(self, recipe, two_rooms, inline, tmp_path):
        made, out = recipe(methods=["fine_tune"]), tmp_path / "out"
        (cell,) = wanted(made)
        other = cell.recipe.model_copy(update={"end_samples": 5})
        RunDir.create(out / "runs", cell.name, other, two_rooms)
        (out / "data.json").write_text("{}")
        state = _forced(made, two_rooms, out, inline())
        assert "end_samples is 5 there and 16 in the recipe" in state.failed[cell.name]

    def test_the_state_of_another_model(self, halted, recipe, two_rooms, tmp_path):
        wide = wanted(recipe(methods=[{"continual": "online_ewc", "recipe": {"model": {"width": 16}}}]))[0].recipe
        other = train_stream(wide, two_rooms, tmp_path, "wide", silent)
        for part in ("training_state/state.pt", "model.safetensors"):
            place = halted.checkpoint("last") / part
            before = place.read_bytes()
            place.write_bytes((other.checkpoint("last") / part).read_bytes())
            with pytest.raises(DataError, match="does not fit the network"):
                resume_stream(halted, on_step=silent)
            place.write_bytes(before)
        assert resume_stream(halted, on_step=silent).status["state"] == "finished"

    def test_the_state_of_another_strategy_or_of_no_stream(self, halted, recipe, two_rooms, tmp_path):
        replay = wanted(recipe(methods=[{"continual": "er"}]))[0].recipe
        other = train_stream(replay, two_rooms, tmp_path, "replay", silent)
        place = halted.checkpoint("last") / "training_state" / "state.pt"
        place.write_bytes((other.checkpoint("last") / "training_state" / "state.pt").read_bytes())
        with pytest.raises(DataError, match="does not fit the network and strategies"):
            resume_stream(halted, on_step=silent)
        state = torch.load(place, weights_only=True)
        del state["stream"]
        torch.save(state, place)
        with pytest.raises(DataError, match="a training without a stream"):
            resume_stream(halted, on_step=silent)

    def test_two_benchmarks_in_one_folder(self, recipe, two_rooms, inline, tmp_path):
        out = tmp_path / "out"
        with locked(out), pytest.raises(UsageError, match="another benchmark is at work"):
            continual(recipe(methods=["fine_tune"]), two_rooms, out, executor=inline())

    def test_a_folder_on_other_data_or_of_another_kind(self, recipe, two_rooms, inline, tmp_path):
        made, out = recipe(methods=["fine_tune"]), tmp_path / "out"
        out.mkdir()
        (out / "data.json").write_text(json.dumps({"data": "elsewhere", "digest": "another"}))
        with pytest.raises(UsageError, match="whose content differs"):
            continual(made, two_rooms, out, executor=inline())
        (out / "benchmark.yaml").write_text("methods: [joint]")
        with pytest.raises(UsageError, match="another kind of benchmark"):
            continual(made, two_rooms, out, executor=inline())
        assert main(["continual", "report", str(tmp_path)]) == 3

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ({"methods": ["online_ewx"]}, "Did you mean 'online_ewc'?"),
            ({"methods": [{"continual": "er", "settings": {"capcity": 3}}]}, "Did you mean capacity?"),
            ({"methods": ["er"], "orders": [["E01", "E09"]]}, "E09"),
            ({"methods": [{"continual": "er", "separation": "known"}]}, "knows the noise"),
            ({"methods": ["er"], "more": {"train": {"devices": 2}}}, "use --jobs instead"),
            ({"methods": ["er"], "bounds": ["joint"], "more": {"stream": {"kind": "sensors"}}}, "regime=joint"),
        ],
    )
    def test_what_would_fail_later_is_refused_at_once(self, recipe_file, two_rooms, tmp_path, capsys, values, expected):
        out, path = tmp_path / "out", recipe_file(**values)
        assert main(["continual", str(path), str(two_rooms), "--out", str(out)]) == 2
        assert expected in capsys.readouterr().err and not out.exists()


def _forced(made, data, out, executor):
    """Run a grid in a folder as it is."""
    from equipose.benchmark.live import PlainView
    from equipose.stream_benchmark.grid import check, run_grid

    return run_grid(check(made, data), data, out, executor, PlainView())
