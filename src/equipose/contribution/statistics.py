"""What every profit is computed from: sums over samples, per coalition, joint and axis.

A correlation is no mean over batches: it needs the pooled sums. All profits here are functions of the same
sums (count, sums, squares, products, errors), so one pass serves them all, the answer does not depend on how
the samples are cut into batches, and processes or resamples of subjects are combined by adding.

Sums are float64 and taken about a fixed reference pose, so that subtracting large squares loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Statistics:
    """Sums over the samples of each group; float64 (but for that, plain tensors: they add).

    With x the prediction and y the truth, both minus the reference pose:

    Attributes:
        count: (group,) number of samples.
        truth: (group, joint, 3) sum of y, metres.
        truth_square: (group, joint, 3) sum of y^2.
        reference_error: (group, joint) sum of |y|, metres: the error of predicting the reference pose.
        predicted: (group, coalition, joint, 3) sum of x, metres.
        predicted_square: (group, coalition, joint, 3) sum of x^2.
        product: (group, coalition, joint, 3) sum of x y.
        error: (group, coalition, joint) sum of |x - y|, metres.
    """

    count: Float[Tensor, " group"]
    truth: Float[Tensor, "group joint 3"]
    truth_square: Float[Tensor, "group joint 3"]
    reference_error: Float[Tensor, "group joint"]
    predicted: Float[Tensor, "group coalition joint 3"]
    predicted_square: Float[Tensor, "group coalition joint 3"]
    product: Float[Tensor, "group coalition joint 3"]
    error: Float[Tensor, "group coalition joint"]

    def __add__(self, other: Statistics) -> Statistics:
        return Statistics(*(a + b for a, b in zip(_tensors(self), _tensors(other), strict=True)))

    def map(self, function: Callable[[Tensor], Tensor]) -> Statistics:
        """The same statistics with ``function`` applied to every tensor: all-reduce, another device."""
        return Statistics(*(function(tensor) for tensor in _tensors(self)))

    def combine(self, weights: Float[Tensor, "combination group"]) -> Statistics:
        """Weighted sums of groups: each row of ``weights`` (float64) makes one group of the result.

        A row of ones pools all groups; a row of bootstrap counts is one resample.
        """
        return self.map(lambda tensor: torch.tensordot(weights.to(tensor), tensor, dims=1))

    def coalitions(self, rows: list[int]) -> Statistics:
        """The same statistics of some coalitions only."""
        return replace(
            self,
            predicted=self.predicted[:, rows],
            predicted_square=self.predicted_square[:, rows],
            product=self.product[:, rows],
            error=self.error[:, rows],
        )

    def total(self) -> Statistics:
        """All groups pooled into one."""
        return self.map(lambda tensor: tensor.sum(0, keepdim=True))

    def to_dict(self) -> dict[str, Tensor]:
        """Field name -> tensor."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def zero_statistics(
    num_groups: int, num_coalitions: int, num_joints: int, device: torch.device | str = "cpu"
) -> Statistics:
    """Statistics of no samples."""

    def zeros(*shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.float64, device=device)

    g, k, j = num_groups, num_coalitions, num_joints
    return Statistics(
        count=zeros(g),
        truth=zeros(g, j, 3),
        truth_square=zeros(g, j, 3),
        reference_error=zeros(g, j),
        predicted=zeros(g, k, j, 3),
        predicted_square=zeros(g, k, j, 3),
        product=zeros(g, k, j, 3),
        error=zeros(g, k, j),
    )


def batch_statistics(
    joints: Float[Tensor, "coalition batch joint 3"],
    target: Float[Tensor, "batch joint 3"],
    reference: Float[Tensor, "joint 3"],
    membership: Float[Tensor, "group batch"] | None = None,
) -> Statistics:
    """Statistics of one batch.

    Args:
        joints: predictions of every coalition, metres, camera frame.
        target: truth, metres, camera frame.
        reference: the pose that sums are taken about, usually the mean training pose; the same for all
            batches.
        membership: float64 weight of each sample in each group; None means one group of all samples.
    """
    x = joints.double() - reference.double()
    y = target.double() - reference.double()
    if membership is None:
        membership = y.new_ones((1, len(y)))
    return Statistics(
        count=membership.sum(1),
        truth=_pool(membership, y[None])[:, 0],
        truth_square=_pool(membership, (y * y)[None])[:, 0],
        reference_error=membership @ y.norm(dim=-1),
        predicted=_pool(membership, x),
        predicted_square=_pool(membership, x * x),
        product=_pool(membership, x * y),
        error=(membership @ (x - y).norm(dim=-1)).transpose(0, 1),
    )


def join_coalitions(parts: Sequence[Statistics]) -> Statistics:
    """One set of statistics from those of several ranges of coalitions over the same samples."""
    first = parts[0]
    if len(parts) == 1:
        return first
    return replace(
        first,
        predicted=torch.cat([part.predicted for part in parts], dim=1),
        predicted_square=torch.cat([part.predicted_square for part in parts], dim=1),
        product=torch.cat([part.product for part in parts], dim=1),
        error=torch.cat([part.error for part in parts], dim=1),
    )


class GroupedStatistics:
    """Statistics of a growing set of labelled groups; a sample may be in several (its subject, its action).

    Adds in place: with many modalities one copy is large already.
    """

    def __init__(self) -> None:
        self._rows: dict[tuple[str, int], int] = {}
        self._sums: Statistics | None = None

    def membership(
        self, labels: dict[str, Int[Tensor, " batch"]]
    ) -> tuple[list[tuple[str, int]], Float[Tensor, "group batch"]]:
        """The (kind, label) groups of a batch and which samples belong to each."""
        names: list[tuple[str, int]] = []
        rows: list[Tensor] = []
        for kind, values in labels.items():
            unique = torch.unique(values)
            names += [(kind, int(label)) for label in unique]
            rows.append(unique[:, None] == values[None, :])
        return names, torch.cat(rows).double()

    def add(self, names: list[tuple[str, int]], sums: Statistics) -> None:
        """Add the groups ``names`` of one batch."""
        for name in names:
            self._rows.setdefault(name, len(self._rows))
        missing = len(self._rows) - (0 if self._sums is None else len(self._sums.count))
        if missing > 0:
            blank = sums.map(lambda t: t.new_zeros((missing, *t.shape[1:])))
            self._sums = blank if self._sums is None else _concatenate(self._sums, blank)
        assert self._sums is not None
        index = torch.tensor([self._rows[name] for name in names], device=sums.count.device)
        for held, new in zip(_tensors(self._sums), _tensors(sums), strict=True):
            held.index_add_(0, index, new)

    def of(self, kind: str) -> tuple[tuple[int, ...], Statistics]:
        """Labels of one kind, ascending, and their statistics."""
        assert self._sums is not None
        labels = sorted(label for name, label in self._rows if name == kind)
        index = torch.tensor([self._rows[kind, label] for label in labels], device=self._sums.count.device)
        return tuple(labels), self._sums.map(lambda tensor: tensor[index])


def _concatenate(first: Statistics, second: Statistics) -> Statistics:
    return Statistics(*(torch.cat(pair) for pair in zip(_tensors(first), _tensors(second), strict=True)))


def _pool(membership: Tensor, values: Tensor) -> Tensor:
    """(group, batch) x (coalition, batch, joint, 3) -> (group, coalition, joint, 3)."""
    return (membership @ values.flatten(2)).transpose(0, 1).reshape(len(membership), len(values), *values.shape[2:])


def _tensors(sums: Statistics) -> list[Tensor]:
    return [getattr(sums, field.name) for field in fields(sums)]
