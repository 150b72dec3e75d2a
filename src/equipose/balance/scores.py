"""How well each sensor does alone, for rules that were made for classifiers and read a softmax.

Two replacements of the probability of the right class, from the error e of a sensor's own pose:

- ``exp``: mean of exp(-e / tau), in (0, 1]; tau is a running median of the fused pose's error.
- ``skill``: 1 - mean e / mean error of no sensor at all (about the mean pose), clipped to [0.01, 1].

None depends on the unit of length. All are means over the samples that have the sensor, in all processes: sums and
counts are averaged over processes before they are divided, so that several processes find what one would.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from equipose.balance.readouts import alone, detached, pose_errors
from equipose.nn.model import PoseModel
from equipose.types import Batch, PoseOutput

ScoreKind = Literal["exp", "skill"]
"""A score that grows with skill."""
Mean = Callable[[Tensor], Tensor]
"""Mean of a tensor over all processes."""

LOWEST_SKILL = 0.01
_SMALLEST_SCALE = 1e-9  # metres


def exp_score(errors: Float[Tensor, " *shape"], scale: float) -> Float[Tensor, " *shape"]:
    """exp(-e / scale), in (0, 1]; ``errors`` and ``scale`` in the same unit."""
    return torch.exp(-errors / scale)


def skill(error: float, empty: float) -> float:
    """Share of the error without any sensor that a sensor removes, from 0.01 to 1; both in the same unit."""
    return min(max(1.0 - error / empty, LOWEST_SKILL), 1.0) if empty > 0 else LOWEST_SKILL


def pose_error(joints: Float[Tensor, "batch joint 3"], target: Float[Tensor, "batch joint 3"]) -> Tensor:
    """(batch,) MPJPE, metres, without gradient."""
    return torch.linalg.vector_norm(joints.detach().float() - target, dim=-1).mean(-1)


def errors_alone(model: PoseModel, features: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
    """Modality -> (batch,) MPJPE of the fusion with every other sensor masked, metres, without gradient."""
    with torch.no_grad():
        return pose_errors(alone(model, detached(features)), batch.target)


def present_means(
    values: Float[Tensor, "batch column"], present: Bool[Tensor, "batch column"], mean: Mean
) -> list[float | None]:
    """Mean of each column over the samples that count, in all processes; None where none does."""
    weight = present.double()
    counted = torch.where(present, values.double(), 0.0)  # what does not count may be anything, even not a number
    sums, counts = mean(torch.stack([counted.sum(0), weight.sum(0)])).tolist()
    return [total / count if count > 0 else None for total, count in zip(sums, counts, strict=True)]


def present_weights(present: Bool[Tensor, "batch modality"], mean: Mean) -> Float[Tensor, "batch modality"]:
    """Weights with which a sum over the batch is the mean over the samples that have the sensor.

    The gradient of that sum, averaged over processes, is the gradient of the mean over all of them; a plain mean in
    each would weigh a sample by how few of its process have the sensor. Zero where no sample has it.
    """
    weight = present.float()
    count = mean(weight.sum(0))
    return weight / torch.where(count > 0, count, 1.0)


class RunningMedian:
    """A running median that several processes can follow together.

    Each step moves the logarithm of the scale by ``rate`` times the mean sign of (error - scale). A mean of signs can
    be averaged over processes, a median cannot. It rests where half of the errors lie on either side.

    Args:
        rate: largest relative change in a step.
    """

    def __init__(self, rate: float = 0.1) -> None:
        self.rate = rate
        self.value = 0.0

    def start(self, errors: Float[Tensor, " batch"], mean: Mean) -> None:
        """Begin at the mean of the first errors; later calls do nothing, in every process alike."""
        if self.value == 0.0:
            self.value = max(float(mean(errors.double().mean())), _SMALLEST_SCALE)

    def signs(self, errors: Float[Tensor, " batch"]) -> Tensor:
        """What ``move`` needs from every sample."""
        return torch.sign(errors - self.value)

    def move(self, mean_sign: float) -> None:
        """One step, after averaging the signs."""
        self.value = max(self.value * math.exp(self.rate * mean_sign), _SMALLEST_SCALE)


class RunningMean:
    """Exponential running mean; the first value starts it.

    Args:
        memory: weight of the past.
    """

    def __init__(self, memory: float = 0.9) -> None:
        self.memory = memory
        self.value = 0.0

    def update(self, value: float) -> float:
        """Take one value in and return the mean."""
        past = value if self.value == 0.0 else self.value
        self.value = max(self.memory * past + (1.0 - self.memory) * value, _SMALLEST_SCALE)
        return self.value


class SensorScores:
    """Score of every sensor alone, batch by batch.

    Args:
        kind: ``exp`` or ``skill``.
    """

    def __init__(self, kind: ScoreKind = "exp") -> None:
        self.kind = kind
        self._median = RunningMedian()

    def update(
        self, model: PoseModel, features: Mapping[str, Tensor], output: PoseOutput, batch: Batch, mean: Mean
    ) -> dict[str, float]:
        """Score the sensors on a batch through the masked fusion; every process must call.

        Args:
            model: whose fusion reads each sensor alone.
            features: modality -> (batch, width).
            output: the fused pose.
            batch: where the features come from.
            mean: over processes.

        Returns:
            modality -> score in (0, 1], the same in every process; sensors that no sample has are left out.
        """
        return self.from_errors(
            errors_alone(model, features, batch), pose_error(output.joints, batch.target), model, features, batch, mean
        )

    def from_errors(
        self,
        errors: Mapping[str, Float[Tensor, " batch"]],
        fused: Float[Tensor, " batch"],
        model: PoseModel,
        features: Mapping[str, Tensor],
        batch: Batch,
        mean: Mean,
    ) -> dict[str, float]:
        """The same where each sensor's own error is known already, metres."""
        names = tuple(errors)
        table = torch.stack([errors[name] for name in names], 1)
        if self.kind == "skill":
            nothing = torch.zeros_like(batch.present)
            with torch.no_grad():
                empty = pose_error(model.decode(features, nothing).joints, batch.target)
            both = torch.cat([table, empty[:, None].expand_as(table)], 1)
            means = present_means(both, batch.present.repeat(1, 2), mean)
            return {
                name: skill(error, without)
                for name, error, without in zip(names, means[: len(names)], means[len(names) :], strict=True)
                if error is not None and without is not None
            }
        self._median.start(fused, mean)
        values = torch.cat([exp_score(table, self._median.value), self._median.signs(fused)[:, None]], 1)
        counted = torch.cat([batch.present, torch.ones_like(batch.present[:, :1])], 1)
        *scores, sign = present_means(values, counted, mean)
        self._median.move(sign or 0.0)
        return {name: score for name, score in zip(names, scores, strict=True) if score is not None}

    def state_dict(self) -> dict[str, Any]:
        """The running scale."""
        return {"scale": self._median.value}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._median.value = state["scale"]


def excess_over_others(scores: Mapping[str, float]) -> dict[str, float]:
    """Score of each sensor minus the mean of the others'; 0 for a sensor that is alone."""
    return {name: score - _mean_of_others(scores, name) for name, score in scores.items()}


def ratio_to_others(scores: Mapping[str, float]) -> dict[str, float]:
    """Score of each sensor over the mean of the others'; 1 for a sensor that is alone.

    With two sensors s_1 / s_2 and s_2 / s_1.
    """
    smallest = 1e-12  # a score that underflows must not divide by zero
    return {name: (score + smallest) / (_mean_of_others(scores, name) + smallest) for name, score in scores.items()}


def _mean_of_others(scores: Mapping[str, float], name: str) -> float:
    others = [score for other, score in scores.items() if other != name]
    if not others:
        return scores[name]
    # Rounding can put the mean of equal scores below each of them; then all would lead, and all would be damped.
    return min(max(sum(others) / len(others), min(others)), max(others))
