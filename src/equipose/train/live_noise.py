"""Verdicts on the batches of a stream, each by a model that has not learned from it yet, with bounded memory.

A batch is ranked among trusted samples. Those are given by the caller, or they are earlier samples of the stream with
what was said about them *when they came*: scored before they were learned from, as the new ones are, so that ranks are
those of like among like. They must not be chosen by the verdict itself: leaving out the worst two in a hundred each
time would make the next worst two the bad ones, without end. Only samples beyond three robust deviations are left out,
which moves neither median nor deviation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from equipose.continual.weights import bytes_of
from equipose.inspection import untouched
from equipose.nn.model import PoseModel
from equipose.nn.tensors import batch_from_tensors, batch_to_tensors
from equipose.separation.distances import (
    feature_distance,
    label_distance,
    measured,
    own_error,
    peer_distance,
    reliability,
)
from equipose.separation.readings import Readings, read_batch
from equipose.separation.reasons import Reason
from equipose.separation.rulers import enough
from equipose.separation.settings import SeparationSettings
from equipose.separation.verdict import Event, Verdict, judge
from equipose.train.live_readings import Last, appended, labelled, read, unjudged, usable
from equipose.train.live_recipe import LiveSettings
from equipose.types import Batch

SHIFTS = ("modality shift", "label shift")
"""Events after which the stream is another one."""

_FEWEST = 20  # samples from which a share, or a deviation, says something
_FURTHEST = 3.0  # robust deviations


@dataclass(frozen=True)
class Checked:
    """What was found in a batch.

    Attributes:
        readings: what the model said, on the CPU.
        verdict: one row per sample.
        events: what happened to a sensor or the labels as a whole.
        last: the batch's last sample.
    """

    readings: Readings
    verdict: Verdict
    events: tuple[Event, ...]
    last: Last


class LiveNoise:
    """Judges batches in the order they come.

    Args:
        settings: methods and thresholds.
        live: sizes of the buffers.
        modalities: sensors in the order of the modality axis.
        seed: of which clean samples are kept to compare with.
    """

    def __init__(
        self, settings: SeparationSettings, live: LiveSettings, modalities: tuple[str, ...], seed: int
    ) -> None:
        self.settings, self.live, self.modalities = settings, live, modalities
        self._seed = seed
        self._last: Last | None = None
        self._down: tuple[str, ...] = ()
        self.begin_experience()

    def begin_experience(self) -> None:
        """New data, to be judged by their own kind alone: forget the samples to compare with."""
        self._trusted: Batch | None = None
        self._reference: Readings | None = None
        self._calibration: Readings | None = None
        self._window: Readings | None = None
        self._batches = 0
        self._counts = torch.zeros(len(self.modalities) + 1, 2, dtype=torch.int64)

    @property
    def window_length(self) -> int:
        """Samples that a batch is judged together with at present."""
        return 0 if self._window is None else len(self._window)

    def trust(self, batch: Batch) -> None:
        """Compare with these clean samples, ``settings.calibration`` at most, for the rest of the experience."""
        count = min(len(batch), self.settings.calibration)
        spread = torch.arange(count, device=batch.present.device) * len(batch) // count
        self._trusted, self._reference = usable(batch.select(spread)), None

    def check(self, model: PoseModel, batch: Batch, arrival: int) -> Checked:
        """Judge a batch; nothing is remembered but the trusted samples' new readings.

        Args:
            model: before it learns from the batch.
            batch: on the model's device; labels that are not known are NaN.
            arrival: how many samples came before.
        """
        readings, last = read(model, batch, self._last, arrival)
        reference = self._compared_with(model)
        bank = readings.select(torch.zeros(0, dtype=torch.int64)) if reference is None else reference
        readings = replace(readings, nearest=feature_distance(readings, bank, self.settings.neighbours))
        verdict, events = unjudged(readings), self._sensors_down(readings)
        if self.live.separate and self._batches >= self.live.warm_up and self._can_judge(reference):
            for known in (True, False):
                rows = (labelled(readings.target) == known).nonzero()[:, 0]
                if len(rows):
                    found, more = self._judged(readings.select(rows), reference, known)
                    verdict = _scattered(verdict, rows, found)
                    events = (
                        *events,
                        *(e for e in more if (e.kind, e.subject) not in [(x.kind, x.subject) for x in events]),
                    )
        return Checked(readings, verdict, events, last)

    def remember(self, checked: Checked, arrival: int) -> None:
        """Take a batch into the buffers, after it was judged."""
        readings, verdict = checked.readings, checked.verdict
        self._last = checked.last
        self._batches += 1
        for event in checked.events:
            if event.kind == "sensor down":
                self._down = (*self._down, event.subject)
            elif event.kind == "sensor back":
                self._down = tuple(name for name in self._down if name != event.subject)
        there = verdict.reason != Reason.ABSENT
        bad = torch.cat([(verdict.masked & there).sum(0), verdict.bad_label.sum()[None]])
        self._counts = self._counts + torch.stack(
            [bad, torch.cat([there.sum(0), labelled(readings.target).sum()[None]])], 1
        )
        fit = self._fit(readings)
        if self._calibration is not None and len(self._calibration) >= self.settings.calibration:
            lot = np.random.default_rng([self._seed, 21, arrival]).random(len(readings))
            fit &= torch.from_numpy(lot < self.live.share)
        if bool(fit.any()):
            self._calibration = appended(self._calibration, readings.select(fit), self.settings.calibration)
        self._window = appended(self._window, readings, self.live.window)

    def noise_rate(self) -> dict[str, float]:
        """Sensor -> share of its cells of the experience that were kept out; ``label``: of labels set aside."""
        shares = (self._counts[:, 0] / self._counts[:, 1].clamp(min=1)).tolist()
        return dict(zip((*self.modalities, "label"), shares, strict=True))

    def memory_bytes(self) -> int:
        """Bytes of all buffers."""
        held = [r for r in (self._reference, self._calibration, self._window) if r is not None]
        tensors = [t for r in held for t in _tensors(r).values()]
        trusted = [] if self._trusted is None else _leaves(batch_to_tensors(self._trusted))
        return bytes_of([*tensors, *trusted])

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on exactly; tensors and plain values only."""
        return {
            "trusted": None if self._trusted is None else batch_to_tensors(self._trusted),
            "reference": _plain(self._reference),
            "calibration": _plain(self._calibration),
            "window": _plain(self._window),
            "last": None if self._last is None else dict(vars(self._last)),
            "down": list(self._down),
            "batches": self._batches,
            "counts": self._counts,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        trusted = state["trusted"]
        self._trusted = None if trusted is None else batch_from_tensors(trusted, self.modalities)
        self._reference, self._calibration, self._window = (
            None if state[name] is None else Readings(self.modalities, **_on_cpu(state[name]))
            for name in ("reference", "calibration", "window")
        )
        last = state["last"]
        self._last = None if last is None else Last(**{**last, "numbers": last["numbers"].cpu()})
        self._down, self._batches, self._counts = tuple(state["down"]), state["batches"], state["counts"].cpu()

    def _compared_with(self, model: PoseModel) -> Readings | None:
        if self._trusted is None:
            return self._calibration
        if self._reference is None or self._batches % self.live.refresh == 0:
            with untouched(model):
                found = read_batch(model, self._trusted)
            self._reference = measured(found, found, self.settings.neighbours)
        return self._reference

    def _can_judge(self, reference: Readings | None) -> bool:
        if self.settings.method != "conformal":
            return self.window_length >= _FEWEST
        return reference is not None and enough(reference, self.settings)

    def _judged(self, readings: Readings, reference: Readings | None, known: bool) -> tuple[Verdict, tuple[Event, ...]]:
        """Labelled samples among labelled ones; others by what most sensors say, and the same ones with that too."""
        pool = readings
        if self._window is not None:
            alike = labelled(self._window.target) == known
            if bool(alike.any()):
                pool = appended(self._window.select(alike), readings, self.live.window + len(readings))
        if known:
            verdict, events = judge(pool, reference, self.settings)
        else:
            verdict, events = judge(
                _by_majority(pool), None if reference is None else _by_majority(reference), self.settings
            )
        return verdict.select(torch.arange(len(pool) - len(readings), len(pool))), events

    def _fit(self, readings: Readings) -> Bool[Tensor, " sample"]:
        """Samples that may be compared with: labelled, whole, and no outliers."""
        whole = (readings.alive | ~readings.present).all(1) & readings.alive.any(1) & labelled(readings.target)
        base = self._calibration
        if base is None or len(base) < _FEWEST:
            base = appended(self._window, readings, self.live.window + len(readings))
        typical = reliability(base)
        ours, theirs = _logs(readings, typical), _logs(base, typical)
        centre = theirs.nanmedian(0).values
        deviation = 1.4826 * (theirs - centre).abs().nanmedian(0).values.clamp(min=1e-6)
        return whole & ~(ours - centre > _FURTHEST * deviation).any(1)

    def _sensors_down(self, readings: Readings) -> tuple[Event, ...]:
        """Sensors of which nearly all latest cells are dead, when that begins and when it ends."""
        latest = appended(self._window, readings, self.live.window)
        events: tuple[Event, ...] = ()
        for m, name in enumerate(self.modalities):
            there = latest.integrity[:, m] != Reason.ABSENT
            count = int(there.sum())
            if count < _FEWEST:
                continue
            share = float((there & ~latest.alive[:, m]).sum()) / count
            if name not in self._down and share > self.settings.shift:
                events = (*events, Event("sensor down", name, share))
            elif name in self._down and share < self.settings.shift / 2:
                events = (*events, Event("sensor back", name, share))
        return events


def _by_majority(readings: Readings) -> Readings:
    """The readings with the sensors' median pose for a label, which one wrong sensor of three or more cannot move far.

    Nothing is known of what sensors contribute to the true pose, and the label is not judged.
    """
    poses = torch.where(readings.alive[..., None, None], readings.poses, torch.nan)
    median = poses.nanquantile(0.5, dim=1)
    changes: dict[str, Any] = {
        "target": median,
        "coalition_errors": torch.full_like(readings.coalition_errors, torch.nan),
    }
    return replace(readings, **changes)


def _logs(readings: Readings, typical: Tensor) -> Tensor:
    """(sample, modality + 1) logarithms of min(own error, distance to the others) and of the label's distance."""
    cells = torch.fmin(own_error(readings).double(), peer_distance(readings.poses, readings.alive, typical))
    label = label_distance(readings, readings.alive)
    return torch.cat([torch.where(readings.alive, cells, torch.nan), label[:, None]], 1).clamp(min=1e-6).log()


def _scattered(into: Verdict, rows: Tensor, found: Verdict) -> Verdict:
    """A verdict with some rows replaced."""
    new: dict[str, Tensor] = {}
    for name, value in into.tensors().items():
        new[name] = value.clone()
        new[name][rows] = getattr(found, name).to(value.dtype)
    return Verdict.from_tensors(new)


def _tensors(readings: Readings) -> dict[str, Tensor]:
    return {name: value for name, value in vars(readings).items() if isinstance(value, Tensor)}


def _plain(readings: Readings | None) -> dict[str, Tensor] | None:
    return None if readings is None else _tensors(readings)


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    return {name: tensor.cpu() for name, tensor in tensors.items()}


def _leaves(tree: Mapping[str, Any]) -> list[Tensor]:
    return [t for v in tree.values() for t in ([v] if isinstance(v, Tensor) else _leaves(v))]
