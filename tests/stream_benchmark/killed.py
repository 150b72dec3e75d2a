"""Trains a run over a stream in processes that are killed: ``killed.py RECIPE.yaml DATA RUNS SEED KILLS``.

Every process is a fork of this one, so that torch is imported once. Each but the last is killed with SIGKILL a random
number of steps, and a random part of a second, after it began; all but the first go on with the run.
"""

import os
import random
import signal
import sys
import time
import warnings
from pathlib import Path

import torch

from equipose.config import load_settings
from equipose.train.run_dir import RunDir
from equipose.train.stream_recipe import StreamRecipe
from equipose.train.stream_run import resume_stream, train_stream


def main():
    file, data, runs, seed, kills = sys.argv[1:]
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    chance = random.Random(int(seed))
    for kill in range(int(kills) + 1):
        last = kill == int(kills)
        steps, wait = (10**9, 0.0) if last else (chance.randint(1, 8), chance.random() * 0.05)
        mine, theirs = os.pipe()
        child = os.fork()
        if not child:
            work(Path(file), Path(data), Path(runs), theirs)
            os._exit(0)
        os.close(theirs)
        ended = watch(mine, steps)
        if not ended:
            time.sleep(wait)
            os.kill(child, signal.SIGKILL)
        os.close(mine)
        _, status = os.waitpid(child, 0)
        print("ended" if status == 0 else "killed", flush=True)


def work(file, data, runs, told):
    def count(steps):
        os.write(told, b"." * min(steps, 1))  # steps that were done before come all at once

    if (runs / "run" / "status.json").is_file():
        run = RunDir.open(runs / "run")
        if run.status["state"] != "finished":
            resume_stream(run, data, count)
    else:
        train_stream(load_settings(StreamRecipe, file), data, runs, "run", count)


def watch(stream, steps):
    return any(not os.read(stream, 1) for _ in range(steps))


if __name__ == "__main__":
    main()
