"""Checkpoints: weights in safetensors, everything else loadable with ``weights_only=True``.

A file from a stranger is data and never code. A checkpoint folder is swapped in whole: whatever kills the process,
``last`` (or the ``last.old`` it replaces) is complete.
"""

from __future__ import annotations

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

    Raises:
        DataError: it cannot be written, for want of room or permission; the checkpoint before it stays.
    """
    new, old = path.with_name(path.name + ".new"), path.with_name(path.name + ".old")
    shutil.rmtree(new, ignore_errors=True)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    try:
        new.mkdir(parents=True)
        save_file(weights, str(new / "model.safetensors"))
        (new / "config.yaml").write_text(dump_yaml(recipe))
        if state is not None:
            (new / "training_state").mkdir()
            torch.save(state, new / "training_state" / "state.pt")
    except (OSError, SafetensorError, RuntimeError) as error:  # torch.save tells a full disk by a RuntimeError
        shutil.rmtree(new, ignore_errors=True)
        free = shutil.disk_usage(path.parent).free / 1e6 if path.parent.is_dir() else 0.0
        raise DataError(
            f"the checkpoint {path} could not be written; the one before it stays. Found {free:.1f} MB free on that "
            f"disk. Make room, or see to its permissions, and continue with: equipose resume {path.parent.parent}"
        ) from error
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
        raise DataError(_no_checkpoint(path))
    file = found / "model.safetensors"
    try:
        weights = load_file(str(file))
    except (SafetensorError, OSError) as error:
        raise DataError(f"{file} is not a readable safetensors file ({error})") from None
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        lines = str(error).splitlines()[1:]
        raise DataError(
            f"{file} does not fit the network of the run's config.yaml and data; was one of them replaced? "
            f"{len(lines)} differences, the first: {lines[0].strip() if lines else error}"
        ) from None


def _no_checkpoint(path: Path) -> str:
    """What to do about a checkpoint that is not there; ``path`` is ``RUN/checkpoints/NAME``."""
    run, other = path.parent.parent, path.with_name("last" if path.name == "best" else "best")
    text = f"no checkpoint at {path}: expected model.safetensors in it. Complete an epoch with: equipose resume {run}"
    return text + (f"; or use --checkpoint {other.name}" if find_checkpoint(other) else "")


def load_state(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """The training state of a checkpoint folder, its tensors on ``device``; never executes code from the file.

    Raises:
        DataError: missing, damaged, or holding something else than tensors and plain values.
    """
    found = find_checkpoint(path)
    file = (found or path) / "training_state" / "state.pt"
    if not file.is_file():
        raise DataError(f"no training state at {file}; the run cannot be resumed, only evaluated")
    instead = f"Remove {file.parent.parent} to train this run from its start, or only evaluate it"
    keys = {"optimizer", "strategy", "tracker", "progress", "torch_rng"}
    try:
        state = torch.load(file, map_location=device, weights_only=True)
    except Exception:  # the unpickler raises whatever the bytes lead it to
        # The error's own text is left out: it advises to run the code in the file.
        raise DataError(
            f"{file} is damaged or holds something else than tensors and plain values, and was not loaded. {instead}"
        ) from None
    if not isinstance(state, dict) or not keys <= state.keys():
        raise DataError(f"{file} is not a training state of equipose: expected {', '.join(sorted(keys))}. {instead}")
    return state
