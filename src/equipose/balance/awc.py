"""Adaptive Weight Constraint: hold every encoder near where it was, the strong ones harder.

After Qi, Peng, Zhang, Ma, *Towards Balanced Multi-Modal Learning in 3D Human Pose Estimation* (arXiv
2501.05264, CVPR 2026). K-means with K = 2 on the Shapley contributions splits the modalities into superior S
and inferior I, and for the first epochs

    L = L_pose + sum_m alpha_m * 1/2 * sum_i F^m_ii (theta^m_i - theta^m*_i)^2,    alpha_m: alpha_S or alpha_I

with F the diagonal Fisher information, recomputed at each epoch's start. Fusion and head are free. What the
paper leaves open is a setting here, with our reading as default.

**Scale-free strength.** A raw alpha depends on the unit of the loss: F grows with its square, a penalty
should grow with its first power. By default the penalty is therefore

    alpha_m * sqrt(mean F) * 1/2 sum_i (F_ii / mean F) (theta_i - theta*_i)^2

with mean F over all encoders together, so that the ratio between modalities stays. sqrt(mean F) is the size
of a weight's per-sample gradient: a weight of average information feels a pull as large as that once it has
moved by 1 / alpha. Millimetres or metres then train the same network, and alpha stays as constant over
training as a raw one (a factor of the current loss, which falls by an order of magnitude, would fade the
constraint out).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from equipose import config
from equipose.balance.awc_settings import DEFAULT_ALPHA, AwcSettings
from equipose.balance.base import BalanceStrategy, Probe
from equipose.balance.grouping import Group, two_means
from equipose.balance.spring import Spring
from equipose.errors import UsageError
from equipose.fisher import DiagonalFisher, diagonal_fisher
from equipose.nn.model import PoseModel
from equipose.types import Batch, LossTerms, PoseOutput

__all__ = ["DEFAULT_ALPHA", "Awc", "AwcSettings"]

_TRACE_EPOCHS = 10


class Awc(BalanceStrategy):
    """Fisher-weighted pull of each encoder towards its weights at the epoch's start, in the first epochs.

    Differs from the paper (its code was not at hand): alpha is scale-free unless ``alpha_scaling: raw``; what the
    paper leaves open (anchor, data and form of F, where the penalty acts) is a setting. ``groups: continuous`` and
    ``window_end: fisher`` are readings of our own; ``groups: none``, ``swapped``, ``random`` and ``shape: flat`` are
    controls, which tell what the grouping and the Fisher information add to a plain pull.
    """

    Settings: ClassVar[type[config.Settings]] = AwcSettings
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {},
        *({"alpha_superior": c * 40.0, "alpha_inferior": c * 20.0} for c in (0.1, 10.0)),
    )

    settings: AwcSettings  # narrows the base's

    @classmethod
    def strength_zero(cls) -> Mapping[str, Any]:
        """Both strengths zero."""
        return {"alpha_superior": 0.0, "alpha_inferior": 0.0}

    def __init__(self, settings: AwcSettings, modalities: tuple[str, ...]) -> None:
        super().__init__(settings, modalities)
        self._learning_rate = 0.0
        self._open = False
        self._groups: dict[str, Group] = {}
        self._alpha: dict[str, float] = {}
        self._traces: dict[str, list[float]] = {m: [] for m in modalities}
        self._closed: list[str] = []
        self._anchor: dict[str, Tensor] = {}
        self._stiffness: dict[str, Tensor] = {}
        self._trace: dict[str, float] = {}
        self._penalty = torch.zeros(())
        self._steps = 0
        self._spring: Spring | None = None

    @property
    def needs_contribution(self) -> bool:
        """Without grouping nothing looks at it."""
        return self.settings.groups != "none"

    def begin_epoch(self, model: PoseModel, probe: Probe) -> None:
        """Group the modalities, take the anchor, measure the Fisher information."""
        settings = self.settings
        self._open = self._window_is_open(probe)
        self._spring, self._penalty, self._steps = None, torch.zeros(()), 0
        self._stiffness, self._trace, self._alpha = {}, {}, {}
        if not self._open:
            self._groups, self._anchor = {}, {}
            return
        self._groups = _grouped(settings, self.modalities, probe)
        self._alpha = _strengths(settings, self.modalities, self._groups, probe)
        self._learning_rate = _learning_rate(settings, probe)
        parameters = {n: p for m in self.modalities for n, p in model.named_parameters_of(m).items() if p.requires_grad}
        if settings.anchor == "epoch" or not self._anchor:
            self._anchor = {name: p.detach().clone() for name, p in parameters.items()}
        if not any(self._alpha.values()):
            return
        fisher = diagonal_fisher(model, self.modalities, probe.batches(), probe.loss, settings.fisher)
        fisher = _reduced(fisher, probe)
        self._trace = {m: float(fisher.trace(m)) for m in self.modalities}
        if settings.window_end == "fisher":
            self._close_what_has_stopped_growing()
        factor = _scale(settings, fisher)
        self._stiffness = {
            name: _shaped(settings, fisher, m, tensor) * (self._alpha[m] * factor)
            for m in self.modalities
            if self._alpha[m] > 0
            for name, tensor in fisher.diagonal[m].items()
        }

    def objective(
        self,
        model: PoseModel,
        features: dict[str, Tensor],
        output: PoseOutput,
        batch: Batch,
        pose_loss: Float[Tensor, ""],
    ) -> LossTerms:
        """The pose error, and the penalty while the window is open."""
        if not self._stiffness or self.settings.penalty != "loss":
            return LossTerms({"pose": pose_loss})
        penalty = self._attached(model).energy()
        self._penalty = self._penalty + penalty.detach()
        self._steps += 1
        return LossTerms({"pose": pose_loss, "awc": penalty})

    def after_step(self, model: PoseModel) -> None:
        """The proximal step: theta <- theta - rate * min(1, eta * alpha * F) * (theta - theta*)."""
        if not self._stiffness or self.settings.penalty != "proximal":
            return
        self._attached(model).relax(self._learning_rate, self.settings.proximal_rate)

    def log(self) -> dict[str, Any]:
        """Window, groups, strengths, Fisher traces and the mean penalty of the epoch so far."""
        return {
            "window_open": self._open,
            "groups": dict(self._groups),
            "alpha": dict(self._alpha),
            "fisher_trace": dict(self._trace),
            "penalty": float(self._penalty) / max(self._steps, 1),
        }

    def state_dict(self) -> dict[str, Any]:
        """Anchor, stiffness and groups: enough to go on in the middle of an epoch."""
        return {
            "open": self._open,
            "groups": dict(self._groups),
            "alpha": dict(self._alpha),
            "traces": {m: list(traces) for m, traces in self._traces.items()},
            "closed": list(self._closed),
            "anchor": dict(self._anchor),
            "stiffness": dict(self._stiffness),
            "trace": dict(self._trace),
            "learning_rate": self._learning_rate,
            "penalty": self._penalty,
            "steps": self._steps,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._open = state["open"]
        self._groups = dict(state["groups"])
        self._alpha = dict(state["alpha"])
        self._traces = {m: list(traces) for m, traces in state["traces"].items()}
        self._closed = list(state["closed"])
        self._anchor = dict(state["anchor"])
        self._stiffness = dict(state["stiffness"])
        self._trace = dict(state["trace"])
        self._learning_rate = state["learning_rate"]
        self._penalty = state["penalty"]
        self._steps = state["steps"]
        self._spring = None

    def _window_is_open(self, probe: Probe) -> bool:
        if self.settings.window_end == "fisher":
            return len(self._closed) < len(self.modalities)
        return probe.epoch < _window_epochs(self.settings, probe.epochs)

    def _close_what_has_stopped_growing(self) -> None:
        """Each encoder has a window of its own; a closed one stays closed."""
        for m in self.modalities:
            self._traces[m] = [*self._traces[m], self._trace[m]][-_TRACE_EPOCHS - 1 :]
            if m not in self._closed and _growth(self._traces[m]) < self.settings.window_growth:
                self._closed.append(m)
            if m in self._closed:
                self._alpha[m] = 0.0
        self._open = len(self._closed) < len(self.modalities)

    def _attached(self, model: PoseModel) -> Spring:
        """The spring on the model's present parameters; built once per epoch."""
        if self._spring is None:
            parameters = {n: p for m in self.modalities for n, p in model.named_parameters_of(m).items()}
            names = list(self._stiffness)
            self._spring = Spring(
                [parameters[n] for n in names],
                [self._anchor[n] for n in names],
                [self._stiffness[n] for n in names],
            )
        return self._spring


