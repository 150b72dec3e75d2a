"""How well a separation finds what is known to be corrupt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.stats import rankdata
from torch import Tensor

from equipose.separation.verdict import Verdict

NAN = float("nan")


@dataclass(frozen=True)
class Quality:
    """Numbers of one sensor, or of the labels; NaN where there is nothing to count.

    Attributes:
        count: cells judged.
        corrupt: share that is corrupt.
        flagged: share that was flagged.
        precision: corrupt among the flagged.
        recall: flagged among the corrupt.
        f1: harmonic mean of the two.
        false_alarms: flagged among the clean.
        purity: clean among those kept.
        auroc: probability that a corrupt cell scores higher than a clean one, ties half.
        aupr: average precision.
    """

    count: int
    corrupt: float
    flagged: float
    precision: float
    recall: float
    f1: float
    false_alarms: float
    purity: float
    auroc: float
    aupr: float

    def row(self) -> dict[str, float]:
        """For a table."""
        return asdict(self)


def auroc(scores: Float[Tensor, " cell"], corrupt: Bool[Tensor, " cell"]) -> float:
    """Area under the receiver operating characteristic, by mean ranks (Mann and Whitney); NaN with one class."""
    truth = corrupt.numpy()
    positive, negative = int(truth.sum()), int((~truth).sum())
    if not positive or not negative:
        return NAN
    ranks = rankdata(scores.double().numpy())
    return float((ranks[truth].sum() - positive * (positive + 1) / 2) / (positive * negative))


def average_precision(scores: Float[Tensor, " cell"], corrupt: Bool[Tensor, " cell"]) -> float:
    """Sum over thresholds of precision times the step in recall; equal scores are one threshold; NaN with none."""
    truth, values = corrupt.numpy(), scores.double().numpy()
    if not truth.any():
        return NAN
    order = np.argsort(-values, kind="stable")
    hits = np.cumsum(truth[order])
    ranked = values[order]
    last = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(values) - 1)
    recall = np.diff(np.concatenate(([0], hits[last]))) / truth.sum()
    return float((recall * hits[last] / (last + 1)).sum())


def quality(flagged: Bool[Tensor, " cell"], corrupt: Bool[Tensor, " cell"], scores: Float[Tensor, " cell"]) -> Quality:
    """Numbers of one group of cells; a score that is NaN counts as the lowest."""
    found = int((flagged & corrupt).sum())
    clean = ~corrupt
    values = scores.double()
    lowest = float(values[~values.isnan()].min()) - 1.0 if bool((~values.isnan()).any()) else 0.0
    values = values.nan_to_num(lowest, float("inf"), float("-inf"))
    precision, recall = _ratio(found, flagged), _ratio(found, corrupt)
    return Quality(
        count=len(corrupt),
        corrupt=_ratio(int(corrupt.sum()), torch.ones_like(corrupt)),
        flagged=_ratio(int(flagged.sum()), torch.ones_like(corrupt)),
        precision=precision,
        recall=recall,
        f1=2 * found / total if (total := int(flagged.sum()) + int(corrupt.sum())) else NAN,
        false_alarms=_ratio(int((flagged & clean).sum()), clean),
        purity=_ratio(int((~flagged & clean).sum()), ~flagged),
        auroc=auroc(values, corrupt),
        aupr=average_precision(values, corrupt),
    )


def verdict_quality(
    verdict: Verdict,
    sensor_corrupt: Bool[Tensor, "sample modality"],
    label_corrupt: Bool[Tensor, " sample"],
    present: Bool[Tensor, "sample modality"],
    modalities: Sequence[str],
) -> dict[str, Quality]:
    """Sensor, ``all sensors`` and ``label`` -> quality of a verdict against a known mask.

    A cell in quarantine counts as flagged: it is not used. Cells are ranked by p-value, dead ones highest.

    Args:
        verdict: of the samples.
        sensor_corrupt: the truth.
        label_corrupt: the truth.
        present: what was recorded; other cells are left out.
        modalities: names of the columns.
    """
    out, bad = set_aside(verdict)
    doubt, label_doubt = suspicion(verdict)
    columns = {name: (slice(None), m) for m, name in enumerate(modalities)}
    found = {
        name: quality(out[at][present[at]], sensor_corrupt[at][present[at]], doubt[at][present[at]])
        for name, at in columns.items()
    }
    found["all sensors"] = quality(out[present], sensor_corrupt[present], doubt[present])
    return {**found, "label": quality(bad, label_corrupt, label_doubt)}


def set_aside(verdict: Verdict) -> tuple[Bool[Tensor, "sample modality"], Bool[Tensor, " sample"]]:
    """Cells and labels that are not used, or count less; those of samples in quarantine too."""
    return verdict.masked | verdict.quarantined[:, None], verdict.bad_label | verdict.quarantined


def suspicion(verdict: Verdict) -> tuple[Float[Tensor, "sample modality"], Float[Tensor, " sample"]]:
    """Scores by which cells and labels are ranked, larger is more suspect; NaN where nothing was measured."""
    return torch.where(verdict.masked & verdict.p.isnan(), torch.inf, -verdict.p), -verdict.label_p


def _ratio(part: int, whole: Tensor) -> float:
    total = int(whole.sum())
    return part / total if total else NAN
