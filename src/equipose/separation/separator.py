"""The object a trainer holds: scores a data set every few epochs and cleans its batches.

One epoch::

    events = separator.update(model, training, trusted, epoch)      # epoch counted within the experience
    for batch in batches:
        batch, weight = separator.apply(batch)                      # before any replayed sample is added
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from equipose.contribution.tracker import CoalitionModel
from equipose.errors import UsageError
from equipose.separation.distances import measured
from equipose.separation.integrity import integrity
from equipose.separation.readings import Readings, Samples, collect
from equipose.separation.reasons import INTEGRITY, WORDS, Reason
from equipose.separation.ridge import cross_fitted
from equipose.separation.rulers import enough
from equipose.separation.settings import SeparationSettings
from equipose.separation.signal_verdict import SignalVerdict, judge_signals, readable
from equipose.separation.verdict import Event, Verdict, judge
from equipose.types import Batch

MILLIMETRES_PER_METRE = 1000.0


class Separator:
    """Keeps a verdict per sample and sensor of the present experience, by position in its training data.

    Predictions are averaged over passes (temporal ensembling: Laine and Aila, ICLR 2017), for the training samples and
    for the trusted ones alike, so that ranks stay valid. Nothing is deleted: a verdict is only ever a mask, and the
    next scoring may lift it.

    Args:
        settings: methods and thresholds.
        modalities: sensors in the order of the modality axis.
    """

    Settings = SeparationSettings

    def __init__(self, settings: SeparationSettings, modalities: tuple[str, ...]) -> None:
        self.settings, self.modalities = settings, tuple(modalities)
        self.begin_experience()

    def begin_experience(self) -> None:
        """Forget the verdicts and averages: new data are judged by their own trusted samples only."""
        self._verdict: Verdict | None = None
        self._place: dict[str, Tensor] = {}
        self._averages: dict[str, Tensor] = {}
        self._events: tuple[Event, ...] = ()
        self._scored: int | None = None
        self._signals: SignalVerdict | None = None

    @property
    def verdict(self) -> Verdict | None:
        """Of every sample of the training data, in order; None before the first scoring."""
        return self._verdict

    def update(self, model: CoalitionModel, dataset: Samples, trusted: Samples | None, epoch: int) -> tuple[Event, ...]:
        """Score the training data if the epoch is due; epoch 0 begins an experience and reads the signals.

        Signals are read from data sets that say how their windows are made, as ``PoseDataset`` does.

        The model, its flags and the random state stay as they were. With several processes each may call it with the
        whole data set: the result is the same.

        Args:
            model: in any mode.
            dataset: training samples, whose positions ``apply`` looks up.
            trusted: clean samples that are not trained on, such as the experience's validation part; None if there
                are none.
            epoch: within the experience, from 0.

        Returns:
            what happened to a sensor or the labels as a whole; empty when nothing did, or the epoch is not due.

        Raises:
            UsageError: if the model has other sensors, or the data set changed within an experience.
        """
        if tuple(model.modalities) != self.modalities:
            raise UsageError(
                f"the separator was made for {', '.join(self.modalities)} and the model has "
                f"{', '.join(model.modalities)}: make a new one for this model"
            )
        if epoch == 0:
            self.begin_experience()
        if self._verdict is not None and len(self._verdict) != len(dataset):
            raise UsageError(
                f"found {len(dataset)} samples where there were {len(self._verdict)} at epoch {self._scored}: "
                "call begin_experience() before scoring other data"
            )
        if epoch == 0:
            self._read_signals(dataset, trusted)
        if not self._due(epoch):
            return ()
        readings, reference = self._read(model, dataset, trusted)
        verdict, events = judge(readings, reference, self.settings, self._signals)
        if self.settings.method == "conformal" and (reference is None or not enough(reference, self.settings)):
            events = (
                *events,
                Event("too few trusted samples", "trusted", float(0 if reference is None else len(reference))),
            )
        self._place = {"recording": readings.recording, "frame": readings.frame}
        self._verdict, self._events, self._scored = verdict, events, epoch
        return events

    def of(self, batch: Batch) -> Verdict:
        """The verdicts of a batch's samples, on the CPU.

        Raises:
            UsageError: if nothing has been scored, or a sample is not of the scored data.
        """
        if self._verdict is None:
            raise UsageError("nothing has been scored yet: call update(model, dataset, trusted, epoch) first")
        return self._verdict.select(_known(batch, len(self._verdict)))

    def apply(self, batch: Batch) -> tuple[Batch, Float[Tensor, " batch"]]:
        """The batch without what cannot be trusted, and how much each sample counts.

        A bad sensor cell is no longer present; the sample keeps its others, and at least one sensor unless all are
        dead. A bad label is replaced by the consensus or counts less, as set. A sample in quarantine, or whose sensors
        are all dead, counts nothing. Before the first scoring only what needs no learning is masked.

        Args:
            batch: samples of the data set given to ``update``, on any device.

        Returns:
            a new batch and (batch,) float32 weights of 0 to 1.
        """
        if self._verdict is None:
            codes = integrity(batch)
            present = batch.present & ~_dead(codes)
            weight = present.any(1)
            if self._signals is not None:
                rows = _known(batch, len(self._signals))
                present = present & ~self._signals.sensor[rows].to(present.device)
                weight = present.any(1) & ~self._signals.label[rows].to(present.device)
            return replace(batch, present=present), weight.to(batch.target.dtype)
        return applied(self.of(batch), batch, self.settings)

    def noise_rate(self) -> dict[str, float]:
        """Sensor -> share of its recorded cells that are kept out; ``label``: of labels set aside."""
        if self._verdict is None:
            return dict.fromkeys((*self.modalities, "label"), 0.0)
        there = self._verdict.reason != Reason.ABSENT
        out = (self._verdict.masked & there).sum(0) / there.sum(0).clamp(min=1)
        return {
            **dict(zip(self.modalities, out.tolist(), strict=True)),
            "label": float(self._verdict.bad_label.double().mean()),
        }

    def summary(self) -> dict[str, Any]:
        """For ``metrics.jsonl``: when, how much of each sensor, how many samples wait, and events."""
        verdict = self._verdict
        return {
            "scored": self._scored,
            "noise_rate": self.noise_rate(),
            "quarantined": 0 if verdict is None else int(verdict.quarantined.sum()),
            "events": [vars(event) for event in self._events],
        }

    def log(self) -> list[dict[str, Any]]:
        """One row per cell or label that is not clean: where, why, how far, and its p-value.

        ``statistic`` is the signal's most unusual one where that is why, else None. ``score`` is the smaller of own
        error and distance to the others, for labels the distance to the consensus, millimetres; None where not
        measured. Data files are never changed, so that leaving a row out undoes it.
        """
        if self._verdict is None:
            return []
        verdict, rows = self._verdict, []
        for m, name in [*enumerate(self.modalities), (-1, "label")]:
            codes = verdict.label_reason if m < 0 else verdict.reason[:, m]
            scores, p = (verdict.label_score, verdict.label_p) if m < 0 else (verdict.score[:, m], verdict.p[:, m])
            for i in (codes > Reason.ABSENT).nonzero()[:, 0].tolist():
                reason = Reason(int(codes[i]))
                rows.append(
                    {
                        "sample": i,
                        "recording": int(self._place["recording"][i]),
                        "frame": int(self._place["frame"][i]),
                        "sensor": name,
                        "reason": reason.name.lower(),
                        "words": WORDS[reason],
                        "statistic": self._statistic(i, m) if reason is Reason.SIGNAL else None,
                        "score": _plain(scores[i] * MILLIMETRES_PER_METRE),
                        "p": _plain(p[i]),
                    }
                )
        return rows

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to continue exactly; tensors and plain values only."""
        return {
            "verdict": None if self._verdict is None else self._verdict.tensors(),
            "place": dict(self._place),
            "averages": dict(self._averages),
            "events": [dict(vars(event)) for event in self._events],
            "scored": self._scored,
            "signals": None if self._signals is None else self._signals.tensors(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._verdict = None if state["verdict"] is None else Verdict.from_tensors(state["verdict"])
        self._place, self._averages = dict(state["place"]), dict(state["averages"])
        self._events = tuple(Event(**event) for event in state["events"])
        self._scored = state["scored"]
        signals = state.get("signals")  # none in a state of before signals were read
        self._signals = None if signals is None else SignalVerdict.from_tensors(_on_cpu(signals))

    def _read_signals(self, dataset: Samples, trusted: Samples | None) -> None:
        """What the signals of a new experience say; nothing where they cannot be read or compared."""
        settings = self.settings
        if settings.method == "conformal" and trusted is not None and readable(dataset) and readable(trusted):
            chosen = spread(len(trusted), settings.calibration)
            self._signals = judge_signals(dataset, trusted, chosen, self.modalities, settings)

    def _statistic(self, sample: int, modality: int) -> str | None:
        if self._signals is None or modality < 0:
            return None
        return self._signals.statistic(sample, modality, self.modalities[modality])

    def _due(self, epoch: int) -> bool:
        settings = self.settings
        if epoch < settings.warm_up or (settings.until is not None and epoch >= settings.until):
            return False
        return self._verdict is None or (epoch - settings.warm_up) % settings.every == 0

    def _read(
        self, model: CoalitionModel, dataset: Samples, trusted: Samples | None
    ) -> tuple[Readings, Readings | None]:
        settings = self.settings
        bad = None if self._signals is None else self._signals.sensor
        readings = collect(model, dataset, batch_size=settings.batch_size, masked=bad)
        reference = None
        if trusted is not None and len(trusted):
            chosen = spread(len(trusted), settings.calibration)
            reference = collect(model, trusted, chosen, settings.batch_size)
        if settings.readout == "ridge":
            readings, reference = cross_fitted(readings, reference)
        if reference is not None:
            readings = measured(readings, reference, settings.neighbours)
            reference = self._averaged("trusted", measured(reference, reference, settings.neighbours))
        return self._averaged("samples", readings), reference

    def _averaged(self, name: str, readings: Readings) -> Readings:
        """The readings with running means of predictions, of coalition errors and of log feature distances."""
        readings = replace(
            readings,
            poses=self._running(f"{name}.poses", readings.poses),
            fused=self._running(f"{name}.fused", readings.fused),
            coalition_errors=self._running(f"{name}.coalition_errors", readings.coalition_errors),
        )
        if readings.nearest is None:
            return readings
        logs = self._running(f"{name}.nearest", readings.nearest.clamp(min=1e-12).log())
        return replace(readings, nearest=logs.exp())

    def _running(self, name: str, values: Tensor) -> Tensor:
        before = self._averages.get(name)
        if before is not None and before.shape == values.shape:
            values = torch.where(before.isnan(), values, values + self.settings.memory * (before - values))
        self._averages[name] = values
        return values


def applied(verdict: Verdict, batch: Batch, settings: SeparationSettings) -> tuple[Batch, Float[Tensor, " batch"]]:
    """A batch as its verdict leaves it, and how much each sample counts; see ``Separator.apply``."""
    device = batch.present.device
    present = _keep_one(batch.present.cpu(), verdict)
    bad, w = verdict.bad_label, verdict.label_clean
    weight = torch.ones(len(batch))
    target = batch.target
    if settings.bad_label == "replace":
        target = torch.where(bad[:, None, None].to(device), verdict.consensus.to(target), target)
        weight = torch.where(bad, settings.replaced_weight * (1 - w), weight)
    else:
        weight = torch.where(bad, w, weight)
    weight = torch.where(verdict.quarantined | ~present.any(1), 0.0, weight)
    return replace(batch, present=present.to(device), target=target), weight.to(device)


def spread(total: int, wanted: int) -> np.ndarray:
    """At most ``wanted`` positions, evenly spaced over ``total``: few frames of many recordings."""
    count = min(total, wanted)
    return np.arange(count, dtype=np.int64) * total // count


def _known(batch: Batch, total: int) -> Int[Tensor, " batch"]:
    """The samples' positions in the data set that was scored, or whose signals were read, of ``total`` samples.

    Raises:
        UsageError: if a sample is not of that data set.
    """
    positions = batch.meta.sample.cpu()
    strange = positions[(positions < 0) | (positions >= total)]
    if len(strange):
        raise UsageError(
            f"the batch has sample {int(strange[0])} and {total} were scored: "
            "apply the separator to batches of the data set it scored, before replayed samples are added"
        )
    return positions


def _dead(codes: Tensor) -> Bool[Tensor, "batch modality"]:
    return torch.isin(codes, torch.tensor(INTEGRITY, dtype=codes.dtype, device=codes.device))


def _keep_one(present: Bool[Tensor, "batch modality"], verdict: Verdict) -> Bool[Tensor, "batch modality"]:
    """Present cells that are not masked; where none is left, the most probably clean one that is not dead."""
    kept = present & ~verdict.masked
    possible = present & ~_dead(verdict.reason)
    best = torch.where(possible, verdict.sensor_clean, -1.0).argmax(1)
    only = torch.nn.functional.one_hot(best, present.shape[1]).bool() & possible
    return torch.where(kept.any(1, keepdim=True), kept, only)


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.cpu() for name, tensor in tensors.items()}


def _plain(value: Tensor) -> float | None:
    return None if bool(value.isnan()) else float(value)