def _strengths(
    settings: AwcSettings, modalities: tuple[str, ...], groups: Mapping[str, Group], probe: Probe
) -> dict[str, float]:
    """Modality -> alpha."""
    superior, inferior = DEFAULT_ALPHA[settings.alpha_scaling]
    superior = superior if settings.alpha_superior is None else settings.alpha_superior
    inferior = inferior if settings.alpha_inferior is None else settings.alpha_inferior
    if settings.groups != "continuous":
        return {m: superior if group == "superior" else inferior for m, group in groups.items()}
    scores = np.array([probe.contribution[m] for m in modalities])
    extent = scores.max() - scores.min()
    equal = extent <= settings.gap * np.abs(scores).mean()
    height = np.full(len(scores), 0.5) if equal else (scores - scores.min()) / extent
    return {m: float(inferior + h * (superior - inferior)) for m, h in zip(modalities, height, strict=True)}


def _growth(traces: Sequence[float]) -> float:
    """Relative growth of the running mean of the traces; 1 at the first epoch, 0 where nothing was measured."""
    if len(traces) == 1:
        return 1.0
    now, before = np.mean(traces[-_TRACE_EPOCHS:]), np.mean(traces[:-1][-_TRACE_EPOCHS:])
    return float((now - before) / now) if now > 0 else 0.0


