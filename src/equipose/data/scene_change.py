"""Which scenes of a training batch are mirrored or moved: drawn with the batch, applied when all else is known of it.

Separation judges a sample by its place in the data set, and a memory keeps samples as they were recorded. So a change
is drawn where the batch is made, and applied after both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from equipose.config import DataSettings
from equipose.data.mirror import mirrored
from equipose.data.moved import draw_moves, moved
from equipose.types import Batch


@dataclass(frozen=True)
class SceneChange:
    """What happens to each sample of a batch.

    Attributes:
        mirror: which scenes are mirrored, see ``mirror.mirrored``.
        move: which are moved, see ``moved.moved``.
        rotation: of the moved ones.
        size: of the moved ones.
        swap: the joint that takes each joint's place in a mirrored scene (``Skeleton.mirror``).
    """

    mirror: Bool[Tensor, " batch"]
    move: Bool[Tensor, " batch"]
    rotation: Float[Tensor, "batch 3 3"]
    size: Float[Tensor, " batch"]
    swap: tuple[int, ...]

    @property
    def untouched(self) -> Bool[Tensor, " batch"]:
        """Samples that stay as they were recorded."""
        return ~(self.mirror | self.move)


def draw_change(
    settings: DataSettings, count: int, swap: tuple[int, ...], generator: np.random.Generator
) -> SceneChange | None:
    """A change of ``count`` samples; None where the settings want none.

    One lot decides on both, so that the samples of the smaller share are among those of the larger.

    Args:
        settings: ``mirror`` and ``move``.
        count: samples.
        swap: see ``SceneChange``.
        generator: of the batch.
    """
    mirror, move = settings.mirror, settings.move
    if not (mirror or move.share):
        return None
    lot = torch.from_numpy(generator.random(count))
    uniform = generator.random((count, 4), np.float32) if move.share else np.full((count, 4), 0.5, np.float32)
    rotation, size = draw_moves(move, torch.from_numpy(uniform))
    return SceneChange(lot < mirror, lot < move.share, rotation, size, swap)


def changed(batch: Batch, change: SceneChange) -> Batch:
    """The samples with some scenes mirrored, some moved, and some both; those beyond the change's stay as they are.

    Args:
        batch: the samples that the change was drawn for, and perhaps others after them, on any device.
        change: see ``draw_change``.
    """
    device, more = batch.present.device, len(batch) - len(change.mirror)
    mirror, move = (
        torch.cat([chosen, torch.zeros(more, dtype=torch.bool)]).to(device) for chosen in (change.mirror, change.move)
    )
    if change.mirror.any():
        batch = mirrored(batch, mirror, change.swap)
    if change.move.any():
        rotation = torch.cat([change.rotation, torch.eye(3).expand(more, 3, 3)]).to(device)
        size = torch.cat([change.size, torch.ones(more)]).to(device)
        batch = moved(batch, move, rotation, size)
    return batch
