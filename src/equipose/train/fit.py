"""Train a recipe on a data folder, from nothing or from the last checkpoint of a run."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from equipose.config import Recipe
from equipose.contribution.imbalance import normalised_entropy, positive_share
from equipose.data.dataset import PoseDataset, datasets
from equipose.data.store import digest_of
from equipose.errors import EquiposeError, UsageError
from equipose.progress import progress as progress_bar
from equipose.train.build import build_session, build_strategy, network
from equipose.train.checkpoint import find_checkpoint, load_state, load_weights, save_checkpoint
from equipose.train.interrupt import stop_on_signal
from equipose.train.loop import Session, batches_per_epoch, train_epoch
from equipose.train.probing import probe
from equipose.train.processes import Processes, compute_device, launch, world_size
from equipose.train.run_dir import RunDir

OnStep = Callable[[int], None]
"""Called with the number of steps done since the last call."""


def train(
    recipe: Recipe,
    data: Path,
    runs: Path = Path("runs"),
    name: str = "{time}_{strategy}_s{seed}",
    on_step: OnStep | None = None,
) -> RunDir:
    """Train a model and keep everything it made in a new run folder.

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
    processes = launch(recipe.train)
    splits = datasets(data, recipe.data)

    def make() -> RunDir:
        made: Path | EquiposeError | None = None
        if processes.rank == 0:
            try:
                run = RunDir.create(runs, name, recipe, data)
                run.set_status(data_digest=digest_of(splits["train"].store))
                made = run.path
            except EquiposeError as error:
                made = error
        made = processes.broadcast(made)  # the others would wait for ever for a process that gave up
        if isinstance(made, EquiposeError):
            raise made
        assert made is not None
        return RunDir(made)

    return _fit(make, recipe, splits, processes, on_step, resume=False)


def resume(run: RunDir, data: Path | None = None, on_step: OnStep | None = None) -> RunDir:
    """Continue a run from its last checkpoint, exactly as if it had not stopped.

    Args:
        run: the run.
        data: where the data folder is now, if it was moved.
        on_step: told of the progress, in place of a progress bar.

    Raises:
        UsageError: the data folder holds other data than the run was trained on.
        DataError: the data folder or the checkpoint is not usable.
    """
    recipe = run.recipe
    processes = launch(recipe.train)
    splits = datasets(run.data_path(data), recipe.data)
    run.check_data(digest_of(splits["train"].store))
    return _fit(lambda: run, recipe, splits, processes, on_step, resume=True)


def plan(recipe: Recipe, data: Path) -> str:
    """What a run would do, in words; writes nothing, and refuses what `train` would refuse."""
    world_size(recipe.train)
    compute_device(recipe.train.accelerator)
    splits = datasets(data, recipe.data)
    train_split = splits["train"]
    model = network(recipe, train_split)
    build_strategy(recipe, model.modalities)
    lines = [
        f"{name}: {len(split)} samples of {len(np.unique(split.subject))} subjects" for name, split in splits.items()
    ]
    steps = recipe.train.epochs * batches_per_epoch(len(train_split), recipe.train.batch_size)
    lines.append("parameters: " + ", ".join(f"{name} {size:,}" for name, size in model.parameter_counts().items()))
    lines.append(f"steps: {steps} of {recipe.train.batch_size} samples")
    return "\n".join(lines)


def validation_error(session: Session, dataset: PoseDataset) -> float:
    """MPJPE in mm of the fused prediction on a split; this process's part, averaged over processes."""
    processes, size = session.processes, session.recipe.train.batch_size
    total = torch.zeros(2, dtype=torch.float64, device=processes.device)
    session.model.eval()
    with torch.no_grad(), processes.autocast():
        for start in range(processes.rank * size, len(dataset), processes.world * size):
            batch = dataset.batch(np.arange(start, min(start + size, len(dataset)))).to(processes.device)
            joints = session.model(batch).joints.float()
            error = torch.linalg.vector_norm(joints - batch.target, dim=-1).mean(-1)
            total += torch.stack([error.sum().double(), error.new_tensor(len(batch)).double()])
    total = processes.sum(total)
    return float(1000.0 * total[0] / total[1])


def _fit(
    make_run: Callable[[], RunDir],
    recipe: Recipe,
    splits: dict[str, PoseDataset],
    processes: Processes,
    on_step: OnStep | None,
    resume: bool,
) -> RunDir:
    """Train until done or stopped; the caller's random state is left as it was."""
    with torch.random.fork_rng(devices=[processes.device] if processes.device.type == "cuda" else []):
        torch.manual_seed(recipe.train.seed)
        session = build_session(recipe, splits["train"], processes)
        run = make_run()  # after everything that can be refused
        if resume:
            last = find_checkpoint(run.checkpoint("last"))
            if last is not None:
                load_weights(last, session.model)
                session.load_state_dict(load_state(last, processes.device))
        if processes.rank == 0:
            run.write_epochs(run.epochs()[: session.progress.epoch])
            run.set_status(state="running")
            for note in session.strategy.notes():
                run.log(f"note: {note}")
                print(f"note: {note}", file=sys.stderr)
        try:
            with stop_on_signal() as stop_requested:
                finished = _epochs(run, session, splits, stop_requested, on_step)
        except Exception:
            if processes.rank == 0:
                run.set_status(state="failed")
            raise
        if processes.rank == 0:
            seconds = sum(line["seconds"] for line in run.epochs())
            run.set_status(
                state="finished" if finished else "interrupted",
                epoch=session.progress.epoch,
                step=session.progress.step,
                training_seconds=round(seconds, 3),
            )
        processes.barrier()
    return run


