"""Random numbers that belong to a training sample, so that it meets the same luck in whichever process it lands."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from equipose.types import Batch


class Lots:
    """A uniform random number in [0, 1) for every training sample and sensor, new in each epoch.

    A function of (seed, stream, epoch, sample) alone.

    Args:
        seed: of the run.
        stream: a number of its own for each use.
        num_samples: training samples; the table grows if it meets more.
    """

    def __init__(self, seed: int, stream: int, num_samples: int) -> None:
        self._key = (seed, stream)
        self._num_samples = num_samples
        self._epoch = -1
        self._table = torch.empty(0, 0)

    def of(self, batch: Batch, epoch: int) -> Float[Tensor, "batch modality"]:
        """The numbers of a batch's samples, on its device."""
        sample = batch.meta.sample
        sample = torch.where(sample < 0, ~sample, sample)
        needed = max(self._num_samples, int(sample.max()) + 1)
        if epoch != self._epoch or needed > len(self._table):
            drawn = np.random.default_rng([*self._key, epoch]).random((needed, batch.present.shape[1]))
            self._table = torch.from_numpy(drawn).float().clamp_(max=1.0 - 2.0**-24)
            self._epoch, self._num_samples = epoch, needed
        self._table = self._table.to(batch.present.device)
        return self._table[sample]


def survivors(
    lots: Float[Tensor, "batch modality"], rates: Float[Tensor, " modality"], present: Bool[Tensor, "batch modality"]
) -> Bool[Tensor, "batch modality"]:
    """Which of the sensors a sample has are kept when each is dropped at its rate.

    A sample that would lose all keeps the one with the highest lot: with equal rates, each is as likely.
    """
    kept = present & (lots >= rates)
    highest = torch.where(present, lots, -1.0).argmax(1)
    saved = torch.nn.functional.one_hot(highest, present.shape[1]).bool() & present
    return torch.where(kept.any(1, keepdim=True), kept, saved)
