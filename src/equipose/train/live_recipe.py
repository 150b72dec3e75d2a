"""Settings of a learner that follows a recording without end."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from equipose.config import BalanceSettings, Recipe, Settings
from equipose.separation.settings import SeparationSettings
from equipose.train.stream_recipe import ContinualSettings


class LiveSettings(Settings):
    """What a learner does with each batch, and how much it keeps. Every buffer has a largest size."""

    steps: int = Field(default=1, ge=1)
    """Optimizer steps for each batch that is learned from."""
    separate: bool = True
    """Look for sensors and labels that cannot be trusted. False: only checks that need no learning."""
    warm_up: int = Field(default=20, ge=0)
    """Batches at the start of each experience in which nothing is flagged but what needs no learning. It goes on until
    there are enough samples to compare with."""
    window: int = Field(default=64, ge=20)
    """Latest samples that a batch is judged together with: they show what lasts, and when a sensor changed as a whole.
    """
    share: float = Field(default=0.25, gt=0, le=1)
    """Share of the clean samples that replace the oldest ones to compare with (``separation.calibration`` of them). The
    smaller, the further back these reach."""
    refresh: int = Field(default=10, ge=1)
    """Batches after which trusted samples are looked at again with the model as it is now."""
    events: bool = True
    """A sensor, or the labels, that changed as a whole begin a new experience. False: they are only reported."""
    recent: int = Field(default=256, ge=1)
    """Clean samples of the present experience, drawn evenly, for strategies to look at when it ends, and in between."""
    aside: int = Field(default=64, ge=0)
    """Latest samples with something set aside, which ``Learner.restore`` can still learn from."""
    rows: int = Field(default=10_000, ge=0)
    """Latest rows of the log, and of the events."""
    epoch: int = Field(default=100, ge=1)
    """Learned batches after which a balance strategy looks at contributions, as after an epoch."""


class LiveBalance(BalanceSettings):
    """The balance strategy."""

    name: str = "every_subset"
    """By default every sensor also answers alone, by which the others are checked."""


class LiveContinual(ContinualSettings):
    """The continual strategy."""

    name: str = "er"
    """A name from `equipose list continual`."""


class LiveSeparation(SeparationSettings):
    """How noise is found."""

    readout: Literal["fusion"] = "fusion"
    """What a sensor says alone is the model's answer with the others masked: a stream is never seen as a whole."""


class LiveRecipe(Recipe):
    """Everything a learner needs.

    Of ``train``, the schedule, the epochs and the batch size say nothing about the stream: the learning rate is
    constant, and a balance strategy is told that there are that many epochs of ``live.epoch`` batches. What counts
    epochs in ``separation`` (every, warm_up, until, memory) has no effect; nor has ``data.mirror``.
    """

    balance: LiveBalance = LiveBalance()
    continual: LiveContinual = LiveContinual()
    separation: LiveSeparation = LiveSeparation()
    live: LiveSettings = LiveSettings()