def _shaped(settings: AwcSettings, fisher: DiagonalFisher, modality: str, tensor: Tensor) -> Tensor:
    """The stiffness of a tensor before its factor: its Fisher information, or the encoder's mean everywhere."""
    if settings.shape == "fisher":
        return tensor
    size = sum(t.numel() for t in fisher.diagonal[modality].values())
    return (fisher.trace(modality) / size).expand_as(tensor)


def _window_epochs(settings: AwcSettings, epochs: int) -> int:
    if settings.window_epochs is not None:
        return settings.window_epochs
    if epochs < 1:
        raise UsageError(
            "AWC's window is a share of the run's epochs, and their number is not known here: "
            "set window_epochs in balance.settings"
        )
    return round(settings.window * epochs)


def _learning_rate(settings: AwcSettings, probe: Probe) -> float:
    if settings.penalty == "proximal" and probe.learning_rate <= 0:
        raise UsageError("AWC's proximal step needs the learning rate, and it is not known here: set penalty: loss")
    return probe.learning_rate


def _grouped(settings: AwcSettings, modalities: tuple[str, ...], probe: Probe) -> dict[str, Group]:
    if settings.groups == "none":
        return dict.fromkeys(modalities, "superior")
    missing = [m for m in modalities if m not in probe.contribution]
    if missing:
        raise UsageError(
            f"AWC found no contribution of {missing[0]!r}: set contribution.samples_per_epoch above 0, "
            "or groups: none in balance.settings"
        )
    groups = two_means({m: probe.contribution[m] for m in modalities})
    if settings.groups == "continuous":
        return {}
    if settings.groups == "swapped":
        return {m: "inferior" if group == "superior" else "superior" for m, group in groups.items()}
    if settings.groups == "random":
        order = np.random.default_rng([settings.group_seed, probe.epoch]).permutation(len(modalities))
        return {m: groups[modalities[i]] for m, i in zip(modalities, order, strict=True)}
    return groups


def _reduced(fisher: DiagonalFisher, probe: Probe) -> DiagonalFisher:
    """Mean over processes, in one message."""
    tensors = [t for named in fisher.diagonal.values() for t in named.values()]
    flat = probe.all_reduce(torch.cat([*(t.reshape(-1) for t in tensors), fisher.loss.reshape(1)]))
    pieces = iter(torch.split(flat, [t.numel() for t in tensors] + [1]))
    diagonal = {m: {name: next(pieces).view_as(t) for name, t in named.items()} for m, named in fisher.diagonal.items()}
    return DiagonalFisher(diagonal, next(pieces)[0], fisher.samples)


def _scale(settings: AwcSettings, fisher: DiagonalFisher) -> float:
    """What alpha * F is multiplied by: 1 if raw, else 1 / sqrt(mean F); 1 / mean F for a proximal step."""
    if settings.alpha_scaling == "raw":
        return 1.0
    mean = fisher.mean()
    if mean == 0.0:
        return 0.0
    return mean**-0.5 if settings.penalty == "loss" else 1.0 / mean
