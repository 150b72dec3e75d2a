"""What each score sees, and what it does not."""

import pytest
import torch

from equipose.errors import UsageError
from equipose.separation.quality import auroc
from equipose.separation.readings import collect
from equipose.separation.scores import LABEL_SCORES, SCORES, reference_of, robust_z, score
from separation.toy import corrupted, toy


def areas(model, trusted, kind, rate, label_rate):
    data = corrupted(toy(), kind, rate, label_rate)
    readings = collect(model, data)
    reference = reference_of(readings, trusted)
    columns = range(len(readings.modalities))
    found = {}
    for name in SCORES:
        values = score(name, readings, reference)
        found[name] = sum(auroc(values[:, m].nan_to_num(99.0), data.corrupt[:, m]) for m in columns) / len(columns)
    labels = {name: auroc(each.of(readings, reference), data.label_corrupt) for name, each in LABEL_SCORES.items()}
    return found, labels


@pytest.fixture(scope="module")
def swaps(model, trusted):
    return areas(model, trusted, "swap", 0.2, 0.1)


@pytest.fixture(scope="module")
def noise(model, trusted):
    return areas(model, trusted, "gaussian", 0.2, 0.1)


def test_both_beats_every_contribution_on_swaps(swaps):
    cells, _ = swaps
    assert cells["both"] > 0.97
    assert cells["both"] > cells["shapley"] + 0.02 > cells["masking"] + 0.02
    assert cells["both"] >= max(cells["error"], cells["disagreement"])
    assert cells["fused"] < 0.8


def test_features_are_blind_to_plausible_swaps_and_see_noise(swaps, noise):
    assert 0.35 < swaps[0]["odd"] < 0.65 and noise[0]["odd"] > 0.9


def test_a_dead_feature_is_abnormally_near_so_one_side_misses_it(model, trusted):
    cells, _ = areas(model, trusted, "damped", 0.2, 0.0)
    assert cells["odd"] > 0.75 and cells["far"] < 0.2


def test_labels_are_found_by_the_nearest_sensor(swaps):
    _, labels = swaps
    assert labels["nearest"] > 0.99 and min(labels.values()) > 0.85
    assert labels["nearest"] > labels["fused"]


def test_disagreement_needs_no_label(model, trusted):
    good, bad = (collect(model, corrupted(toy(4), "swap", 0.2, rate)) for rate in (0.0, 0.5))
    reference = reference_of(good, trusted)
    assert not torch.equal(good.target, bad.target)
    for name in SCORES:
        same = torch.equal(*(score(name, r, reference).nan_to_num(0.0) for r in (good, bad)))
        assert same != SCORES[name].uses_label, name


def test_absent_cells_have_no_score(model, trusted):
    readings = collect(model, corrupted(toy(4), "zero", 0.3))
    for name in SCORES:
        assert score(name, readings, reference_of(readings, trusted))[~readings.alive].isnan().all(), name


def test_robust_z_by_hand():
    z = robust_z(torch.tensor([[1.0], [2.0], [3.0], [torch.nan]]))
    assert z[:3, 0].tolist() == pytest.approx([-1 / 1.4826, 0.0, 1 / 1.4826]) and z[3].isnan()


def test_unknown_names_are_refused(clean, trusted):
    with pytest.raises(UsageError, match="shapley"):
        score("shaply", clean, reference_of(clean, trusted))
