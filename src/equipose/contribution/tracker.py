"""Contributions while training, from features the training step has computed anyway.

A step's encoders are the expensive part; their detached features are reused, and only fusion and head run
once per coalition. Statistics are pooled over the epoch, so the profits of all coalitions cost a few large
tensor operations per tracked step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from equipose.contribution.imbalance import collapse_ratio
from equipose.contribution.profit import Profit, profit_named
from equipose.contribution.shapley import checked_players, shapley_values
from equipose.contribution.statistics import Statistics, batch_statistics, join_coalitions, zero_statistics
from equipose.inspection import evaluating
from equipose.types import Batch, all_coalitions

Reduce = Callable[[Tensor], Tensor]


def _same(tensor: Tensor) -> Tensor:
    return tensor


@runtime_checkable
class CoalitionModel(Protocol):
    """A model whose fusion can be run on any subset of its sensors' features."""

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names, in the order of the coalitions' second axis."""
        ...

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Modality -> (batch, width) features."""
        ...

    def decode_coalitions(
        self,
        features: Mapping[str, Tensor],
        coalitions: Bool[Tensor, "coalition modality"],
        present: Bool[Tensor, "batch modality"],
        baseline: Mapping[str, Tensor] | None = None,
    ) -> Float[Tensor, "coalition batch joint 3"]:
        """Joints of every coalition, metres; a feature outside it is replaced by zeros or ``baseline``."""
        ...


class ContributionTracker:
    """Pools the statistics of all coalitions over the training steps it is shown.

    Args:
        modalities: players, in the model's order.
        num_joints: joints of the skeleton.
        profit: what a coalition is worth, or its name.
        reference: (joint, 3) pose that sums are taken about, metres: the mean training pose. The sums live on
            its device.

    Raises:
        UsageError: for an unknown profit or more than 12 modalities.
    """

    def __init__(
        self,
        modalities: tuple[str, ...],
        num_joints: int,
        profit: str | Profit,
        reference: Float[Tensor, "joint 3"],
    ) -> None:
        self.modalities = modalities
        self.profit = profit_named(profit)
        self._reference = reference.detach().clone()
        self._coalitions = all_coalitions(checked_players(len(modalities)), reference.device)
        self._sums = zero_statistics(1, len(self._coalitions), num_joints, reference.device)

    def update(
        self,
        model: CoalitionModel,
        features: Mapping[str, Tensor],
        batch: Batch,
        baseline: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Add one training step.

        Args:
            model: what is not among its ``encoders`` runs in evaluation mode, without gradients; flags are
                restored.
            features: modality -> (batch, width), as ``model.encode`` returned them; detached here.
            batch: the samples they come from.
            baseline: modality -> (width,) feature of an absent sensor; None means zeros.
        """
        with evaluating(model, outside=("encoders",)):
            detached = {name: value.detach().float() for name, value in features.items()}
            self._sums = self._sums + coalition_statistics(
                model, detached, batch, self._coalitions, self._reference, baseline=baseline
            )

    @property
    def samples(self) -> int:
        """Samples pooled since the last ``reset``."""
        return int(self._sums.count)

    def values(self, reduce: Reduce = _same) -> Float[Tensor, " coalition"]:
        """Worth of every coalition, float64, in the order of ``types.all_coalitions``; NaN before any sample.

        Args:
            reduce: sum or mean of a tensor over all processes (no profit depends on which); every process
                must call.
        """
        return self.profit.value(self._sums.map(reduce))[0]

    def contribution(self, reduce: Reduce = _same) -> dict[str, float]:
        """Modality -> Shapley value in the profit's unit; NaN before any sample. ``reduce`` as above."""
        return dict(zip(self.modalities, shapley_values(self.values(reduce)).tolist(), strict=True))

    def collapse(self, reduce: Reduce = _same) -> dict[str, float]:
        """Modality -> median over coordinates of std(prediction from it alone) / std(truth)."""
        ratio = collapse_ratio(self._sums.map(reduce))[0]
        return dict(zip(self.modalities, ratio.tolist(), strict=True))

    def reset(self) -> None:
        """Forget all samples: call at the start of an epoch."""
        self._sums = self._sums.map(torch.zeros_like)

    def state_dict(self) -> dict[str, Any]:
        """The sums; tensors only."""
        return dict(self._sums.to_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        own = self._sums.to_dict()
        self._sums = Statistics(**{name: state[name].to(tensor) for name, tensor in own.items()})


def coalition_statistics(
    model: CoalitionModel,
    features: Mapping[str, Tensor],
    batch: Batch,
    coalitions: Bool[Tensor, "coalition modality"],
    reference: Float[Tensor, "joint 3"],
    baseline: Mapping[str, Tensor] | None = None,
    membership: Float[Tensor, "group batch"] | None = None,
    rows_at_once: int = 16384,
) -> Statistics:
    """Statistics of one batch for every coalition, at most ``rows_at_once`` predicted poses at a time."""
    step = max(1, rows_at_once // max(1, len(batch)))
    parts = [
        batch_statistics(
            model.decode_coalitions(features, chunk, batch.present, baseline),
            batch.target,
            reference,
            membership,
        )
        for chunk in torch.split(coalitions, step)
    ]
    return join_coalitions(parts)
