"""``equipose list``, ``describe``, ``config`` and ``info``."""

from __future__ import annotations

import json
import textwrap
from inspect import getdoc
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from equipose import registry
from equipose.config import Recipe, dump_yaml, load_recipe, validate
from equipose.errors import unknown_name

_TABLES = {
    "balance": registry.BALANCE,
    "continual": registry.CONTINUAL,
    "encoders": registry.ENCODERS,
    "fusion": registry.FUSION,
    "profits": registry.PROFITS,
}


def list_names(kind: Annotated[str, tyro.conf.Positional] = "all") -> int:
    """List the names that flags and recipes accept, one line each.

    Args:
        kind: balance, continual, encoders, fusion, profits, modalities, presets, corruptions or all.
    """
    tables = _tables()
    if kind != "all" and kind not in tables:
        raise unknown_name("kind of name", kind, [*tables, "all"], "equipose list --help")
    for title, lines in tables.items():
        if kind in ("all", title):
            width = max(len(name) for name in lines)
            print(f"{title}:")
            print("\n".join(f"  {name:<{width}}  {text}" for name, text in lines.items()))
    return 0


def describe(name: Annotated[str, tyro.conf.Positional]) -> int:
    """Explain a strategy, encoder, fusion, profit or corruption: what it does, its source, its settings.

    Args:
        name: a name from `equipose list`.
    """
    if "." in name:
        print(_corruption(*name.split(".", 1)))
        return 0
    for table in _TABLES.values():
        if name in table:
            print(_description(name, table[name]))
            return 0
    raise unknown_name("name", name, [n for table in _TABLES.values() for n in table], "equipose list")


def config(
    action: Annotated[Literal["show", "check"], tyro.conf.Positional],
    recipe: Annotated[Path | None, tyro.conf.Positional] = None,
    set: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = (),
) -> int:
    """Print a recipe with every default filled in, or only check it.

    Args:
        action: show prints YAML; check says whether the recipe is valid.
        recipe: YAML file; without one, the defaults.
        set: KEY=VALUE, as for `equipose train`.
    """
    settings = load_recipe(recipe, set)
    check_names(settings)
    print(dump_yaml(settings) if action == "show" else "valid", end="" if action == "show" else "\n")
    return 0


def check_names(recipe: Recipe) -> None:
    """Raise UsageError for a name in the recipe that no registry has, or a setting that its strategy has not."""
    for table, name in (
        (registry.BALANCE, recipe.balance.name),
        (registry.FUSION, recipe.model.fusion),
        (registry.PROFITS, recipe.contribution.profit),
        *((registry.ENCODERS, encoder) for encoder in recipe.model.encoders.values()),
    ):
        if name not in table:
            raise unknown_name(table.kind, name, table, f"equipose list {table.group.split('.')[-1]}")
    if recipe.balance.settings:
        strategy = registry.BALANCE[recipe.balance.name]
        validate(strategy.Settings, recipe.balance.settings, f"balance.settings of {recipe.balance.name!r}")


def info(as_json: Annotated[bool, tyro.conf.arg(name="json")] = False) -> int:
    """Versions, machine, threads and devices, to paste into a bug report.

    Args:
        as_json: print JSON.
    """
    from equipose.train.run_dir import environment

    values = environment()
    del values["command"], values["started"]
    if as_json:
        print(json.dumps(values, indent=1))
    else:
        for group in values.values():
            print("\n".join(f"{key:<18}{value}" for key, value in group.items()))
    return 0


def _tables() -> dict[str, dict[str, str]]:
    from equipose.data.corrupt.table import summary
    from equipose.modality import MODALITIES
    from equipose.simulate.presets import PRESETS

    tables = {title: {name: _first_line(table[name]) for name in table} for title, table in _TABLES.items()}
    tables["modalities"] = {name: f"{spec.label}: {spec.unit}; {spec.frame}" for name, spec in MODALITIES.items()}
    tables["presets"] = {
        name: f"{len(p.subjects)} subjects x {len(p.actions)} actions x {p.frames} frames = {p.num_frames:,} frames"
        for name, p in PRESETS.items()
    }
    tables["corruptions"] = dict(summary())
    return tables


def _corruption(what: str, name: str) -> str:
    """What a corruption of a sensor, or of the label, does; as in `equipose list corruptions`."""
    from equipose.data.corrupt.table import find_corruption

    found = find_corruption(what, name)
    text = [f"{what}.{name}", "", f"{found.about[0].upper()}{found.about[1:]}."]
    text += [f"severity 1 / 2 / 3: {found.severities}"]
    how = [getdoc(step) or "" for step in (found.move, found.change) if step is not None]
    text += [line for step in how if step for line in ("", step)]
    text += ["", f"equipose corrupt DATA --corruptions {what}.{name}"]
    return "\n".join(text)


def _first_line(item: Any) -> str:
    return (getdoc(item) or "").split("\n")[0]


def _description(name: str, item: Any) -> str:
    module = getdoc(__import__(item.__module__, fromlist=["_"])) or ""
    text = [f"{name}", "", module, "", getdoc(item) or ""]
    settings = getattr(item, "Settings", None)
    fields = getattr(settings, "model_fields", {})
    if fields:
        group = next((group for group in ("balance", "continual") if name in _TABLES[group]), None)
        how = f"given as --set {group}.settings.NAME=VALUE" if group else "chosen by the model's size"
        text += ["", f"settings, {how}:"]
        for key, field in fields.items():
            about = textwrap.fill(field.description or "", 100, initial_indent="      ", subsequent_indent="      ")
            text += [f"  {key} = {field.get_default(call_default_factory=True)!r}", about]
    return "\n".join(text)
