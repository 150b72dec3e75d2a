"""Train on a stream: one experience after the other, errors on all of them after each, resumable at any step."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from equipose.continual.base import End, Start
from equipose.data.dataset import PoseDataset
from equipose.data.store import digest_of
from equipose.progress import progress as progress_bar
from equipose.train.build import build_session, mean_pose, network
from equipose.train.checkpoint import find_checkpoint, load_state, load_weights, save_checkpoint
from equipose.train.fit import OnStep, begin_epoch, end_epoch, epoch_line
from equipose.train.interrupt import stop_on_signal
from equipose.train.loop import Session, batches_per_epoch, train_epoch
from equipose.train.run_dir import RunDir
from equipose.train.stream_check import check_recipe, place_in_stream, restore
from equipose.train.stream_errors import looked, measured, read_errors, write_errors
from equipose.train.stream_recipe import StreamRecipe
from equipose.train.stream_verdicts import verdicts, verdicts_path, write_verdicts
from equipose.train.stream_work import Work, clean_batches, of_stage, some_batches, watch


def train_stream(
    recipe: StreamRecipe,
    data: Path,
    runs: Path = Path("runs"),
    name: str = "{time}_{strategy}_s{seed}",
    on_step: OnStep | None = None,
) -> RunDir:
    """Train on a stream and keep everything in a new run folder; ``errors.npz`` holds the results.

    Args:
        recipe: all settings.
        data: a packed folder, or an MM-Fi folder as it is.
        runs: where the run folder is made.
        name: its name; ``{time}``, ``{strategy}`` and ``{seed}`` are filled in.
        on_step: told of the progress, in place of a progress bar.

    Raises:
        UsageError: a setting is impossible here, or the run folder exists.
        DataError: the data folder is not usable.
    """
    work = Work.of(recipe, data)
    run = RunDir.create(runs, name, recipe, data)
    run.set_status(data_digest=_digest(work))
    return _run(work, run, on_step)


def resume_stream(run: RunDir, data: Path | None = None, on_step: OnStep | None = None) -> RunDir:
    """Go on with a run, exactly as if it had not stopped; ``data``: where the data folder is now, if it was moved.

    Raises:
        UsageError: the run's config.yaml was changed since; the differences are named. Or the data folder holds other
            data than the run was begun on.
        DataError: the data folder or the checkpoint is not usable.
    """
    check_recipe(run)
    work = Work.of(run.recipe_of(StreamRecipe), run.data_path(data))
    run.check_data(_digest(work))
    return _run(work, run, on_step)


def _digest(work: Work) -> str:
    """Of the data as they were recorded, whatever is corrupted for the training."""
    return digest_of(work.experiences[0].validation.store)


def _run(work: Work, run: RunDir, on_step: OnStep | None) -> RunDir:
    total = sum(
        work.recipe.train.epochs * batches_per_epoch(len(stage.train), work.recipe.train.batch_size)
        for stage in work.stages
    )
    title = f"stream, {work.recipe.continual.name} (seed {work.recipe.train.seed})"
    bar = progress_bar(title, total, "steps") if on_step is None else nullcontext(on_step)
    devices = [work.processes.device] if work.processes.device.type == "cuda" else []
    run.set_status(state="running")
    try:
        with torch.random.fork_rng(devices=devices), stop_on_signal() as asked, bar as advance:
            finished = _stages(work, run, asked, advance)
    except Exception:
        run.set_status(state="failed")
        raise
    run.set_status(
        state="finished" if finished else "interrupted",
        training_seconds=round(sum(line["seconds"] for line in run.epochs()), 3),
        memory_bytes=work.continual.memory_bytes(),
        parameters=sum(parameter.numel() for parameter in work.model.parameters()),
    )
    return run


def _stages(work: Work, run: RunDir, asked: Callable[[], bool], advance: OnStep) -> bool:
    """All stages that are left; False when it was asked to stop."""
    last = find_checkpoint(run.checkpoint("last"))
    state: dict[str, Any] | None = load_state(last, work.processes.device) if last is not None else None
    current, looks = 0, 0
    if state is not None and last is not None:
        current, looks = place_in_stream(state, len(work.stages), last)
    if current:
        found = read_errors(run.path / "errors.npz")
        work.errors = replace(
            found,
            trained=found.trained[:current],
            error_mm=found.error_mm[:current],
            pa_error_mm=found.pa_error_mm[:current],
            watched=found.watched[:looks],
        )
        done = (len(work.stages[i].train) for i in range(current))
        advance(work.recipe.train.epochs * sum(batches_per_epoch(n, work.recipe.train.batch_size) for n in done))
    for index in range(current, len(work.stages)):
        if not _stage(work, run, index, state if index == current else None, asked, advance):
            return False
    return True


def _stage(
    work: Work,
    run: RunDir,
    index: int,
    state: dict[str, Any] | None,
    asked: Callable[[], bool],
    advance: OnStep,
) -> bool:
    """Train one stage from its start or from a checkpoint's state, and measure."""
    stage, recipe = work.stages[index], of_stage(work.recipe, index)
    if state is not None:
        load_weights(run.checkpoint("start"), work.model)
    else:
        if stage.fresh:
            first = network(work.recipe, stage.train, mean_pose(stage.train, work.recipe.train.seed))
            work.model.load_state_dict(first.state_dict())
        save_checkpoint(run.checkpoint("start"), work.model, work.recipe, None)
    torch.manual_seed(recipe.train.seed)
    session = build_session(recipe, stage.train, work.processes, work.model)
    session.continual, session.separator = work.continual, work.separation
    if work.separation is not None:
        work.separation.begin_experience(stage.train)
    if state is not None:
        load_weights(run.checkpoint("last"), work.model)
        restore(session, state, run.checkpoint("last"))
        work.watched = [(int(step), dict(seen)) for step, seen in state["stream"]["watched"]]
        run.write_epochs(
            [line for line in run.epochs() if (line["stage"], line["epoch"]) < (index, session.progress.epoch)]
        )
        advance(session.progress.step)
    else:
        work.watched = []
        steps = recipe.train.epochs * batches_per_epoch(len(stage.train), recipe.train.batch_size)
        start = Start(index, stage.modalities, steps, session.reset_optimizer)
        work.continual.begin_experience(work.model, start)
        watch(work, session, index)
        _save(work, run, session, index)
    splits = {"train": stage.train, "validation": stage.validation}
    if not _epochs(work, run, session, splits, index, asked, advance):
        return False
    _finish(work, run, session, index)
    return True


