"""A bounded memory of samples with what the model said about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from equipose.continual.base import Clean
from equipose.continual.batches import joined, tensors_of
from equipose.continual.reservoir import Reservoir, Selection
from equipose.continual.weights import bytes_of
from equipose.nn.tensors import batch_from_tensors, batch_to_tensors
from equipose.types import Batch

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Entries:
    """Samples of a memory, on the CPU.

    Attributes:
        batch: inputs, targets and origins. ``present`` is as recorded: what was found corrupt is in ``clean``.
        outputs: (entry, joint, 3) what the model said when they were stored or last refreshed, metres, camera frame.
        experience: (entry,) which one they come from.
        clean: (entry, modality) sensor cells that were found clean.
    """

    batch: Batch
    outputs: Float[Tensor, "entry joint 3"]
    experience: Int[Tensor, " entry"]
    clean: Bool[Tensor, "entry modality"]

    def __len__(self) -> int:
        return len(self.batch)

    def select(self, index: Int[Tensor, " chosen"]) -> Entries:
        """The entries at these positions."""
        return Entries(self.batch.select(index), self.outputs[index], self.experience[index], self.clean[index])

    def usable(self) -> Batch:
        """The samples, with the sensor cells hidden that were found corrupt."""
        return replace(self.batch, present=self.batch.present & self.clean)


@dataclass(frozen=True)
class Replay:
    """Samples drawn from a memory, on the device of the training.

    Attributes:
        batch: to train on; corrupt cells are hidden.
        outputs: (batch, joint, 3) stored outputs, metres, camera frame.
    """

    batch: Batch
    outputs: Float[Tensor, "batch joint 3"]


class Memory:
    """At most ``capacity`` samples, chosen by a reservoir.

    A sample is considered the first time it is seen in an experience, with a usable label and at least one usable
    sensor. Inputs are kept as they were given, not as a strategy masked or changed them.

    Args:
        capacity: samples; 0 keeps none.
        selection: see ``Reservoir``.
        seed: of the reservoir and of drawing.
        endless: every sample is offered once, so that none need be remembered as seen; what is kept then does not grow
            with the stream.
    """

    def __init__(
        self, capacity: int, selection: Selection = "stratified", seed: int = 0, endless: bool = False
    ) -> None:
        self._endless = endless
        self.entries: Entries | None = None
        self._generator = torch.Generator().manual_seed(seed)
        self._reservoir = Reservoir(capacity, selection)
        self._seen: set[int] = set()

    def __len__(self) -> int:
        return 0 if self.entries is None else len(self.entries)

    def begin_experience(self) -> None:
        """From now on samples are those of another experience, whatever their numbers."""
        self._seen = set()
        self._reservoir.begin_experience()

    def insert(
        self, batch: Batch, outputs: Float[Tensor, "batch joint 3"], experience: int, clean: Clean | None = None
    ) -> None:
        """Consider the samples of a batch in order."""
        if self._reservoir.capacity == 0:
            return
        new = _entries(batch, outputs, experience, clean)
        usable = new.usable().present.any(1)
        if clean is not None:
            usable &= clean.labels.to(_CPU)
        places: dict[int, int] = {}
        meta = new.batch.meta
        origin = torch.stack([new.experience, meta.subject, meta.action], 1).tolist()
        for i, (sample, fine) in enumerate(zip(meta.sample.tolist(), usable.tolist(), strict=True)):
            if not fine or sample in self._seen:
                continue
            if not self._endless:
                self._seen.add(sample)
            place = self._reservoir.place((origin[i][0], origin[i][1], origin[i][2]), self._generator)
            if place is not None:
                places[place] = i
        self.entries = _placed(self.entries, new, places)

    def draw(
        self, count: int, device: torch.device, before: int | None = None, only: int | None = None
    ) -> Replay | None:
        """Random entries without repetition, as many as there are up to ``count``; None without any.

        Their numbers are negative (``FrameMeta.sample``): they are no samples of the present experience.

        Args:
            count: samples.
            device: where to.
            before: only entries of experiences below this one.
            only: only entries of this experience.
        """
        if self.entries is None or count == 0:
            return None
        allowed = torch.ones(len(self.entries), dtype=torch.bool)
        if before is not None:
            allowed &= self.entries.experience < before
        if only is not None:
            allowed &= self.entries.experience == only
        index = allowed.nonzero()[:, 0]
        if len(index) == 0:
            return None
        chosen = self.entries.select(index[torch.randperm(len(index), generator=self._generator)[:count]])
        batch = chosen.usable()
        old = replace(batch, meta=replace(batch.meta, sample=~batch.meta.sample))
        return Replay(old.to(device), chosen.outputs.to(device))

    def relabel(
        self,
        outputs: Float[Tensor, "entry joint 3"] | None = None,
        clean: Bool[Tensor, "entry modality"] | None = None,
    ) -> None:
        """Replace the stored outputs, or what is held to be clean, of all entries in order."""
        if self.entries is not None:
            outputs = self.entries.outputs if outputs is None else outputs.detach().to(_CPU).float()
            clean = self.entries.clean if clean is None else clean.to(_CPU)
            self.entries = replace(self.entries, outputs=outputs, clean=clean)

    def remove(self, bad: Bool[Tensor, " entry"]) -> None:
        """Drop entries, such as those whose label turned out corrupt."""
        if self.entries is not None and bool(bad.any()):
            kept = (~bad.to(_CPU)).nonzero()[:, 0]
            self._reservoir.keep(kept.tolist())
            self.entries = self.entries.select(kept) if len(kept) else None

    def bytes(self) -> int:
        """Size of all stored tensors."""
        if self.entries is None:
            return 0
        return bytes_of(_tensors(self.entries))

    def state_dict(self) -> dict[str, Any]:
        """Samples, reservoir and generator."""
        held: dict[str, Any] = {}
        if self.entries is not None:
            e = self.entries.select(torch.arange(len(self.entries)))  # copies
            held = {
                "modalities": list(e.batch.modalities),
                "batch": batch_to_tensors(e.batch),
                "outputs": e.outputs,
                "experience": e.experience,
                "clean": e.clean,
            }
        return {
            "entries": held,
            "reservoir": self._reservoir.state_dict(),
            "seen": torch.tensor(sorted(self._seen), dtype=torch.int64),
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        held = state["entries"]
        self.entries = None
        if held:
            batch = batch_from_tensors(held["batch"], held["modalities"]).to(_CPU)
            outputs, experience, clean = (held[name].to(_CPU) for name in ("outputs", "experience", "clean"))
            self.entries = Entries(batch, outputs, experience, clean)
        self._reservoir.load_state_dict(state["reservoir"])
        self._seen = set(state["seen"].tolist())
        self._generator.set_state(state["generator"].cpu())


def purity(
    entries: Entries,
    corrupt: Bool[Tensor, "entry modality"],
    of: Literal["cells", "samples"] = "cells",
) -> float:
    """Share of what a memory replays that is truly clean; NaN where it replays nothing.

    Args:
        entries: of the memory.
        corrupt: the truth about its cells.
        of: cells that are replayed, or samples without a corrupt one among them.
    """
    used = entries.usable().present
    if of == "cells":
        return float((used & ~corrupt).sum() / used.sum())
    return float((~(used & corrupt).any(1))[used.any(1)].double().mean())


def _entries(batch: Batch, outputs: Tensor, experience: int, clean: Clean | None) -> Entries:
    cells = torch.ones_like(batch.present) if clean is None else clean.cells
    number = torch.full((len(batch),), experience, dtype=torch.int64)
    batch = replace(batch, weight=None)  # a stored label is a clean one
    return Entries(batch.to(_CPU), outputs.detach().to(_CPU).float(), number, cells.to(_CPU))


def _placed(old: Entries | None, new: Entries, places: Mapping[int, int]) -> Entries | None:
    """Old entries with new ones in some places, which may be past their end; the old tensors may be written to."""
    if not places:
        return old
    count = 0 if old is None else len(old)
    if old is not None and max(places) < count and _same_shapes(old, new):
        slots, rows = torch.tensor(list(places)), torch.tensor(list(places.values()))
        for there, here in zip(_tensors(old), _tensors(new), strict=True):
            there[slots] = here[rows]
        return old
    source = [places[p] + count if p in places else p for p in range(max(count, max(places) + 1))]
    both = new if old is None else _joined(old, new)
    return both.select(torch.tensor(source, dtype=torch.int64))


def _tensors(entries: Entries) -> list[Tensor]:
    return [*tensors_of(entries.batch), entries.outputs, entries.experience, entries.clean]


def _same_shapes(first: Entries, second: Entries) -> bool:
    return all(a.shape[1:] == b.shape[1:] for a, b in zip(_tensors(first), _tensors(second), strict=True))


def _joined(first: Entries, second: Entries) -> Entries:
    def both(name: str) -> Tensor:
        return torch.cat([getattr(first, name), getattr(second, name)])

    batch = joined(first.batch, second.batch)
    return Entries(batch, both("outputs"), both("experience"), both("clean"))
