"""Experience replay: every batch brings old samples along."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from equipose import config
from equipose.continual.batches import joined
from equipose.continual.replay import MemorySettings, Rehearsal
from equipose.types import Batch


class ErSettings(MemorySettings):
    """Memory, and how much of it comes along."""

    ratio: float = Field(default=1.0, ge=0)
    """Old samples per new one. 0 is fine-tuning."""


class Er(Rehearsal):
    """Train on new samples and as many from a small memory.

    ::

        L = mean loss over the batch and round(ratio * batch) samples from the memory

    Source: Chaudhry et al., *On Tiny Episodic Memories in Continual Learning* (arXiv 1902.10486, 2019); defined for
    classification, one pass over the stream and a reservoir.

    Differs from the published method:

    - samples are drawn from equal shares of experience, subject and action, and only from experiences that have ended:
      with several passes over an experience its own samples come again anyway;
    - one forward pass over old and new together, and the mean instead of the sum of their losses;
    - only samples whose label was found clean are stored, and sensors found corrupt are hidden at replay.

    The balance strategy sees old and new samples alike. Per-sample label weights would be stored with the samples and
    enter through the loss.
    """

    Settings: ClassVar[type[config.Settings]] = ErSettings
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"ratio": 0.5}, {"capacity": 1600})

    settings: ErSettings  # narrows the base's

    @classmethod
    def strength_zero(cls) -> Mapping[str, Any]:
        """No old samples."""
        return {"ratio": 0.0, "held_out": 0}

    def mix(self, batch: Batch, step: int) -> Batch:
        """The batch, and old samples after it."""
        replay = self.draw(round(self.settings.ratio * len(batch)), batch.present.device)
        return batch if replay is None else joined(batch, replay.batch)
