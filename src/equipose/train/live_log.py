"""What a learner tells about each batch, and what it keeps of what it set aside."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from equipose.continual.batches import joined, tensors_of
from equipose.continual.weights import bytes_of
from equipose.nn.tensors import batch_from_tensors, batch_to_tensors
from equipose.separation.reasons import MASKED, WORDS, Reason
from equipose.separation.separator import MILLIMETRES_PER_METRE
from equipose.separation.verdict import Event, Verdict
from equipose.train.live_noise import Checked
from equipose.train.live_readings import labelled
from equipose.types import Batch

ROW_BYTES = 600
"""About what a row of the log takes."""


@dataclass(frozen=True)
class Report:
    """What became of a batch.

    Attributes:
        batch: its number, from 0.
        first: number of its first sample, from 0; the others follow. ``Learner.restore`` takes these numbers.
        experience: name of the experience it was learned in.
        verdict: what was found in each sample, before anything was learned from it.
        learned: (batch,) samples that were learned from.
        error_mm: mean joint error of the fused pose before learning, over labels not found bad; None without any.
        terms: loss terms, mean over the optimizer steps; empty where nothing was learned.
        events: what happened to a sensor or the labels as a whole.
        notes: what the caller should know, a sentence each.
    """

    batch: int
    first: int
    experience: str
    verdict: Verdict
    learned: Bool[Tensor, " batch"]
    error_mm: float | None
    terms: Mapping[str, float]
    events: tuple[Event, ...]
    notes: tuple[str, ...]

    @property
    def flagged(self) -> Bool[Tensor, "batch modality"]:
        """Sensor cells that were kept out."""
        return self.verdict.masked

    @property
    def bad_labels(self) -> Bool[Tensor, " batch"]:
        """Labels that were replaced or count less."""
        return self.verdict.bad_label

    @property
    def loss(self) -> float | None:
        """Sum of the terms; None where nothing was learned."""
        return sum(self.terms.values()) if self.terms else None


class Log:
    """The latest rows about what was set aside, the latest events, and totals of all.

    Args:
        rows: most rows, and most events.
        aside: most samples kept.
        modalities: sensors in the order of the modality axis.
    """

    def __init__(self, rows: int, aside: int, modalities: tuple[str, ...]) -> None:
        self.rows: deque[dict[str, Any]] = deque(maxlen=rows)
        self.events: deque[dict[str, Any]] = deque(maxlen=rows)
        self.totals = dict.fromkeys((*modalities, "label"), 0)
        self._modalities, self._most = modalities, aside
        self._aside: Batch | None = None
        self._numbers = torch.zeros(0, dtype=torch.int64)

    def add(self, batch: Batch, checked: Checked, first: int, experience: str) -> None:
        """Note what was set aside in a batch, and keep those samples as they came, on the CPU."""
        verdict, readings = checked.verdict, checked.readings
        for m, name in [*enumerate(self._modalities), (-1, "label")]:
            codes = verdict.label_reason if m < 0 else verdict.reason[:, m]
            scores, p = (verdict.label_score, verdict.label_p) if m < 0 else (verdict.score[:, m], verdict.p[:, m])
            for i in (codes > Reason.ABSENT).nonzero()[:, 0].tolist():
                reason = Reason(int(codes[i]))
                self.totals[name] += reason in MASKED or reason in (Reason.LABEL, Reason.QUARANTINE)
                self.rows.append(
                    {
                        "sample": first + i,
                        "experience": experience,
                        "recording": int(readings.recording[i]),
                        "frame": int(batch.meta.frame[i]),
                        "sensor": name,
                        "reason": reason.name.lower(),
                        "words": WORDS[reason],
                        "score_mm": _plain(MILLIMETRES_PER_METRE * scores[i]),
                        "p": _plain(p[i]),
                        "restored": False,
                    }
                )
        odd = (verdict.masked.any(1) | verdict.bad_label | verdict.quarantined).nonzero()[:, 0]
        if len(odd) and self._most:
            new = batch.select(odd.to(batch.present.device)).to("cpu")
            numbers = torch.cat([self._numbers, first + odd])
            both = new if self._aside is None else joined(self._aside, new)
            kept = torch.arange(max(0, len(numbers) - self._most), len(numbers))
            self._aside, self._numbers = both.select(kept), numbers[kept]

    def add_events(self, events: Sequence[Event], first: int, experience: str) -> None:
        """Note events."""
        self.events.extend({"sample": first, "experience": experience, **vars(event)} for event in events)

    def take(self, samples: Sequence[int]) -> tuple[Batch | None, Tensor]:
        """Give back samples that are kept, as they came, with their numbers; they are marked as restored."""
        wanted = torch.isin(self._numbers, torch.tensor(list(samples), dtype=torch.int64))
        numbers = self._numbers[wanted]
        if self._aside is None or not len(numbers):
            return None, numbers
        batch, rest = self._aside.select(wanted), (~wanted).nonzero()[:, 0]
        self._aside, self._numbers = (self._aside.select(rest) if len(rest) else None), self._numbers[rest]
        taken = set(numbers.tolist())
        for row in self.rows:
            row["restored"] = row["restored"] or row["sample"] in taken
        return batch, numbers

    def memory_bytes(self) -> int:
        """Bytes of samples, and about those of rows."""
        kept = 0 if self._aside is None else bytes_of(tensors_of(self._aside))
        return kept + ROW_BYTES * (len(self.rows) + len(self.events))

    def state_dict(self) -> dict[str, Any]:
        """Rows, totals and samples."""
        return {
            "rows": [dict(row) for row in self.rows],
            "events": [dict(row) for row in self.events],
            "totals": dict(self.totals),
            "aside": None if self._aside is None else batch_to_tensors(self._aside),
            "numbers": self._numbers,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self.rows.extend(dict(row) for row in state["rows"])
        self.events.extend(dict(row) for row in state["events"])
        self.totals = dict(state["totals"])
        aside = state["aside"]
        self._aside = None if aside is None else batch_from_tensors(aside, self._modalities).to("cpu")
        self._numbers = state["numbers"].cpu()


def fused_error_mm(checked: Checked) -> float | None:
    """Mean joint error of the fused pose, millimetres, over labels that were not found bad; None without any."""
    readings, verdict = checked.readings, checked.verdict
    used = labelled(readings.target) & ~verdict.bad_label & ~verdict.quarantined & readings.alive.any(1)
    if not bool(used.any()):
        return None
    error = torch.linalg.vector_norm(readings.fused[used] - readings.target[used], dim=-1).mean()
    return MILLIMETRES_PER_METRE * float(error)


def _plain(value: Tensor) -> float | None:
    return None if bool(value.isnan()) else float(value)
