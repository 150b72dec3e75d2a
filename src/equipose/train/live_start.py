"""The network a learner starts with: that of a run, or a new one."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import safe_open
from torch import Tensor

from equipose.config import Recipe
from equipose.errors import DataError, UsageError
from equipose.nn.model import PoseModel, build_model
from equipose.train.checkpoint import find_checkpoint, load_weights
from equipose.train.live_recipe import LiveRecipe
from equipose.train.run_dir import RunDir
from equipose.train.stream_recipe import StreamRecipe


def first_model(
    recipe: LiveRecipe, model: PoseModel | Path | str | None, mean_pose: Float[Tensor, "joint 3"] | None
) -> tuple[LiveRecipe, PoseModel]:
    """The network that ``Learner.start`` was given or pointed to, and the recipe that goes with it."""
    if isinstance(model, str | Path):
        return model_of_run(recipe, Path(model))
    if model is not None:
        return recipe, model
    if mean_pose is not None:
        return recipe, new_model(recipe, mean_pose)
    raise UsageError(
        "found neither a model nor a mean pose: give the folder of a run, a model, or mean_pose=(joint, 3) in metres, "
        "such as that of the first batch, batch.target.mean(0)"
    )


def new_model(recipe: LiveRecipe, mean_pose: Float[Tensor, "joint 3"]) -> PoseModel:
    """The recipe's network, untrained; ``mean_pose``: metres, camera frame."""
    data = recipe.data
    return build_model(
        recipe.model, data.modalities, len(mean_pose), recipe.train.seed, mean_pose, windows=data.windows
    )


def model_of_run(recipe: LiveRecipe, folder: Path) -> tuple[LiveRecipe, PoseModel]:
    """A run's network with its weights, the best if there are such, and the recipe with that run's network and data.

    Args:
        recipe: of the learner.
        folder: as `equipose train` or a run over a stream makes it.

    Raises:
        DataError: it is no run folder, or has no checkpoint that can be read.
    """
    run = RunDir.open(folder)
    try:
        made: Recipe = run.recipe
    except UsageError:
        made = run.recipe_of(StreamRecipe)
    found = find_checkpoint(run.checkpoint("best")) or find_checkpoint(run.checkpoint("last"))
    if found is None:
        raise DataError(f"{folder} has no checkpoint; expected a run with a finished epoch: equipose resume {folder}")
    recipe = recipe.model_copy(update={"model": made.model, "data": made.data})
    return recipe, loaded(recipe, found)


def loaded(recipe: LiveRecipe, checkpoint: Path) -> PoseModel:
    """The recipe's network with the weights of a checkpoint folder.

    Raises:
        DataError: they cannot be read, or are those of another network.
    """
    model = new_model(recipe, torch.zeros(_joints(checkpoint), 3))
    load_weights(checkpoint, model)
    return model


def _joints(checkpoint: Path) -> int:
    file = (find_checkpoint(checkpoint) or checkpoint) / "model.safetensors"
    try:
        with safe_open(str(file), "pt") as weights:
            return int(weights.get_slice("mean_pose").get_shape()[0])
    except Exception as error:  # the reader raises an error of its own for each kind of damage
        raise DataError(f"{file} holds no network of equipose ({error})") from None
