"""Distances behind the scores: to the label, to the other sensors, to trusted features. Pure functions of tensors."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from equipose.separation.readings import Readings

_SMALLEST = 1e-6  # metres; keeps weights and logarithms finite


def own_error(readings: Readings) -> Float[Tensor, "sample modality"]:
    """r_m: mean joint distance of a sensor's own pose to the label, metres; NaN where the cell is not alive."""
    distance = _distance(readings.poses, readings.target[:, None])
    return torch.where(readings.alive, distance, torch.nan)


def reliability(readings: Readings) -> Float[Tensor, " modality"]:
    """Median own error of each sensor, metres; the median is that of clean cells while most are clean."""
    errors = own_error(readings)
    medians = errors.nanmedian(0).values
    return medians.nan_to_num(float(errors.nan_to_num().max()) + 1.0).clamp(min=_SMALLEST)


def consensus(
    poses: Float[Tensor, "sample modality joint 3"],
    trust: Bool[Tensor, "sample modality"],
    typical: Float[Tensor, " modality"],
) -> Float[Tensor, "sample joint 3"]:
    """Mean pose of the trusted sensors, weighted by 1 / typical^2; NaN where a sample has none.

    Args:
        poses: of each sensor alone, metres.
        trust: which sensors take part.
        typical: typical error of each sensor (``reliability``).
    """
    weight = torch.where(trust, typical.double() ** -2, 0.0)
    total = weight.sum(1)
    mixed = torch.einsum("nm,nmjc->njc", weight, torch.where(trust[..., None, None], poses.double(), 0.0))
    return torch.where(total > 0, 1 / total, torch.nan)[:, None, None] * mixed


def peer_distance(
    poses: Float[Tensor, "sample modality joint 3"],
    trust: Bool[Tensor, "sample modality"],
    typical: Float[Tensor, " modality"],
) -> Float[Tensor, "sample modality"]:
    """d_m: mean joint distance of a sensor's pose to the consensus of the OTHER trusted ones, metres; no label.

    NaN where no other is trusted. The sensor itself need not be.
    """
    return torch.stack([distance_to_others(poses, m, trust, typical) for m in range(poses.shape[1])], 1)


def distance_to_others(
    poses: Float[Tensor, "sample modality joint 3"],
    sensor: int,
    trust: Bool[Tensor, "sample modality"],
    typical: Float[Tensor, " modality"],
) -> Float[Tensor, " sample"]:
    """``peer_distance`` of one sensor."""
    others = trust.clone()
    others[:, sensor] = False
    return _distance(poses[:, sensor].double(), consensus(poses, others, typical))


def label_distance(readings: Readings, trust: Bool[Tensor, "sample modality"]) -> Float[Tensor, " sample"]:
    """Mean joint distance of the label to what the model says from the trusted sensors; metres; NaN without any.

    The fusion's answer, not the mean of lone answers: together sensors know more than each by itself, and labels are
    judged by all of them.
    """
    bits = 2 ** torch.arange(trust.shape[1])
    code = (trust & readings.alive).long() @ bits
    error = readings.coalition_errors.double().gather(1, code[:, None])[:, 0]
    return torch.where(code > 0, error, torch.nan)


def feature_distance(readings: Readings, bank: Readings, neighbours: int = 10) -> Float[Tensor, "sample modality"]:
    """Distance of each feature to its k-th nearest among the trusted ones; NaN where the cell is not alive.

    Sun et al., *Out-of-distribution detection with deep nearest neighbors*, ICML 2022, without normalisation. A dead
    sensor gives a feature that is abnormally near to others: look at both ends of the distribution.

    Frames of one person resemble each other as those of a new person do not. So that trusted samples and samples to be
    judged are measured alike, neighbours of the same person are left out for both (of the same recording where the
    bank has fewer than three people, of the same frame where it has one recording), and k shrinks with the share that
    is left.

    Args:
        readings: samples to score; may be the bank itself.
        bank: trusted samples.
        neighbours: k.
    """
    columns = []
    for m in range(len(readings.modalities)):
        inside = bank.alive[:, m] & bank.features[:, m].isfinite().all(1)
        features = bank.features[inside, m].double()
        k = min(neighbours, len(features))
        if k < 1:
            columns.append(torch.full((len(readings),), torch.nan, dtype=torch.float64))
            continue
        own, others = _groups(readings, bank)
        parts = []
        for rows in torch.split(torch.arange(len(readings)), 4096):
            distance = torch.cdist(readings.features[rows, m].double(), features)
            hidden = own[rows, None] == others[inside]
            left = (~hidden).sum(1)
            nearest = torch.where(hidden, torch.inf, distance).topk(k, largest=False).values
            rank = (k * left / len(features)).ceil().long().clamp(1, k)
            parts.append(nearest.gather(1, rank[:, None] - 1)[:, 0])
        kth = torch.cat(parts)
        columns.append(torch.where(readings.alive[:, m] & kth.isfinite(), kth, torch.nan))
    return torch.stack(columns, 1)


def measured(readings: Readings, bank: Readings, neighbours: int = 10) -> Readings:
    """The readings with ``nearest`` filled in."""
    return replace(readings, nearest=feature_distance(readings, bank, neighbours))


def _groups(readings: Readings, bank: Readings) -> tuple[Tensor, Tensor]:
    """Numbers of which equal ones are not compared."""
    if len(torch.unique(bank.subject)) >= 3:
        return readings.subject, bank.subject
    if len(torch.unique(bank.recording)) > 1:
        return readings.recording, bank.recording
    large = torch.maximum(bank.frame.max(), readings.frame.max()) + 1
    return readings.recording * large + readings.frame, bank.recording * large + bank.frame


def _distance(a: Tensor, b: Tensor) -> Tensor:
    return torch.linalg.vector_norm(a - b, dim=-1).mean(-1)
