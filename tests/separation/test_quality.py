"""Against scikit-learn, and by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score, roc_auc_score

from equipose.separation.quality import auroc, average_precision, quality


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_areas_equal_those_of_scikit_learn(cells):
    scores = torch.tensor([float(s) for s, _ in cells])
    corrupt = torch.tensor([c for _, c in cells])
    if corrupt.all() or not corrupt.any():
        assert math.isnan(auroc(scores, corrupt))
        return
    assert auroc(scores, corrupt) == pytest.approx(roc_auc_score(corrupt, scores))
    assert average_precision(scores, corrupt) == pytest.approx(average_precision_score(corrupt, scores))


def test_decisions_equal_those_of_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    corrupt = torch.rand(500, generator=generator) < 0.3
    flagged = torch.where(
        corrupt, torch.rand(500, generator=generator) < 0.8, torch.rand(500, generator=generator) < 0.1
    )
    found = quality(flagged, corrupt, flagged.double())
    assert found.precision == pytest.approx(precision_score(corrupt, flagged))
    assert found.recall == pytest.approx(recall_score(corrupt, flagged))
    assert found.f1 == pytest.approx(f1_score(corrupt, flagged))


def test_by_hand():
    flagged = torch.tensor([True, True, False, False, False])
    corrupt = torch.tensor([True, False, True, False, False])
    found = quality(flagged, corrupt, torch.tensor([5.0, 4.0, torch.nan, 1.0, 0.0]))
    assert (found.precision, found.recall, found.f1) == (0.5, 0.5, 0.5)
    assert found.false_alarms == pytest.approx(1 / 3) and found.purity == pytest.approx(2 / 3)
    assert found.auroc == 0.5


def test_nothing_corrupt_gives_nan_and_not_zero():
    found = quality(torch.zeros(4, dtype=torch.bool), torch.zeros(4, dtype=torch.bool), torch.arange(4.0))
    assert math.isnan(found.recall) and math.isnan(found.auroc) and found.false_alarms == 0 and found.purity == 1
