"""Agreement with shapiq, an independent implementation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from equipose.contribution.shapley import interactions, shapley_values

shapiq = pytest.importorskip("shapiq")


def worths(players, seed=0):
    return torch.from_numpy(np.random.default_rng([seed, players]).normal(size=2**players) * 3.0)


def computer(players, values):
    def worth(coalitions):
        return values.numpy()[np.atleast_2d(coalitions).astype(int) @ (1 << np.arange(players))]

    return shapiq.ExactComputer(game=worth, n_players=players)


@pytest.mark.parametrize("players", range(2, 13))
def test_shapley_values(players):
    values = worths(players)
    found = computer(players, values)("SV", 1)
    expected = [found[(i,)] for i in range(players)]
    np.testing.assert_allclose(shapley_values(values).numpy(), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("players", range(2, 7))
@pytest.mark.parametrize(
    ("index", "name"), [("SII", "SII"), ("STII", "STII"), ("k-SII", "k-SII"), ("BII", "BII"), ("moebius", "Moebius")]
)
def test_interactions(players, index, name):
    values = worths(players)
    for order in range(2, players + 1):
        expected = computer(players, values)(name, order)
        ours = interactions(values, order, index)
        sizes = range(1, order + 1)
        for subset in itertools.chain(*(itertools.combinations(range(players), s) for s in sizes)):
            assert abs(float(ours.of(*subset)) - expected[subset]) < 1e-10, (index, order, subset)
