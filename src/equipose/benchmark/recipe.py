"""What a benchmark is: one YAML file that names methods, where they are compared, and how they are tuned.

::

    title: Balance strategies, P1-S1
    base: {train: {epochs: 20}}            # a training recipe, or the name of a file with one
    methods:
      - joint                              # a balance strategy by name
      - {strategy: awc, settings: {alpha_inferior: 1.0}}
      - {label: joint, cosine, strategy: joint, recipe: {train: {schedule: cosine}}}
      - {strategy: umt, teachers: specialists}
    fusions: [concat, attention]           # left out: that of the base; the same for protocols and splits
    protocols: [P1]
    splits: [S1]
    seeds: [0, 1, 2, 3, 4]
    subsets: [singles, rgb+lidar]          # models that are trained on fewer sensors, to compare with
    tuning: {candidates: 3, seed: 0}
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, field_validator, model_validator

from equipose.config import Recipe, Settings, load_settings, validate
from equipose.errors import UsageError, unknown_name

SUBSET_WORDS = {"singles": 1, "pairs": 2, "triples": 3}


class Tuning(Settings):
    """How the settings of each method are chosen; by validation error alone."""

    candidates: int = Field(default=1, ge=1)
    """Settings tried for every method, the same number for all, its defaults first; 1: no tuning."""
    seed: int = Field(default=0, ge=0)
    """Of the trainings that are compared. Where it is among the seeds, the chosen one is not trained again."""
    epochs: int | None = Field(default=None, ge=1)
    """Of those trainings; the base's by default."""


class Method(Settings):
    """One row of the main table."""

    strategy: str
    """A name from `equipose list balance`; another package's as well."""
    label: str = ""
    """How it is called on the page; the strategy's name by default."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Of the strategy; what tuning tries is laid over it."""
    recipe: dict[str, Any] = Field(default_factory=dict)
    """Settings of the run that differ for this method, such as {train: {schedule: cosine}}."""
    candidates: tuple[dict[str, Any], ...] | None = None
    """What tuning tries, in place of the strategy's own list. A name with a dot is a setting of the run, such as
    train.learning_rate; the others are settings of the strategy."""
    teachers: Literal["", "specialists"] = ""
    """specialists: models that were trained on one sensor each, with the same seed, become ``settings.teachers``."""

    @property
    def name(self) -> str:
        """What it is called on the page."""
        return self.label or self.strategy


class BenchmarkRecipe(Settings):
    """Everything a benchmark needs besides the data folder."""

    title: str = "Benchmark of balance strategies"
    base: dict[str, Any] = Field(default_factory=dict)
    """A training recipe, as a mapping or as the name of a file beside this one."""
    methods: tuple[Method, ...] = Field(min_length=1)
    reference: str = ""
    """Label of the method that the others are compared with; the first of strategy joint by default."""
    fusions: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    subsets: tuple[str, ...] = ()
    """Sensors of models trained for comparison: singles, pairs, triples, all, or such as rgb+lidar."""
    tuning: Tuning = Tuning()

    @field_validator("methods", mode="before")
    @classmethod
    def _by_name(cls, methods: Any) -> Any:
        if not isinstance(methods, list | tuple):
            return methods
        return [{"strategy": each} if isinstance(each, str) else each for each in methods]

    @field_validator("subsets", mode="before")
    @classmethod
    def _joined(cls, subsets: Any) -> Any:
        if not isinstance(subsets, list | tuple):
            return subsets
        return ["+".join(each) if isinstance(each, list | tuple) else each for each in subsets]

    @field_validator("fusions", "protocols", "splits", "seeds")
    @classmethod
    def _once(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(values)) < len(values):
            raise ValueError(f"found {', '.join(map(str, values))}: name each once")
        return values

    @model_validator(mode="after")
    def _labels(self) -> BenchmarkRecipe:
        names = [method.name for method in self.methods]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two methods are called {twice!r}; give each its own label")
        if self.reference and self.reference not in names:
            raise ValueError(str(unknown_name("method", self.reference, names)))
        return self

    @property
    def baseline(self) -> Method:
        """The method that the others are compared with."""
        named = [method for method in self.methods if method.name == self.reference]
        joint = [method for method in self.methods if method.strategy == "joint"]
        return (named or joint or list(self.methods))[0]


def load_benchmark(path: Path, seeds: Sequence[int] = ()) -> BenchmarkRecipe:
    """Read a benchmark's recipe.

    Args:
        path: the YAML file; a file that ``base`` names is looked up beside it.
        seeds: in place of the recipe's own.

    Raises:
        UsageError: it is not there or has a problem; every problem is named.
    """
    values = read_values(path, Recipe, "methods: [joint, awc]", seeds)
    recipe = validate(BenchmarkRecipe, values, f"benchmark recipe {path}")
    base_recipe(recipe)
    subset_sensors(recipe)
    return recipe


def read_values(path: Path, base: type[Recipe], example: str, seeds: Sequence[int] = ()) -> dict[str, Any]:
    """What a grid's YAML file says, not checked yet but for its ``base``.

    Args:
        path: the file; a file that ``base`` names is looked up beside it and read.
        base: what that file describes.
        example: of a line, for whoever wrote something else.
        seeds: in place of the file's own.

    Raises:
        UsageError: it is not there, no YAML, or no mapping.
    """
    if not path.is_file():
        raise UsageError(f"no benchmark recipe at {path}: expected a YAML file with `methods:` and what they share")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise UsageError(f"{path} holds {type(values).__name__}, expected a mapping such as `{example}`")
    if isinstance(values.get("base"), str):
        named = load_settings(base, path.parent / values["base"])
        values["base"] = named.model_dump(mode="json", exclude_unset=True)
    if seeds:
        values["seeds"] = list(seeds)
    return values


def base_recipe(recipe: BenchmarkRecipe) -> Recipe:
    """The training recipe that all methods start from."""
    return validate(Recipe, recipe.base, "base")


def subset_sensors(recipe: BenchmarkRecipe) -> tuple[tuple[str, ...], ...]:
    """The sets of sensors that ``subsets`` names, small ones first, each in the base's order; never all sensors.

    Single sensors are among them if a method has them as teachers.

    Raises:
        UsageError: a sensor that the base does not use.
    """
    sensors = base_recipe(recipe).data.modalities
    found: set[tuple[str, ...]] = set()
    words = list(recipe.subsets)
    if any(method.teachers for method in recipe.methods):
        words.append("singles")
    for word in words:
        sizes = range(1, len(sensors)) if word == "all" else (SUBSET_WORDS[word],) if word in SUBSET_WORDS else ()
        for size in sizes:
            found.update(combinations(sensors, size))
        if not sizes:
            named = word.split("+")
            for name in named:
                if name not in sensors:
                    raise unknown_name("sensor in `subsets`", name, [*sensors, *SUBSET_WORDS, "all"])
            found.add(tuple(name for name in sensors if name in named))
    return tuple(sorted(found - {sensors}, key=lambda names: (len(names), [sensors.index(name) for name in names])))


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings laid over each other; later ones win."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            old = result.get(key)
            both = isinstance(old, Mapping) and isinstance(value, Mapping)
            result[key] = merged(old, value) if both else copy.deepcopy(value)  # type: ignore[arg-type]  # both holds
    return result
