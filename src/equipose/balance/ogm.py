"""On-the-fly gradient modulation: slow the sensors down that are ahead of the others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from equipose import config
from equipose.balance.base import BalanceStrategy, Probe, Setup
from equipose.balance.epoch_means import EpochMeans
from equipose.balance.modulation import Modulation, Scale, adam_note
from equipose.balance.scores import ScoreKind, SensorScores, ratio_to_others
from equipose.nn.model import PoseModel
from equipose.types import Batch, LossTerms, PoseOutput


class OgmSettings(config.Settings):
    """Strength of the modulation."""

    alpha: float = Field(default=0.1, ge=0)
    """How hard a sensor that is ahead is slowed (published: 0.1 by default, 0.8 on CREMA-D)."""
    continuous: bool = False
    """k = 1 - tanh(alpha max(rho - 1, 0)), which starts from 1; the published k jumps at rho = 1 from 1 to
    1 - tanh(alpha)."""
    score: ScoreKind = "exp"
    """exp: mean of exp(-error / running median of the fused error). skill: 1 - error / error of the mean pose."""
    window: float = Field(default=0.5, ge=0, le=1)
    """Share of the epochs, from the start, in which sensors are modulated (published: 50 of 100)."""
    scale: Scale = "step"
    """What k multiplies. step: the optimizer's step, which works with any optimizer. gradient: as published."""


