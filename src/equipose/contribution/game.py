"""Shapley values for any model: give the worth of every subset, or a function that tells it.

    def worth(members):                      # (M,) bool: who takes part
        return -error_of(my_model, members)

    result = shapley_of(worth, ["camera", "radar", "audio"])
    result.phi["radar"], result.interactions

Nothing here knows about poses or torch modules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from numpy import ndarray

from equipose.contribution.shapley import checked_players, interactions, shapley_values
from equipose.errors import UsageError
from equipose.types import all_coalitions

Numbers = Any
"""A number, nested lists of numbers, a numpy array or a torch tensor."""
Worth = Callable[[Bool[ndarray, " player"]], Numbers]
"""Tells the worth of a coalition, a number or an array of any fixed shape, from who takes part."""


@dataclass(frozen=True)
class Attribution:
    """The worth of each player.

    Attributes:
        players: names.
        values: (2^M, ...) float64, worth of every coalition; row k holds the bits of k, player 0 the lowest
            bit.
        phi: player -> Shapley value, a number or an array; they sum to ``values[-1] - values[0]``.
        interaction_index: which index ``interactions`` holds.
        interactions: (player, player) -> value; > 0 synergy, < 0 redundancy. Empty for one player.
    """

    players: tuple[str, ...]
    values: ndarray
    phi: dict[str, ndarray]
    interaction_index: str
    interactions: dict[tuple[str, str], ndarray]


def shapley_of(
    worth: Worth | Numbers,
    players: Sequence[str] | None = None,
    interaction_index: str = "SII",
) -> Attribution:
    """Exact Shapley values and pair interactions of 1 to 12 players.

    Args:
        worth: a function of a (player,) bool mask, called once per coalition in order; or the (2^M, ...)
            worths themselves, row k the coalition with the bits of k, player 0 the lowest bit: for two
            players the rows are none, first, second, both. Numbers, numpy arrays or torch tensors.
        players: their names; needed for a function, else ``player 0`` and so on.
        interaction_index: see ``shapley.interactions``.

    Raises:
        UsageError: if numbers and names do not fit together, a worth is not finite, or there are more than 12
            players.
    """
    values = _asked(worth, players) if callable(worth) else _given(worth, players)
    if not np.isfinite(values).all():
        rows = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(1))
        raise UsageError(
            f"the worth of coalition {rows[0]} (its bits are its members) is not finite: {values[rows[0]]}"
        )
    tensor = torch.from_numpy(values)
    phi = shapley_values(tensor).numpy()
    names = tuple(players) if players is not None else tuple(f"player {i}" for i in range(len(phi)))
    pairs: dict[tuple[str, str], ndarray] = {}
    if len(names) > 1:
        found = interactions(tensor, 2, interaction_index)
        pairs = {(names[i], names[j]): found.of(i, j).numpy() for i, j in combinations(range(len(names)), 2)}
    worths = {name: np.asarray(value) for name, value in zip(names, phi, strict=True)}
    return Attribution(names, values, worths, interaction_index, pairs)


def _asked(worth: Worth, players: Sequence[str] | None) -> ndarray:
    if players is None:
        raise UsageError("found a function but no player names: give players=['camera', 'radar', ...]")
    masks = all_coalitions(checked_players(_distinct(players))).numpy()
    rows = [_array(worth(mask.copy())) for mask in masks]
    shapes = {row.shape for row in rows}
    if len(shapes) > 1:
        raise UsageError(f"the function returned worths of shapes {sorted(shapes)}, expected one shape for all")
    return np.stack(rows)


def _given(worth: Numbers, players: Sequence[str] | None) -> ndarray:
    values = _array(worth)
    if players is not None:
        expected = 2 ** checked_players(_distinct(players))
        if values.ndim == 0 or len(values) != expected:
            found = "a single number" if values.ndim == 0 else f"{len(values)} values"
            raise UsageError(f"found {found} for {len(players)} players, expected {expected}, one per subset")
    if values.ndim == 0:
        raise UsageError("found a single number, expected the worth of every subset of the players")
    return values


def _distinct(players: Sequence[str]) -> int:
    if len(set(players)) != len(players):
        raise UsageError(f"a player is named twice in {', '.join(players)}: give each its own name")
    return len(players)


def _array(value: Numbers) -> ndarray:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    return np.array(value, dtype=np.float64)
