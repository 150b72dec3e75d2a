"""One cell: train its run over a stream or go on with it, and write its result. Runs in a process of its own.

Imports torch only inside functions, so that a fresh process can say early that it is there.
"""

from __future__ import annotations

import json
import shutil
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equipose.benchmark.jobs import Message, Tell, finite, logged, peak_memory
from equipose.benchmark.results import cell_path
from equipose.files import write_text
from equipose.stream_benchmark.results import FORMAT, errors_path

if TYPE_CHECKING:
    from equipose.train.run_dir import RunDir
    from equipose.train.stream_recipe import StreamRecipe


@dataclass(frozen=True)
class StreamJob:
    """What a process needs to know about a cell; plain values, so that it can be sent to another machine.

    Attributes:
        name: of the cell and its run folder.
        recipe: as plain values.
        data: the data folder.
        out: the benchmark's folder.
    """

    name: str
    recipe: Mapping[str, Any]
    data: str
    out: str

    @property
    def training(self) -> str:
        """The run folder is called as the cell is."""
        return self.name

    def run(self, tell: Tell) -> Message:
        """Do all of the cell's work that is not done yet; never raises an ordinary exception."""

        def work() -> bool:
            run = _train(self, tell)
            if run is None:
                return False
            _write(self, run)
            return True

        return logged(self, work)


def _train(job: StreamJob, tell: Tell) -> RunDir | None:
    """The finished run of a cell; None if it was asked to stop before."""
    from equipose.train.run_dir import RunDir
    from equipose.train.stream_recipe import StreamRecipe
    from equipose.train.stream_run import resume_stream, train_stream

    out, data = Path(job.out), Path(job.data)
    recipe = StreamRecipe.model_validate(job.recipe)
    path = out / "runs" / job.name
    if path.exists() and not ((path / "config.yaml").is_file() and (path / "status.json").is_file()):
        shutil.rmtree(path)  # it was stopped before it had anything
    if path.exists():
        run = RunDir.open(path)
        _check(run, recipe)
        if run.status["state"] == "finished":
            return run
        run = resume_stream(run, data, _reporter(job, recipe, tell))
    else:
        run = train_stream(recipe, data, out / "runs", job.name, _reporter(job, recipe, tell))
    memory, before = peak_memory(), run.status
    run.set_status(**{key: max(value, before.get(key) or 0.0) for key, value in memory.items() if value is not None})
    return run if run.status["state"] == "finished" else None


def _check(run: RunDir, recipe: StreamRecipe) -> None:
    """Refuses a run folder that was begun with other settings than its name says.

    Raises:
        UsageError: every difference is named.
    """
    from equipose.errors import UsageError
    from equipose.train.stream_check import differences
    from equipose.train.stream_recipe import StreamRecipe

    values = (run.recipe_of(StreamRecipe).model_dump(mode="json"), recipe.model_dump(mode="json"))
    found = differences(*values)
    if found:
        raise UsageError(
            f"{run.path} belongs to this cell and its config.yaml was changed: "
            + "; ".join(f"{name} is {there!r} there and {asked!r} in the recipe" for name, there, asked in found)
            + ". Put config.yaml back, or remove the run folder to train it anew"
        )


def _reporter(job: StreamJob, recipe: StreamRecipe, tell: Tell) -> Callable[[int], None]:
    """Adds up the steps and passes them on, at most once a second."""
    from equipose.data.stream import stream
    from equipose.train.loop import batches_per_epoch
    from equipose.train.stream_stages import stages_of

    stages = stages_of(recipe, stream(Path(job.data), recipe.data, recipe.stream))
    total = sum(recipe.train.epochs * batches_per_epoch(len(each.train), recipe.train.batch_size) for each in stages)
    done, last = 0, 0.0

    def advance(steps: int) -> None:
        nonlocal done, last
        done += steps
        now = time.monotonic()
        if now - last >= 1.0 or done >= total:
            last = now
            tell(Message(job.name, "running", done, total))

    return advance


def _write(job: StreamJob, run: RunDir) -> None:
    """The cell's files; the JSON file comes last, as it says that the cell is done."""
    from equipose.stream_benchmark.examples import examples_of_run, examples_path, write_examples
    from equipose.train.stream_errors import read_errors, write_errors

    out = Path(job.out)
    path = cell_path(out, job.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    errors = read_errors(run.path / "errors.npz")
    write_errors(errors_path(out, job.name), errors)
    examples = examples_of_run(run, Path(job.data))
    if examples:
        write_examples(examples_path(out, job.name), examples)
    write_text(path, json.dumps(finite(_record(job, run, errors.names)), allow_nan=False) + "\n")
    for name in ("start", "last"):  # the run is finished; what it measured stays
        shutil.rmtree(run.checkpoint(name), ignore_errors=True)


def _record(job: StreamJob, run: RunDir, experiences: tuple[str, ...]) -> dict[str, Any]:
    """What the JSON file says."""
    from equipose.data.store import open_store
    from equipose.stream_benchmark.noise import noise_numbers
    from equipose.train.run_dir import environment
    from equipose.train.stream_recipe import StreamRecipe
    from equipose.train.stream_verdicts import read_verdicts, verdicts_path

    lines, status, env = run.epochs(), run.status, environment()
    recipe = StreamRecipe.model_validate(job.recipe)
    stages = sorted({line["stage"] for line in lines})
    steps = sum(max(line["step"] for line in lines if line["stage"] == stage) for stage in stages)
    found = [read_verdicts(verdicts_path(run.path, stage)) for stage in stages]
    simulated = open_store(Path(job.data), recipe.data.modalities).simulated
    return {
        "format": FORMAT,
        "run": f"runs/{job.name}",
        "recipe": job.recipe,
        "experiences": experiences,
        "steps": steps,
        # The median over epochs: a machine that was busy for a while does not count against the method.
        "step_seconds": statistics.median(line["seconds"] for line in lines) * len(lines) / steps,
        "training_seconds": sum(line["seconds"] for line in lines),
        "memory_bytes": status.get("memory_bytes", 0),
        "peak_memory_mb": status.get("peak_memory_mb"),
        "parameters": status.get("parameters", 0),
        "simulated": sorted(name for name in recipe.data.modalities if name in simulated),
        "noise": [noise_numbers(each).model_dump(mode="json") for each in found if each is not None],
        "versions": env["versions"],
        "machine": env["machine"],
        "finished": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
