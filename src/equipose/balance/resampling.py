"""Show the weak sensors more often: visits of samples with some sensors masked, chosen by what each one contributes.

Two methods of one paper share the measure, a Shapley value per sample and sensor, and differ in what they do with it.
No data are copied: an epoch has as many visits as there are samples, drawn from whole samples (weight 1 each) and
masked ones (the weight that the method gives them).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from pydantic import Field
from torch import Tensor

from equipose import config
from equipose.balance.base import BalanceStrategy, Probe, Setup
from equipose.contribution.shapley import shapley_values
from equipose.inspection import evaluating
from equipose.nn.model import PoseModel
from equipose.types import Batch, LossTerms, PoseOutput, all_coalitions


class ResamplingSettings(config.Settings):
    """Strength and measure of the resampling."""

    strength: float = Field(default=1.0, ge=0)
    """Factor on the weight of the masked visits; 0 leaves the visits alone."""
    warmup: float = Field(default=0.1, ge=0, le=1)
    """Share of the epochs, from the start and at least one, that visit every sample whole (published: 5 epochs)."""
    value: Literal["skill", "hit"] = "skill"
    """What a coalition S is worth on one sample. skill: |S| times how far its error is below that of the mean pose, 1
    being the distance that all sensors together reach on average; between 0 and 1. hit: |S| if its error is below
    ``tau_mm``, else 0: the published value with a close pose in place of a right class."""
    tau_mm: float | None = Field(default=None, gt=0)
    """For ``hit``: error below which a pose is right; None means the mean error of the fused prediction at present."""
    measured: float = Field(default=1.0, gt=0, le=1)
    """Share of the samples that are measured: a random part, fixed for the run."""


class ModalityResamplingSettings(ResamplingSettings):
    """The same; the mean over samples needs few of them."""

    measured: float = Field(default=0.2, gt=0, le=1)
    """Share of the samples that are measured: a random part, fixed for the run (published: 0.2)."""


class _Resampling(BalanceStrategy):
    """What both methods have in common: the measured values, and the visits of an epoch."""

    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"strength": 0.3}, {"strength": 3.0})

    settings: ResamplingSettings  # narrows the base's

    @classmethod
    def strength_zero(cls) -> Mapping[str, Any]:
        """No masked visits."""
        return {"strength": 0.0}

    def __init__(self, settings: ResamplingSettings, modalities: tuple[str, ...]) -> None:
        super().__init__(settings, modalities)
        self._active = settings.strength > 0 and len(modalities) > 1  # one sensor has no other to mask
        self._plan: Tensor | None = None
        self._visits: tuple[ndarray, ndarray] | None = None
        self._log: dict[str, Any] = {}

    def setup(self, model: PoseModel, setup: Setup) -> None:
        """Room for one value per sample and sensor."""
        device = model.mean_pose.device
        lot = np.random.default_rng([setup.seed, 11]).random(setup.num_samples)
        self._seed, self._mean = setup.seed, setup.mean
        self._measured = torch.from_numpy(lot < self.settings.measured).to(device)
        self._store = SampleValues.empty(setup.num_samples, len(self.modalities), device)

    def begin_epoch(self, model: PoseModel, probe: Probe) -> None:
        """Pool what the processes measured, and draw the visits of the epoch."""
        if not self._active:
            return
        self._store = self._store.pooled(probe.all_reduce).settled()
        self._use(None)
        if probe.epoch < max(1, round(self.settings.warmup * probe.epochs)):
            return
        phi, present = self._store.value.cpu(), self._store.shown.cpu() > 0
        weights = self.settings.strength * self._weights(phi, present & (present.sum(1, keepdim=True) > 1))
        if weights.any():
            self._use(torch.from_numpy(_draw(weights.numpy(), np.random.default_rng([self._seed, 12, probe.epoch]))))
        means = zip(self.modalities, phi.nanmean(0).tolist(), strict=True)
        self._log["value"] = {name: mean for name, mean in means if mean == mean}

    def visit(
        self, order: Int[ndarray, " sample"], epoch: int
    ) -> tuple[Int[ndarray, " sample"], Bool[ndarray, "sample modality"] | None]:
        """The epoch's visits in the order of the lot."""
        if self._visits is None:
            return order, None
        positions, sensors = self._visits
        return positions[order], sensors[order]

    def objective(
        self,
        model: PoseModel,
        features: dict[str, Tensor],
        output: PoseOutput,
        batch: Batch,
        pose_loss: Float[Tensor, ""],
    ) -> LossTerms:
        """The pose error; in passing, the samples that came whole are measured."""
        if self._active:
            rows = self._store.show(batch) & self._measured[batch.meta.sample.clamp(min=0)]
            self._store.add(batch.meta.sample[rows], self._valued(model, features, batch, rows))
        return LossTerms({"pose": pose_loss})

    def log(self) -> dict[str, Any]:
        """Mean value of each sensor, the share of masked visits, and how often each sensor is shown."""
        return dict(self._log)

    def state_dict(self) -> dict[str, Any]:
        """The values, pooled over the processes, and the visits of the epoch."""
        if not self._active:
            return {}
        store = self._store.pooled(self._mean)
        return {"store": dict(vars(store)), "plan": self._plan, "log": dict(self._log)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        if not self._active:
            return
        self._store = SampleValues(**{name: tensor.clone() for name, tensor in state["store"].items()})
        self._use(state["plan"])
        self._log = dict(state["log"])

    def _weights(
        self, phi: Float[Tensor, "sample modality"], maskable: Bool[Tensor, "sample modality"]
    ) -> Float[Tensor, "sample modality"]:
        """Weight of the masked visits of each sample, one per sensor, before ``strength``.

        Args:
            phi: Shapley values; NaN where not measured.
            maskable: the sensors of the samples that have more than one.
        """
        raise NotImplementedError

    def _sensors(self, special: Bool[ndarray, "visit modality"]) -> Bool[ndarray, "visit modality"]:
        """Which sensors the masked visit of a sensor may use; ``special`` names that sensor."""
        raise NotImplementedError

    def _use(self, plan: Int[Tensor, " sample"] | None) -> None:
        self._plan, self._visits, self._log = plan, None, {}
        if plan is None:
            return
        count = len(self.modalities)
        position, kind = np.divmod(plan.cpu().numpy(), 1 + count)
        sensors = (kind == 0)[:, None] | self._sensors(kind[:, None] == 1 + np.arange(count))
        self._visits = position, sensors
        self._log["masked"] = float((kind > 0).mean())
        self._log["shown"] = dict(zip(self.modalities, sensors.mean(0).tolist(), strict=True))

    def _valued(
        self, model: PoseModel, features: Mapping[str, Tensor], batch: Batch, rows: Bool[Tensor, " batch"]
    ) -> Float[Tensor, "sample modality"]:
        """Shapley value of every sensor on the chosen samples, 1 for a sensor that does its share; float64."""
        coalitions = all_coalitions(len(self.modalities), batch.target.device)
        target = batch.target[rows].float()
        with evaluating(model, outside=("encoders",)):
            chosen = {name: feature.detach()[rows].float() for name, feature in features.items()}
            joints = model.decode_coalitions(chosen, coalitions, batch.present[rows]).float()
        error = torch.linalg.vector_norm(joints - target, dim=-1).mean(-1).double()
        constant = torch.linalg.vector_norm(model.mean_pose - target, dim=-1).mean(-1).double()
        sums = torch.stack([error[-1].sum(), constant.sum(), rows.sum().double()])
        fused, mean_pose, samples = self._mean(sums).to(error).unbind()  # every process asks
        right = self._right(error, fused / samples.clamp(min=1e-9), mean_pose / samples.clamp(min=1e-9))
        return shapley_values(coalitions.sum(1).double()[:, None] * right).T

    def _right(self, error: Tensor, fused: Tensor, mean_pose: Tensor) -> Tensor:
        """How right the pose of each coalition is, 0 to 1, from its error and two mean errors, metres."""
        if self.settings.value == "hit":
            return (error < (fused if self.settings.tau_mm is None else self.settings.tau_mm / 1000.0)).double()
        gain = mean_pose - fused
        return torch.where(gain > 0, ((mean_pose - error) / gain.clamp(min=1e-9)).clamp(0.0, 1.0), 0.0)


class SampleResampling(_Resampling):
    """Show a sample again with one sensor alone, the more often the less that sensor contributes to it.

    ::

        phi_m(n): Shapley value of sensor m on sample n, with v(S) = |S| r_n(S) and r_n(S) from 0 to 1: how right the
                  pose of the sensors S is (see ``value``); a sensor that does its share has phi = 1
        weight of the visit of n with m alone:  strength * 2/M * clip(2 (1 - phi_m(n)), 0, 3);  of the whole sample: 1

    Source: the sample-level method of Wei, Feng, Wang, Hu, *Enhancing multimodal Cooperation via Sample-level Modality
    Valuation*, CVPR 2024, for classification with two modalities: v(S) = |S| if the class is right; 1, 2 or 3 copies
    of a sample with the other modality removed for phi in (0.4, 1), (-0.1, 0.4), below.

    Differs from the published code: r is a pose error against the run's own (regression); the number of copies is a
    line through the published points (phi = 1, 0.5, 0, -0.5), since phi is continuous here; 2/M keeps the share of
    masked visits the same for any M, and is 1 for two; visits are drawn with these weights and an epoch keeps its
    length, so that every strategy trains for equally many steps; values are measured on the batches as they pass
    instead of in extra passes.
    """

    Settings: ClassVar[type[config.Settings]] = ResamplingSettings

    def _weights(
        self, phi: Float[Tensor, "sample modality"], maskable: Bool[Tensor, "sample modality"]
    ) -> Float[Tensor, "sample modality"]:
        copies = (2.0 * (1.0 - phi)).clamp(0.0, 3.0).nan_to_num(0.0)
        return torch.where(maskable, copies * (2.0 / len(self.modalities)), 0.0)

    def _sensors(self, special: Bool[ndarray, "visit modality"]) -> Bool[ndarray, "visit modality"]:
        return special


class ModalityResampling(_Resampling):
    """Show samples again without a sensor that contributes more than the others on average.

    ::

        phi_m: mean over measured samples of the Shapley value of ``sample_resampling``
        weight of a visit of any sample without m:  strength * 2/3 * max(phi_m - mean_{j != m} phi_j, 0)

    Source: the modality-level method of Wei, Feng, Wang, Hu, *Enhancing multimodal Cooperation via Sample-level
    Modality Valuation*, CVPR 2024, for classification with two modalities, where it resamples 2/3 |phi_a - phi_v| N
    random samples with the better modality removed.

    Differs from the published code: each sensor is compared with the mean of the others, which is the published gap
    for two; a pose error in place of a right class, visits in place of copies, and values measured in passing, as in
    ``sample_resampling``. The code's variants of the gap's function (tanh, power 1.5) are not offered.
    """

    Settings: ClassVar[type[config.Settings]] = ModalityResamplingSettings

    def _weights(
        self, phi: Float[Tensor, "sample modality"], maskable: Bool[Tensor, "sample modality"]
    ) -> Float[Tensor, "sample modality"]:
        mean = phi.nanmean(0)
        known = ~mean.isnan()
        total, number = mean.nan_to_num(0.0).sum(), known.sum()
        others = (total - mean) / (number - 1).clamp(min=1)
        gap = torch.where(known & (number > 1), (mean - others).clamp(min=0.0), 0.0)
        return torch.where(maskable, 2.0 / 3.0 * gap, 0.0)

    def _sensors(self, special: Bool[ndarray, "visit modality"]) -> Bool[ndarray, "visit modality"]:
        return ~special


class SampleValues:
    """What is known of every training sample: which sensors it has, and the latest value of each; all float64.

    A visit is whole if it shows every sensor that the sample was ever seen with. A sample is masked only after it was
    measured, so its first visit is whole.

    Attributes:
        value: (sample, modality) settled values; NaN where unknown.
        total: (sample, modality) sum of the values measured since.
        count: (sample, 1) how many they are.
        shown: (sample, modality) how often each sensor was there.
    """

    def __init__(self, value: Tensor, total: Tensor, count: Tensor, shown: Tensor) -> None:
        self.value, self.total, self.count, self.shown = value, total, count, shown

    @classmethod
    def empty(cls, samples: int, modalities: int, device: torch.device) -> SampleValues:
        """Nothing known."""
        zeros = torch.zeros((samples, modalities), dtype=torch.float64, device=device)
        return cls(torch.full_like(zeros, torch.nan), zeros, zeros[:, :1].clone(), zeros.clone())

    def show(self, batch: Batch) -> Bool[Tensor, " batch"]:
        """Note which sensors a batch shows; returns which of its samples are whole; replayed ones are left out."""
        new = batch.meta.sample >= 0
        sample = batch.meta.sample.clamp(min=0)
        self.shown.index_add_(0, sample[new], batch.present[new].double())
        return new & (batch.present == (self.shown[sample] > 0)).all(1)

    def add(self, sample: Int[Tensor, " batch"], value: Float[Tensor, "batch modality"]) -> None:
        """Add measured values; sums of float64 do not depend on the order the processes saw them in."""
        self.total.index_add_(0, sample, value)
        self.count.index_add_(0, sample, torch.ones_like(value[:, :1]))

    def pooled(self, reduce: Callable[[Tensor], Tensor]) -> SampleValues:
        """The mean over processes, which settles to the same values as the sum."""
        return SampleValues(*(reduce(tensor.clone()).to(tensor.device) for tensor in vars(self).values()))

    def settled(self) -> SampleValues:
        """New values replace the old ones; a sensor that a sample does not have stays unknown."""
        new = torch.where(self.shown > 0, self.total / self.count.clamp(min=1e-9), torch.nan)
        value = torch.where(self.count > 0, new, self.value)
        return SampleValues(value, torch.zeros_like(self.total), torch.zeros_like(self.count), self.shown)


def _draw(weights: Float[ndarray, "sample modality"], generator: np.random.Generator) -> Int[ndarray, " sample"]:
    """As many visits as samples: visit k of sample n is number n * (1 + M) + k, the whole sample k = 0 of weight 1.

    One random point in each of N equal strata of the total weight, so that the share of every kind is close to its
    weight's, and no pattern of the weights can fall into step with the draw.
    """
    edges = np.cumsum(np.insert(weights, 0, 1.0, axis=1))
    points = (np.arange(len(weights)) + generator.random(len(weights))) * (edges[-1] / len(weights))
    return np.minimum(np.searchsorted(edges, points, side="right"), len(edges) - 1)
