"""Adaptive EWC: how hard each encoder is held follows a drift budget and what its sensor was worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from equipose import config
from equipose.balance.base import Setup
from equipose.balance.spring import Spring
from equipose.continual.adaptive_ewc_settings import AdaptiveEwcSettings
from equipose.continual.base import ContinualStrategy, End, Start
from equipose.continual.distances import MM, squared_distance
from equipose.continual.drift import ascended, budgets, modality_factors, pulls
from equipose.continual.importance import damped, stiffness
from equipose.continual.memory import Memory
from equipose.continual.weights import bytes_of, copied, flat, joints_at, joints_now, weights_of
from equipose.fisher_outputs import Groups, output_fisher, parameter_groups
from equipose.nn.model import PoseModel
from equipose.types import Batch, PoseOutput

_FORGETS = 0.7  # share of the old in the running calibration
_FURTHEST = (0.2, 100.0)  # the calibration is held within
_LEAST = 0.02  # predicted drift, as a share of the budget, below which nothing can be calibrated


class AdaptiveEwc(ContinualStrategy):
    """Online EWC per encoder: the strength rises when old joints drift beyond a budget in mm, and falls below it.

    For each group g, an encoder or the rest (fusion and head)::

        drift_g^2 = 3 sum_{i in g} F_i (theta_i - theta*_i)^2                   predicted mean square of a joint's move
        budget_g^2 ~ 1 / f_g, their sum budget^2,    f_g = max(least, phi_g / max phi * (1 - noise_g)),  f_shared = 1
        lambda_g <- max(0, lambda_g + ascent * (kappa^2 drift_g^2 / budget_g^2 - 1))      after each step
        theta <- (theta + c theta*) / (1 + c),    c_i = learning rate * lambda_g * k_gi,  k_g ~ F / budget_g^2

    with F the label-free information of the outputs averaged over the experiences (samples and cells found clean),
    theta* the weights at the end of the last one, phi_g the sensor's contribution (Shapley value) to it, noise_g the
    share of its cells found corrupt, and kappa the ratio of measured to predicted drift on a few old inputs: the
    diagonal ignores what weights do together and predicts two to four times too little.

    Source: our own, after Qi et al., *Towards Balanced Multi-Modal Learning in 3D Human Pose Estimation* (arXiv
    2501.05264, versions 1 to 3, 2025), which names an adaptive EWC and, in all we could read, does not define it; on
    the ground of EWC (Kirkpatrick et al., PNAS 2017) in its online form (Schwarz et al., ICML 2018).

    Differs from online EWC: strengths per encoder instead of one for all; they follow millimetres of drift, so there is
    none to tune; a sensor that told nothing, or was broken, stays plastic; the pull is an implicit step after the
    optimizer's, stable at any strength and not scaled away by Adam.
    """

    Settings: ClassVar[type[config.Settings]] = AdaptiveEwcSettings
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"budget_mm": 10.0}, {"budget_mm": 40.0})

    settings: AdaptiveEwcSettings  # narrows the base's

    @classmethod
    def strength_zero(cls) -> Mapping[str, Any]:
        """No pull; nothing is measured. So does ``budget_mm: 0``."""
        return {"strength": 0.0}

    def __init__(self, settings: AdaptiveEwcSettings, modalities: tuple[str, ...]) -> None:
        super().__init__(settings, modalities)
        self.reference: Callable[[Batch], Batch] = self._old_inputs
        """From the batch of the moment to the samples on which drift is measured; an owner of old ones may set it."""
        self._fisher: Groups = {}
        self._anchor: Groups = {}
        self._experiences = 0.0
        self._pull: dict[str, float] = {}
        self._budget: dict[str, float] = {}
        self._factor: dict[str, float] = {}
        self._strength: dict[str, float] = {}
        self._drift: dict[str, float] = {}
        self._kappa = 1.0
        self._steps = 0
        self._springs: dict[str, Spring] | None = None

    def setup(self, model: PoseModel, setup: Setup) -> None:
        """Keep the run's loss, seed and optimizer."""
        self._setup = setup
        self._inputs = Memory(self.settings.references, "stratified", setup.seed * 1_000_003 + 13)

    def begin_experience(self, model: PoseModel, start: Start) -> None:
        """Count steps anew."""
        self._steps = 0

    def objective(
        self, model: PoseModel, features: dict[str, Tensor], output: PoseOutput, batch: Batch
    ) -> dict[str, Float[Tensor, ""]]:
        """The pulls, with ``step: loss``; every so many steps, the drift is measured."""
        if not self._pull:
            return {}
        every = self.settings.calibrate_every
        if every and self._steps % every == every - 1:
            self._calibrate(model, self.reference(batch))
        if self.settings.step != "loss":
            return {}
        energies = [
            self._strength[group] * self._pull[group] * spring.energy()
            for group, spring in self._attached(model).items()
        ]
        return {"anchor": torch.stack(energies).sum()}

    def after_step(self, model: PoseModel, learning_rate: float) -> None:
        """The implicit step of each group, then its strength's."""
        if not self._pull:
            return
        for group, spring in self._attached(model).items():
            if self.settings.step == "proximal" and self._strength[group] > 0:
                spring.settle(learning_rate * self._strength[group] * self._pull[group])
        self._drift = _drifts(self._attached(model))
        self._steps += 1
        for group, drift in self._drift.items():
            excess = (self._kappa * drift / self._budget[group]) ** 2
            self._strength[group] = ascended(self._strength[group], self.settings.ascent, excess)

    def end_experience(self, model: PoseModel, end: End) -> None:
        """Average the experience's information in, move the anchor and share the budget out."""
        settings = self.settings
        if settings.strength == 0 or settings.budget_mm == 0:
            return
        seed = self._setup.seed * 1_000_003 + end.index
        found = output_fisher(
            model, end.batches(), probes=settings.probes, seed=seed, subsets=settings.subsets, mean=self._setup.mean
        )
        new = damped(found, settings.damping).diagonal
        before = settings.decay * self._experiences
        old, share = self._fisher or new, 1.0 / (before + 1.0)
        self._fisher = {g: [a.lerp(b, share) for a, b in zip(old[g], new[g], strict=True)] for g in new}
        self._experiences = before + 1.0
        self._anchor, self._springs = weights_of(model), None
        self._keep_inputs(end)
        self._factor = modality_factors(self.modalities, end, settings.least)
        self._budget = budgets(self._fisher, self._factor, settings.budget_mm * MM)
        decoupled = settings.step == "proximal" and self._setup.optimizer != "sgd"
        self._pull = pulls(self._fisher, self._factor, self._budget, settings.budget_mm, decoupled, self._setup, end)
        self._strength = {g: self._strength.get(g, settings.strength) for g in self._pull}

    def log(self) -> dict[str, Any]:
        """Strength, predicted drift and budget per group, millimetres, and the calibration."""
        return {
            "strength": dict(self._strength),
            "predicted_drift_mm": {g: drift / MM for g, drift in self._drift.items()},
            "budget_mm": {g: budget / MM for g, budget in self._budget.items()},
            "factor": dict(self._factor),
            "calibration": self._kappa,
        }

    def state_dict(self) -> dict[str, Any]:
        """Information, anchor, strengths and calibration."""
        return {
            "fisher": copied(self._fisher),
            "anchor": copied(self._anchor),
            "experiences": self._experiences,
            "numbers": {
                name: dict(getattr(self, f"_{name}")) for name in ("pull", "budget", "factor", "strength", "drift")
            },
            "kappa": self._kappa,
            "steps": self._steps,
            "inputs": self._inputs.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._fisher, self._anchor = copied(state["fisher"]), copied(state["anchor"])
        self._experiences, self._kappa, self._steps = state["experiences"], state["kappa"], state["steps"]
        numbers = {name: dict(each) for name, each in state["numbers"].items()}
        self._pull, self._budget, self._factor = numbers["pull"], numbers["budget"], numbers["factor"]
        self._strength, self._drift = numbers["strength"], numbers["drift"]
        self._inputs.load_state_dict(state["inputs"])
        self._springs = None

    def memory_bytes(self) -> int:
        """Information, anchor and reference inputs."""
        return bytes_of([*flat(self._fisher), *flat(self._anchor)]) + self._inputs.bytes()

    def _attached(self, model: PoseModel) -> dict[str, Spring]:
        """Per group a spring on the model's parameters whose energy is the predicted drift, square metres."""
        if self._springs is None:
            here, constants = parameter_groups(model), stiffness(self._fisher, 1.0)
            self._springs = {g: Spring(here[g], self._anchor[g], constants[g]) for g in self._pull}
        return self._springs

    def _keep_inputs(self, end: End) -> None:
        """Equal shares of all experiences so far, without their labels."""
        self._inputs.begin_experience()
        for batch in end.batches() if self.settings.references else ():
            blank = torch.zeros_like(batch.target)
            self._inputs.insert(replace(batch, target=blank), blank, end.index)

    def _old_inputs(self, batch: Batch) -> Batch:
        """What is kept, or the batch itself where nothing is."""
        kept = self._inputs.draw(self.settings.references, batch.present.device)
        return batch if kept is None else kept.batch

    def _calibrate(self, model: PoseModel, batch: Batch) -> None:
        """Hold the drift that was predicted against the drift that is there."""
        predicted = sum(drift**2 for drift in _drifts(self._attached(model)).values()) ** 0.5
        # Every process measures, whether it then counts or not.
        moved = squared_distance(joints_now(model, batch), joints_at(model, self._anchor, batch))
        measured = float(self._setup.mean(moved[batch.present.any(1)].mean().nan_to_num(0.0))) ** 0.5
        if predicted > _LEAST * self.settings.budget_mm * MM:
            low, high = _FURTHEST
            ratio = min(max(measured / predicted, low), high)
            self._kappa = _FORGETS * self._kappa + (1.0 - _FORGETS) * ratio


def _drifts(springs: Mapping[str, Spring]) -> dict[str, float]:
    """Group -> predicted root mean square move of a joint, metres."""
    with torch.no_grad():
        squares = torch.stack([spring.energy() for spring in springs.values()]).tolist()  # one wait for the device
    return {group: square**0.5 for group, square in zip(springs, squares, strict=True)}
