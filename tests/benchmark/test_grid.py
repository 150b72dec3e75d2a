"""Benchmarks that really train: tuning, reuse, failures, resuming, the command."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import types

import numpy as np
import pytest
from safetensors.numpy import load_file

from equipose.benchmark import cluster
from equipose.benchmark.results import read_cell
from equipose.benchmark.run import benchmark, plan, write_benchmark
from equipose.benchmark.work import Job, Message
from equipose.cli.main import main
from equipose.errors import UsageError

TUNED = [
    {"strategy": "joint", "candidates": [{}, {"train.learning_rate": 1e-9}]},
    {"strategy": "awc", "candidates": [{}]},
]


def trained(out):
    return sorted(path.name for path in (out / "runs").iterdir())


def test_a_whole_benchmark_tunes_measures_and_is_not_repeated(recipe, packed, inline, tmp_path, capsys):
    found, out, executor = recipe(methods=TUNED, subsets=["rgb"], tuning={"candidates": 2}), tmp_path / "out", inline()
    state = benchmark(found, packed, out, executor=executor)
    assert not state.failed and not state.stopped
    # Two tuning cells, one of which is the final training of joint; AWC; RGB alone.
    assert len(state.done) == 5 and len(trained(out)) == 4
    final = next(cell for name, cell in state.done.items() if name.startswith("final_joint") and "_rgb_" not in name)
    assert final.recipe["train"]["learning_rate"] == 1e-3, "a model that learns nothing was chosen"
    tuned = [cell for cell in state.done.values() if cell.kind == "tuning"]
    assert all(cell.test is None for cell in tuned) and {cell.run for cell in tuned} >= {final.run}
    assert not (out / tuned[-1].run / "metrics.json").exists(), "tuning has looked at the test split"
    # The cell agrees with what the run folder says, and its recordings add up to it.
    metrics = json.loads((out / final.run / "metrics.json").read_text())
    weights = np.array(final.test.recordings.samples, float)
    for i, (row, expected) in enumerate(zip(final.test.subsets, metrics["coalitions"][1:], strict=True)):
        assert row.name == expected["name"] and row.mpjpe_mm == expected["mpjpe_mm"]
        mean = (np.array(final.test.recordings.mpjpe_mm[i]) * weights).sum() / weights.sum()
        assert mean == pytest.approx(expected["mpjpe_mm"], abs=1e-3)
        mean = (np.array(final.test.recordings.pa_mpjpe_mm[i]) * weights).sum() / weights.sum()
        assert mean == pytest.approx(expected["pa_mpjpe_mm"], abs=1e-3)
    assert final.step_seconds > 0 and final.peak_memory_mb > 50 and final.parameters["rgb"] > 0
    assert set(final.test.collapse) == set(final.test.phi) == {"rgb", "lidar", "mmwave"}
    # A second call finds everything done; another seed only adds its own cells.
    again = inline()
    assert len(benchmark(found, packed, out, executor=again).done) == 5 and again.started == []
    more = found.model_copy(update={"seeds": (0, 1)})
    benchmark(more, packed, out, executor=again)
    assert len(again.started) == 3 and all("_s1_" in name for name in again.started)
    page = write_benchmark(out)
    assert "train.learning_rate 1e-09" in page.read_text("utf-8")
    assert "done: joint, concat P1-manual" in capsys.readouterr().err


def test_an_error_in_one_cell_stops_only_what_needs_it(recipe, packed, inline, tmp_path):
    broken = {"label": "broken", "strategy": "joint", "recipe": {"train": {"learning_rate": 1e30, "clip_norm": 1e30}}}
    found, out = recipe(methods=["joint", broken]), tmp_path / "out"
    state = benchmark(found, packed, out, executor=inline())
    assert len(state.done) == 1 and len(state.failed) == 1
    (name,) = state.failed
    told = (out / "failed" / f"{name}.txt").read_text()
    assert "Traceback" in told and state.failed[name] in told
    assert state.failed[name] in write_benchmark(out).read_text("utf-8")


def test_what_needs_a_failed_teacher_is_not_started(recipe, packed, inline, tmp_path):
    class Failing(inline):
        def start(self, job):
            if "_lidar_" in job.name:
                self.started.append(job.name)
                self._told.append(Message(job.name, "failed", text="out of luck"))
            else:
                super().start(job)

    found, out = recipe(methods=["joint"], subsets=["singles"]), tmp_path / "out"
    taught = found.methods[0].model_copy(update={"label": "taught", "teachers": "specialists"})
    # Joint training has no setting for teachers, so the check of the recipe is passed by.
    from equipose.benchmark.folder import prepare
    from equipose.benchmark.grid import run_grid
    from equipose.benchmark.live import PlainView

    found = found.model_copy(update={"methods": (*found.methods, taught)})
    prepare(out, found, packed)
    state = run_grid(found, packed, out, Failing(), PlainView())
    reasons = sorted(state.failed.values())
    assert len(state.done) == 3 and reasons[1] == "out of luck" and "its teacher failed" in reasons[0]


def test_a_teacher_of_which_only_the_cell_was_kept_is_trained_again(recipe, packed, inline, tmp_path):
    """Cells are committed as data and copied into a new folder; a run that learns from one needs its weights too."""
    from equipose.benchmark.folder import prepare
    from equipose.benchmark.grid import run_grid
    from equipose.benchmark.live import PlainView

    out, executor = tmp_path / "out", inline()
    found = recipe(methods=["joint"], subsets=["singles"])
    benchmark(found, packed, out, executor=executor)
    before = {path.name: json.loads(path.read_text())["test"] for path in (out / "cells").iterdir()}
    shutil.rmtree(out / "runs")
    again = inline()
    assert not run_grid(found, packed, out, again, PlainView()).failed and again.started == []
    taught = found.methods[0].model_copy(
        update={"label": "taught", "teachers": "specialists", "recipe": {"train": {"learning_rate": 0.01}}}
    )
    more = found.model_copy(update={"methods": (*found.methods, taught)})
    prepare(out, more, packed)
    state = run_grid(more, packed, out, again, PlainView())
    singles = {name for name in before if any(f"_{sensor}_s" in name for sensor in ("rgb", "lidar", "mmwave"))}
    assert len(singles) == 3 and {f"{name}.json" for name in again.started[:3]} == singles
    assert len(again.started) == 4 and len(state.failed) == 1, "joint training cannot take teachers, which is told"
    for name in singles:
        assert json.loads((out / "cells" / name).read_text())["test"] == before[name]


def test_teachers_reach_the_strategy_as_run_folders(tmp_path, monkeypatch):
    from equipose.benchmark import work
    from equipose.config import Recipe
    from equipose.train import fit

    seen = {}

    def refuse(recipe, *rest, **more):
        seen.update(recipe.balance.settings)
        raise UsageError("far enough")

    monkeypatch.setattr(fit, "train", refuse)
    monkeypatch.setattr(work, "_reporter", lambda *_: None)
    values = Recipe().model_dump(mode="json")
    job = Job("final_x", "final", "x", values, {"rgb": "teacher"}, str(tmp_path), str(tmp_path))
    assert work.run_job(job, lambda message: None).text == "far enough"
    assert seen == {"teachers": {"rgb": str(tmp_path / "runs" / "teacher")}}


def test_a_killed_benchmark_goes_on_where_it_was(recipe_file, packed, tmp_path):
    settings = {"train.epochs": 15, "train.checkpoint_seconds": 0.01}
    method = {"strategy": "joint", "recipe": {"train": {k.split(".")[1]: v for k, v in settings.items()}}}
    path, out = (
        recipe_file(methods=[method, {**method, "label": "other", "recipe": {"model": {"fusion": "nope"}}}]),
        tmp_path / "out",
    )
    words = ["benchmark", str(path), str(packed), "--out", str(out), "--jobs", "1"]
    assert main([*words, "--dry-run"]) == 2, "an unknown fusion is refused before anything is written"
    assert not out.exists()
    path = recipe_file(methods=[method])
    command = [sys.executable, "-m", "equipose.cli", *words]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    first = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=env)
    weights = "checkpoints/last/model.safetensors"
    until = time.monotonic() + 60
    while not list(out.glob(f"runs/*/{weights}")) and time.monotonic() < until:
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    first.stderr.close()
    (run,) = (out / "runs").iterdir()
    assert not list(out.glob("cells/*.json")), "it was over before it could be killed"
    second = subprocess.run(command, capture_output=True, text=True, env=env, timeout=100, check=False)
    assert second.returncode == 0, second.stderr
    log = (run / "log.txt").read_text()
    assert log.count("epoch 1/15") == 1 and log.count("epoch 15/15") == 1, "the run began again"
    # Bit for bit what an uninterrupted run gives.
    from equipose.train.fit import train
    from equipose.train.run_dir import RunDir

    whole = train(RunDir.open(run).recipe, packed, tmp_path, "whole", on_step=lambda steps: None)
    ours, theirs = (load_file(str(path / "checkpoints/best/model.safetensors")) for path in (run, whole.path))
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
    (cell,) = (out / "cells").glob("*.json")
    assert read_cell(out, cell.stem).epochs == 15
    assert (out / "benchmark.html").is_file() and (out / "results.csv").is_file()


def test_the_plan_is_told_and_nothing_is_written(recipe, packed, tmp_path):
    text = plan(
        recipe(methods=TUNED, subsets=["singles"], seeds=[0, 1], tuning={"candidates": 2}), packed, tmp_path / "out"
    )
    assert "10 final cells, 2 tuning cells; 0 are finished" in text
    assert "joint [joint]: defaults | train.learning_rate=1e-09" in text
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"methods": ["acw"]}, "Did you mean 'awc'?"),
        ({"methods": [{"strategy": "awc", "settings": {"windw": 3}}]}, "Did you mean window?"),
        ({"methods": [{"strategy": "awc", "candidates": [{"windw": 3}]}]}, "Did you mean window?"),
        ({"methods": [{"strategy": "joint", "recipe": {"train": {"devices": 2}}}]}, "use --jobs instead"),
        ({"methods": ["joint"], "fusions": ["concta"]}, "Did you mean 'concat'?"),
        ({"methods": ["joint"], "splits": ["S9"]}, "S9"),
        ({"methods": ["joint"], "splits": ["S3"]}, "leaves nothing to"),
    ],
)
def test_what_would_fail_later_is_refused_at_once(recipe_file, packed, tmp_path, capsys, values, expected):
    out = tmp_path / "out"
    assert main(["benchmark", str(recipe_file(**values)), str(packed), "--out", str(out)]) == 2
    assert expected in capsys.readouterr().err and not out.exists()


def test_a_folder_of_something_else_is_left_alone(recipe, cells, packed, tmp_path, inline):
    (tmp_path / "mine.txt").write_text("mine")
    found = recipe(methods=["joint"])
    with pytest.raises(UsageError, match="holds no benchmark"):
        benchmark(found, packed, tmp_path, executor=inline())
    out = tmp_path / "out"
    cells(out, found, packed)
    (out / "data.json").write_text(json.dumps({"data": "elsewhere", "digest": "another"}))
    with pytest.raises(UsageError, match="whose content differs"):
        benchmark(found, packed, out, executor=inline())
    assert main(["benchmark", "report", str(tmp_path / "nowhere")]) == 3


def test_two_benchmarks_do_not_share_a_folder(recipe, packed, tmp_path, inline):
    from equipose.benchmark.folder import locked

    out = tmp_path / "out"
    with locked(out), pytest.raises(UsageError, match="another benchmark is at work"):
        benchmark(recipe(methods=["joint"]), packed, out, executor=inline())


def test_without_ray_the_cluster_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match="pip install 'equipose\\[cluster\\]'"):
        cluster.RayExecutor(2)


def test_the_cluster_runs_cells_and_counts_lost_machines_as_failures(monkeypatch, tmp_path):
    """A stand-in for Ray: tasks run when they are asked for."""
    fake = types.ModuleType("ray")
    fake.is_initialized = lambda: True
    fake.remote = lambda **options: lambda function: types.SimpleNamespace(remote=lambda job: (function, job))
    fake.wait = lambda references, num_returns, timeout: (references[:1], references[1:])

    def get(reference):
        if reference[1].name == "lost":
            raise RuntimeError("node died")
        return Message(reference[1].name, "done")

    fake.get = get
    fake.cancel = lambda reference, force: None
    monkeypatch.setitem(sys.modules, "ray", fake)
    executor = cluster.RayExecutor(2)

    class Named(Job):
        __hash__ = object.__hash__

    for name in ("kept", "lost", "late"):
        executor.start(Named(name, "final", name, {}, {}, str(tmp_path), str(tmp_path)))
    assert executor.poll(0.1) == [Message("kept", "done")]
    assert executor.poll(0.1) == [Message("lost", "failed", text="RuntimeError: node died")]
    assert executor.stop() == [Message("late", "stopped")] and executor.poll(0.1) == []
