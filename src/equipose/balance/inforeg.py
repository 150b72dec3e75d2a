"""InfoReg: hold the sensors back that are ahead, while their encoders still take information in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from equipose import config
from equipose.balance.base import BalanceStrategy, Probe, Setup
from equipose.balance.epoch_means import EpochMeans
from equipose.balance.readouts import alone, detached, pose_errors
from equipose.balance.scores import ScoreKind, SensorScores, excess_over_others, pose_error, present_weights
from equipose.nn.model import PoseModel
from equipose.types import Batch, LossTerms, PoseOutput

DEFAULT_BETA = {"scale_free": 20.0, "raw": 0.95}
"""Scaling -> beta. Raw: as published. Scale-free: a pull as large as the gradient after a weight has moved by 0.025
to 0.05, like AWC's. By reasoning alone: not tuned to any result."""

_GRADIENT_MEMORY = 0.99


class InfoRegSettings(config.Settings):
    """Strength and window of the constraint."""

    beta: float | None = Field(default=None, ge=0)
    """Strength of the pull; None means the default of the chosen scaling."""
    beta_scaling: Literal["scale_free", "raw"] = "scale_free"
    """scale_free: the pull is beta times the size of a weight's gradient, so it means the same in any unit of the
    loss. raw: as published, where the loss is a cross-entropy."""
    unimodal: float = Field(default=1.0, ge=0)
    """Weight of each sensor's own pose error, through the masked fusion (published: 1)."""
    threshold: float = 0.05
    """The window of a sensor is open while its information grows by more than this (published: 0.05 or 0.04)."""
    trace_epochs: int = Field(default=10, ge=1)
    """Epochs over which information is averaged."""
    window: float | None = Field(default=None, ge=0, le=1)
    """Share of the epochs, from the start, in which all windows are open; None lets each close itself."""
    score: ScoreKind = "exp"
    """exp: mean of exp(-error / running median of the fused error). skill: 1 - error / error of the mean pose."""


