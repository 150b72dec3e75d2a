"""Held-out samples of earlier experiences, never trained on, for what a strategy fits to unknown people.

A balance strategy may fit a few numbers to validation samples (``Probe.validation``): how far each sensor can be
trusted, say. In a stream these are of the present experience alone, and what is fitted to one room misleads in another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

from equipose.continual.batches import joined, tensors_of
from equipose.continual.weights import bytes_of
from equipose.nn.tensors import batch_from_tensors, batch_to_tensors
from equipose.types import Batch

_CPU = torch.device("cpu")


class HeldOut:
    """At most ``capacity`` samples, equally many of every experience that has ended, evenly spaced.

    Args:
        capacity: samples; 0 keeps none.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._kept: list[Batch] = []

    def __len__(self) -> int:
        return sum(len(batch) for batch in self._kept)

    def __iter__(self) -> Iterator[Batch]:
        """One batch per experience, on the CPU."""
        return iter(self._kept)

    def add(self, batches: Iterable[Batch]) -> None:
        """Keep samples of another experience, and fewer of those before."""
        if not self.capacity:
            return
        whole: Batch | None = None
        for batch in batches:
            whole = batch.to(_CPU) if whole is None else joined(whole, batch.to(_CPU))
        if whole is None:
            return
        share = self.capacity // (len(self._kept) + 1)
        self._kept = [_spread(batch, share) for batch in (*self._kept, whole)]

    def bytes(self) -> int:
        """Size of what is kept."""
        return bytes_of(tensor for batch in self._kept for tensor in tensors_of(batch))

    def state_dict(self) -> dict[str, Any]:
        """What is kept."""
        return {
            "kept": [{"modalities": list(batch.modalities), "tensors": batch_to_tensors(batch)} for batch in self._kept]
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._kept = [batch_from_tensors(each["tensors"], each["modalities"]) for each in state["kept"]]


def _spread(batch: Batch, wanted: int) -> Batch:
    count = min(len(batch), wanted)
    return batch.select(torch.arange(count) * len(batch) // max(count, 1))