def _epochs(
    run: RunDir,
    session: Session,
    splits: dict[str, PoseDataset],
    stop_requested: Callable[[], bool],
    on_step: OnStep | None,
) -> bool:
    settings, state = session.recipe.train, session.progress
    dataset = splits["train"]
    per_epoch = batches_per_epoch(len(dataset), settings.batch_size)
    main = session.processes.rank == 0
    saved = time.monotonic()
    title = f"training {session.recipe.balance.name} (seed {settings.seed})"
    bar = progress_bar(title, settings.epochs * per_epoch, "steps") if on_step is None else nullcontext(on_step)
    with bar as advance:
        advance(state.step)

        def save_due() -> bool:
            return main and time.monotonic() - saved > settings.checkpoint_seconds

        def save() -> None:
            nonlocal saved
            _save(run, session)
            saved = time.monotonic()

        while state.epoch < settings.epochs:
            if state.batch == 0:
                begin_epoch(session, splits)
            if not train_epoch(session, dataset, stop_requested, save_due, lambda: advance(1), save):
                return False
            _end_epoch(run, session, splits)
            saved = time.monotonic()
    return True


def begin_epoch(session: Session, splits: dict[str, PoseDataset]) -> None:
    """Let the tracker and the balance strategy look before an epoch's first step."""
    state = session.progress
    start = time.perf_counter()
    if session.tracker is not None:
        if state.epoch == 0:
            state.contribution = _first_contribution(session, splits)
        session.tracker.reset()
        state.add("contribution_seconds", time.perf_counter() - start)
    start = time.perf_counter()
    session.strategy.begin_epoch(session.model, probe(session, splits, state.contribution))
    state.add("balance_seconds", time.perf_counter() - start)


def _first_contribution(session: Session, splits: dict[str, PoseDataset]) -> dict[str, float]:
    """Contribution over the probe, before the first step."""
    assert session.tracker is not None
    session.tracker.reset()
    session.model.eval()
    with torch.no_grad():
        for batch in probe(session, splits, {}).batches():
            session.tracker.update(session.model, session.model.encode(batch), batch)
    return session.tracker.contribution(session.processes.sum)


def end_epoch(session: Session, splits: dict[str, PoseDataset]) -> float:
    """Let the tracker and the balance strategy look after an epoch's last step; returns the validation error in mm.

    Raises:
        UsageError: the training has diverged.
    """
    state = session.progress
    start = time.perf_counter()
    if session.tracker is not None:
        state.contribution = session.tracker.contribution(session.processes.sum)
    contribution_seconds = time.perf_counter() - start
    start = time.perf_counter()
    session.strategy.before_validation(session.model, probe(session, splits, state.contribution))
    state.add("balance_seconds", time.perf_counter() - start)
    validation = validation_error(session, splits["validation"])
    if not math.isfinite(validation):
        raise UsageError(
            f"the validation error of epoch {state.epoch + 1} is {validation}: training has diverged; "
            "lower train.learning_rate or set train.clip_norm"
        )
    start = time.perf_counter()
    session.strategy.end_epoch(session.model, probe(session, splits, state.contribution))
    state.add("balance_seconds", time.perf_counter() - start)
    state.add("contribution_seconds", contribution_seconds)
    return validation


def _end_epoch(run: RunDir, session: Session, splits: dict[str, PoseDataset]) -> None:
    """Validate, log, let the strategy look, save."""
    state = session.progress
    validation = end_epoch(session, splits)
    line = epoch_line(session, validation)
    best = validation < state.best_mpjpe_mm
    state.best_mpjpe_mm = min(state.best_mpjpe_mm, validation)
    state.epoch += 1
    state.batch = 0
    state.sums = {}
    if session.processes.rank == 0:
        if best:
            save_checkpoint(run.checkpoint("best"), session.model, session.recipe, None)
        run.write_epochs([*run.epochs()[: line["epoch"]], line])
        run.log(
            f"epoch {state.epoch}/{session.recipe.train.epochs}: training {line['train_mpjpe_mm']:.1f} mm, "
            f"validation {validation:.1f} mm{' (best)' if best else ''}, {line['seconds']:.1f} s"
        )
    _save(run, session)
    session.processes.barrier()


def epoch_line(session: Session, validation: float) -> dict[str, Any]:
    """One line of ``metrics.jsonl`` about the epoch in progress."""
    state, processes = session.progress, session.processes
    own = torch.tensor(list(state.sums.values()), dtype=torch.float64, device=processes.device)
    sums = dict(zip(state.sums, processes.sum(own).tolist(), strict=True))
    extra = sums.get("contribution_seconds", 0.0) / processes.world, sums["balance_seconds"] / processes.world
    line: dict[str, Any] = {
        "epoch": state.epoch,
        "step": state.step,
        "train_mpjpe_mm": 1000.0 * sums["error"] / sums["samples"],
        "validation_mpjpe_mm": validation,
        "learning_rate": session.optimizer.param_groups[0]["lr"],
        "seconds": sums["seconds"] / processes.world + extra[1],
        "contribution_seconds": extra[0],
        "balance_seconds": extra[1],
        "terms": {k.removeprefix("term."): v / sums["batches"] for k, v in sums.items() if k.startswith("term.")},
        "balance": session.strategy.log(),
    }
    if state.contribution:
        line["contribution"] = state.contribution
        share = positive_share(np.array(list(state.contribution.values())))
        line["share"] = dict(zip(state.contribution, share.tolist(), strict=True))
        line["entropy"] = float(normalised_entropy(share))
    return line


def _save(run: RunDir, session: Session) -> None:
    """Write the checkpoint ``last``; every process must call."""
    training_state = session.state_dict()
    if session.processes.rank == 0:
        save_checkpoint(run.checkpoint("last"), session.model, session.recipe, training_state)
        run.set_status(epoch=session.progress.epoch, step=session.progress.step)
