"""Mean loss of each sensor over the samples that have it, alike for one process and for several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from equipose.types import Batch


@dataclass(frozen=True)
class SensorLosses:
    """Mean loss of each sensor.

    Attributes:
        terms: modality -> this process's part, with gradient. Its mean over processes is the mean over all samples
            that have the sensor, so averaged gradients are those of one process with the whole batch.
        values: modality -> that mean, without gradient, equal in all processes; zero where no sample has the sensor.
        counts: modality -> samples that have the sensor, mean over processes.
    """

    terms: Mapping[str, Float[Tensor, ""]]
    values: Mapping[str, Float[Tensor, ""]]
    counts: Mapping[str, Float[Tensor, ""]]

    def sum(self) -> Float[Tensor, ""]:
        """Sum of the terms, with gradient."""
        return torch.stack(list(self.terms.values())).sum()


def over_present(
    losses: Mapping[str, Float[Tensor, " batch"]],
    batch: Batch,
    mean: Callable[[Tensor], Tensor],
    usable: Mapping[str, Bool[Tensor, " batch"]] | None = None,
) -> SensorLosses:
    """Mean of each sensor's losses over the samples that have it; every process must call.

    Args:
        losses: modality, or pair such as ``rgb+lidar``, -> loss of each sample.
        batch: says which sample has which sensor.
        mean: mean of a tensor over processes.
        usable: modality -> which of these samples count; None means all.
    """
    names = list(losses)
    stacked = torch.stack([losses[name] for name in names])
    columns = [[batch.modalities.index(each) for each in name.split("+")] for name in names]
    inside = torch.stack([batch.present[:, both].all(1) for both in columns])
    if usable is not None:
        inside = inside & torch.stack([usable[name] for name in names])
    weight = inside.to(stacked.dtype)
    sums = torch.where(inside, stacked, 0.0).sum(1)
    reduced = mean(torch.stack([sums.detach(), weight.sum(1)]))
    some = torch.where(reduced[1] > 0, reduced[1], 1.0)
    return SensorLosses(
        dict(zip(names, sums / some, strict=True)),
        dict(zip(names, reduced[0] / some, strict=True)),
        dict(zip(names, reduced[1], strict=True)),
    )


class WeightedMeans:
    """Running weighted means by name, on the device, over what was added since the last ``reset``."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._sums: dict[str, Tensor] = {}
        self._weights: dict[str, Tensor] = {}

    def add(self, values: Mapping[str, Tensor], weights: Mapping[str, Tensor] | None = None) -> None:
        """Add scalars that are equal in all processes; weight 1 each where none is given."""
        for name, value in values.items():
            value = value.detach()
            weight = torch.ones_like(value) if weights is None else weights[name]
            self._sums[name] = self._sums.get(name, 0.0) + value * weight
            self._weights[name] = self._weights.get(name, 0.0) + weight

    def of(self, names: Iterable[str]) -> dict[str, float | None]:
        """Mean of each name; None where nothing was added."""
        return {
            name: float(self._sums[name] / self._weights[name])
            if name in self._sums and float(self._weights[name]) > 0
            else None
            for name in names
        }

    def state_dict(self) -> dict[str, Any]:
        """Sums and weights."""
        return {"sums": dict(self._sums), "weights": dict(self._weights)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._sums, self._weights = dict(state["sums"]), dict(state["weights"])
