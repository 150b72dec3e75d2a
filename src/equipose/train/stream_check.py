"""Before a run over a stream goes on: that its files belong together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from equipose.config import load_settings
from equipose.errors import DataError, UsageError
from equipose.train.checkpoint import find_checkpoint
from equipose.train.loop import Session
from equipose.train.run_dir import RunDir
from equipose.train.stream_recipe import StreamRecipe


def check_recipe(run: RunDir) -> None:
    """Nothing if the run's ``config.yaml`` is what its last checkpoint was made with, or there is no checkpoint.

    Raises:
        UsageError: they differ; every difference is named.
    """
    last = find_checkpoint(run.checkpoint("last"))
    if last is None:
        return
    now = run.recipe_of(StreamRecipe).model_dump(mode="json")
    then = load_settings(StreamRecipe, last / "config.yaml").model_dump(mode="json")
    found = differences(then, now)
    if found:
        raise UsageError(
            f"{run.path} was begun with other settings and cannot go on with these: "
            + "; ".join(f"{name} was {old!r} and is {new!r} now" for name, old, new in found)
            + f". Put config.yaml back as it is in {last}, or begin another run"
        )


def differences(old: Any, new: Any, name: str = "") -> list[tuple[str, Any, Any]]:
    """Settings that differ: dotted name, old value, new value; None where there is none."""
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return [] if old == new else [(name, old, new)]
    found = []
    for key in dict.fromkeys((*old, *new)):
        found += differences(old.get(key), new.get(key), f"{name}.{key}".lstrip("."))
    return found


def place_in_stream(state: Mapping[str, Any], stages: int, checkpoint: Path) -> tuple[int, int]:
    """Index of the training that a checkpoint was made in, and how many looks were kept before it.

    Raises:
        DataError: it is the state of something else than this stream.
    """
    place = state.get("stream")
    if not isinstance(place, Mapping) or not 0 <= int(place.get("stage", -1)) < stages:
        found = "a training without a stream" if place is None else f"training {place.get('stage')!r}"
        raise DataError(
            f"{checkpoint / 'training_state' / 'state.pt'} is of {found}, expected one of this run's {stages} "
            "trainings; was it copied from another run? Put the run's own back, or begin another run"
        )
    return int(place["stage"]), int(place["looks"])


def restore(session: Session, state: dict[str, Any], checkpoint: Path) -> None:
    """Load a checkpoint's training state into a session.

    Raises:
        DataError: it is that of another model or strategy.
    """
    try:
        session.load_state_dict(state)
        problem = _misfit(session)
    except (KeyError, ValueError, TypeError, RuntimeError, AttributeError, IndexError) as error:
        lines = " ".join(str(error).split())
        problem = f"{type(error).__name__}: {lines[:200]}"
    if problem:
        raise DataError(
            f"{checkpoint / 'training_state' / 'state.pt'} does not fit the network and strategies of the run's "
            f"config.yaml ({problem}); was it copied from another run? Put the run's own back, or begin another run"
        )


def _misfit(session: Session) -> str:
    """What is wrong with the optimizer's running averages; empty if nothing is."""
    for parameter, kept in session.optimizer.state.items():
        for name, value in kept.items():
            if torch.is_tensor(value) and value.ndim and value.shape != parameter.shape:
                return f"{name} of the optimizer has shape {tuple(value.shape)}, expected {tuple(parameter.shape)}"
    return ""
