import numpy as np
import pytest
import torch

from equipose.contribution.game import shapley_of
from equipose.contribution.shapley import shapley_values
from equipose.errors import UsageError


def test_a_function_and_its_table_agree():
    calls = []

    def worth(members):
        calls.append(members)
        return 2.0 * members[0] + 1.0 * members[1] + 4.0 * (members[0] and members[2])

    found = shapley_of(worth, ["camera", "radar", "audio"])
    assert found.players == ("camera", "radar", "audio")
    assert [float(v) for v in found.phi.values()] == pytest.approx([4.0, 1.0, 2.0])
    assert float(found.interactions["camera", "audio"]) == pytest.approx(4.0)
    assert float(found.interactions["camera", "radar"]) == pytest.approx(0.0)
    assert found.interaction_index == "SII"
    assert len(calls) == 8
    assert all(mask.dtype == np.bool_ and mask.shape == (3,) for mask in calls)
    table = shapley_of(found.values, ["camera", "radar", "audio"])
    assert table.phi == found.phi


def test_a_function_may_spoil_its_mask_and_return_arrays():
    def worth(members):
        value = np.array([members.sum(), members[1]], dtype=float)
        members[:] = False
        return value

    found = shapley_of(worth, ["a", "b"])
    np.testing.assert_allclose(found.phi["a"], [1.0, 0.0], atol=1e-15)
    np.testing.assert_allclose(found.phi["b"], [1.0, 1.0], atol=1e-15)


def test_lists_arrays_and_tensors_are_taken_and_left_alone():
    values = torch.arange(8.0, requires_grad=True)
    expected = shapley_values(values.detach().double()).tolist()
    for given in (values, values.detach().numpy(), values.tolist()):
        found = shapley_of(given)
        assert list(found.phi) == ["player 0", "player 1", "player 2"]
        assert [float(v) for v in found.phi.values()] == pytest.approx(expected)


def test_one_player():
    found = shapley_of([1.0, 3.5], ["only"])
    assert float(found.phi["only"]) == 2.5
    assert found.interactions == {}


@pytest.mark.parametrize(
    ("worth", "players", "says"),
    [
        ([1.0, 2.0, 3.0], None, "2^n"),
        ([1.0] * 4, ["a", "b", "c"], "expected 8"),
        (3.0, None, "single number"),
        (3.0, ["a"], "single number"),
        ([1.0], [], "0 players"),
        ([0.0, np.nan, 1.0, 1.0], None, "coalition 1"),
        ([0.0] * 4, ["a", "a"], "twice"),
        (lambda members: 1.0, None, "player names"),
        (lambda members: 1.0, [str(i) for i in range(13)], "13 players"),
        (lambda members: np.zeros(int(members.sum())), ["a", "b"], "shapes"),
        ([0.0] * 2**13, None, "13 players"),
    ],
)
def test_what_does_not_fit_is_refused(worth, players, says):
    with pytest.raises(UsageError) as caught:
        shapley_of(worth, players)
    assert says in str(caught.value)


def test_twelve_players():
    rng = np.random.default_rng(0)
    weight = rng.normal(size=12)
    found = shapley_of(lambda members: members @ weight, [f"p{i}" for i in range(12)])
    assert [float(v) for v in found.phi.values()] == pytest.approx(weight.tolist(), abs=1e-12)
