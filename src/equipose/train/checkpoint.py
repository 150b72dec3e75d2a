"""Checkpoints: weights in safetensors, everything else loadable with ``weights_only=True``.

A file from a stranger is data and never code. A checkpoint folder is swapped in whole: whatever kills the process,
``last`` (or the ``last.old`` it replaces) is complete.
"""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from equipose.config import Recipe, dump_yaml
from equipose.errors import DataError


def save_checkpoint(path: Path, model: nn.Module, recipe: Recipe, state: dict[str, Any] | None) -> None:
    """Write a checkpoint folder in one piece.

    Args:
        path: the folder, ``.../checkpoints/last``.
        model: its parameters and buffers go to ``model.safetensors``.
        recipe: goes to ``config.yaml``, so that the weights can be used without the run.
        state: tensors and plain values for an exact resume; None for weights only.
    """
    new, old = path.with_name(path.name + ".new"), path.with_name(path.name + ".old")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, str(new / "model.safetensors"))
    (new / "config.yaml").write_text(dump_yaml(recipe))
    if state is not None:
        (new / "training_state").mkdir()
        torch.save(state, new / "training_state" / "state.pt")
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        path.replace(old)
    new.replace(path)
    shutil.rmtree(old, ignore_errors=True)


def find_checkpoint(path: Path) -> Path | None:
    """``path`` if it is there, else the complete one it was about to replace, else None."""
    for candidate in (path, path.with_name(path.name + ".old")):
        if (candidate / "model.safetensors").is_file():
            return candidate
    return None


def load_weights(path: Path, model: nn.Module) -> None:
    """Load ``model.safetensors`` of a checkpoint folder into ``model``.

    Raises:
        DataError: no checkpoint, a damaged file, or weights of another network.
    """
    found = find_checkpoint(path)
    if found is None:
        raise DataError(f"no checkpoint at {path}: expected model.safetensors in it; train the run first")
    file = found / "model.safetensors"
    try:
        weights = load_file(str(file))
    except (SafetensorError, OSError) as error:
        raise DataError(f"{file} is not a readable safetensors file ({error})") from None
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise DataError(
            f"{file} does not fit the network of config.yaml beside it; was one of them replaced?\n{error}"
        ) from None


def load_state(path: Path) -> dict[str, Any]:
    """The training state of a checkpoint folder; never executes code from the file.

    Raises:
        DataError: missing, damaged, or holding something else than tensors and plain values.
    """
    found = find_checkpoint(path)
    file = (found or path) / "training_state" / "state.pt"
    if not file.is_file():
        raise DataError(f"no training state at {file}; the run cannot be resumed, only evaluated")
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise DataError(
            f"{file} is damaged or holds something else than tensors and plain values, and was not loaded: "
            f"{str(error).splitlines()[0]}"
        ) from None
    if not isinstance(state, dict):
        raise DataError(f"{file} holds {type(state).__name__}, expected a mapping; it is not a state of equipose")
    return state
