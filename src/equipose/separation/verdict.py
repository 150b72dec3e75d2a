"""The decision table: from evidence to what is kept, masked, replaced or looked at again.

| seen | verdict |
|---|---|
| a signal that is bad, a sensor or a label that do not fit each other | see ``signal_verdict`` |
| one sensor far from the others and from the label | that sensor (FAR) |
| a sensor far from both, less so, that makes the answer worse | that sensor (HARM) |
| a feature unlike trusted ones | that sensor (ODD) |
| any of these three, but the signal fits the label | nothing |
| one of the first two, but no further from the label than usual for that person | nothing |
| the sensors agree, the label is far | the label (LABEL) |
| one sensor near the label, the others far from it and agreeing | peers wrong or memorised: LOOK_AGAIN, all kept |
| no two sources agree | QUARANTINE: out of training until the next scoring, never deleted |
| nearly all cells of a sensor | SHIFT: an event, nothing flagged for that sensor |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from equipose.separation.distances import own_error, reliability
from equipose.separation.evidence import Evidence, pooled, weigh
from equipose.separation.in_time import smooth
from equipose.separation.readings import Readings
from equipose.separation.reasons import MASKED, Reason
from equipose.separation.rulers import Ruler, ruler
from equipose.separation.settings import SeparationSettings
from equipose.separation.signal_verdict import Blame, SignalVerdict, blame, weighted_least, without
from equipose.separation.thresholds import among_own

_FEWEST = 20  # judged cells from which a share says something
_FITS = 0.1
"""P-value of a signal's fit with the label, or of an error among the same person's, that speaks against a flag."""


@dataclass(frozen=True)
class Event:
    """Something that happened to a sensor, or to the labels, as a whole.

    Attributes:
        kind: ``modality shift``, ``signal shift``, ``label shift`` or ``too few trusted samples``.
        subject: the sensor, or ``label``, or ``trusted``.
        share: of its cells that would have been flagged; of the samples needed, for the last kind.
    """

    kind: str
    subject: str
    share: float


@dataclass(frozen=True)
class Verdict:
    """What was decided about samples.

    Attributes:
        sensor_clean: q, probability that a cell is clean; 0 for a dead cell, 1 for an absent one.
        label_clean: w, probability that the label is clean.
        reason: int8 codes of ``Reason`` per cell.
        label_reason: int8 codes per label: CLEAN, LABEL, QUARANTINE or LOOK_AGAIN.
        consensus: pose of the sensors that are not flagged, metres; what a bad label is replaced by.
        p: p-value of each cell, NaN where it was not judged.
        label_p: p-value of each label.
        score: min(own error, distance to the others), metres.
        label_score: distance of the label to the consensus, metres.
    """

    sensor_clean: Float[Tensor, "sample modality"]
    label_clean: Float[Tensor, " sample"]
    reason: Int[Tensor, "sample modality"]
    label_reason: Int[Tensor, " sample"]
    consensus: Float[Tensor, "sample joint 3"]
    p: Float[Tensor, "sample modality"]
    label_p: Float[Tensor, " sample"]
    score: Float[Tensor, "sample modality"]
    label_score: Float[Tensor, " sample"]

    def __len__(self) -> int:
        return len(self.reason)

    @property
    def masked(self) -> Bool[Tensor, "sample modality"]:
        """Cells that are kept out."""
        return torch.isin(self.reason, torch.tensor(MASKED, dtype=self.reason.dtype))

    @property
    def clean(self) -> Bool[Tensor, "sample modality"]:
        """Cells that may teach: recorded, not kept out, of a sample that is not in quarantine."""
        kept = ~self.masked & (self.reason != Reason.ABSENT)
        return kept & ~self.quarantined[:, None]

    @property
    def quarantined(self) -> Bool[Tensor, " sample"]:
        """Samples that wait for the next scoring."""
        return self.label_reason == Reason.QUARANTINE

    @property
    def bad_label(self) -> Bool[Tensor, " sample"]:
        """Samples whose label is replaced or counts less."""
        return self.label_reason == Reason.LABEL

    def select(self, index: Tensor) -> Verdict:
        """The verdicts at ``index``."""
        return Verdict(**{x.name: getattr(self, x.name)[index] for x in fields(self)})

    def tensors(self) -> dict[str, Tensor]:
        """All fields, for a checkpoint."""
        return {x.name: getattr(self, x.name) for x in fields(self)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Any]) -> Verdict:
        """The inverse of ``tensors``."""
        return cls(**tensors)


def judge(
    readings: Readings,
    trusted: Readings | None,
    settings: SeparationSettings,
    signals: SignalVerdict | None = None,
) -> tuple[Verdict, tuple[Event, ...]]:
    """Judge every cell and label of a data set.

    Args:
        readings: of the samples.
        trusted: of clean samples outside training, or None.
        settings: method and thresholds.
        signals: what the signals of the same samples say alone; these cells and labels are set aside first.
    """
    known = Blame(torch.zeros_like(readings.present), torch.zeros(len(readings), dtype=torch.bool))
    if signals is not None:
        typical = reliability(readings if trusted is None else trusted)
        readings = without(readings, signals.sensor, Reason.SIGNAL, typical)
        known = blame(signals, readings, typical)
        readings = without(readings, known.sensor, Reason.MISFIT, typical)
    measure = ruler(readings, trusted, settings)
    evidence, aside, events = _weigh_all(measure)
    if signals is not None:
        evidence = _pardoned(evidence, readings, signals)
    events = (*_shifts(signals, readings.modalities), *events)
    flagged = _smooth(evidence.flagged, evidence.alive, readings, settings)
    label_far = evidence.p_label < evidence.label_alpha
    share = _share(label_far, evidence.alive.any(1))
    if share > settings.shift:
        events = (*events, Event("label shift", "label", share))
        label_far = torch.zeros_like(label_far)
    else:
        anyone = evidence.alive.any(1)
        label_far = _smooth(label_far[:, None], anyone[:, None], readings, settings)[:, 0]
    reason, label_reason = decide(evidence, flagged, label_far & ~known.label)  # who is to blame is known there
    label_reason = _known_labels(label_reason, known.label, readings, flagged)
    reason = torch.where(readings.alive & aside, Reason.SHIFT, reason)
    reason = torch.where(readings.alive, reason, readings.integrity.long()).to(torch.int8)
    absent = (readings.integrity == Reason.ABSENT).double()
    q = torch.where(readings.alive, evidence.clean.nan_to_num(1.0), absent)
    p, label_p = evidence.p, evidence.p_label
    label_clean = evidence.label_clean
    if signals is not None:
        p, label_p = _all_p(evidence, signals, known)
        seen = torch.isin(readings.integrity, torch.tensor((Reason.SIGNAL, Reason.MISFIT)))
        q = torch.where(seen, p.nan_to_num(0.0), q)  # all that is known of them
        label_clean = torch.where(known.label, torch.minimum(label_clean, label_p), label_clean)
    verdict = Verdict(
        sensor_clean=q.float(),
        label_clean=label_clean.float(),
        reason=reason,
        label_reason=label_reason.to(torch.int8),
        consensus=pooled(readings, evidence.alive & ~flagged, evidence.alive, measure.typical),
        p=p.float(),
        label_p=label_p.float(),
        score=evidence.distance.float(),
        label_score=evidence.label_distance.float(),
    )
    return verdict, events


def decide(
    evidence: Evidence, flagged: Bool[Tensor, "sample modality"], label_far: Bool[Tensor, " sample"]
) -> tuple[Int[Tensor, "sample modality"], Int[Tensor, " sample"]]:
    """The table above, sample by sample.

    Args:
        evidence: p-values and thresholds.
        flagged: cells, after the filter in time.
        label_far: labels far from the consensus, after the filter in time.

    Returns:
        codes of ``Reason`` per cell and per label; int64.
    """
    alive, alpha = evidence.alive, evidence.alpha
    left = alive & ~flagged
    count = left.sum(1)
    far_peers = alive & (evidence.p_peers < alpha)
    far_label = alive & (evidence.p_error < alpha)
    stubborn = left & far_peers & ~far_label

    against_all = (count == 1) & evidence.together & ~(left & far_label).any(1)
    split_label = label_far & (count >= 2) & stubborn.any(1)
    again = against_all | split_label
    lost = alive.any(1) & ~again & ((count == 0) | ((count == 1) & label_far))
    label_bad = label_far & ~again & ~lost & (count >= 2)

    clear = alive & (evidence.p >= alpha)
    why = torch.where(evidence.by_contribution, Reason.HARM, Reason.FAR)
    why = torch.where(evidence.by_feature, Reason.ODD, why)
    why = torch.where(far_peers & far_label, Reason.FAR, why)
    why = torch.where(clear, Reason.IN_TIME, why)
    reason = torch.where(flagged, why, Reason.CLEAN)
    doubted = (flagged & against_all[:, None]) | (stubborn & again[:, None])
    reason = torch.where(doubted, Reason.LOOK_AGAIN, reason)
    reason = torch.where(alive & lost[:, None], Reason.QUARANTINE, reason)
    label = torch.where(label_bad, Reason.LABEL, Reason.CLEAN)
    label = torch.where(again, Reason.LOOK_AGAIN, label)
    return reason, torch.where(lost, Reason.QUARANTINE, label)


def _pardoned(evidence: Evidence, readings: Readings, signals: SignalVerdict) -> Evidence:
    """Flags that the network raised alone are dropped where the signal or the same person's other errors explain them.

    The answer of 2D joints alone is off by their guess of the depth, and any sensor's for a person whom the network
    does not know: no fault of the sensor. Trusted samples of few people cannot tell. Events are raised before this.
    Samples that come live have no signals, and were read by a model that was still learning: early errors would excuse
    late ones.
    """
    usual = among_own(own_error(readings), readings.subject) > _FITS
    pardoned = evidence.flagged & ((usual & ~evidence.by_feature) | (signals.p_misfit > _FITS))
    return replace(evidence, p=evidence.p.masked_fill(pardoned, 1.0), clean=evidence.clean.masked_fill(pardoned, 1.0))


def _shifts(signals: SignalVerdict | None, modalities: tuple[str, ...]) -> tuple[Event, ...]:
    """Sensors whose signals have changed as a whole."""
    if signals is None:
        return ()
    names = (*((name, "signal shift") for name in modalities), ("label", "label shift"))
    shares = signals.shifted.tolist()
    return tuple(Event(kind, name, share) for (name, kind), share in zip(names, shares, strict=True) if share > 0)


def _known_labels(
    label_reason: Tensor, bad: Bool[Tensor, " sample"], readings: Readings, flagged: Bool[Tensor, "sample modality"]
) -> Tensor:
    """Labels that are known to be bad are so if a sensor is left to say the pose; where none is left, all waits."""
    left = (readings.alive & ~flagged).any(1)
    aside = torch.isin(readings.integrity, torch.tensor((Reason.SIGNAL, Reason.MISFIT))).any(1)
    label_reason = torch.where(bad & left, int(Reason.LABEL), label_reason)
    return torch.where(~left & (bad | aside), int(Reason.QUARANTINE), label_reason)


def _all_p(evidence: Evidence, signals: SignalVerdict, known: Blame) -> tuple[Tensor, Tensor]:
    """P-values of cells and labels with those of the signals, each in proportion to its threshold.

    A misfit counts against the one that is blamed.
    """
    misfit = torch.where(known.sensor, signals.p_misfit, torch.nan)
    p = weighted_least([evidence.p, signals.p_sensor, misfit], [evidence.alpha, signals.alpha, signals.alpha])
    blamed = torch.where(known.label[:, None], signals.p_misfit, torch.nan).nan_to_num(torch.inf).amin(1)
    blamed = torch.where(blamed.isinf(), torch.nan, blamed)
    alphas = [torch.tensor(evidence.label_alpha, dtype=torch.float64), signals.label_alpha, signals.label_alpha]
    return p, weighted_least([evidence.p_label, signals.p_label, blamed], alphas)


def _weigh_all(measure: Ruler) -> tuple[Evidence, Tensor, tuple[Event, ...]]:
    """Sensors of which nearly all would be flagged: the worst one first, then judged again without it."""
    readings = measure.readings
    aside = torch.zeros(len(readings.modalities), dtype=torch.bool)
    events: tuple[Event, ...] = ()
    while True:
        evidence = weigh(measure, aside)
        shares = [
            _share(evidence.flagged[:, m], evidence.alive[:, m]) if not aside[m] else 0.0
            for m in range(len(readings.modalities))
        ]
        worst = max(range(len(shares)), key=shares.__getitem__)
        if shares[worst] <= measure.settings.shift:
            return evidence, aside, events
        aside[worst] = True
        events = (*events, Event("modality shift", readings.modalities[worst], shares[worst]))


def _share(flags: Tensor, known: Tensor) -> float:
    total = int(known.sum())
    return float((flags & known).sum()) / total if total >= _FEWEST else 0.0


def _smooth(flags: Tensor, known: Tensor, readings: Readings, settings: SeparationSettings) -> Tensor:
    return smooth(flags, known, readings.recording, readings.frame, settings.in_time, settings.frames)