def _epochs(
    work: Work,
    run: RunDir,
    session: Session,
    splits: dict[str, PoseDataset],
    index: int,
    asked: Callable[[], bool],
    advance: OnStep,
) -> bool:
    state, settings = session.progress, session.recipe.train
    saved = time.monotonic()

    def save() -> None:
        nonlocal saved
        _save(work, run, session, index)
        saved = time.monotonic()

    def after_step() -> None:
        advance(1)
        watch(work, session, index)

    while state.epoch < settings.epochs:
        if state.batch == 0:
            if work.separation is not None:
                work.separation.update(work.model, splits["train"], splits["validation"], state.epoch)
            begin_epoch(session, splits)
        due = lambda: time.monotonic() - saved > settings.checkpoint_seconds  # noqa: E731  # reads ``saved`` anew
        if not train_epoch(session, splits["train"], asked, due, after_step, save):
            return False
        validation = end_epoch(session, splits)
        line = {
            "stage": index,
            "experience": work.stages[index].name,
            **epoch_line(session, validation),
            "continual": work.continual.log(),
            "separation": work.separation.summary() if work.separation is not None else {},
        }
        state.epoch, state.batch, state.sums = state.epoch + 1, 0, {}
        run.write_epochs([*run.epochs(), line])
        save()
    return True


def _finish(work: Work, run: RunDir, session: Session, index: int) -> None:
    """Let the continual strategy look, measure every experience's test samples, and keep the errors."""
    stage = work.stages[index]
    noise = work.separation.noise_rate() if work.separation is not None else {}
    end = End(
        index,
        batches=lambda: clean_batches(work, stage.train),
        validation=lambda: some_batches(work, stage.validation),
        contribution=dict(session.progress.contribution),
        noise_rate={name: noise[name] for name in work.model.modalities if name in noise},
        found=None if work.separation is None else work.separation.found,
    )
    work.continual.end_experience(work.model, end)
    tests = tuple(experience.test for experience in work.experiences)
    errors = work.errors
    for step, seen in work.watched:
        errors = looked(errors, index, step, seen)
    work.errors = measured(errors, stage.trained, work.model, tests)
    write_verdicts(verdicts_path(run.path, index), verdicts(work.stages, index, work.separation, work.continual))
    write_errors(run.path / "errors.npz", work.errors)
    shown = ", ".join(
        f"{name} {value:.1f}" for name, value in zip(work.errors.names, work.errors.matrix()[-1], strict=True)
    )
    run.log(f"after {stage.name}: MPJPE in mm on {shown}")


def _save(work: Work, run: RunDir, session: Session, index: int) -> None:
    watched = [[step, dict(seen)] for step, seen in work.watched]
    place = {"stage": index, "watched": watched, "looks": len(work.errors.watched)}
    save_checkpoint(run.checkpoint("last"), work.model, work.recipe, {**session.state_dict(), "stream": place})
