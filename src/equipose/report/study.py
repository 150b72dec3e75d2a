"""The runs of one report put in order: labels, colours, seeds of one method together, and paired differences."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from equipose.modality import MODALITIES
from equipose.report.pairing import Difference, Unpaired, compare
from equipose.report.run import Estimate, Run
from equipose.report.schema import CoalitionError

_LABELS = {"joint": "joint training", "awc": "AWC"}


@dataclass(frozen=True)
class Series:
    """One run with how it is called and drawn.

    Attributes:
        run: what was read.
        label: its name on this page.
        method: the label of its group; the same as ``label`` where the group has one run.
        colour: role of the strategy's colour.
        seed_rank: position among the runs of its group.
    """

    run: Run
    label: str
    method: str
    colour: str
    seed_rank: int

    @property
    def full(self) -> CoalitionError:
        """Errors with all its sensors."""
        metrics = self.run.metrics
        return metrics.coalition(metrics.modalities) or CoalitionError(modalities=metrics.modalities)


@dataclass(frozen=True)
class Group:
    """Runs of one method that differ in nothing but the seed."""

    label: str
    colour: str
    series: tuple[Series, ...]

    @property
    def mpjpe_mm(self) -> float | None:
        """Mean over the seeds of the error with all sensors."""
        return mean_or_none(each.full.mpjpe_mm for each in self.series)

    @property
    def pa_mpjpe_mm(self) -> float | None:
        """The same after Procrustes alignment."""
        return mean_or_none(each.full.pa_mpjpe_mm for each in self.series)


@dataclass(frozen=True)
class Comparison:
    """One method against the reference, on the same frames."""

    group: Group
    mpjpe: Difference | Unpaired
    pa_mpjpe: Difference | Unpaired


@dataclass(frozen=True)
class Study:
    """Everything a report shows.

    Attributes:
        series: the runs in the order given.
        groups: methods, the reference first.
        reference: joint training if it is among the methods, else the first one; None with one method.
        comparisons: each other method against the reference.
        modalities: of all runs, the known ones in their usual order; position i has the colour ``@m<i>``.
        strategies: of the groups, in their order; position i has the colour ``@s<i>``.
    """

    series: tuple[Series, ...]
    groups: tuple[Group, ...]
    reference: Group | None
    comparisons: tuple[Comparison, ...]
    modalities: tuple[str, ...]
    strategies: tuple[str, ...]

    def colour(self, modality: str) -> str:
        """Colour role of a modality."""
        return f"@m{self.modalities.index(modality)}"

    @property
    def focus(self) -> Series:
        """The run with the lowest validation error (chosen without the test split); else the first."""

        def validation(series: Series) -> float:
            errors = [e.validation_mpjpe_mm for e in series.run.epochs if e.validation_mpjpe_mm is not None]
            return min(errors, default=float("inf"))

        return min(self.series, key=validation)

    @property
    def focus_group(self) -> Group:
        """The method of that run."""
        return next(group for group in self.groups if self.focus in group.series)


def build_study(runs: Sequence[Run]) -> Study:
    """Put runs in order; at least one."""
    assert runs, "a report needs a run"
    known = list(MODALITIES)
    found = _unique(name for run in runs for name in run.metrics.modalities)
    modalities = tuple(sorted(found, key=lambda name: known.index(name) if name in known else len(known)))
    members: dict[str, list[Run]] = {}
    for run in runs:
        members.setdefault(_method_key(run), []).append(run)
    names = _method_names(list(members.values()))
    order = sorted(members, key=lambda key: members[key][0].strategy != "joint")
    groups = tuple(
        Group(names[key], f"@s{i}", _series(names[key], members[key], f"@s{i}")) for i, key in enumerate(order)
    )
    series = {id(each.run): each for group in groups for each in group.series}
    reference = groups[0] if len(groups) > 1 else None
    return Study(
        series=tuple(series[id(run)] for run in runs),
        groups=groups,
        reference=reference,
        comparisons=tuple(_compared(reference, group) for group in groups[1:]) if reference else (),
        modalities=modalities,
        strategies=tuple(members[key][0].strategy for key in order),
    )


def sensor(modality: str) -> str:
    """How a modality is called in text."""
    return MODALITIES[modality].label if modality in MODALITIES else modality


def sensors(modalities: Sequence[str]) -> str:
    """``RGB + LiDAR``; ``no sensor`` for none."""
    return " + ".join(sensor(name) for name in modalities) or "no sensor"


def joint_label(name: str) -> str:
    """``right wrist``."""
    return name.replace("_", " ")


def mean_or_none(values: Iterable[float | None]) -> float | None:
    """Mean of the numbers that are there."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def shares(series: Series) -> tuple[dict[str, Estimate], str]:
    """Share of each modality in a run's contribution, and where it was measured.

    The final measurement on the test split if there is one, else the last training epoch's (without intervals).
    """
    run = series.run
    if run.contributions is not None and run.contributions.share:
        return dict(run.contributions.share), "test split"
    for epoch in reversed(run.epochs):
        if epoch.share:
            return {m: Estimate(s) for m, s in epoch.share.items() if s is not None}, "last training epoch"
    return {}, ""


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as ``{"train.epochs": "20"}``."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{name}."))
        else:
            flat[name] = value if isinstance(value, str) else json.dumps(value, default=str)
    return flat


