"""Exact Shapley values and interactions of a game with few players, as linear maps of its coalition values.

Coalitions are ordered as ``types.all_coalitions``: row k holds the bits of k, player 0 the lowest bit. The
Shapley value of player i (Shapley, 1953)

    phi_i = sum over S in N - i of |S|! (n - |S| - 1)! / n! * ( v(S + i) - v(S) )

is one matrix product ``phi = W v``; values may have any trailing shape, so attributions per joint, sample or
axis are free. Interactions go through the Moebius transform, from which every index below is a weighted sum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from math import comb, factorial
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from equipose.config import choose
from equipose.errors import UsageError

MAX_PLAYERS = 12
InteractionIndex = Literal["SII", "k-SII", "STII", "BII", "moebius"]

_BERNOULLI = (1, -1 / 2, 1 / 6, 0, -1 / 30, 0, 1 / 42, 0, -1 / 30, 0, 5 / 66, 0, -691 / 2730)


def shapley_matrix(num_players: int) -> Float[Tensor, "player coalition"]:
    """The matrix W with ``phi = W v``; float64, every row sums to 0.

    Raises:
        UsageError: for fewer than 1 or more than 12 players.
    """
    n = checked_players(num_players)
    rows = torch.arange(2**n)
    member = (rows[None, :] >> torch.arange(n)[:, None]) & 1 == 1
    size = member.sum(0)
    joins, stays = _weights(n)
    return torch.where(member, joins[size], -stays[size])


def shapley_values(values: Float[Tensor, " coalition *rest"]) -> Float[Tensor, " player *rest"]:
    """Shapley value of every player.

    Args:
        values: worth of every coalition, 2^n of them in the order of ``types.all_coalitions``; any unit.

    Returns:
        (player, ...) in the unit and dtype of ``values``; they sum to ``values[-1] - values[0]``.

    Raises:
        UsageError: if the length is no power of two from 2 to 2^12.
    """
    matrix = shapley_matrix(num_players_of(values.shape[0])).to(values)
    return torch.tensordot(matrix, values, dims=1)


def num_players_of(num_coalitions: int) -> int:
    """N for 2^n coalitions.

    Raises:
        UsageError: if it is no power of two from 2 to 2^12.
    """
    n = num_coalitions.bit_length() - 1
    if num_coalitions < 2 or num_coalitions != 2**n:
        raise UsageError(
            f"found {num_coalitions} coalition values, expected 2^n for n players (2, 4, 8, 16, ...), "
            "one per subset in the order of equipose.types.all_coalitions"
        )
    return checked_players(n)


def moebius(values: Float[Tensor, " coalition *rest"]) -> Float[Tensor, " coalition *rest"]:
    """Moebius transform: a(S) = sum over T in S of (-1)^(|S|-|T|) v(T), what only S as a whole adds."""
    n = num_players_of(values.shape[0])
    result = values.clone()
    for player in range(n):
        pairs = result.reshape(2 ** (n - player - 1), 2, 2**player, *values.shape[1:])
        result = torch.stack((pairs[:, 0], pairs[:, 1] - pairs[:, 0]), dim=1).reshape(values.shape)
    return result


@dataclass(frozen=True)
class Interactions:
    """Worth of players acting together beyond what they add alone.

    Attributes:
        index: which index the values are. The indices differ: a number without this name means nothing.
        order: largest group.
        subsets: the groups, as tuples of player numbers, by size and then by player.
        values: (subset, ...) one value per group, in the unit of the game; > 0 synergy, < 0 redundancy.
    """

    index: str
    order: int
    subsets: tuple[tuple[int, ...], ...]
    values: Float[Tensor, " subset *rest"]

    def of(self, *players: int) -> Tensor:
        """Value of one group, such as ``of(0, 2)``."""
        return self.values[self.subsets.index(tuple(sorted(players)))]

    def pair_matrix(self) -> Float[Tensor, "player player *rest"]:
        """Symmetric matrix of the pairs; the diagonal holds the values of single players."""
        n = sum(len(subset) == 1 for subset in self.subsets)
        matrix = self.values.new_zeros((n, n, *self.values.shape[1:]))
        for subset, value in zip(self.subsets, self.values, strict=True):
            if len(subset) <= 2:
                matrix[subset[0], subset[-1]] = matrix[subset[-1], subset[0]] = value
        return matrix


def interactions(values: Float[Tensor, " coalition *rest"], order: int = 2, index: str = "SII") -> Interactions:
    """Interaction index of every group of 1 to ``order`` players.

    Args:
        values: worth of every coalition, in the order of ``types.all_coalitions``.
        order: largest group, 1 to n.
        index: ``SII`` Shapley interaction index (Grabisch and Roubens, 1999): weighted mean of the discrete
            derivative over all contexts. ``k-SII`` (Bordt and von Luxburg, 2023): SII made to add up to
            v(N) - v(empty) over all groups up to ``order``. ``STII`` Shapley-Taylor (Sundararajan et al.,
            2020): adds up likewise, higher orders folded into the largest groups. ``BII`` Banzhaf: plain mean
            over all contexts. ``moebius``: what only that group adds.

    Raises:
        UsageError: for a wrong number of values, order or index.
    """
    choose("interaction index", index, get_args(InteractionIndex))
    n = num_players_of(values.shape[0])
    if not 1 <= order <= n:
        raise UsageError(f"found order {order}, expected 1 to {n}: a group has at least one and at most all players")
    subsets = tuple(subset for size in range(1, order + 1) for subset in combinations(range(n), size))
    transform = moebius(values)
    if index == "k-SII":
        rows = _aggregated(transform, n, order, subsets)
    else:
        weight = _superset_weight(index, order)
        rows = [_superset_sum(transform, n, subset, weight) for subset in subsets]
    return Interactions(index, order, subsets, torch.stack(rows))


def _superset_weight(index: str, order: int) -> Callable[[int, int], float]:
    """Weight of a(T) in the index of S, from |T| and |S|, for S in T."""
    if index == "SII":
        return lambda t, s: 1 / (t - s + 1)
    if index == "BII":
        return lambda t, s: 0.5 ** (t - s)
    if index == "STII":
        return lambda t, s: 1 / comb(t, order) if s == order else float(t == s)
    return lambda t, s: float(t == s)


def _superset_sum(transform: Tensor, n: int, subset: tuple[int, ...], weight: Callable[[int, int], float]) -> Tensor:
    mask = sum(1 << player for player in subset)
    rows = [row for row in range(2**n) if row & mask == mask]
    weights = [weight(row.bit_count(), len(subset)) for row in rows]
    kept = [(row, w) for row, w in zip(rows, weights, strict=True) if w != 0.0]
    index = torch.tensor([row for row, _ in kept], device=transform.device)
    return torch.tensordot(transform.new_tensor([w for _, w in kept]), transform[index], dims=1)


def _aggregated(transform: Tensor, n: int, order: int, subsets: tuple[tuple[int, ...], ...]) -> list[Tensor]:
    """k-SII of S = sum over disjoint R with |S| + |R| <= k of B_|R| SII(S + R), B the Bernoulli numbers."""
    weight = _superset_weight("SII", order)
    plain = {subset: _superset_sum(transform, n, subset, weight) for subset in subsets}
    return [
        torch.stack([_BERNOULLI[len(t) - len(s)] * plain[t] for t in subsets if set(s) <= set(t)]).sum(0)
        for s in subsets
    ]


def _weights(n: int) -> tuple[Tensor, Tensor]:
    """Weight of a coalition by its size, for a player inside it and for one outside it."""
    joins = [0.0] + [factorial(s - 1) * factorial(n - s) / factorial(n) for s in range(1, n + 1)]
    stays = [factorial(s) * factorial(n - s - 1) / factorial(n) for s in range(n)] + [0.0]
    return torch.tensor(joins, dtype=torch.float64), torch.tensor(stays, dtype=torch.float64)


def checked_players(num_players: int) -> int:
    """``num_players`` if all its coalitions can be enumerated.

    Raises:
        UsageError: for fewer than 1 or more than 12 players.
    """
    if not 1 <= num_players <= MAX_PLAYERS:
        raise UsageError(
            f"found {num_players} players, expected 1 to {MAX_PLAYERS}: all 2^n coalitions are enumerated; "
            "merge players into groups"
        )
    return num_players
