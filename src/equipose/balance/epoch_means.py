"""Means over the epoch in progress of numbers per sensor, for a strategy's log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class EpochMeans:
    """Running sums of named numbers per sensor."""

    def __init__(self) -> None:
        self._sums: dict[str, dict[str, float]] = {}
        self._counts: dict[str, dict[str, int]] = {}

    def reset(self) -> None:
        """Forget everything, at an epoch's start."""
        self._sums, self._counts = {}, {}

    def add(self, name: str, values: Mapping[str, float]) -> None:
        """Take in one step's values: modality -> number."""
        sums, counts = self._sums.setdefault(name, {}), self._counts.setdefault(name, {})
        for key, value in values.items():
            sums[key] = sums.get(key, 0.0) + value
            counts[key] = counts.get(key, 0) + 1

    def log(self) -> dict[str, dict[str, float]]:
        """Name -> modality -> mean."""
        return {
            name: {key: total / self._counts[name][key] for key, total in sums.items()}
            for name, sums in self._sums.items()
        }

    def state_dict(self) -> dict[str, Any]:
        """Sums and counts."""
        return {
            "sums": {name: dict(sums) for name, sums in self._sums.items()},
            "counts": {name: dict(counts) for name, counts in self._counts.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._sums = {name: dict(sums) for name, sums in state["sums"].items()}
        self._counts = {name: dict(counts) for name, counts in state["counts"].items()}