class Ogm(BalanceStrategy):
    """Slow the encoder of each sensor that alone does better than the others do.

        rho_m = s_m / mean of s_j over the others,    k_m = 1 - tanh(alpha rho_m) if rho_m > 1 else 1
        theta_m <- theta_m + k_m step_m

    s_m is the score of the sensor alone on the batch, by the fusion with the others masked.

    After Peng, Wei, Deng, Wang, Hu, *Balanced Multimodal Learning via On-the-fly Gradient Modulation*, CVPR 2022;
    defined for classifiers of two modalities, without the noise term of ``ogm_ge``.

    Differs from the published code:
    - any number of sensors: each against the mean of the others, which for two is the published ratio;
    - s_m is exp(-error / tau), or skill, in place of the softmax of the right class, and a mean over the batch in
      place of a sum;
    - the sensor alone is the masked fusion, not a slice of the last layer, so that every fusion will do;
    - all parameters of an encoder are slowed, not only four-dimensional convolution weights;
    - the step is scaled, not the gradient: Adam divides a gradient by its own size and so undoes any factor;
    - scores are averaged over processes, which would otherwise drift apart.
    """

    Settings: ClassVar[type[config.Settings]] = OgmSettings
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"alpha": 0.3}, {"alpha": 0.8})

    settings: OgmSettings  # narrows the base's

    @classmethod
    def strength_zero(cls) -> Mapping[str, Any]:
        """No modulation."""
        return {"alpha": 0.0}

    def __init__(self, settings: OgmSettings, modalities: tuple[str, ...]) -> None:
        super().__init__(settings, modalities)
        self._modulation = Modulation(settings.scale)
        self._scores = SensorScores(settings.score)
        self._means = EpochMeans()
        self._open = False
        self._factors: dict[str, float] = {}

    def setup(self, model: PoseModel, setup: Setup) -> None:
        """Learn how long the run is and how processes average."""
        self._setup = setup

    def notes(self) -> list[str]:
        """Warn of scaled gradients under Adam."""
        return adam_note("OGM", self.settings.scale, self._setup.optimizer)

    def begin_epoch(self, model: PoseModel, probe: Probe) -> None:
        """Open or close the window."""
        self._open = probe.epoch < round(self.settings.window * self._setup.epochs)
        self._means.reset()

    def objective(
        self,
        model: PoseModel,
        features: dict[str, Tensor],
        output: PoseOutput,
        batch: Batch,
        pose_loss: Float[Tensor, ""],
    ) -> LossTerms:
        """The pose error alone; the sensors are scored here, where their features are at hand."""
        self._factors = {}
        if self._open and self.settings.alpha > 0:
            scores = self._scores.update(model, features, output, batch, self._setup.mean)
            self._factors = factors(scores, self.settings.alpha, self.settings.continuous)
            self._means.add("score", scores)
            self._means.add("factor", self._factors)
        return LossTerms({"pose": pose_loss})

    def gradients(self, model: PoseModel, output: PoseOutput, batch: Batch) -> None:
        """Scale the gradients, or ask for shorter steps."""
        self._modulation.gradients(model, self._factors)

    def after_step(self, model: PoseModel) -> None:
        """Shorten the steps."""
        self._modulation.after_step()

    def log(self) -> dict[str, Any]:
        """Mean score and factor of each sensor over the epoch so far."""
        return {"window_open": self._open, **self._means.log()}

    def state_dict(self) -> dict[str, Any]:
        """Window, scale of the scores, sums of the log."""
        return {"open": self._open, "scores": self._scores.state_dict(), "means": self._means.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._open = state["open"]
        self._scores.load_state_dict(state["scores"])
        self._means.load_state_dict(state["means"])


class OgmGeSettings(OgmSettings):
    """Strength of modulation and noise."""

    noise: float = Field(default=1.0, ge=0)
    """The noise has this many standard deviations of the gradient (published: 1)."""


class OgmGe(Ogm):
    """OGM, and Gaussian noise on the gradients of all encoders for better generalisation.

        g_m <- k_m g_m + noise * std(g_m) * eps,    eps ~ N(0, 1),    k_m as in ``ogm``

    The standard deviation is that of a weight tensor's entries before they are scaled. As published, every encoder
    gets the noise while the window is open, also those with k = 1.

    After Peng, Wei, Deng, Wang, Hu, *Balanced Multimodal Learning via On-the-fly Gradient Modulation*, CVPR 2022
    (OGM-GE); defined for classifiers of two modalities.

    Differs from the published code: as in ``ogm``, and
    - noise on all tensors of two dimensions or more, not only on four-dimensional convolution weights;
    - with scale: step, k shortens the noise together with the gradient; scale: gradient is the published sum;
    - the noise is a function of (seed, step), the same in all processes.
    """

    Settings: ClassVar[type[config.Settings]] = OgmGeSettings
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"alpha": 0.3}, {"alpha": 0.8})

    settings: OgmGeSettings  # narrows the base's

    @classmethod
    def strength_zero(cls) -> Mapping[str, Any]:
        """Neither modulation nor noise."""
        return {"alpha": 0.0, "noise": 0.0}

    def __init__(self, settings: OgmGeSettings, modalities: tuple[str, ...]) -> None:
        super().__init__(settings, modalities)
        self._step = 0

    def notes(self) -> list[str]:
        """Warn of scaled gradients under Adam."""
        return adam_note("OGM-GE", self.settings.scale, self._setup.optimizer)

    def gradients(self, model: PoseModel, output: PoseOutput, batch: Batch) -> None:
        """Scale, then add the noise of the unscaled gradients."""
        noise = self._noise(model) if self._open and self.settings.noise > 0 else []
        self._step += 1
        super().gradients(model, output, batch)
        for gradient, eps in noise:
            gradient.add_(eps)

    def state_dict(self) -> dict[str, Any]:
        """As for OGM, and the step, from which the noise follows."""
        return {**super().state_dict(), "step": self._step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        super().load_state_dict(state)
        self._step = state["step"]

    def _noise(self, model: PoseModel) -> list[tuple[Tensor, Tensor]]:
        gradients = [
            p.grad for m in self.modalities for p in model.parameters_of(m) if p.grad is not None and p.grad.ndim >= 2
        ]
        if not gradients:
            return []
        generator = torch.Generator(gradients[0].device).manual_seed(
            (self._setup.seed * 1_000_003 + self._step) % 2**63
        )
        return [
            (g, torch.empty_like(g).normal_(generator=generator) * (self.settings.noise * _deviation(g)))
            for g in gradients
        ]


def factors(scores: Mapping[str, float], alpha: float, continuous: bool) -> dict[str, float]:
    """Modality -> k in (0, 1]."""
    ratios = ratio_to_others(scores)
    return {
        name: 1.0 - math.tanh(alpha * (rho - 1.0 if continuous else rho)) if rho > 1.0 else 1.0
        for name, rho in ratios.items()
    }


def _deviation(gradient: Tensor) -> Tensor:
    """Standard deviation of a tensor's entries; 0 for a single entry, of which there is none."""
    return gradient.std(correction=1 if gradient.numel() > 1 else 0)
