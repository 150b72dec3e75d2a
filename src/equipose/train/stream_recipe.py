"""Settings of a run over a stream: a training recipe, and what comes when, with which noise, kept how."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from equipose.config import Recipe, Settings
from equipose.data.corrupt.plan import CorruptionPlan
from equipose.data.stream import StreamSettings
from equipose.separation.settings import SeparationSettings


class ContinualSettings(Settings):
    """The continual strategy and its own settings."""

    name: str = "fine_tune"
    """A name from `equipose list continual`."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Fields of that strategy's settings; see `equipose describe NAME`."""


class SeparationChoice(SeparationSettings):
    """Whether noise is looked for, and how."""

    mode: Literal["off", "find", "known"] = "off"
    """off: train on everything. find: look for noise and keep it out. known: keep out what the plan of corruption says,
    the bound for every search."""


class StreamRecipe(Recipe):
    """Everything a run over a stream needs besides the data folder. ``train.epochs`` is that of one experience."""

    stream: StreamSettings = StreamSettings()
    regime: Literal["stream", "cumulative", "joint", "single"] = "stream"
    """stream: one experience after the other. Bounds: cumulative, each with all data so far; joint, all data at once;
    single, a new model for each experience."""
    corruption: CorruptionPlan = CorruptionPlan()
    """Of the training samples; validation and test stay clean."""
    separation: SeparationChoice = SeparationChoice()
    continual: ContinualSettings = ContinualSettings()
    end_samples: int = Field(default=1024, ge=1)
    """Most training samples that a continual strategy looks at when an experience ends."""
    watch_steps: int = Field(default=0, ge=0)
    """Steps between looks at earlier experiences' validation samples within an experience, for the stability gap; 0:
    only at its end."""
    watch_samples: int = Field(default=128, ge=1)
    """Validation samples of each earlier experience that are looked at."""
