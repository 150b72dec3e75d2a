"""Prototypes: weak sensors are taught to tell kinds of poses apart."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from equipose import config
from equipose.balance.base import BalanceStrategy, Probe, Setup
from equipose.balance.codebook import learn_codebook, nearest
from equipose.balance.sensor_losses import WeightedMeans, over_present
from equipose.errors import UsageError
from equipose.inspection import untouched
from equipose.nn.model import PoseModel
from equipose.types import Batch, LossTerms, PoseOutput

_ROOT = 0
"""The root joint of every skeleton of the project (pelvis, base of the spine)."""
_SMOOTH = 1e-3
"""Length of a feature difference below which the direction to a prototype counts for less: it is noise."""


class PmrSettings(config.Settings):
    """Strength, codebook and prototypes."""

    strength: float = Field(default=1.0, ge=0)
    """Weight of the prototype loss. At 1 a sensor that can only guess the kind of pose pays as much as the present pose
    loss (published: 1, beside a cross-entropy that starts at the same value)."""
    codes: Literal[4, 8, 16, 32, 64] = 16
    """Kinds of poses (published: the classes of the task). Each needs several samples of ``train.probe_samples``."""
    momentum: float = Field(default=0.2, ge=0, lt=1)
    """Share of the old prototype that is kept at each epoch's start (published: 0.2 or 0.5)."""
    temperature: float = Field(default=1.0, gt=0)
    """What a distance between features is divided by before the softmax (published: 1)."""


