"""From statistics of the signal to p-values: how unusual is each sensor cell, compared with trusted and with most ones.

Each statistic is taken relative to the same person's median, in units of its floor, and turned into a tail probability
by an exponential tail beyond the upper quartile: the heavier of the trusted samples' tail and of the stream's, which
is read from the lower half, where the faults are not. A cell's score is that of its most unusual statistic. Its p-value
is the larger of its rank among the trusted scores and the tail of the stream's own scores: a new person differs
from a trusted one, but of its own kind there are many in the stream. What hardly shows in one frame may in ten: the
mean of the p-values' logarithms around a cell is ranked too, and twice the smaller p-value counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from equipose.separation.in_time import near_sums
from equipose.separation.signal import SignalReadings
from equipose.separation.signal_statistic import Statistic
from equipose.separation.thresholds import conformal_p

FEWEST = 20
"""Samples for which a median or a tail is fitted."""
BURST = 10
"""Frames to each side over which scores are averaged: one second."""
_PERHAPS = 0.1
_ASIDE = 0.003
"""P-values up to which cells do not count for what is usual."""
_ROUNDS = 5
"""At most; without trusted samples one, for nothing else holds a stream that sets itself aside."""
_LEAST = 1e-6
_SMALLEST_SCALE = 0.5  # a tail twice as steep as that of frames that are all alike, not more
_UPPER = 0.75
_LOWER = (0.2, 0.45)
_MIDDLE = (0.4, 0.65)


@dataclass(frozen=True)
class SignalFit:
    """How unusual each sensor cell's signal is; one row per sample of the stream.

    Attributes:
        modalities: sensors.
        p: float64; of a clean cell about uniform in its lower tail. NaN where nothing is known.
        score: -log of the tail probability of the cell's most unusual statistic; NaN where nothing is known.
        worst: index into ``tables[modality]`` of that statistic; -1 where nothing is known.
        trusted_score: (trusted, modality) scores of the trusted samples, each recording judged by the others; empty
            without trusted samples.
        tables: modality -> its statistics.
    """

    modalities: tuple[str, ...]
    p: Float[Tensor, "sample modality"]
    score: Float[Tensor, "sample modality"]
    worst: Int[Tensor, "sample modality"]
    trusted_score: Float[Tensor, "trusted modality"]
    tables: Mapping[str, tuple[Statistic, ...]]

    def reason(self, sample: int, modality: str) -> str:
        """Name of a cell's most unusual statistic; empty where nothing is known."""
        found = int(self.worst[sample, self.modalities.index(modality)])
        return self.tables[modality][found].name if found >= 0 else ""


def fit_signal(trusted: SignalReadings | None, stream: SignalReadings) -> SignalFit:
    """Compare the cells of a stream with trusted ones, and with most of the stream's own.

    Args:
        trusted: statistics of clean samples, also of a single person; None: the stream alone tells what is usual, and
            finds a fault only where less than about a tenth of a sensor's cells share it.
        stream: statistics of what is judged.
    """
    columns = []
    for name in stream.modalities:
        reference = trusted if trusted is not None and name in trusted.modalities else None
        columns.append(_fit_one(stream.tables[name], reference, stream, name))
    p, score, worst, calibration = (torch.stack(parts, 1) for parts in zip(*columns, strict=True))
    return SignalFit(stream.modalities, p, score, worst, calibration, stream.tables)


