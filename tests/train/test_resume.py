"""Whatever stops a run, it continues as if it had not stopped."""

import os
import random
import signal
import time

import pytest
import torch
from safetensors.torch import load_file

from equipose.errors import DataError
from equipose.train import fit
from equipose.train.checkpoint import find_checkpoint, load_state
from equipose.train.run_dir import RunDir


def weights(run):
    return load_file(run / "checkpoints" / "last" / "model.safetensors")


def assert_equal_weights(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def assert_done(process):
    _, error = process.communicate(timeout=300)
    assert process.returncode == 0, error


OURS = (
    "balance.name=every_subset",
    "model.fusion=experts",
    "model.pairs=[rgb+lidar]",
    "data.mirror=0.5",
    "data.move.share=0.75",
)


@pytest.mark.parametrize("flags", [("balance.name=joint",), ("balance.name=awc",), OURS], ids=lambda flags: flags[0])
def test_a_run_stopped_in_mid_epoch_ends_with_the_same_weights(flags, packed, recipe, tmp_path):
    settings = recipe(*flags, "train.epochs=3")
    whole = fit.train(settings, packed, tmp_path, "whole").path

    class Stop(Exception):
        pass

    count = 0

    def crash(steps):
        nonlocal count
        count += steps
        if count == 5:
            raise Stop

    settings = settings.model_copy(update={"train": settings.train.model_copy(update={"checkpoint_seconds": 1e-6})})
    with pytest.raises(Stop):
        fit.train(settings, packed, tmp_path, "broken", on_step=crash)
    broken = RunDir.open(tmp_path / "broken")
    assert broken.status["state"] == "failed"
    assert load_state(broken.checkpoint("last"))["progress"]["batch"] > 0, "stopped at an epoch's end by chance"
    fit.resume(broken, on_step=lambda steps: None)
    assert_equal_weights(weights(whole), weights(broken.path))
    a, b = RunDir.open(whole).epochs(), broken.epochs()
    assert [x["validation_mpjpe_mm"] for x in a] == [x["validation_mpjpe_mm"] for x in b]
    assert [x["contribution"] for x in a] == [x["contribution"] for x in b]
    assert [x["balance"] for x in a] == [x["balance"] for x in b]


@pytest.mark.slow
def test_sigkill_at_a_random_moment(packed, equipose, tmp_path):
    flags = ["--balance", "awc", "--epochs", "6", "--out", tmp_path]
    often = ["--set", "train.checkpoint_seconds=0.05"]
    whole = equipose("train", packed, *flags, "--name", "whole")
    assert_done(whole)
    killed = equipose("train", packed, *flags, *often, "--name", "killed")
    last = tmp_path / "killed" / "checkpoints" / "last"
    while find_checkpoint(last) is None:
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.01)
    time.sleep(random.Random().uniform(0.0, 0.5))  # a different moment each time; any must work
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert_done(equipose("resume", tmp_path / "killed"))
    assert_equal_weights(weights(tmp_path / "whole"), weights(tmp_path / "killed"))


@pytest.mark.slow
def test_ctrl_c_saves_and_prints_how_to_go_on(packed, equipose, tmp_path):
    process = equipose("train", packed, "--epochs", "500", "--out", tmp_path, "--name", "run")
    while not (tmp_path / "run" / "checkpoints" / "last" / "model.safetensors").is_file():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"equipose resume {tmp_path / 'run'}" in error
    assert "Traceback" not in error
    assert RunDir.open(tmp_path / "run").status["state"] == "interrupted"


def test_a_checkpoint_from_a_stranger_never_runs_code(packed, recipe, tmp_path):
    run = fit.train(recipe("train.epochs=1"), packed, tmp_path, "run")
    marker = tmp_path / "executed"

    class Evil:
        def __reduce__(self):
            return (os.system, (f"touch {marker}",))

    state = run.checkpoint("last") / "training_state" / "state.pt"
    torch.save({"progress": Evil()}, state)
    with pytest.raises(DataError, match="not loaded"):
        load_state(run.checkpoint("last"))
    assert not marker.exists()
    (run.checkpoint("last") / "model.safetensors").write_bytes(b"\x80\x04garbage")
    with pytest.raises(DataError, match="not a readable safetensors"):
        fit.resume(run)


def test_a_kill_between_two_renames_leaves_a_checkpoint(packed, recipe, tmp_path):
    run = fit.train(recipe("train.epochs=1"), packed, tmp_path, "run")
    last = run.checkpoint("last")
    last.rename(last.with_name("last.old"))
    assert find_checkpoint(last) == last.with_name("last.old")
    fit.resume(run)
    assert run.status["state"] == "finished"
