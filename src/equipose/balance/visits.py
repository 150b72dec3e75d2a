"""The order in which somebody else's loader visits its samples, for strategies that choose it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Bool, Int
from numpy import ndarray
from torch.utils.data import Sampler

from equipose.balance.base import BalanceStrategy
from equipose.errors import UsageError


class Visits(Sampler[int]):
    """A sampler for the training loader: shuffled, and open to strategies that show some samples more often.

    ``DataLoader(data, 64, sampler=Visits(len(data)))``; the ``Balancer`` finds it in the loader.

    Args:
        num_samples: length of the data set.
        seed: of the shuffling; an epoch's order is a function of it and the epoch alone.
    """

    def __init__(self, num_samples: int, seed: int = 0) -> None:
        self.num_samples = num_samples
        self.seed = seed
        self.positions = self._shuffled(0)
        self.coalition: Bool[ndarray, "sample modality"] | None = None

    def plan(self, strategy: BalanceStrategy, epoch: int) -> None:
        """Ask a strategy for the visits of an epoch; the next pass follows them."""
        self.positions, self.coalition = strategy.visit(self._shuffled(epoch), epoch)

    def __iter__(self) -> Iterator[int]:
        return iter(self.positions.tolist())

    def __len__(self) -> int:
        return self.num_samples

    def _shuffled(self, epoch: int) -> Int[ndarray, " sample"]:
        return np.random.default_rng([self.seed, 1, epoch]).permutation(self.num_samples)


def visits_of(name: str, strategy: BalanceStrategy, loader: Iterable[Any]) -> Visits | None:
    """The loader's sampler, if it can be told what to visit."""
    sampler = getattr(loader, "sampler", None)
    if isinstance(sampler, Visits):
        return sampler
    if type(strategy).visit is not BalanceStrategy.visit:
        raise UsageError(
            f"{name!r} chooses which samples are visited: build the loader with sampler=Visits(len(data)), from "
            "equipose.balance.visits"
        )
    return None
