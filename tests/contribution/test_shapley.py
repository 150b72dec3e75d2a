from itertools import combinations, permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from equipose.contribution.shapley import interactions, moebius, shapley_matrix, shapley_values
from equipose.errors import UsageError
from equipose.types import all_coalitions

INDICES = ("SII", "k-SII", "STII", "BII", "moebius")


@st.composite
def games(draw, least=1, most=6):
    players = draw(st.integers(least, most))
    seed = draw(st.integers(0, 2**31))
    scale = 10.0 ** draw(st.integers(-3, 3))
    values = torch.randn(2**players, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return players, values * scale


def close(a, b, scale=1.0):
    torch.testing.assert_close(a, torch.as_tensor(b, dtype=a.dtype).expand_as(a), rtol=1e-10, atol=1e-11 * scale)


@given(games())
def test_efficiency(game):
    _, values = game
    close(shapley_values(values).sum(), values[-1] - values[0], float(values.abs().max()))


@given(games(least=2), st.data())
def test_symmetric_players_get_the_same(game, data):
    players, values = game
    a, b = data.draw(st.sampled_from(list(combinations(range(players), 2))))
    rows = torch.arange(len(values))
    swapped = (rows & ~(1 << a | 1 << b)) | ((rows >> a & 1) << b) | ((rows >> b & 1) << a)
    phi = shapley_values((values + values[swapped]) / 2)
    close(phi[a], phi[b], float(values.abs().max()))


@given(games(), st.data())
def test_a_dummy_player_gets_exactly_nothing_in_exact_arithmetic(game, data):
    players, values = game
    dummy = data.draw(st.integers(0, players - 1))
    rows = torch.arange(len(values)) & ~(1 << dummy)
    # Worths that are small integers leave nothing to round but the weights' own sum.
    whole = torch.round(values / values.abs().max() * 8)[rows]
    close(shapley_values(whole)[dummy], 0.0)
    constant = torch.full_like(values, 4.0)
    assert (shapley_matrix(players) @ constant).abs().max() < 1e-14


@given(games(), st.floats(-3, 3), st.floats(-3, 3))
def test_linearity_scale_and_shift(game, a, b):
    _, values = game
    other = values.flip(0) ** 2
    scale = float(values.abs().max() + other.abs().max() + 10)
    close(shapley_values(a * values + b * other), a * shapley_values(values) + b * shapley_values(other), 10 * scale)
    close(shapley_values(values + 7.5), shapley_values(values), scale)


@given(games(most=5))
def test_equals_the_mean_marginal_over_all_orders(game):
    players, values = game
    phi = torch.zeros(players, dtype=torch.float64)
    orders = list(permutations(range(players)))
    for order in orders:
        row = 0
        for player in order:
            phi[player] += values[row | 1 << player] - values[row]
            row |= 1 << player
    close(shapley_values(values), phi / len(orders), float(values.abs().max()))


@given(games(), st.data())
def test_order_of_the_players_does_not_matter(game, data):
    players, values = game
    order = torch.tensor(data.draw(st.permutations(range(players))))
    rows = (all_coalitions(players).long()[:, order] << torch.arange(players)).sum(1)
    permuted = torch.empty_like(values)
    permuted[rows] = values  # player i of the new game is player order[i] of the old one
    close(shapley_values(permuted), shapley_values(values)[order], float(values.abs().max()))


def test_matrix_rows_add_up_to_zero_and_match_the_formula_for_two():
    for players in range(1, 13):
        assert shapley_matrix(players).sum(1).abs().max() < 1e-12
    close(shapley_matrix(2), torch.tensor([[-0.5, 0.5, -0.5, 0.5], [-0.5, -0.5, 0.5, 0.5]]))


def test_trailing_axes_are_independent_games():
    values = torch.randn(8, 5, 2, dtype=torch.float64)
    phi = shapley_values(values)
    for i in range(5):
        close(phi[:, i, 1], shapley_values(values[:, i, 1]))


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=7))
def test_additive_game(worth):
    worth = torch.tensor(worth, dtype=torch.float64)
    values = all_coalitions(len(worth)).double() @ worth + 1.5
    close(shapley_values(values), worth, 10.0)
    for index in INDICES if len(worth) > 1 else ():
        pairs = interactions(values, 2, index)
        for i, j in combinations(range(len(worth)), 2):
            assert abs(float(pairs.of(i, j))) < 1e-12
        for i in range(len(worth)):
            close(pairs.of(i), worth[i], 10.0)


def test_exclusive_or_has_no_main_effect_but_an_interaction():
    values = torch.tensor([0.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    close(shapley_values(values), 0.0)
    for index in INDICES:
        assert float(interactions(values, 2, index).of(0, 1)) == -2.0


@given(games(least=2, most=5))
def test_moebius_gives_the_worths_back(game):
    players, values = game
    a = moebius(values)
    for row in range(2**players):
        inside = [r for r in range(2**players) if r & row == r]
        close(a[inside].sum(), values[row], float(values.abs().max()))


@given(games(least=2, most=6), st.data())
@settings(max_examples=30)
def test_aggregated_indices_are_efficient(game, data):
    players, values = game
    order = data.draw(st.integers(1, players))
    for index in ("k-SII", "STII"):
        found = interactions(values, order, index)
        close(found.values.sum(), values[-1] - values[0], 100 * float(values.abs().max()))


def test_pair_matrix_and_subsets():
    values = torch.randn(16, dtype=torch.float64)
    found = interactions(values, 2)
    matrix = found.pair_matrix()
    assert found.index == "SII"
    assert found.subsets[:4] == ((0,), (1,), (2,), (3,))
    close(matrix, matrix.T)
    close(matrix.diagonal(), shapley_values(values))
    assert matrix[1, 3] == found.of(3, 1)


@pytest.mark.parametrize("length", [0, 1, 3, 6, 2**13])
def test_a_wrong_number_of_worths_is_refused(length):
    with pytest.raises(UsageError, match="players"):
        shapley_values(torch.zeros(length))


@pytest.mark.parametrize("order", [0, 4])
def test_an_impossible_order_is_refused(order):
    with pytest.raises(UsageError, match="1 to 3"):
        interactions(torch.zeros(8), order)


def test_a_mistyped_index_is_refused():
    with pytest.raises(UsageError, match="Did you mean 'STII'"):
        interactions(torch.zeros(8), 2, "STI")


def test_float32_worths_stay_float32_and_efficient():
    values = torch.randn(16)
    phi = shapley_values(values)
    assert phi.dtype == torch.float32
    torch.testing.assert_close(phi.sum(), values[-1] - values[0], rtol=0, atol=5e-6)
