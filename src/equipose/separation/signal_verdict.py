"""What signals say is bad before any network is asked, and who is to blame where a label and a sensor do not fit.

| seen | verdict |
|---|---|
| the sensor's own signal is unlike trusted ones | that sensor (SIGNAL) |
| the label's bones are not this person's | the label |
| 2D joints are not where the label would be seen | the one further from what the other sensors say |
| a cloud is not where the label is, and 2D joints are | the cloud (MISFIT), or the label if the others say so |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from equipose.config import DataSettings
from equipose.modality import MODALITIES
from equipose.separation.distances import consensus
from equipose.separation.in_time import smooth
from equipose.separation.readings import Readings, Samples
from equipose.separation.reasons import Reason
from equipose.separation.settings import SeparationSettings
from equipose.separation.signal import SignalReadings, collect_signal, statistics_of
from equipose.separation.signal_fit import FEWEST, SignalFit, fit_signal
from equipose.separation.signal_label import LABEL, collect_label_signal, image_offsets

_ALONG_SIGHT = 0.05
"""Metres by which a label must be further than a cloud from what other sensors say to be blamed for the misfit."""


@dataclass(frozen=True)
class SignalVerdict:
    """One row per sample of a data set, on the CPU.

    Attributes:
        sensor: cells whose own signal is bad.
        misfit: cells of which the label does not fit; one of the two is to blame.
        label: labels that are no body of that person.
        p_sensor: p-value of the own signal; NaN where nothing is known.
        p_misfit: of the fit with the label.
        p_label: of the label's bones.
        worst: index of the most unusual statistic of the sensor (``statistics_of``); -1 where nothing is known.
        offset: from the label to 2D joints in the image, metres at the joint's depth, less what is usual among the
            trusted samples (an imager beside the camera); NaN for other sensors.
        alpha: threshold of each sensor's p-values; 0 where it was not judged.
        label_alpha: of the label's.
        shifted: sensors, and the label last, of which nearly all would be flagged: nothing is.
    """

    sensor: Bool[Tensor, "sample modality"]
    misfit: Bool[Tensor, "sample modality"]
    label: Bool[Tensor, " sample"]
    p_sensor: Float[Tensor, "sample modality"]
    p_misfit: Float[Tensor, "sample modality"]
    p_label: Float[Tensor, " sample"]
    worst: Int[Tensor, "sample modality"]
    offset: Float[Tensor, "sample modality joint 2"]
    alpha: Float[Tensor, " modality"]
    label_alpha: Float[Tensor, ""]
    shifted: Float[Tensor, " modality_and_label"]

    def __len__(self) -> int:
        return len(self.sensor)

    def tensors(self) -> dict[str, Tensor]:
        """All fields, for a checkpoint."""
        return {x.name: getattr(self, x.name) for x in fields(self)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Any]) -> SignalVerdict:
        """The inverse of ``tensors``."""
        return cls(**tensors)

    def statistic(self, sample: int, modality: int, name: str) -> str | None:
        """Name of the statistic for which a cell is set aside; None where it is not."""
        found = int(self.worst[sample, modality])
        return statistics_of(name)[found].name if found >= 0 and bool(self.sensor[sample, modality]) else None


def readable(samples: Samples | None) -> bool:
    """Whether the signals of a data set can be read: it says how its windows are made (``PoseDataset``)."""
    return samples is not None and isinstance(getattr(samples, "settings", None), DataSettings)


def judge_signals(
    samples: Samples,
    trusted: Samples,
    positions: np.ndarray,
    modalities: tuple[str, ...],
    settings: SeparationSettings,
) -> SignalVerdict | None:
    """Flag cells and labels by their signals alone; deterministic.

    Args:
        samples: to be judged.
        trusted: clean samples outside of training.
        positions: which of them.
        modalities: sensors in the order of the modality axis.
        settings: thresholds.

    Returns:
        None where it is switched off, or where there are too few trusted samples for the network's thresholds.
    """
    if not settings.signal_alpha or 1 / (len(positions) + 1) >= min(settings.alpha, settings.label_alpha):
        return None
    signal = collect_signal(samples)
    own = fit_signal(collect_signal(trusted, positions), signal)
    bodies = collect_label_signal(samples)
    fits = fit_signal(collect_label_signal(trusted, positions), bodies)
    both = torch.tensor([name in fits.modalities for name in modalities])
    any_own = torch.tensor([bool(statistics_of(name)) for name in modalities])
    alpha = settings.signal_alpha * (both | any_own).double()
    label_alpha = torch.tensor(settings.signal_alpha / 2, dtype=torch.float64)
    alpha = torch.where(both & any_own, alpha / 2, alpha)
    p_sensor, worst = _columns(own, modalities)
    p_misfit, _ = _columns(fits, modalities)
    p_label = fits.p[:, fits.modalities.index(LABEL)]
    p = torch.cat([p_sensor, p_misfit, p_label[:, None]], 1)
    limits = torch.cat([alpha, alpha, label_alpha[None]])
    flagged, shares = _flag(p, limits, signal, settings)
    count = len(modalities)
    return SignalVerdict(
        sensor=flagged[:, :count],
        misfit=flagged[:, count:-1],
        label=flagged[:, -1],
        p_sensor=p_sensor,
        p_misfit=p_misfit,
        p_label=p_label,
        worst=worst,
        offset=image_offsets(samples, modalities) - _typical_offset(trusted, positions, modalities),
        alpha=alpha,
        label_alpha=label_alpha,
        shifted=torch.cat([torch.maximum(shares[:count], shares[count:-1]), shares[-1:]]),
    )


@dataclass(frozen=True)
class Blame:
    """Who is to blame where a label and a sensor do not fit.

    Attributes:
        sensor: cells.
        label: labels, those with the wrong bones too.
    """

    sensor: Bool[Tensor, "sample modality"]
    label: Bool[Tensor, " sample"]


def blame(signals: SignalVerdict, readings: Readings, typical: Float[Tensor, " modality"]) -> Blame:
    """Of a label and 2D joints that do not fit, the one further from what the other sensors say is to blame.

    They are compared in the image, at the label's depth, where the joints are sharp. Without another sensor that fits
    or that says a pose, nobody is blamed. A cloud is to blame if 2D joints fit the label; but the label is, which may
    have moved along the line of sight, if it is 5 cm further than the cloud's answer from what the other sensors say.

    Args:
        signals: of the same samples.
        readings: with the cells of ``signals.sensor`` not alive.
        typical: median own error of each sensor, metres.
    """
    alive = readings.alive
    misfit = signals.misfit & alive & ~signals.label[:, None]
    kinds = [MODALITIES[name].kind for name in readings.modalities]
    image = torch.tensor([kind == "joints2d" for kind in kinds])
    sensor, label = torch.zeros_like(misfit), signals.label & alive.any(1)
    for m in image.nonzero()[:, 0].tolist():
        others = alive & ~misfit
        others[:, m] = False
        third = consensus(readings.poses, others, typical)
        aside = (third - readings.target)[..., :2]  # from the label to what the others say
        to_label = aside.norm(dim=-1).mean(-1)
        to_sensor = (aside - signals.offset[:, m]).norm(dim=-1).nanmean(-1)
        decided = misfit[:, m] & to_label.isfinite() & to_sensor.isfinite()
        sensor[:, m] = decided & (to_sensor > to_label)
        label |= decided & (to_sensor <= to_label)
    fitting = alive & image & ~misfit & (signals.p_misfit > signals.alpha)
    seen = fitting.any(1)
    sensor |= misfit & ~image & (seen & ~label)[:, None]
    for m in (~image).nonzero()[:, 0].tolist():
        others = alive.clone()
        others[:, m] = False
        third = consensus(readings.poses, others, typical)
        to_label = (third - readings.target).norm(dim=-1).mean(-1)
        to_sensor = (third - readings.poses[:, m]).norm(dim=-1).mean(-1)
        moved = sensor[:, m] & (to_label > to_sensor + _ALONG_SIGHT)  # never if nothing else says a pose: NaN
        sensor[:, m] &= ~moved
        label |= moved
    return Blame(sensor, label)


def without(readings: Readings, cells: Bool[Tensor, "sample modality"], reason: Reason, typical: Tensor) -> Readings:
    """The readings with some living cells set aside, and the fused pose of such samples from the others alone."""
    gone = cells & readings.alive
    integrity = torch.where(gone, int(reason), readings.integrity.long()).to(readings.integrity.dtype)
    left = consensus(readings.poses, readings.alive & ~gone, typical).to(readings.fused.dtype)
    again = gone.any(1)[:, None, None] & left.isfinite()
    return replace(readings, integrity=integrity, fused=torch.where(again, left, readings.fused))


def weighted_least(
    ps: Sequence[Float[Tensor, "*shape"]], alphas: Sequence[Float[Tensor, "*#shape"]]
) -> Float[Tensor, "*shape"]:
    """Weighted Bonferroni: the least of p sum(alpha) / alpha, at most 1; below sum(alpha) if any p is below its alpha.

    NaN is left out; NaN where all are.
    """
    total = torch.stack([alpha.double() for alpha in alphas]).sum(0)
    scaled = torch.stack(
        [torch.where(a > 0, p.double() * total / a, torch.nan) for p, a in zip(ps, alphas, strict=True)]
    )
    least = scaled.nan_to_num(torch.inf).amin(0)
    return torch.where(scaled.isnan().all(0), torch.nan, least.clamp(max=1.0))


def _typical_offset(
    trusted: Samples, positions: np.ndarray, modalities: tuple[str, ...]
) -> Float[Tensor, "modality 1 2"]:
    """Median over the trusted samples and joints of each 2D sensor; NaN of other sensors."""
    found = image_offsets(trusted, modalities, positions=positions)
    return found.transpose(1, 2).flatten(0, 1).nanmedian(0).values[:, None]


def _columns(fit: SignalFit, modalities: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """P-values and most unusual statistics, NaN and -1 of sensors that were not judged."""
    p = torch.full((len(fit.p), len(modalities)), torch.nan, dtype=torch.float64)
    worst = torch.full(p.shape, -1)
    for m, name in enumerate(modalities):
        if name in fit.modalities:
            column = fit.modalities.index(name)
            p[:, m], worst[:, m] = fit.p[:, column], fit.worst[:, column]
    return p, worst


def _flag(
    p: Float[Tensor, "sample column"],
    limits: Float[Tensor, " column"],
    where: SignalReadings,
    settings: SeparationSettings,
) -> tuple[Bool[Tensor, "sample column"], Float[Tensor, " column"]]:
    """P-values at or below their limits, filtered in time; nothing in a column of which most would be flagged."""
    known = ~p.isnan()
    flags = known & (p <= limits)
    total = known.sum(0)
    share = torch.where(total >= FEWEST, flags.sum(0) / total.clamp(min=1), 0.0)
    shifted = torch.where(share > settings.shift, share, 0.0)
    flags = smooth(flags, known, where.recording, where.frame, settings.in_time, settings.frames)
    return flags & (shifted == 0), shifted
