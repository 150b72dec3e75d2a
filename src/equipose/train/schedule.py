"""Learning rate as a function of the step alone, so that a resumed run needs no scheduler state."""

from __future__ import annotations

import math

from equipose.config import TrainSettings

_STEP_AT = 0.6
_WARM_UP = 0.05


def learning_rate(settings: TrainSettings, step: int, total_steps: int) -> float:
    """Learning rate of optimizer step ``step`` (from 0) of ``total_steps``."""
    base = settings.learning_rate
    if settings.schedule == "constant":
        return base
    if settings.schedule == "step":
        return base if step < _STEP_AT * total_steps else 0.1 * base
    warm_up = max(1, round(_WARM_UP * total_steps))
    if step < warm_up:
        return base * (step + 1) / warm_up
    progress = (step - warm_up) / max(1, total_steps - warm_up)
    return base * 0.5 * (1.0 + math.cos(math.pi * progress))
