"""What the report reads from ``metrics.json`` and ``metrics.jsonl``: the fields, checked.

A run folder may come from a stranger, so nothing is used before it has the right type. Unknown fields are ignored:
a newer version may write more.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field


def _finite_or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _whole_interval_or_none(value: Any) -> Any:
    """None unless both ends are finite numbers."""
    if isinstance(value, list | tuple) and any(_finite_or_none(end) is None for end in value):
        return None
    return value


Number = Annotated[float | None, BeforeValidator(_finite_or_none)]
"""A finite number; NaN and infinity become None and are shown as missing."""
Interval = Annotated[tuple[float, float] | None, BeforeValidator(_whole_interval_or_none)]
"""(low, high), or None where there were too few subjects for one."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class CoalitionError(_Record):
    """Error of one subset of the modalities, millimetres."""

    modalities: tuple[str, ...]
    mpjpe_mm: Number = None
    interval: Interval = None
    pa_mpjpe_mm: Number = None
    pa_interval: Interval = None


class Addition(_Record):
    """What adding one modality to a subset did, millimetres; positive is worse."""

    start: str = Field(alias="from")
    added: str
    change_mm: Number = None
    interval: Interval = None
    hurts: bool | None = None

    @property
    def hurt(self) -> bool:
        """True if the whole interval of the change lies above zero."""
        return self.hurts if self.hurts is not None else self.interval is not None and self.interval[0] > 0


class GroupError(_Record):
    """Error of one action, environment or subject, millimetres."""

    number: int | str = Field(validation_alias=AliasChoices("action", "environment", "subject", "number"))
    name: str = ""
    mpjpe_mm: Number = None
    interval: Interval = None


class Metrics(_Record):
    """``metrics.json``: the test split, as `equipose evaluate` writes it."""

    split: str = "test"
    samples: int
    subjects: tuple[int | str, ...] = ()
    modalities: tuple[str, ...] = Field(min_length=1)
    joints: tuple[str, ...] = ()
    skeleton: str = ""
    mean_pose_mpjpe_mm: Number = None
    room_mean_mpjpe_mm: Number = None
    subject_mean_mpjpe_mm: Number = None
    coalitions: tuple[CoalitionError, ...] = Field(min_length=1)
    hurts: tuple[Addition, ...] = ()
    per_joint_mm: tuple[Number, ...] = ()
    per_action: tuple[GroupError, ...] = ()
    per_environment: tuple[GroupError, ...] = ()
    per_subject: tuple[GroupError, ...] = ()
    collapse: dict[str, Number] = {}
    alarms: tuple[str, ...] = ()
    training_seconds: Number = None
    parameters: dict[str, int] = {}
    peak_memory_mb: Number = None
    simulated: tuple[str, ...] = ()

    def coalition(self, modalities: tuple[str, ...] | frozenset[str]) -> CoalitionError | None:
        """The row of a subset, whatever the order it is named in."""
        wanted = frozenset(modalities)
        return next((row for row in self.coalitions if frozenset(row.modalities) == wanted), None)


class EpochRecord(_Record):
    """One line of ``metrics.jsonl``."""

    epoch: int
    train_mpjpe_mm: Number = None
    validation_mpjpe_mm: Number = None
    learning_rate: Number = None
    seconds: Number = None
    contribution_seconds: Number = None
    balance_seconds: Number = None
    contribution: dict[str, Number] = {}
    share: dict[str, Number] = {}
    entropy: Number = None
    balance: dict[str, Any] = {}

    def group(self, modality: str) -> str:
        """``superior``, ``inferior`` or empty: the group the balance strategy put a modality in."""
        groups = self.balance.get("groups")
        found = groups.get(modality) if isinstance(groups, dict) else None
        return found if found in ("superior", "inferior") else ""

    @property
    def window_open(self) -> bool:
        """True while the balance strategy constrained the encoders."""
        return self.balance.get("window_open") is True
