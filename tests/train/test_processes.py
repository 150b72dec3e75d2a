"""Two processes do what one does."""

import signal
import time

import pytest
import torch
from safetensors.torch import load_file

from equipose.config import load_recipe
from equipose.errors import UsageError
from equipose.train.processes import launch
from equipose.train.run_dir import RunDir


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["joint", "awc"])
def test_two_processes_equal_one(strategy, packed, equipose, tmp_path):
    # Evenly spaced points: each process draws its own random ones otherwise. SGD, since Adam turns the rounding of a
    # gradient near zero into a full step.
    flags = ["--epochs", "2", "--balance", strategy, "--out", tmp_path]
    settings = ["--set", "data.points={lidar: 4096, mmwave: 4096}", "--set", "train.optimizer=sgd"]
    for devices in ("1", "2"):
        done = equipose("train", packed, *flags, "--devices", devices, "--name", devices, *settings)
        _, error = done.communicate(timeout=300)
        assert done.returncode == 0, error
    one, two = (load_file(tmp_path / d / "checkpoints" / "last" / "model.safetensors") for d in ("1", "2"))
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-3, atol=1e-5)


def test_a_batch_that_cannot_be_divided_is_refused():
    settings = load_recipe(None, ["train.batch_size=7", "train.devices=2"]).train
    with pytest.raises(UsageError, match="--batch-size 8"):
        launch(settings)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_gpu_is_told():
    with pytest.raises(UsageError, match="--accelerator cpu"):
        launch(load_recipe(None, ["train.accelerator=gpu"]).train)


@pytest.mark.slow
def test_two_processes_stopped_in_mid_epoch_go_on_exactly(packed, equipose, tmp_path):
    flags = ["--epochs", "30", "--balance", "awc", "--devices", "2", "--out", tmp_path, "--set", "train.batch_size=4"]
    whole = equipose("train", packed, *flags, "--name", "whole")
    _, error = whole.communicate(timeout=300)
    assert whole.returncode == 0, error
    stopped = equipose("train", packed, *flags, "--name", "stopped")
    while not (tmp_path / "stopped" / "metrics.jsonl").is_file():
        assert stopped.poll() is None, stopped.communicate()
        time.sleep(0.01)
    stopped.send_signal(signal.SIGINT)
    _, error = stopped.communicate(timeout=60)
    assert stopped.returncode == 130, error
    resumed = equipose("resume", tmp_path / "stopped")
    _, error = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, error
    one, two = (load_file(tmp_path / n / "checkpoints" / "last" / "model.safetensors") for n in ("whole", "stopped"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    first, second = (RunDir.open(tmp_path / n).epochs() for n in ("whole", "stopped"))
    for key in ("train_mpjpe_mm", "validation_mpjpe_mm", "contribution", "balance"):
        assert [line[key] for line in first] == [line[key] for line in second], key
