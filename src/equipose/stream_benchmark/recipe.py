"""What a benchmark on streams is: one YAML file that names methods, noise, orders and bounds.

::

    title: Streams of rooms
    base: {train: {epochs: 8}}                # settings of a run over a stream, or the name of a file with them
    orders: [[E01, E02, E03, E04], [E03, E01, E04, E02]]
    noise:
      - clean                                 # no corruption
      - {label: noisy, corruption: {sensor_rate: 0.4, label_rate: 0.2}}   # laid over the base's
    methods:
      - fine_tune                             # a continual strategy by name
      - {continual: er, settings: {capacity: 200}, noise: [clean]}
      - {label: "er, noise kept out", continual: er, separation: find, noise: [noisy]}
    bounds: [joint, cumulative, single]       # a regime by name, or {regime: joint, separation: known, noise: [noisy]}
    seeds: [0, 1, 2]
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, field_validator, model_validator

from equipose.benchmark.recipe import merged, read_values
from equipose.config import Settings, validate
from equipose.errors import unknown_name
from equipose.train.stream_recipe import StreamRecipe

V = TypeVar("V")
CLEAN = "clean"


class Noise(Settings):
    """One condition: one table of the page."""

    label: str = CLEAN
    corruption: dict[str, Any] = Field(default_factory=dict)
    """Of the training samples, laid over the base's; see ``data.corrupt.CorruptionPlan``."""


class Variant(Settings):
    """What methods and bounds have in common."""

    label: str = ""
    """How it is called on the page; its name by default."""
    separation: dict[str, Any] = Field(default_factory=dict)
    """What is done about noise; just the mode, such as find, will do."""
    balance: dict[str, Any] = Field(default_factory=dict)
    """Balance strategy, where it differs from the base's: {name, settings}."""
    recipe: dict[str, Any] = Field(default_factory=dict)
    """Other settings of the run that differ, such as {train: {epochs: 4}}."""
    noise: tuple[str, ...] = ()
    """Labels of the conditions it is run in; all by default."""

    @field_validator("separation", mode="before")
    @classmethod
    def _by_mode(cls, value: Any) -> Any:
        if value is False:
            return {"mode": "off"}  # YAML reads off as a truth value
        return {"mode": value} if isinstance(value, str) else value

    @property
    def name(self) -> str:
        """What it is called on the page."""
        return self.label


class StreamMethod(Variant):
    """One row of the tables."""

    continual: str
    """A name from `equipose list continual`; another package's as well."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Of the strategy."""

    @property
    def name(self) -> str:
        """What it is called on the page."""
        return self.label or self.continual


class Bound(Variant):
    """A way of training that no stream allows, to compare with."""

    regime: Literal["joint", "cumulative", "single"]

    @property
    def name(self) -> str:
        """What it is called on the page."""
        return self.label or self.regime


class StreamBenchmarkRecipe(Settings):
    """Everything a benchmark on streams needs besides the data folder."""

    title: str = "Continual learning on streams"
    base: dict[str, Any] = Field(default_factory=dict)
    """Settings of a run over a stream, as a mapping or as the name of a file beside this one."""
    orders: tuple[tuple[str, ...], ...] = ((),)
    """Orders of the experiences; left out: that of the base."""
    noise: tuple[Noise, ...] = Field(default=(Noise(),), min_length=1)
    methods: tuple[StreamMethod, ...] = Field(min_length=1)
    reference: str = ""
    """Label of the method that the others are compared with; the first of strategy fine_tune by default."""
    bounds: tuple[Bound, ...] = ()
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)

    @field_validator("methods", "bounds", "noise", mode="before")
    @classmethod
    def _by_name(cls, values: Any, info: Any) -> Any:
        """``info`` is pydantic's ``ValidationInfo``, a protocol that the tests' type checker cannot check."""
        if not isinstance(values, list | tuple):
            return values
        key = {"methods": "continual", "bounds": "regime", "noise": "label"}[info.field_name]
        return [{key: each} if isinstance(each, str) else each for each in values]

    @field_validator("orders", "seeds")
    @classmethod
    def _once(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if not values:
            raise ValueError("found none, expected at least one; leave the line out for the base's")
        if len(set(values)) < len(values):
            raise ValueError(f"found {', '.join(map(str, values))}: name each once")
        return values

    @field_validator("orders")
    @classmethod
    def _same_experiences(cls, orders: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
        for order in orders:
            if sorted(order) != sorted(orders[0]):
                raise ValueError(
                    f"found {', '.join(orders[0]) or 'the natural order'} and {', '.join(order) or 'the natural order'}"
                    ": expected the same experiences in every order, or their errors could not be compared"
                )
        return orders

    @model_validator(mode="after")
    def _labels(self) -> StreamBenchmarkRecipe:
        known = [each.label for each in self.noise]
        _differ("noise conditions", known)
        _differ("rows", [*(each.name for each in self.methods), *(each.name for each in self.bounds)])
        rows: list[Variant] = [*self.methods, *self.bounds]
        for each in rows:
            for label in each.noise:
                if label not in known:
                    raise ValueError(str(unknown_name(f"noise condition of {each.name!r}", label, known)))
        if self.reference and self.reference not in [each.name for each in self.methods]:
            raise ValueError(str(unknown_name("method", self.reference, [each.name for each in self.methods])))
        return self

    @property
    def baseline(self) -> StreamMethod:
        """The method that the others are compared with."""
        named = [each for each in self.methods if each.name == self.reference]
        plain = [each for each in self.methods if each.continual == "fine_tune" and not each.separation]
        return (named or plain or list(self.methods))[0]


def load_stream_benchmark(path: Path, seeds: Sequence[int] = ()) -> StreamBenchmarkRecipe:
    """Read the recipe of a benchmark on streams.

    Args:
        path: the YAML file; a file that ``base`` names is looked up beside it.
        seeds: in place of the recipe's own.

    Raises:
        UsageError: it is not there or has a problem; every problem is named.
    """
    values = read_values(path, StreamRecipe, "methods: [fine_tune, er]", seeds)
    recipe = validate(StreamBenchmarkRecipe, values, f"recipe {path}")
    base_recipe(recipe)
    return recipe


def base_recipe(recipe: StreamBenchmarkRecipe) -> StreamRecipe:
    """What all runs start from."""
    return validate(StreamRecipe, merged(recipe.base), "base")


def _differ(what: str, names: list[str]) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"two {what} are called {twice!r}; give each its own label")
