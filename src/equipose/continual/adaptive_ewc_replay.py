"""The recommended preset: adaptive EWC, and a small memory of clean samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from equipose import config
from equipose.balance.base import Setup
from equipose.continual.adaptive_ewc import AdaptiveEwc
from equipose.continual.adaptive_ewc_settings import AdaptiveEwcSettings
from equipose.continual.base import Clean, ContinualStrategy, End, Start
from equipose.continual.er import Er, ErSettings
from equipose.nn.model import PoseModel
from equipose.types import Batch, PoseOutput

_REFERENCE = 64
"""Old samples on which drift is measured."""


class AdaptiveEwcReplaySettings(config.Settings):
    """Those of both parts."""

    ewc: AdaptiveEwcSettings = AdaptiveEwcSettings(budget_mm=100.0, references=0)
    """Settings of adaptive_ewc; drift is measured on samples of the replay memory."""
    replay: ErSettings = ErSettings(capacity=400, ratio=1.0)
    """Settings of er."""


class AdaptiveEwcReplay(ContinualStrategy):
    """Adaptive EWC holds the encoders, a small memory of clean samples corrects what it cannot see.

    Penalties alone cut forgetting but cost as much plasticity; a few replayed samples do more for the final error. So
    the budget is wide here, a guard for what the memory does not hold; a narrow one keeps new rooms from being learned.
    Drift is measured on the memory's samples.

    Source: our own combination of ``adaptive_ewc`` and ``er`` (Chaudhry et al. 2019), and differs from neither.
    """

    Settings: ClassVar[type[config.Settings]] = AdaptiveEwcReplaySettings
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {},
        {"ewc": {"budget_mm": 50.0, "references": 0}},
        {"replay": {"capacity": 200, "ratio": 0.5}},
    )

    settings: AdaptiveEwcReplaySettings  # narrows the base's

    @classmethod
    def strength_zero(cls) -> Mapping[str, Any]:
        """Neither pull nor replay."""
        return {"ewc": {"strength": 0.0}, "replay": {"ratio": 0.0, "held_out": 0}}

    def __init__(self, settings: AdaptiveEwcReplaySettings, modalities: tuple[str, ...]) -> None:
        super().__init__(settings, modalities)
        self.ewc = AdaptiveEwc(settings.ewc, modalities)
        self.replay = Er(settings.replay, modalities)
        self.ewc.reference = self._old_samples

    def setup(self, model: PoseModel, setup: Setup) -> None:
        """Set both up."""
        self.ewc.setup(model, setup)
        self.replay.setup(model, setup)
        self.memory = self.replay.memory

    def begin_experience(self, model: PoseModel, start: Start) -> None:
        """Begin in both."""
        self.ewc.begin_experience(model, start)
        self.replay.begin_experience(model, start)

    def mix(self, batch: Batch, step: int) -> Batch:
        """The batch, and old samples after it."""
        return self.replay.mix(batch, step)

    def objective(
        self, model: PoseModel, features: dict[str, Tensor], output: PoseOutput, batch: Batch
    ) -> dict[str, Float[Tensor, ""]]:
        """The pulls, with ``ewc.step: loss``."""
        return self.ewc.objective(model, features, output, batch)

    def after_step(self, model: PoseModel, learning_rate: float) -> None:
        """The implicit step."""
        self.ewc.after_step(model, learning_rate)

    def observe(self, batch: Batch, joints: Float[Tensor, "batch joint 3"], clean: Clean | None = None) -> None:
        """Consider the new samples for the memory."""
        self.replay.observe(batch, joints, clean)

    def end_experience(self, model: PoseModel, end: End) -> None:
        """End in both."""
        self.ewc.end_experience(model, end)
        self.replay.end_experience(model, end)

    def held_out(self) -> Iterable[Batch]:
        """Of experiences that have ended."""
        return self.replay.held_out()

    def log(self) -> dict[str, Any]:
        """What both say."""
        return {**self.ewc.log(), **self.replay.log()}

    def state_dict(self) -> dict[str, Any]:
        """Both states."""
        return {"ewc": self.ewc.state_dict(), "replay": self.replay.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self.ewc.load_state_dict(state["ewc"])
        self.replay.load_state_dict(state["replay"])

    def memory_bytes(self) -> int:
        """Both memories."""
        return self.ewc.memory_bytes() + self.replay.memory_bytes()

    def _old_samples(self, batch: Batch) -> Batch:
        drawn = self.replay.draw(_REFERENCE, batch.present.device)
        return batch if drawn is None else drawn.batch
