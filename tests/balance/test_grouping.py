import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from equipose.balance.grouping import two_means
from equipose.errors import UsageError

scores = st.lists(st.floats(-50, 50).map(lambda x: round(x, 3)), min_size=2, max_size=12, unique=True)


def inertia(values, labels):
    return sum(((values[labels == g] - values[labels == g].mean()) ** 2).sum() for g in set(labels))


def labels_of(values):
    groups = two_means({str(i): v for i, v in enumerate(values)})
    return np.array([group == "superior" for group in groups.values()])


@given(scores)
def test_is_k_means_at_its_best(values):
    values = np.array(values)
    ours = labels_of(values)
    theirs = KMeans(2, n_init=20, random_state=0).fit(values[:, None])
    assert ours.any()
    assert not ours.all()
    assert inertia(values, ours) <= theirs.inertia_ * (1 + 1e-9) + 1e-9
    if abs(inertia(values, ours) - theirs.inertia_) > 1e-6:
        return  # their starts missed the optimum
    flipped = theirs.labels_ if theirs.cluster_centers_[1, 0] > theirs.cluster_centers_[0, 0] else 1 - theirs.labels_
    same = inertia(values, flipped.astype(bool)) == pytest.approx(inertia(values, ours))
    assert same


@given(scores, st.floats(0.01, 100), st.floats(-100, 100))
def test_unit_and_offset_do_not_matter(values, scale, shift):
    values = np.array(values)
    moved = labels_of(values * scale + shift)
    assert inertia(values, moved) == pytest.approx(inertia(values, labels_of(values)), rel=1e-6, abs=1e-6)


def test_known_groups_and_order_of_names():
    assert two_means({"rgb": 12.0, "lidar": 10.0, "mmwave": 1.0, "wifi": -0.5}) == {
        "rgb": "superior",
        "lidar": "superior",
        "mmwave": "inferior",
        "wifi": "inferior",
    }
    assert list(two_means({"b": 1.0, "a": 2.0})) == ["b", "a"]
    assert two_means({"b": 1.0, "a": 2.0, "c": 2.0})["c"] == "superior"


def test_what_cannot_be_split_is_superior():
    assert two_means({"only": -3.0}) == {"only": "superior"}
    assert set(two_means({"a": 2.0, "b": 2.0, "c": 2.0}).values()) == {"superior"}


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_diverged_training_is_told(bad):
    with pytest.raises(UsageError, match=r"'b'.*diverged"):
        two_means({"a": 1.0, "b": bad})