def setting_differences(runs: Sequence[Run]) -> dict[str, tuple[str, ...]]:
    """Settings that are not the same in all runs: name -> value per run (empty where a run has none)."""
    tables = [flatten(run.config) for run in runs]
    names = _unique(name for table in tables for name in table)
    rows = {name: tuple(table.get(name, "") for table in tables) for name in names}
    return {name: row for name, row in rows.items() if len(set(row)) > 1}


def _unique(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def _method_key(run: Run) -> str:
    """The same for runs that differ in the seed alone."""
    flat = flatten(run.config)
    return json.dumps({key: value for key, value in flat.items() if key != "train.seed"}, sort_keys=True)


def _method_names(methods: Sequence[Sequence[Run]]) -> dict[str, str]:
    """A name per method; methods of one strategy are told apart by the settings they differ in, or by numbers."""
    names: dict[str, str] = {}
    for strategy in _unique(method[0].strategy for method in methods):
        alike = [method[0] for method in methods if method[0].strategy == strategy]
        name = _LABELS.get(strategy, strategy.replace("_", "-"))
        differing = setting_differences(alike)
        differing.pop("train.seed", None)
        told = [
            ", ".join(f"{key.rpartition('.')[2]} {row[i] or 'not set'}" for key, row in differing.items())
            for i in range(len(alike))
        ]
        if len(alike) > 1 and (len(differing) > 2 or max(map(len, told)) > 32):
            told = [f"variant {i + 1}" for i in range(len(alike))]
        for run, words in zip(alike, told, strict=True):
            names[_method_key(run)] = f"{name} ({words})" if len(alike) > 1 else name
    return names


def _series(name: str, runs: Sequence[Run], colour: str) -> tuple[Series, ...]:
    if len(runs) == 1:
        return (Series(runs[0], name, name, colour, 0),)
    seeds = [run.seed for run in runs]
    distinct = len(set(seeds)) == len(seeds)
    return tuple(
        Series(run, f"{name}, seed {run.seed}" if distinct else f"{name}, run {i + 1}", name, colour, i)
        for i, run in enumerate(runs)
    )


def _compared(reference: Group, group: Group) -> Comparison:
    first = [s.run.predictions for s in reference.series if s.run.predictions is not None]
    second = [s.run.predictions for s in group.series if s.run.predictions is not None]
    if len(first) < len(reference.series) or len(second) < len(group.series):
        missing = Unpaired("predictions.npz is missing from a run; make it with: equipose evaluate RUN")
        return Comparison(group, missing, missing)
    return Comparison(group, compare(first, second), compare(first, second, aligned=True))