def _fit_one(
    table: tuple[Statistic, ...], trusted: SignalReadings | None, stream: SignalReadings, name: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    usual = torch.ones(len(stream), dtype=torch.bool)
    if trusted is None or int((~trusted.values[name].isnan()).any(1).sum()) < FEWEST:
        theirs, own_tail = _against(usual, stream, name, table)
        score, worst = _score(theirs, _between(_tail(theirs, table), own_tail))
        empty = score.new_full((0 if trusted is None else len(trusted),), torch.nan)
        return torch.maximum(_stream_p(score, usual), _slow_p(score)), score, worst, empty
    clean = centred(trusted.values[name], trusted.subject, table)
    trusted_tail = _tail(clean, table)
    for _ in range(_ROUNDS):
        theirs, own_tail = _against(usual, stream, name, table)
        calibration = score_by_others(clean, trusted.recording, own_tail, table)
        score, worst = _score(theirs, _wider(trusted_tail, own_tail))
        alone = torch.maximum(_trusted_p(calibration, score), _stream_p(score, usual))
        around = _burst_p(conformal_p(calibration, calibration, own=True), alone, trusted, stream)
        p = (2 * torch.minimum(alone, around)).clamp(max=1.0)
        before, usual = usual, ~(p <= _ASIDE)
        if bool((usual == before).all()) or int(usual.sum()) < FEWEST:
            break
    return p, score, worst, calibration


def _against(
    usual: Bool[Tensor, " sample"], stream: SignalReadings, name: str, table: tuple[Statistic, ...]
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Badness of every cell of a stream beside its usual ones, and the tail of those."""
    values = stream.values[name]
    theirs = centred(values, stream.subject, table, torch.where(usual[:, None], values, torch.nan))
    return theirs, _tail(theirs[usual], table, robust=True)


def _burst_p(clean: Tensor, p: Tensor, trusted: SignalReadings, stream: SignalReadings) -> Float[Tensor, " sample"]:
    """Rank of the mean -log p of the frames around each cell among the trusted ones'; 1 where its own p is above .1.

    Faults come in bursts, so that what is a little unusual for a second is a fault, if it is now. Neighbours share
    their frames, so that many trusted samples are few bursts.
    """
    theirs, ours = (in_burst(-values.clamp(min=_LEAST).log(), of) for values, of in ((clean, trusted), (p, stream)))
    shared = float(near_sums(torch.ones_like(clean), trusted.recording, trusted.frame, BURST).mean())
    known = theirs[~theirs.isnan()]
    excess = (known - known.quantile(_UPPER)).clamp(min=0.0)
    scale = float(excess.sum() / (excess > 0).sum().clamp(min=1))  # one of frames that are all alike, less of others
    ranks = _trusted_p(theirs, ours, shared, min(max(scale, _SMALLEST_SCALE), 1.0))
    return torch.where(p < _PERHAPS, ranks, torch.where(p.isnan(), torch.nan, 1.0))


def in_burst(score: Float[Tensor, " sample"], where: SignalReadings, reach: int = BURST) -> Float[Tensor, " sample"]:
    """Mean score over the frames of the same recording that are at most ``reach`` away; NaN where it is NaN.

    Args:
        score: of each sample.
        where: the samples.
        reach: frames to each side.
    """
    known = ~score.isnan()
    total, count = (
        near_sums(values, where.recording, where.frame, reach) for values in (score.nan_to_num(0.0), known.double())
    )
    return torch.where(known, total / count.clamp(min=1.0), torch.nan)


def centred(
    values: Float[Tensor, "sample statistic"],
    group: Int[Tensor, " sample"],
    table: tuple[Statistic, ...],
    usual: Float[Tensor, "sample statistic"] | None = None,
) -> Float[Tensor, "sample statistic"]:
    """Badness: deviation from the median of the group, or of all where it is small, in floors; high is bad.

    Medians are those of ``usual``: the values, NaN where they do not count; of all where None.
    """
    usual = values if usual is None else usual
    floor = torch.tensor([s.floor for s in table], dtype=torch.float64)
    out = values - usual.nanmedian(0).values
    relative = torch.tensor([s.relative for s in table])
    for one in sorted(set(group.tolist())):
        mine = group == one
        part = usual[mine]
        enough = ((~part.isnan()).sum(0) >= FEWEST) & relative
        out[mine] = torch.where(enough, values[mine] - part.nanmedian(0).values, out[mine])
    sides = torch.tensor([s.side for s in table], dtype=torch.float64)
    return torch.where(sides == 0, out.abs(), out * sides) / floor


def score_by_others(
    clean: Tensor, recording: Tensor, own_tail: tuple[Tensor, Tensor], table: tuple[Statistic, ...]
) -> Float[Tensor, " trusted"]:
    """Scores of trusted samples, those of each recording by the tails of the other recordings."""
    out = clean.new_full((len(clean),), torch.nan)
    for one in sorted(set(recording.tolist())):
        mine = recording == one
        others = clean[~mine] if int((~mine).sum()) >= FEWEST else clean
        out[mine] = _score(clean[mine], _wider(_tail(others, table), own_tail))[0]
    return out


def _tail(badness: Tensor, table: tuple[Statistic, ...], robust: bool = False) -> tuple[Tensor, Tensor]:
    """Upper quartile of each statistic and mean excess over it, at least a floor; ``robust`` from the lower half."""
    start, excess = [], []
    for s in range(len(table)):
        values = badness[:, s]
        values = values[~values.isnan()]
        if len(values) < FEWEST:
            start.append(0.0)
            excess.append(1.0)
            continue
        low, middle, upper = (float(values.quantile(q)) for q in (1 - _UPPER, 0.5, _UPPER))
        beyond = values[values > upper] - upper
        if robust:
            upper = 2 * middle - low  # the lower half, mirrored: faults are in the upper one
            size = (middle - low) / math.log(2.0)
        else:
            size = float(beyond.mean()) if len(beyond) else 0.0
        excess.append(max(size, 1.0))
        start.append(max(upper, middle + math.log(2.0) * excess[-1]))  # many are equal: counts
    return torch.tensor(start, dtype=torch.float64), torch.tensor(excess, dtype=torch.float64)


def _wider(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return torch.maximum(one[0], other[0]), torch.maximum(one[1], other[1])


def _between(plain: tuple[Tensor, Tensor], robust: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The plain mean excess, for natural tails are heavy, but at most twice the robust one, for faults are not."""
    return robust[0], torch.minimum(torch.maximum(plain[1], robust[1]), 2 * robust[1])


def _score(badness: Tensor, tail: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """-log tail probability of the most unusual statistic, and which it is."""
    start, excess = tail
    surprise = (-math.log(1.0 - _UPPER) + (badness - start) / excess).clamp(min=0.0)
    known = ~surprise.isnan()
    score, worst = surprise.nan_to_num(-1.0).max(1)
    some = known.any(1)
    return torch.where(some, score, torch.nan), torch.where(some, worst, -1)


def _trusted_p(calibration: Tensor, score: Tensor, alike: float = 1.0, scale: float = 1.0) -> Tensor:
    """Rank among the trusted scores; beyond the largest one by the exponential tail that scores are made of.

    Args:
        calibration: the trusted scores.
        score: to be ranked.
        alike: how many trusted scores say the same: n of them count as n / ``alike``.
        scale: mean excess of the tail.
    """
    known = calibration[~calibration.isnan()]
    above = conformal_p(calibration, score) * (len(known) + 1) - 1
    return (above + alike) / (len(known) + alike) * ((known.max() - score) / scale).clamp(max=0.0).exp()


def _stream_p(score: Tensor, usual: Tensor) -> Tensor:
    """Tail of the stream's usual scores: the Gumbel law, that of a largest one, through two of their lower quantiles.

    A third of the cells may be faulty and high without moving these two much.
    """
    known = score[usual & ~score.isnan()]
    if len(known) < FEWEST:
        return torch.where(score.isnan(), torch.nan, 1.0).double()
    low, high = (known.quantile(q) for q in _LOWER)
    at_low, at_high = (-math.log(-math.log(q)) for q in _LOWER)
    scale = ((high - low) / (at_high - at_low)).clamp(min=1e-3)
    return -torch.expm1(-(-((score - high) / scale + at_high)).exp())


def _slow_p(score: Tensor) -> Tensor:
    """An exponential tail through two quantiles about the median: slower, for where nothing is trusted."""
    known = score[~score.isnan()]
    if len(known) < FEWEST:
        return torch.where(score.isnan(), torch.nan, 1.0).double()
    low, high = (known.quantile(q) for q in _MIDDLE)
    rate = ((high - low) / math.log((1 - _MIDDLE[0]) / (1 - _MIDDLE[1]))).clamp(min=1e-3)
    return ((1 - _MIDDLE[0]) * (-(score - low) / rate).exp()).clamp(max=1.0)