class Pmr(BalanceStrategy):
    """Weaker sensors get a loss of their own: which kind of pose is it, judged by distance to prototype features.

    Kinds k are the codes of K-means on root-centred target poses; p_m^k is the mean feature of sensor m over poses of
    kind k, and y the sample's kind::

        q_m = softmax_k( -|z_m - p_m^k| / T ),    s_m = mean q_m[y],    PCE_m = mean -log q_m[y]
        L = L_pose + strength * sg(L_pose) * sum_m beta_m * PCE_m / log K,    beta_m = clip(max_j s_j / s_m - 1, 0, 1)

    The sensor with the highest score gets nothing; the others are pushed towards their prototypes, the more the further
    they lag. No head is needed, and any fusion will do.

    Source: Fan, Xu, Wang, Wang, Guo, *PMR: Prototypical Modal Rebalance for Multimodal Learning* (CVPR 2023); defined
    for the classification of two modalities.

    Differs from the published code:

    - kinds of poses in place of classes: pose errors within a kind, and where the person stands, do not enter;
    - M sensors: each is compared with the best; at M = 2 this is the paper's weight (the released code gives the weaker
      one weight 1 whenever it is weaker);
    - distances are rounded off within 0.001 of a prototype, where the released ones have no gradient;
    - prototypes come from the probe, the same samples in each epoch (published: a tenth of the training batches);
    - scores are means over the samples that have the sensor, and over all processes;
    - the paper's entropy term on the strong modality is left out, as in the released code;
    - sg(L_pose) / log K, which no gradient flows through, puts the prototype loss on the scale of a pose loss in any
      unit; log K is what guessing costs.
    """

    Settings: ClassVar[type[config.Settings]] = PmrSettings
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"strength": 0.3}, {"strength": 3.0})

    settings: PmrSettings  # narrows the base's

    @classmethod
    def strength_zero(cls) -> Mapping[str, Any]:
        """No prototype loss; nothing is measured."""
        return {"strength": 0.0}

    def __init__(self, settings: PmrSettings, modalities: tuple[str, ...]) -> None:
        super().__init__(settings, modalities)
        self._active = settings.strength > 0 and len(modalities) > 1
        self._codes: Tensor | None = None
        self._prototypes: dict[str, Tensor] = {}
        self._known: dict[str, Tensor] = {}
        self._scores, self._beta, self._losses = WeightedMeans(), WeightedMeans(), WeightedMeans()

    def setup(self, model: PoseModel, setup: Setup) -> None:
        """Keep the mean over processes."""
        self._mean = setup.mean

    def begin_epoch(self, model: PoseModel, probe: Probe) -> None:
        """Before the first epoch learn the codebook; before each, move the prototypes to the present features."""
        for means in (self._scores, self._beta, self._losses):
            means.reset()
        if not self._active:
            return
        if self._codes is None:
            self._codes = _pose_codes(probe, self.settings.codes)
        self._move_prototypes(model, probe, self._codes)

    def objective(
        self,
        model: PoseModel,
        features: dict[str, Tensor],
        output: PoseOutput,
        batch: Batch,
        pose_loss: Float[Tensor, ""],
    ) -> LossTerms:
        """The pose loss, and the prototype loss of the weaker sensors."""
        if not self._active:
            return LossTerms({"pose": pose_loss})
        assert self._codes is not None
        kind = nearest(shapes(batch.target), self._codes)
        losses = {
            name: prototype_loss(
                features[name], self._prototypes[name], self._known[name], kind, self.settings.temperature
            )
            for name in self.modalities
        }
        usable = {name: self._known[name][kind] for name in self.modalities}
        scores = over_present({m: torch.exp(-x.detach()) for m, x in losses.items()}, batch, self._mean, usable)
        entropies = over_present(losses, batch, self._mean, usable)
        beta = lags(torch.stack([scores.values[m] for m in self.modalities]))
        self._scores.add(scores.values, scores.counts)
        self._beta.add(dict(zip(self.modalities, beta, strict=True)))
        self._losses.add(entropies.values, entropies.counts)
        weighted = (beta * torch.stack([entropies.terms[m] for m in self.modalities])).sum()
        scale = self._mean(pose_loss.detach().clone()) / math.log(max(2, len(self._codes)))
        return LossTerms({"pose": pose_loss, "prototypes": self.settings.strength * scale * weighted})

    def log(self) -> dict[str, Any]:
        """Per sensor, means of the epoch: score, weight, prototype loss; and how many kinds of poses there are."""
        if not self._active or self._codes is None:
            return {}
        parts = {"score": self._scores, "beta": self._beta, "prototype_loss": self._losses}
        return {"codes": len(self._codes), **{name: means.of(self.modalities) for name, means in parts.items()}}

    def state_dict(self) -> dict[str, Any]:
        """Codebook, prototypes and the epoch's means."""
        return {
            "codes": self._codes,
            "prototypes": dict(self._prototypes),
            "known": dict(self._known),
            "score": self._scores.state_dict(),
            "beta": self._beta.state_dict(),
            "losses": self._losses.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._codes = state["codes"]
        self._prototypes, self._known = dict(state["prototypes"]), dict(state["known"])
        self._scores.load_state_dict(state["score"])
        self._beta.load_state_dict(state["beta"])
        self._losses.load_state_dict(state["losses"])

    def _move_prototypes(self, model: PoseModel, probe: Probe, codes: Tensor) -> None:
        """Mean feature of each kind over the probe, mixed with the prototype before."""
        total = {m: codes.new_zeros(len(codes), 1 + model.width).double() for m in self.modalities}
        with untouched(model):
            for batch in probe.batches():
                kind = nearest(shapes(batch.target), codes)
                features = model.encode(batch)
                for name in self.modalities:
                    inside = batch.present[:, batch.modalities.index(name), None].double()
                    rows = inside * torch.cat([torch.ones_like(inside), features[name].double()], 1)
                    total[name].index_add_(0, kind, rows)
        for name in self.modalities:
            reduced = probe.all_reduce(total[name])
            seen = reduced[:, 0] > 0
            fresh = (reduced[:, 1:] / reduced[:, :1].clamp(min=1e-12)).to(codes.dtype)
            old, known = self._prototypes.get(name, fresh), self._known.get(name, torch.zeros_like(seen))
            mixed = torch.where((known & seen)[:, None], torch.lerp(fresh, old, self.settings.momentum), fresh)
            self._prototypes[name] = torch.where(seen[:, None], mixed, old)
            self._known[name] = known | seen


def shapes(poses: Float[Tensor, "batch joint 3"]) -> Float[Tensor, "batch coordinate"]:
    """Joints relative to the root, metres, camera axes."""
    return (poses - poses[:, _ROOT : _ROOT + 1]).flatten(1)


def prototype_loss(
    feature: Float[Tensor, "batch width"],
    prototypes: Float[Tensor, "code width"],
    known: Bool[Tensor, " code"],
    kind: Int[Tensor, " batch"],
    temperature: float,
) -> Float[Tensor, " batch"]:
    """Cross-entropy of each sample's kind under the softmax of negative distances; infinite if the kind is not known.

    Args:
        feature: of one sensor.
        prototypes: of that sensor.
        known: which kinds have a prototype; the others take no part.
        kind: of each sample.
        temperature: what distances are divided by.
    """
    squares = (feature.float()[:, None] - prototypes.float()).square().sum(-1)
    logits = -(squares + _SMOOTH**2).sqrt() / temperature
    return functional.cross_entropy(logits.masked_fill(~known, -torch.inf), kind, reduction="none")


def lags(scores: Float[Tensor, " modality"]) -> Float[Tensor, " modality"]:
    """How far each sensor is behind the best: clip(max / own - 1, 0, 1)."""
    return (scores.max() / scores.clamp(min=torch.finfo(scores.dtype).tiny) - 1.0).clamp(0.0, 1.0)


def _pose_codes(probe: Probe, size: int) -> Float[Tensor, "code coordinate"]:
    """Codebook of the probe's target poses."""
    targets = [batch.target for batch in probe.batches()]
    if not targets:
        raise UsageError("pmr learns its kinds of poses on the probe, and it is empty; raise train.probe_samples")
    return learn_codebook(shapes(torch.cat(targets)), size, probe.all_reduce).to(targets[0].dtype)
