"""What strategies with a memory have in common: filling it, refreshing it, saving it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from equipose import config
from equipose.balance.base import Setup
from equipose.continual.base import Clean, ContinualStrategy, End, Start
from equipose.continual.held_out import HeldOut
from equipose.continual.memory import Memory, Replay
from equipose.continual.weights import joints_now
from equipose.nn.model import PoseModel
from equipose.types import Batch


class MemorySettings(config.Settings):
    """Size and filling of the memory."""

    capacity: int = Field(default=400, ge=0)
    """Samples kept in all. 0 is fine-tuning."""
    selection: Literal["reservoir", "stratified"] = "stratified"
    """stratified: experiences, subjects and actions get equal shares. reservoir: every sample of the stream has the
    same chance."""
    replay: Literal["earlier", "all"] = "earlier"
    """earlier: only samples of experiences that have ended are replayed. all: those of the present one too, as where
    experiences have no borders."""
    held_out: int = Field(default=192, ge=0)
    """Validation samples of earlier experiences that are kept in all, for what the balance strategy fits to people whom
    the network does not know (the trust of `every_subset`). They are never trained on. 0: none. A stream without an end
    has no such samples."""


class Rehearsal(ContinualStrategy):
    """Base of the strategies that store samples. One process only: each would fill a memory of its own."""

    settings: MemorySettings  # narrows the base's

    def __init__(self, settings: MemorySettings, modalities: tuple[str, ...]) -> None:
        super().__init__(settings, modalities)
        self._experience = 0

    def setup(self, model: PoseModel, setup: Setup) -> None:
        """Make empty memories."""
        self._setup, settings = setup, self.settings
        self.memory = Memory(settings.capacity, settings.selection, setup.seed * 1_000_003 + 7, setup.endless)
        self.kept_out = HeldOut(0 if setup.endless else settings.held_out)

    def begin_experience(self, model: PoseModel, start: Start) -> None:
        """Samples are those of another experience from now on."""
        self._experience = start.index
        self.memory.begin_experience()

    def observe(self, batch: Batch, joints: Float[Tensor, "batch joint 3"], clean: Clean | None = None) -> None:
        """Consider the new samples for the memory."""
        self.memory.insert(batch, joints, self._experience, clean)

    def end_experience(self, model: PoseModel, end: End) -> None:
        """Purify the experience's entries, and store what the trained model says of them instead of what it said then.

        Most are stored in the first pass, before much of the noise is found.
        """
        self.kept_out.add(end.validation())
        self._purify(end)
        entries = self.memory.entries
        if entries is None:
            return
        own = (entries.experience == end.index).nonzero()[:, 0]
        outputs = entries.outputs.clone()
        for index in torch.split(own, 64):
            outputs[index] = joints_now(model, entries.select(index).usable().to(model.mean_pose.device)).cpu().float()
        self.memory.relabel(outputs=outputs)

    def _purify(self, end: End) -> None:
        """Hide cells that were found corrupt since, and drop entries with a wrong label or without a sensor."""
        entries = self.memory.entries
        if entries is None or end.found is None:
            return
        own = entries.experience == end.index
        found = end.found(entries.batch.meta.sample[own])
        if found is None:
            return
        cells, bad = entries.clean.clone(), torch.zeros_like(own)
        cells[own] = cells[own] & found.cells.to(cells.device)
        bad[own] = ~found.labels.to(bad.device)
        self.memory.relabel(clean=cells)
        self.memory.remove(bad | ~(entries.batch.present & cells).any(1))

    def log(self) -> dict[str, Any]:
        """How many samples the memory holds."""
        return {"memory": len(self.memory)}

    def state_dict(self) -> dict[str, Any]:
        """The memory."""
        return {
            "memory": self.memory.state_dict(),
            "experience": self._experience,
            "held_out": self.kept_out.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self.memory.load_state_dict(state["memory"])
        self._experience = state["experience"]
        self.kept_out.load_state_dict(state["held_out"])

    def memory_bytes(self) -> int:
        """The stored samples, those held out too."""
        return self.memory.bytes() + self.kept_out.bytes()

    def held_out(self) -> Iterable[Batch]:
        """Of experiences that have ended."""
        return self.kept_out

    def draw(self, count: int, device: torch.device) -> Replay | None:
        """Entries to replay; None while there is nothing to keep."""
        before = self._experience if self.settings.replay == "earlier" else None
        return self.memory.draw(count, device, before=before)
