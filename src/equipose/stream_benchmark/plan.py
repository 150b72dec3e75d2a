"""Which runs a benchmark on streams needs. Pure: nothing here reads or writes a file.

A cell is one run over a stream. Two rows that ask for the same run share its cell.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property

from equipose.benchmark.recipe import merged
from equipose.config import validate
from equipose.stream_benchmark.recipe import Bound, Noise, StreamBenchmarkRecipe, StreamMethod
from equipose.train.stream_recipe import StreamRecipe

ORDERLESS = ("joint", "single")
"""Bounds that see no order: one run serves all orders. A model of its own for each experience is such, too."""

Key = tuple[int, int]
"""Index of the order among the recipe's, and seed."""


@dataclass(frozen=True)
class StreamCell:
    """One run over a stream.

    Attributes:
        recipe: of the run.
        title: label of the row that asks for it.
        noise: label of the condition.
    """

    recipe: StreamRecipe
    title: str = ""
    noise: str = ""

    @cached_property
    def name(self) -> str:
        """Name of its run folder and of its result file; the same for the same run.

        It changes with every setting that is not at its default, so that a new setting in a later version does not
        void what was measured.
        """
        recipe = self.recipe
        told = recipe.model_dump(mode="json", exclude_defaults=True)
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
        kind = recipe.continual.name if recipe.regime == "stream" else recipe.regime
        apart = "" if recipe.separation.mode == "off" else f"_{recipe.separation.mode}"
        order = "" if recipe.regime in ORDERLESS else "_" + "-".join(recipe.stream.order)
        return f"{kind}{apart}_{recipe.stream.kind}{order[:40]}_s{recipe.train.seed}_{digest[:10]}"

    @property
    def training(self) -> str:
        """Name of its run folder, log and lock."""
        return self.name

    @property
    def label(self) -> str:
        """What is shown while it runs."""
        recipe = self.recipe
        order = "" if recipe.regime in ORDERLESS or not recipe.stream.order else ", " + "-".join(recipe.stream.order)
        return f"{self.title or recipe.continual.name}, {self.noise}{order}, seed {recipe.train.seed}"

    @property
    def weight(self) -> float:
        """A rough measure of its work, for the time left."""
        return float(self.recipe.train.epochs) * (2.5 if self.recipe.regime == "cumulative" else 1.0)


@dataclass(frozen=True)
class Planned:
    """A row of one table and its runs.

    Attributes:
        source: what the recipe says.
        noise: the condition.
        cells: (order, seed) -> run; an orderless bound has the same run for all orders.
    """

    source: StreamMethod | Bound
    noise: Noise
    cells: dict[Key, StreamCell]


def rows(recipe: StreamBenchmarkRecipe) -> tuple[Planned, ...]:
    """Every row of every condition, in the order of the recipe."""
    found = []
    for noise in recipe.noise:
        sources: list[StreamMethod | Bound] = [*recipe.methods, *recipe.bounds]
        for source in sources:
            if source.noise and noise.label not in source.noise:
                continue
            cells = {
                (index, seed): cell(recipe, source, noise, index, seed)
                for seed in recipe.seeds
                for index in range(len(recipe.orders))
            }
            found.append(Planned(source, noise, cells))
    return tuple(found)


def cell(
    recipe: StreamBenchmarkRecipe, source: StreamMethod | Bound, noise: Noise, order: int, seed: int
) -> StreamCell:
    """One run.

    Args:
        recipe: of the benchmark.
        source: the row.
        noise: the condition.
        order: index of the order of the experiences.
        seed: of the run.

    Raises:
        UsageError: the row's settings do not go together.
    """
    layers = [{"corruption": noise.corruption}, source.recipe, {"train": {"seed": seed}}]
    names = recipe.orders[order]
    if isinstance(source, Bound):
        layers.append({"regime": source.regime, "watch_steps": 0, "continual": {"name": "fine_tune", "settings": {}}})
        names = tuple(sorted(names)) if source.regime in ORDERLESS else names
    if names:
        layers.append({"stream": {"order": list(names)}})
    values = merged(recipe.base, *layers)
    if isinstance(source, StreamMethod):
        values["continual"] = {"name": source.continual, "settings": merged(source.settings)}
    if source.separation:
        values["separation"] = merged(values.get("separation", {}), source.separation)
    if source.balance:
        values["balance"] = merged(source.balance)
    return StreamCell(validate(StreamRecipe, values, f"row {source.name!r}"), source.name, noise.label)


def wanted(recipe: StreamBenchmarkRecipe) -> tuple[StreamCell, ...]:
    """All runs, each once, seed after seed and order after order, so that early pages compare all rows."""
    planned = rows(recipe)
    keys = [(index, seed) for seed in recipe.seeds for index in range(len(recipe.orders))]
    found: dict[str, StreamCell] = {}
    for key in keys:
        for row in planned:
            found.setdefault(row.cells[key].name, row.cells[key])
    return tuple(found.values())
