"""What every registered strategy promises, through the real training loop."""

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from inspect import getdoc
from pathlib import Path

import pytest
import torch

from balance.small_runs import SENSORS, Run
from equipose.balance.base import Setup
from equipose.cli.inspect import _description
from equipose.config import validate
from equipose.continual.base import Start
from equipose.continual.er import Er, ErSettings
from equipose.registry import BALANCE, FUSION
from equipose.train.checkpoint import save_checkpoint
from equipose.train.run_dir import RunDir

THREE = SENSORS[:3]
AT_WORK = {
    "relearning": {"interval_epochs": 1, "times": 9},
    "sample_resampling": {"warmup": 0.0},
    "modality_resampling": {"warmup": 0.0, "measured": 1.0, "strength": 9.0},
}
"""Settings under which a strategy acts within the few steps of these tests, where its defaults wait longer."""


def importable(name):
    try:
        return BALANCE[name] is not None
    except ModuleNotFoundError:
        return False


NAMES = [name for name in BALANCE if importable(name)]
every_strategy = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def active(tmp_path_factory):
    """``active(name, ...)``: arguments of a run in which the strategy acts."""
    folder = tmp_path_factory.mktemp("teachers")
    teacher = Run("joint", ("rgb",), overrides=["train.epochs=1"]).go().session
    run = RunDir.create(folder, "rgb", teacher.recipe, folder)
    save_checkpoint(run.checkpoint("best"), teacher.model, teacher.recipe, None)
    settings = {**AT_WORK, "umt": {"teachers": {"rgb": str(run.path)}}}
    return lambda name, **more: {"strategy": name, "settings": settings.get(name, {}), **more}


@cache
def joint(fusion, epochs):
    return Run("joint", THREE, overrides=[f"model.fusion={fusion}", f"train.epochs={epochs}"]).go().weights()


@pytest.mark.parametrize("name", list(BALANCE))
def test_every_registered_name_is_a_strategy(name):
    assert importable(name), f"{name} is registered, but its module is not there"


@every_strategy
@pytest.mark.parametrize("fusion", list(FUSION))
def test_strength_zero_is_joint_training_bit_for_bit(name, fusion):
    zero = BALANCE[name].strength_zero()
    if zero is None:
        assert "No setting" in getdoc(BALANCE[name]), "a strategy without a zero says why"
        return
    run = Run(name, THREE, zero, overrides=[f"model.fusion={fusion}", "train.epochs=2"]).go()
    assert torch.equal(run.weights(), joint(fusion, 2))


@every_strategy
def test_at_strength_it_is_not_joint_training(name, active):
    if name == "joint":
        return
    run = Run(**active(name, overrides=["train.epochs=3"])).go()
    assert not torch.equal(run.weights(), joint("concat", 3))


@every_strategy
def test_resuming_in_the_middle_of_an_epoch_is_exact(name, active):
    arguments = active(name, overrides=["train.epochs=3"])
    whole = Run(**arguments).go()
    saved = []
    Run(**arguments).go(stop_after=5, saved=saved)
    assert saved[0]["session"]["progress"]["epoch"] == 1
    assert saved[0]["session"]["progress"]["batch"] == 2
    file = io.BytesIO()
    torch.save(saved[0], file)
    file.seek(0)
    resumed = Run(**arguments).load(torch.load(file, weights_only=True)).go()
    assert torch.equal(whole.weights(), resumed.weights())
    assert whole.session.strategy.log() == resumed.session.strategy.log()


@every_strategy
@pytest.mark.parametrize("count", [1, 2, 3, 4, 6])
def test_any_number_of_sensors(name, count, active):
    run = Run(**active(name, modalities=SENSORS[:count], overrides=["train.epochs=2"])).go()
    assert run.weights().isfinite().all()
    json.dumps(run.session.strategy.log(), allow_nan=False)


