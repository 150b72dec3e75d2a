"""Settings of adaptive EWC."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from equipose import config


class AdaptiveEwcSettings(config.Settings):
    """Budget, strengths and information."""

    budget_mm: float = Field(default=20.0, ge=0)
    """How far joints of old samples may drift, root mean square in millimetres, all groups together. 0: no budget,
    which is fine-tuning."""
    strength: float = Field(default=1.0, ge=0)
    """Strength of every group to begin with. 1: as much as an error of budget_mm, once the joints have drifted by it.
    0 is fine-tuning."""
    ascent: float = Field(default=0.02, ge=0)
    """How fast strengths follow the drift, per step. 0: they stay as they are."""
    least: float = Field(default=0.1, gt=0, le=1)
    """Least factor of a sensor: one without contribution, or without a clean cell, may drift 1 / sqrt(least) times as
    far as the best."""
    decay: float = Field(default=1.0, ge=0, le=1)
    """What is left of an experience's share in the information at each new one; 1 counts all alike."""
    damping: float = Field(default=0.1, ge=0)
    """Least information of a weight, in means of its group: a unit that was silent on the old samples has none, and
    left free it wakes up and speaks on them too. Without it no budget holds."""
    probes: int = Field(default=8, ge=1)
    """Random-sign passes over the samples."""
    subsets: bool = False
    """Measure the information of random subsets of the sensors instead of all together: what each can do alone is then
    kept too."""
    calibrate_every: int = Field(default=20, ge=0)
    """Steps between comparisons of predicted with measured drift; 0: never. Each costs two forward passes."""
    references: int = Field(default=64, ge=0)
    """Inputs of earlier experiences, without labels, that are kept to measure drift on. 0: it is measured on new
    inputs, and what has to change there then counts as drift."""
    step: Literal["proximal", "loss"] = "proximal"
    """proximal: an implicit step after the optimizer's, stable at any strength. loss: a penalty in the loss."""
