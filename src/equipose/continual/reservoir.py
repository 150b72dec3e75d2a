"""Which samples of a stream of unknown length a bounded memory keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch

Selection = Literal["reservoir", "stratified", "greedy"]
Stratum = tuple[int, int, int]
"""Experience, subject, action."""


class Reservoir:
    """Slots, and the stratum (experience, subject, action) that each holds.

    - ``reservoir``: the n-th sample takes a free slot, or a random one with probability capacity / n: at any time a
      uniform sample of the stream (Vitter 1985).
    - ``stratified``: a stratum that holds fewer than the largest takes a random slot from a largest one; within a
      largest stratum it is a reservoir. Rare people and actions stay (class-balancing reservoir sampling, Chrysakis and
      Moens, ICML 2020, with strata for classes).
    - ``greedy``: the same, but a largest stratum takes nothing more (GDumb, Prabhu et al., ECCV 2020).
    """

    def __init__(self, capacity: int, selection: Selection) -> None:
        self.capacity = capacity
        self._selection = selection
        self._slots: list[Stratum] = []
        self._held: dict[Stratum, int] = {}
        self._offered: dict[Stratum, int] = {}
        self._total = 0

    def begin_experience(self) -> None:
        """Strata that hold nothing any more are those of earlier experiences, and get nothing again: forget them."""
        self._held = {stratum: count for stratum, count in self._held.items() if count}
        self._offered = {stratum: count for stratum, count in self._offered.items() if stratum in self._held}

    def place(self, stratum: Stratum, generator: torch.Generator) -> int | None:
        """The slot that a new sample takes, or None; ``len`` of the memory if it takes a new one."""
        self._offered[stratum] = self._offered.get(stratum, 0) + 1
        self._total += 1
        if len(self._slots) < self.capacity:
            self._slots.append(stratum)
            self._held[stratum] = self._held.get(stratum, 0) + 1
            return len(self._slots) - 1
        slot = self._evicted(stratum, generator)
        if slot is not None:
            self._held[self._slots[slot]] -= 1
            self._slots[slot] = stratum
            self._held[stratum] = self._held.get(stratum, 0) + 1
        return slot

    def keep(self, slots: Sequence[int]) -> None:
        """Drop all other slots; those kept close up."""
        self._slots = [self._slots[i] for i in slots]
        self._held = {}
        for stratum in self._slots:
            self._held[stratum] = self._held.get(stratum, 0) + 1

    def state_dict(self) -> dict[str, Any]:
        """Slots and counts."""
        offered = [[*stratum, count] for stratum, count in self._offered.items()]
        return {
            "slots": torch.tensor(self._slots, dtype=torch.int64).reshape(-1, 3),
            "offered": torch.tensor(offered, dtype=torch.int64).reshape(-1, 4),
            "total": self._total,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._slots = [(a, b, c) for a, b, c in state["slots"].tolist()]
        self._offered = {(a, b, c): n for a, b, c, n in state["offered"].tolist()}
        self._total = state["total"]
        self.keep(range(len(self._slots)))

    def _evicted(self, stratum: Stratum, generator: torch.Generator) -> int | None:
        if self._selection == "reservoir":
            slot = _below(self._total, generator)
            return slot if slot < self.capacity else None
        largest = max(self._held.values())
        if self._held.get(stratum, 0) < largest:
            among = {other for other, count in self._held.items() if count == largest}
            return self._random_slot(among, generator)
        if self._selection == "greedy" or _below(self._offered[stratum], generator) >= largest:
            return None
        return self._random_slot({stratum}, generator)

    def _random_slot(self, strata: set[Stratum], generator: torch.Generator) -> int:
        slots = [i for i, held in enumerate(self._slots) if held in strata]
        return slots[_below(len(slots), generator)]


def _below(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (1,), generator=generator))
