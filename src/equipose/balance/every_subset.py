"""Our own strategy: train every subset of the sensors at once, and every sensor as if it were alone.

A joint loss pays attention to whatever sensor is easiest, so the others' encoders get no gradient worth following once
the strong ones explain the pose. Here each sensor answers by itself as well, and every sample is answered a second
time by a random subset that no other term trains. No weights are tuned to contributions: nobody can be starved,
because everybody has a loss that only they can lower.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from equipose import config
from equipose.balance.base import BalanceStrategy, Probe, Setup
from equipose.balance.held_out_trust import fit_trust
from equipose.balance.readouts import alone
from equipose.balance.sensor_losses import over_present
from equipose.nn.experts_fusion import ExpertsFusion
from equipose.nn.model import Parts, PoseModel
from equipose.types import Batch, LossTerms, PoseOutput, all_coalitions


class EverySubsetSettings(config.Settings):
    """Weights of the three terms beside the joint loss."""

    alone: float = Field(default=2.0, ge=0)
    """Weight of the pose error of each sensor by itself, mean over the sensors. With the `experts` fusion a pair of
    sensors (`model.pairs`) answers by itself too and adds as much as one sensor."""
    subset: float = Field(default=1.0, ge=0)
    """Weight of the pose error of a random subset of the sensors, drawn for each sample: without ``alone`` from all
    subsets, else from those of several sensors that hold no pair."""
    confidence: float = Field(default=0.01, ge=0)
    """Weight of the likelihood that teaches the `experts` fusion how sure each sensor is; no effect elsewhere."""
    trust_steps: int = Field(default=30, ge=0)
    """Steps after each epoch that teach the `experts` fusion how far to trust each sensor, on held-out people (the
    validation split; `train.probe_samples` of its samples); no effect elsewhere. 0: the trust of the training."""
    trust_rate: float = Field(default=0.05, gt=0)
    """Learning rate of those steps."""
    trust_decay: float = Field(default=2.5e-4, ge=0)
    """How strongly trust is pulled back to that of the training, in units of the loss."""


class EverySubset(BalanceStrategy):
    """Full set, every sensor alone, and a random subset of each sample, all through the one decoder.

    ::

        L = L(all) + a / M * sum_e L(e) + s * L(S),    S drawn uniformly from ``to_draw`` for each sample

    where e goes through the M sensors and, with the `experts` fusion, the pairs (``model.pairs``). A pair that is heard
    only in the weighted mean may leave its answer to sensors that know it from training people alone. S holds neither
    a lone sensor nor a pair: those have a term already, and the rest would be drawn too seldom.

    With the `experts` fusion there is also the Laplace likelihood of each expert's precision, on errors through which
    no gradient flows, so that confidence is learned without bending the answers. Training data flatter a sensor that
    recognises them, so after each epoch a few numbers per coalition, the trust, are fitted to held-out people
    (``held_out_trust``). The validation error of such a run has seen those people: compare it with others' with care.

    Source: equipose. Related: modality dropout (Neverova et al., *ModDrop*, TPAMI 2016), unimodal losses (Wang et al.,
    *What makes training multi-modal classification networks hard?*, CVPR 2020). Differs from both: the full set is
    always trained too, so that its error does not pay for the subsets', and nothing is switched off after training:
    the same decoder answers every subset.
    """

    Settings: ClassVar[type[config.Settings]] = EverySubsetSettings
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {},
        {"alone": 1.0},
        {"alone": 0.3, "subset": 0.3},
    )

    settings: EverySubsetSettings  # narrows the base's

    @classmethod
    def strength_zero(cls) -> Mapping[str, Any]:
        """No term but the joint loss, and no held-out trust."""
        return {"alone": 0.0, "subset": 0.0, "confidence": 0.0, "trust_steps": 0}

    def __init__(self, settings: EverySubsetSettings, modalities: tuple[str, ...]) -> None:
        super().__init__(settings, modalities)
        self._steps = 0

    def setup(self, model: PoseModel, setup: Setup) -> None:
        """Keep the loss, the seed of the subsets, and the mean over processes."""
        self._loss, self._seed, self._mean = setup.loss, setup.seed, setup.mean
        pairs = tuple(model.pairs) if isinstance(model.fusion, ExpertsFusion) else ()  # elsewhere none answers alone
        self._choices = to_draw(self.modalities, pairs, alone=self.settings.alone > 0)

    def objective(
        self,
        model: PoseModel,
        features: dict[str, Tensor],
        output: PoseOutput,
        batch: Batch,
        pose_loss: Float[Tensor, ""],
    ) -> LossTerms:
        """The joint loss and the three other terms."""
        settings = self.settings
        terms = {"pose": pose_loss}
        parts = model.parts(features)
        experts = _experts(model, parts)
        if settings.alone:
            poses = {name: expert.pose for name, expert in experts.items()} or alone(model, features)
            errors = {name: self._loss(PoseOutput(pose), batch) for name, pose in poses.items()}
            each = over_present(errors, batch, self._mean)
            terms["alone"] = settings.alone / len(self.modalities) * each.sum()
        if settings.subset and len(self._choices):
            inside = batch.present & self._subsets(batch)
            terms["subset"] = settings.subset * self._loss(model.decode_parts(parts, inside), batch).mean()
        if settings.confidence and experts:
            each = over_present({m: _surprise(expert, batch) for m, expert in experts.items()}, batch, self._mean)
            terms["confidence"] = settings.confidence / len(self.modalities) * each.sum()
        self._steps += 1
        return LossTerms(terms)

    def before_validation(self, model: PoseModel, probe: Probe) -> None:
        """Fit the trust; its state is the fusion's, saved with the weights."""
        settings = self.settings
        if settings.trust_steps and isinstance(model.fusion, ExpertsFusion):
            fit_trust(
                model,
                probe.validation(),
                self._loss,
                settings.trust_steps,
                settings.trust_rate,
                settings.trust_decay,
                self._mean,
            )

    def state_dict(self) -> dict[str, Any]:
        """How many steps were done: the subsets' seed."""
        return {"steps": self._steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._steps = state["steps"]

    def _subsets(self, batch: Batch) -> Bool[Tensor, "batch modality"]:
        """One of the choices for each sample, uniform; a function of seed, step and sample alone."""
        generator = torch.Generator().manual_seed((self._seed * 1_000_003 + self._steps) % 2**63)
        table = torch.randint(len(self._choices), (4096,), generator=generator)
        return self._choices[table[batch.meta.sample.cpu() % 4096]].to(batch.present.device)


def to_draw(modalities: Sequence[str], pairs: Sequence[str], alone: bool) -> Bool[Tensor, "subset modality"]:
    """The subsets among which ``EverySubset`` draws, a row each.

    Args:
        modalities: sensors in the order of the modality axis.
        pairs: such as ``rgb+lidar``.
        alone: whether sensors and pairs have a loss of their own; if not, all proper subsets, not the empty one.

    Returns:
        without ``alone`` all but the empty and the full one; else those of two or more sensors that hold no pair, or,
        where all of them hold one, all of two or more.
    """
    every = all_coalitions(len(modalities))[1:-1]
    if not alone:
        return every
    several = every[every.sum(1) > 1]
    both = [[modalities.index(name) for name in pair.split("+")] for pair in pairs]
    free = [not any(bool(row[each].all()) for each in both) for row in several]
    return several[torch.tensor(free, dtype=torch.bool)] if any(free) else several


class _Expert(NamedTuple):
    """What one sensor or pair says by itself: metres, camera frame; log metres^-2."""

    pose: Float[Tensor, "batch joint 3"]
    log_precision: Float[Tensor, "batch joint"]


def _experts(model: PoseModel, parts: Parts) -> dict[str, _Expert]:
    """Name -> expert; none where the fusion has no experts."""
    if not isinstance(model.fusion, ExpertsFusion):
        return {}
    experts = {}
    for name, part in zip(model.names, parts.there, strict=True):
        answer, log_precision = model.fusion.read(part)
        experts[name] = _Expert(model.mean_pose + answer.reshape(-1, model.num_joints, 3), log_precision)
    return experts


def _surprise(expert: _Expert, batch: Batch) -> Float[Tensor, " batch"]:
    """Negative log likelihood of an expert's error, mean over joints, for its log precision s alone.

    A Laplace density of the error's length r with scale exp(-s / 2): r exp(s / 2) - s / 2.
    """
    error = torch.linalg.vector_norm(expert.pose.detach() - batch.target, dim=-1)
    return (error * torch.exp(0.5 * expert.log_precision) - 0.5 * expert.log_precision).mean(-1)