@every_strategy
@pytest.mark.parametrize("fusion", ["concat", "experts"])
def test_a_pair_of_sensors_with_a_feature_of_its_own(name, fusion, active):
    pair = ["model.pairs=[rgb+lidar]", f"model.fusion={fusion}", "train.epochs=2"]
    run = Run(**active(name, modalities=("rgb", "lidar", "wifi"), overrides=pair))
    assert run.session.model.names[-1] == "rgb+lidar"
    assert run.go().weights().isfinite().all()
    json.dumps(run.session.strategy.log(), allow_nan=False)


@every_strategy
def test_replayed_samples_of_a_larger_experience_do_no_harm(name, active):
    run = Run(**active(name, overrides=["train.epochs=3"]))
    session, train = run.session, run.splits["train"]
    replay = Er(ErSettings(), session.model.modalities)
    replay.setup(session.model, Setup(loss=session.loss))
    old = train.batch(range(8))
    old = replace(old, meta=replace(old.meta, sample=old.meta.sample + 100 * len(train)))
    replay.memory.insert(old, old.target, 0)
    session.continual = replay
    replay.begin_experience(session.model, Start(1, session.model.modalities, 100, lambda: None))
    run.go()
    assert run.weights().isfinite().all()
    json.dumps(session.strategy.log(), allow_nan=False)


@every_strategy
@pytest.mark.parametrize("holes", [{"missing": 0.5}, {"missing": 0.3, "never": ["infra1"]}], ids=["some", "whole"])
def test_missing_sensors_give_finite_weights(name, holes, active):
    run = Run(**active(name, **holes, overrides=["train.epochs=3"])).go()
    assert run.weights().isfinite().all()
    json.dumps(run.session.strategy.log(), allow_nan=False)


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory, active):
    """Arguments of each strategy's run, and the weights that two processes came to."""
    folder = tmp_path_factory.mktemp("two")
    # SGD, since Adam turns the rounding of a gradient near zero into a full step.
    sgd = ["train.epochs=3", "train.optimizer=sgd", "train.learning_rate=0.01"]
    jobs = {name: active(name, overrides=sgd, missing=0.3) for name in NAMES}
    (folder / "jobs.json").write_text(json.dumps(list(jobs.items())))
    tests = str(Path(__file__).parents[1])
    pair = [
        subprocess.Popen(
            [sys.executable, "-m", "balance.two_processes", str(rank), str(folder)],
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": tests},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in (0, 1)
    ]
    said = [process.communicate(timeout=300)[0] for process in pair]
    return folder, jobs, said


@every_strategy
def test_two_processes_equal_one(name, two_processes):
    folder, jobs, said = two_processes
    files = [folder / f"{NAMES.index(name)}_{rank}.pt" for rank in (0, 1)]
    errors = [file.read_text() for file in sorted(folder.glob("*.error"))]
    assert all(file.is_file() for file in files), "\n".join([*errors, *said])
    first, second = (torch.load(file, weights_only=True) for file in files)
    assert torch.equal(first, second), "the processes drifted apart"
    start = Run(**jobs[name]).weights()
    alone = Run(**jobs[name]).go().weights()
    assert float((first - alone).norm()) <= 1e-3 * float((alone - start).norm())


@every_strategy
def test_three_candidates_the_defaults_first(name):
    cls = BALANCE[name]
    if not cls.Settings.model_fields:
        assert len(cls.candidates) == 1, "a strategy without settings has nothing to try"
        return
    made = [validate(cls.Settings, dict(candidate), name) for candidate in cls.candidates]
    assert len(made) == 3
    assert len({repr(settings) for settings in made}) == 3
    assert dict(cls.candidates[0]) == {}
    if cls.strength_zero() is not None:
        assert repr(validate(cls.Settings, dict(cls.strength_zero()), name)) not in {repr(m) for m in made}


@every_strategy
def test_describe_says_what_it_does_where_it_is_from_and_what_differs(name):
    cls = BALANCE[name]
    text = _description(name, cls)
    first = getdoc(cls).split("\n")[0]
    assert first.endswith(".")
    assert len(first) <= 120
    for field, info in cls.Settings.model_fields.items():
        assert info.description, f"{field} has no docstring"
    if name != "joint":
        assert "Differs" in text or "Source: our own" in text
        assert any(str(year) in text for year in range(2016, 2027)), "no source"
