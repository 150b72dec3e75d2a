"""A control for AWC: encoders that are only slowed down, all alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from equipose import config
from equipose.balance.base import BalanceStrategy, Probe, Setup
from equipose.balance.modulation import Modulation, Scale, adam_note
from equipose.nn.model import PoseModel
from equipose.types import Batch, PoseOutput


class SlowEncodersSettings(config.Settings):
    """How much slower, and for how long."""

    factor: float = Field(default=0.3, ge=0, le=1)
    """Every encoder's step is multiplied by it; 1 is joint training, 0 freezes the encoders."""
    window: float = Field(default=0.4, ge=0, le=1)
    """Share of the epochs, from the start, in which encoders are slowed; AWC's default. 1: always."""
    scale: Scale = "step"
    """step: exact with any optimizer. gradient: the gradient instead, which Adam undoes; to show that it does."""


class SlowEncoders(BalanceStrategy):
    """Control: a lower learning rate for all encoders alike, none for the fusion.

        theta_m <- theta_m + factor * step_m        for every m, in the first share of the epochs

    The step of SGD, Adam and AdamW is proportional to the learning rate, so this is the learning rate of the encoders
    times the factor.

    Source: equipose; a control for AWC (Qi, Peng, Zhang, Ma, *Towards Balanced Multi-Modal Learning in 3D Human Pose
    Estimation*, CVPR 2026), most of whose published gain needs no grouping of the sensors.

    Differs from AWC: it knows nothing of which sensor is strong, nor of where an encoder was. A constraint that holds
    encoders back must do better than this to owe its gain to where it pulls, and not to mere slowness.
    """

    Settings: ClassVar[type[config.Settings]] = SlowEncodersSettings
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"factor": 0.1}, {"factor": 0.6})

    settings: SlowEncodersSettings  # narrows the base's

    @classmethod
    def strength_zero(cls) -> Mapping[str, Any]:
        """A factor of one."""
        return {"factor": 1.0}

    def __init__(self, settings: SlowEncodersSettings, modalities: tuple[str, ...]) -> None:
        super().__init__(settings, modalities)
        self._modulation = Modulation(settings.scale)
        self._open = False

    def setup(self, model: PoseModel, setup: Setup) -> None:
        """Learn how long the run is."""
        self._setup = setup

    def notes(self) -> list[str]:
        """Warn of scaled gradients under Adam."""
        return adam_note("slow_encoders", self.settings.scale, self._setup.optimizer)

    def begin_epoch(self, model: PoseModel, probe: Probe) -> None:
        """Open or close the window."""
        self._open = probe.epoch < round(self.settings.window * self._setup.epochs)

    def gradients(self, model: PoseModel, output: PoseOutput, batch: Batch) -> None:
        """Ask for shorter steps."""
        self._modulation.gradients(model, dict.fromkeys(self.modalities, self._factor()))

    def after_step(self, model: PoseModel) -> None:
        """Shorten them."""
        self._modulation.after_step()

    def log(self) -> dict[str, Any]:
        """Whether the window is open, and the factor."""
        return {"window_open": self._open, "factor": dict.fromkeys(self.modalities, self._factor())}

    def state_dict(self) -> dict[str, Any]:
        """Whether the window is open."""
        return {"open": self._open}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._open = state["open"]

    def _factor(self) -> float:
        return self.settings.factor if self._open else 1.0