class InfoReg(BalanceStrategy):
    """Pull the encoder of each sensor that is ahead back to where the epoch began, while it takes information in.

        L = L_pose + sum_m L_m,    L_m the pose error of sensor m alone
        g_m <- g_m + beta_m G (theta_m - theta_m at the epoch's start)
        beta_m = beta exp(tanh(s_m - mean of s_j over the others)) if that difference is positive, else 0

    while K_m = (T - T') / T > 0.05: T is the mean information of encoder m over the last ten epochs, T' that of the
    ten up to the epoch before. As published, epochs before the first count as zero, which keeps a window open for about
    ten. Information is a proxy of the Fisher trace: per weight tensor the mean square of the batch gradient, summed
    over tensors and steps. G is the root mean square of the encoders' gradients (1 with raw scaling).

    After Huang, Wei, Yang, Hu, *Adaptive Unimodal Regulation for Balanced Multimodal Information Acquisition*,
    CVPR 2025 (InfoReg), the idea that AWC takes further; defined for classifiers of two modalities.

    Differs from the published code:
    - any number of sensors, each against the mean of the others; the code has two constants (0.95 if audio is ahead,
      0.1 if video is, a case that its condition never reaches), here one beta serves all;
    - each sensor has a window of its own, where the trace of audio gates both;
    - scores for regression, as means over the batch: sums, as in the code, saturate the tanh at once;
    - unimodal losses and scores through the masked fusion, which every fusion has, without further heads;
    - a pull in proportion to the gradients by default, as a raw beta depends on the unit of the loss;
    - all weights of two dimensions or more count for the information, of whatever layer, and before the pull is added;
    - only the anchors of the encoders are kept, not a copy of the whole model.
    """

    Settings: ClassVar[type[config.Settings]] = InfoRegSettings
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"beta": 5.0}, {"beta": 80.0})

    settings: InfoRegSettings  # narrows the base's

    @classmethod
    def strength_zero(cls) -> Mapping[str, Any]:
        """Neither pull nor unimodal losses."""
        return {"beta": 0.0, "unimodal": 0.0}

    def __init__(self, settings: InfoRegSettings, modalities: tuple[str, ...]) -> None:
        super().__init__(settings, modalities)
        self._beta = DEFAULT_BETA[settings.beta_scaling] if settings.beta is None else settings.beta
        self._scores = SensorScores(settings.score)
        self._means = EpochMeans()
        self._open: list[str] = []
        self._history: dict[str, list[float]] = {m: [] for m in modalities}
        self._traces: dict[str, Tensor] = {}
        self._gradient_square: Tensor | None = None
        self._anchor: dict[str, Tensor] = {}
        self._pulls: dict[str, float] = {}

    def setup(self, model: PoseModel, setup: Setup) -> None:
        """Learn how long the run is and how processes average."""
        self._setup = setup

    def begin_epoch(self, model: PoseModel, probe: Probe) -> None:
        """Open or close the windows, take the anchors."""
        self._means.reset()
        self._traces, self._anchor, self._open = {}, {}, []
        if self._beta == 0:
            return
        if self.settings.window is not None:
            inside = probe.epoch < round(self.settings.window * self._setup.epochs)
            self._open = list(self.modalities) if inside else []
        else:
            self._open = [
                m
                for m in self.modalities
                if growth(self._history[m], self.settings.trace_epochs) > self.settings.threshold
            ]
        self._anchor = {
            name: p.detach().clone()
            for m in self._open
            for name, p in model.named_parameters_of(m).items()
            if p.requires_grad
        }

    def objective(
        self,
        model: PoseModel,
        features: dict[str, Tensor],
        output: PoseOutput,
        batch: Batch,
        pose_loss: Float[Tensor, ""],
    ) -> LossTerms:
        """The pose error, and every sensor's own."""
        self._pulls = {}
        terms = {"pose": pose_loss}
        weight = self.settings.unimodal
        if weight == 0 and not self._open:
            return LossTerms(terms)
        with torch.set_grad_enabled(weight > 0):
            poses = alone(model, features if weight > 0 else detached(features))
        if weight > 0:
            shares = present_weights(batch.present, self._setup.mean).unbind(1)
            losses = [
                (self._setup.loss(PoseOutput(pose), batch) * share).sum()
                for pose, share in zip(poses.values(), shares, strict=True)
            ]
            terms["unimodal"] = weight * torch.stack(losses).sum()
        if self._open:
            errors = pose_errors(detached(poses), batch.target)
            fused = pose_error(output.joints, batch.target)
            scores = self._scores.from_errors(errors, fused, model, detached(features), batch, self._setup.mean)
            strengths = pulls(scores, self._beta)
            self._pulls = {m: strengths.get(m, 0.0) for m in self._open}
            self._means.add("score", scores)
            self._means.add("beta", self._pulls)
        return LossTerms(terms)

    def gradients(self, model: PoseModel, output: PoseOutput, batch: Batch) -> None:
        """Measure the information, then add the pull."""
        if self._beta == 0:
            return
        size = self._measure(model)
        for modality, beta in self._pulls.items():
            if beta == 0:
                continue
            named = {n: p for n, p in model.named_parameters_of(modality).items() if p.grad is not None}
            if not named:
                continue  # frozen
            with torch.no_grad():
                way = torch._foreach_sub([p.detach() for p in named.values()], [self._anchor[n] for n in named])
                torch._foreach_mul_(way, beta * size)
                torch._foreach_add_([p.grad for p in named.values() if p.grad is not None], way)

    def end_epoch(self, model: PoseModel, probe: Probe) -> None:
        """Remember the epoch's information."""
        for modality, trace in self._traces.items():
            self._history[modality].append(float(trace))

    def log(self) -> dict[str, Any]:
        """Open windows, mean score and beta of the epoch so far, and the information it took in."""
        return {
            "window_open": {m: m in self._open for m in self.modalities},
            "information": {m: float(trace) for m, trace in self._traces.items()},
            **self._means.log(),
        }

    def state_dict(self) -> dict[str, Any]:
        """Anchors, windows, information so far, scale of scores and gradients, sums of the log."""
        return {
            "open": list(self._open),
            "history": {m: list(values) for m, values in self._history.items()},
            "traces": dict(self._traces),
            "gradient_square": self._gradient_square,
            "anchor": dict(self._anchor),
            "scores": self._scores.state_dict(),
            "means": self._means.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._open = list(state["open"])
        self._history = {m: list(values) for m, values in state["history"].items()}
        self._traces, self._anchor = dict(state["traces"]), dict(state["anchor"])
        self._gradient_square = state["gradient_square"]
        self._scores.load_state_dict(state["scores"])
        self._means.load_state_dict(state["means"])

    def _measure(self, model: PoseModel) -> Tensor | float:
        """Add this step's information; returns the size of a weight's gradient (1 with raw scaling)."""
        squares, numbers = [], 0
        for modality in self.modalities:
            gradients = [p.grad for p in model.parameters_of(modality) if p.grad is not None]
            if not gradients:
                continue
            square = torch.stack(torch._foreach_norm(gradients)).square()
            squares.append(square.sum())
            numbers += sum(g.numel() for g in gradients)
            per_tensor = torch.tensor([g.numel() if g.ndim >= 2 else math.inf for g in gradients]).to(square)
            past = self._traces.get(modality, square.new_zeros(()))
            self._traces[modality] = past + (square / per_tensor).sum()
        if self.settings.beta_scaling == "raw" or not squares:
            return 1.0
        now = torch.stack(squares).sum() / numbers
        past = now if self._gradient_square is None else self._gradient_square
        self._gradient_square = _GRADIENT_MEMORY * past + (1.0 - _GRADIENT_MEMORY) * now
        return self._gradient_square.sqrt()


def growth(history: Sequence[float], epochs: int) -> float:
    """Relative growth K of the mean information of the last epochs over that of as many shifted by one.

    Epochs before the first count as zero. 1 before the first, 0 where there is no information at all.
    """
    if not history:
        return 1.0
    latest, earlier = sum(history[-epochs:]), sum(history[-epochs - 1 : -1])
    return (latest - earlier) / latest if latest > 0 else 0.0


def pulls(scores: Mapping[str, float], beta: float) -> dict[str, float]:
    """Modality -> beta_m: 0 for a sensor that is not ahead of the mean of the others."""
    return {m: beta * math.exp(math.tanh(lead)) if lead > 0 else 0.0 for m, lead in excess_over_others(scores).items()}
