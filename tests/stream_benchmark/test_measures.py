"""Every measure against numbers computed by hand, with its sign, from the matrix and from the people behind it."""

import numpy as np
import pytest

from equipose.stream_benchmark import measures

E = np.array([[100.0, 180.0, 200.0], [95.0, 90.0, 190.0], [150.0, 110.0, 80.0]])
MEAN_POSE = np.array([210.0, 220.0, 230.0])
EXPERTS = np.diag([98.0, 85.0, 82.0])
BY_HAND = {
    "final": (150 + 110 + 80) / 3,
    "over_time": (100 + (95 + 90) / 2 + (150 + 110 + 80) / 3) / 3,
    "learned": (100 + 90 + 80) / 3,
    "bwt": ((150 - 100) + (110 - 90)) / 2,
    "forgetting": ((150 - 95) + (110 - 90)) / 2,
    "fwt": ((220 - 180) + (230 - 190)) / 2,
}


@pytest.mark.parametrize("name", BY_HAND)
def test_a_matrix_gives_what_was_computed_by_hand(name):
    terms = getattr(measures, name)(E)
    assert terms.value(E, MEAN_POSE) == pytest.approx(BY_HAND[name])
    assert terms.share.sum() == pytest.approx(1.0) and (terms.share >= 0).all()


def test_signs():
    assert measures.bwt_mm(E) > 0 and measures.forgetting_mm(E) > 0, "this stream forgets"
    kept = np.minimum(E, 80.0)
    assert measures.bwt_mm(kept) == 0 and measures.forgetting_mm(kept) == 0
    better = E.copy()
    better[2, 0] = 60.0
    assert measures.bwt_mm(better) < 0, "an error that falls later is backward transfer"
    assert measures.fwt_mm(E, MEAN_POSE) == BY_HAND["fwt"] > 0
    assert measures.fwt_mm(E, MEAN_POSE - 100) < 0, "worse than the mean pose"


def test_comparisons_with_other_rows():
    assert measures.intransigence_mm(E, EXPERTS) == pytest.approx(90 - (98 + 85 + 82) / 3)
    fine_tuning = E.copy()
    np.fill_diagonal(fine_tuning, [90, 81, 81])
    assert measures.plasticity(E, fine_tuning) == pytest.approx(84 / 90)
    assert measures.gap_closed(120.0, 150.0, 100.0) == pytest.approx(0.6)
    assert measures.gap_closed(150.0, 150.0, 100.0) == 0 and measures.gap_closed(100.0, 150.0, 100.0) == 1
    assert np.isnan(measures.gap_closed(120.0, 150.0, 150.0))
    assert measures.final_mm(E) == pytest.approx(BY_HAND["final"])
    assert measures.over_time_mm(E) == pytest.approx(BY_HAND["over_time"])


def test_the_stability_gap_is_the_worst_rise_within_an_experience():
    looks = [(1, 0, 0, 50.0), (1, 2, 0, 90.0), (1, 4, 0, 60.0), (2, 0, 0, 60.0), (2, 2, 0, 55.0), (2, 2, 1, 40.0)]
    watched = np.array(looks)
    assert measures.stability_gaps_mm(watched).tolist() == [40.0, -5.0], "the last pair has no look at its start"
    late = np.array([(1, 0, 0, 50.0), (1, 2, 0, 60.0), (1, 4, 0, 90.0)])
    assert measures.stability_gaps_mm(late, steps=2).tolist() == [10.0]
    assert len(measures.stability_gaps_mm(np.zeros((0, 4)))) == 0


@pytest.mark.parametrize("name", BY_HAND)
def test_the_people_add_up_to_the_matrix(name, made_up):
    errors = made_up(E, mean_pose=MEAN_POSE)
    np.testing.assert_allclose(errors.matrix(), E)
    for coalition in (1, 3):
        matrix = errors.matrix(coalition)
        terms = getattr(measures, name)(matrix)
        people, sums, counts = measures.per_subject(errors, terms, coalition)
        assert people.tolist() == [1, 2, 11, 12, 21, 22]
        assert sums.sum() == pytest.approx(terms.value(matrix, MEAN_POSE)) and counts.sum() == pytest.approx(1.0)
    _, aligned, _ = measures.per_subject(errors, measures.final(E), aligned=True)
    assert aligned.sum() == pytest.approx(BY_HAND["final"] / 2)


def test_inequality_is_the_gini_coefficient():
    assert measures.inequality([5.0, 5.0, 5.0]) == pytest.approx(0.0)
    assert measures.inequality([0.0, 0.0, 9.0]) == pytest.approx(2 / 3)
    values = np.array([1.0, 4.0, 2.0, 8.0])
    by_pairs = np.abs(values[:, None] - values[None]).sum() / (2 * len(values) ** 2 * values.mean())
    assert measures.inequality(values) == pytest.approx(by_pairs)
    assert np.isnan(measures.inequality([-3.0, 0.0])), "nothing was forgotten"


def test_errors_do_not_depend_on_the_batches_they_are_measured_in(two_rooms, recipe, monkeypatch):
    from equipose.data.stream import stream
    from equipose.stream_benchmark.recipe import base_recipe
    from equipose.train import evaluate
    from equipose.train.build import mean_pose, network
    from equipose.train.stream_errors import begin, measured

    made = base_recipe(recipe(methods=["fine_tune"]))
    experiences = stream(two_rooms, made.data, made.stream)
    model = network(made, experiences[0].train, mean_pose(experiences[0].train, 0))
    tests = tuple(each.test for each in experiences)
    found = []
    for size in (2, 64):
        monkeypatch.setattr(evaluate, "_BATCH", size)
        found.append(measured(begin(("E01", "E02"), model.modalities), 0, model, tests))
    for name in ("error_mm", "pa_error_mm", "mean_pose_mm", "samples"):
        np.testing.assert_allclose(getattr(found[0], name), getattr(found[1], name), rtol=1e-5)
