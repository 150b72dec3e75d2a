"""Which trainings a benchmark needs, and which of them wait for others. Pure: nothing here reads or writes a file.

A cell is one training that is looked at in one way: ``tuning`` cells only on validation data, ``final`` cells on the
test split. Two cells of one training share its run folder, so that the chosen candidate is not trained twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from equipose.benchmark.recipe import BenchmarkRecipe, Method, base_recipe, merged, subset_sensors
from equipose.config import Recipe, validate

Kind = Literal["tuning", "final"]


@dataclass(frozen=True)
class Condition:
    """Where methods are compared: one table of the page."""

    fusion: str
    protocol: str
    split: str

    @property
    def label(self) -> str:
        """``P1-S1, concat fusion``."""
        return f"{self.protocol}-{self.split}, {self.fusion} fusion"


@dataclass(frozen=True)
class Cell:
    """One training and how it is looked at.

    Attributes:
        kind: ``tuning`` (validation data only) or ``final`` (test split).
        recipe: of the run; the folders of its teachers are filled in when it starts.
        teachers: modality -> the training that teaches it.
        title: how it is called while it runs; the strategy by default.
    """

    kind: Kind
    recipe: Recipe
    teachers: tuple[tuple[str, Cell], ...] = ()
    title: str = ""

    @cached_property
    def training(self) -> str:
        """Name of the run folder; the same for the same training.

        It changes with every setting that is not at its default, so that a new setting in a later version does not
        void what was measured.
        """
        recipe, told = self.recipe, self.recipe.model_dump(mode="json", exclude_defaults=True)
        taught = {modality: teacher.training for modality, teacher in self.teachers}
        digest = hashlib.sha256(json.dumps([told, taught], sort_keys=True).encode()).hexdigest()
        sensors = "" if len(recipe.data.modalities) > 2 else "_" + "+".join(recipe.data.modalities)
        return (
            f"{recipe.balance.name}_{recipe.model.fusion}_{recipe.data.protocol}-{recipe.data.split}{sensors}"
            f"_s{recipe.train.seed}_{digest[:10]}"
        )

    @property
    def name(self) -> str:
        """Name of its result file, without the suffix."""
        return f"{self.kind}_{self.training}"

    @property
    def label(self) -> str:
        """What is shown while it runs."""
        recipe, data = self.recipe, self.recipe.data
        return (
            f"{self.title or recipe.balance.name}, {recipe.model.fusion} {data.protocol}-{data.split} "
            f"{'+'.join(data.modalities)}, seed {recipe.train.seed}"
        )

    @property
    def weight(self) -> float:
        """A rough measure of its work, for the time left."""
        return float(self.recipe.train.epochs * len(self.recipe.data.modalities))


def conditions(recipe: BenchmarkRecipe) -> tuple[Condition, ...]:
    """All combinations of fusion, protocol and split."""
    base = base_recipe(recipe)
    return tuple(
        Condition(fusion, protocol, split)
        for protocol in recipe.protocols or (base.data.protocol,)
        for split in recipe.splits or (base.data.split,)
        for fusion in recipe.fusions or (base.model.fusion,)
    )


def candidates(recipe: BenchmarkRecipe, method: Method) -> tuple[Mapping[str, Any], ...]:
    """What tuning tries for a method; the list must have been filled in (see ``grid.resolved``)."""
    return (method.candidates or ({},))[: recipe.tuning.candidates]


def method_cell(
    recipe: BenchmarkRecipe,
    method: Method,
    condition: Condition,
    candidate: Mapping[str, Any],
    seed: int,
    kind: Kind,
    title: str = "",
) -> Cell:
    """One training of a method.

    Args:
        recipe: of the benchmark.
        method: which one.
        condition: where; what the method's own ``recipe`` says wins over it.
        candidate: settings laid over the method's; a name with a dot is a setting of the run.
        seed: of the run.
        kind: ``tuning`` may have a number of epochs of its own.
        title: how it is called while it runs; the method's name by default.
    """
    settings = {key: value for key, value in candidate.items() if "." not in key}
    layers = [
        _condition_layer(recipe, condition),
        method.recipe,
        *(_nested(key, value) for key, value in candidate.items() if "." in key),
        {"train": {"seed": seed}},
    ]
    if kind == "tuning" and recipe.tuning.epochs is not None:
        layers.append({"train": {"epochs": recipe.tuning.epochs}})
    values = merged(*layers)
    values["balance"] = {"name": method.strategy, "settings": merged(method.settings, settings)}
    made = validate(Recipe, values, f"method {method.name!r}")
    if not method.teachers:
        return Cell(kind, made, title=title or method.name)
    look: Kind = "final" if seed in recipe.seeds else "tuning"
    teachers = tuple((name, subset_cell(recipe, condition, (name,), seed, look)) for name in made.data.modalities)
    return Cell(kind, made, teachers, title or method.name)


def subset_cell(
    recipe: BenchmarkRecipe, condition: Condition, sensors: tuple[str, ...], seed: int, kind: Kind = "final"
) -> Cell:
    """Joint training of some of the sensors, with the settings of the base."""
    values = merged(
        _condition_layer(recipe, condition), {"data": {"modalities": list(sensors)}, "train": {"seed": seed}}
    )
    values["balance"] = {"name": "joint", "settings": {}}
    return Cell(kind, validate(Recipe, values, "subsets"))


def tuning_cells(recipe: BenchmarkRecipe, method: Method, condition: Condition) -> tuple[Cell, ...]:
    """A cell per candidate; none where there is nothing to choose."""
    tried = candidates(recipe, method)
    if len(tried) < 2:
        return ()
    return tuple(
        method_cell(
            recipe, method, condition, each, recipe.tuning.seed, "tuning", f"{method.name}, try {i} of {len(tried)}"
        )
        for i, each in enumerate(tried, 1)
    )


def chosen(
    recipe: BenchmarkRecipe, method: Method, condition: Condition, validation: Mapping[str, float | None]
) -> int | None:
    """Index of the candidate with the lowest validation error; None while one is still missing or all failed.

    Args:
        recipe: of the benchmark.
        method: which one.
        condition: where.
        validation: name of a tuning cell -> its validation error in mm, None if it failed.
    """
    cells = tuning_cells(recipe, method, condition)
    if not cells:
        return 0
    if any(cell.name not in validation for cell in cells):
        return None
    found = [(error, i) for i, cell in enumerate(cells) if (error := validation[cell.name]) is not None]
    return min(found)[1] if found else None


def final_cells(recipe: BenchmarkRecipe, method: Method, condition: Condition, index: int) -> tuple[Cell, ...]:
    """A cell per seed with the chosen candidate."""
    candidate = candidates(recipe, method)[index]
    return tuple(method_cell(recipe, method, condition, candidate, seed, "final") for seed in recipe.seeds)


def subset_cells(recipe: BenchmarkRecipe, condition: Condition) -> dict[tuple[tuple[str, ...], int], Cell]:
    """(sensors, seed) -> the model trained on those sensors alone."""
    return {
        (sensors, seed): subset_cell(recipe, condition, sensors, seed)
        for sensors in subset_sensors(recipe)
        for seed in recipe.seeds
    }


def wanted(recipe: BenchmarkRecipe, validation: Mapping[str, float | None]) -> list[Cell]:
    """Every cell that is known so far, in the order of the work: teachers, tuning, then seed after seed."""
    places = conditions(recipe)
    tuned = [cell for place in places for method in recipe.methods for cell in tuning_cells(recipe, method, place)]
    finals = list(_finals(recipe, validation, places))
    teachers = [teacher for cell in (*tuned, *finals) for _, teacher in cell.teachers]
    cells = {cell.name: cell for cell in (*teachers, *tuned, *finals)}
    return list(cells.values())


def unknown_finals(recipe: BenchmarkRecipe, validation: Mapping[str, float | None]) -> int:
    """How many final cells wait for their tuning, or will never be known because all candidates failed."""
    open_ = [
        method
        for place in conditions(recipe)
        for method in recipe.methods
        if chosen(recipe, method, place, validation) is None
    ]
    return len(open_) * len(recipe.seeds)


def _finals(
    recipe: BenchmarkRecipe, validation: Mapping[str, float | None], places: tuple[Condition, ...]
) -> Iterator[Cell]:
    """Methods and reference subsets of all conditions, seed after seed, so that early pages compare all methods."""
    finals: list[Cell] = []
    for place in places:
        for method in recipe.methods:
            index = chosen(recipe, method, place, validation)
            if index is not None:
                finals += final_cells(recipe, method, place, index)
        finals += subset_cells(recipe, place).values()
    for seed in recipe.seeds:
        yield from (cell for cell in finals if cell.recipe.train.seed == seed)


def _condition_layer(recipe: BenchmarkRecipe, condition: Condition) -> dict[str, Any]:
    return merged(
        recipe.base,
        {
            "model": {"fusion": condition.fusion},
            "data": {"protocol": condition.protocol, "split": condition.split},
        },
    )


def _nested(key: str, value: Any) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        value = {part: value}
    return dict(value)
