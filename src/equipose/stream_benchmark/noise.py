"""Numbers about noise of one training: what was set aside, against the truth."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from equipose.separation.quality import quality
from equipose.stream_benchmark.results import NoiseFound, Numbers
from equipose.train.stream_verdicts import Verdicts

LABEL, ALL = "label", "all sensors"
_PLAN = ("count", "corrupt", "purity")
"""What there is to say where nothing looked for noise."""


def noise_numbers(found: Verdicts) -> NoiseFound:
    """Precision, recall and the like per sensor, for the labels, and per kind of corruption.

    A kind is held against everything that is clean in its sensor, so that ``recall`` and ``auroc`` are its own and
    ``precision`` counts no other kind.
    """
    groups: dict[str, Numbers] = {}
    kinds: dict[str, Numbers] = {}
    for column, name in enumerate(found.modalities):
        there = found.present[:, column]
        cells = [each[there, column] for each in (found.flagged, found.corrupt, found.suspicion, found.kind)]
        groups[name] = _numbers(*cells[:3])
        kinds.update(_kinds(name, found.kind_names, *cells))
    there = found.present
    groups[ALL] = _numbers(found.flagged[there], found.corrupt[there], found.suspicion[there])
    labels = (found.label_flagged, found.label_corrupt, found.label_suspicion)
    groups[LABEL] = _numbers(*labels)
    kinds.update(_kinds(LABEL, found.kind_names, *labels, found.label_kind))
    if not found.judged:
        groups, kinds = ({n: {k: v[k] for k in _PLAN} for n, v in each.items()} for each in (groups, kinds))
    return NoiseFound(
        experience=found.experience,
        judged=found.judged,
        groups=groups,
        kinds=kinds,
        memory=_memory(found.memory),
        events=tuple({"kind": kind, "subject": subject, "share": share} for kind, subject, share in found.events),
    )


def _kinds(
    name: str,
    names: tuple[str, ...],
    flagged: Bool[ndarray, " cell"],
    corrupt: Bool[ndarray, " cell"],
    suspicion: Float[ndarray, " cell"],
    kind: Int[ndarray, " cell"],
) -> dict[str, Numbers]:
    found = {}
    for code in np.unique(kind[corrupt]).tolist():
        used = ~corrupt | (kind == code)
        found[f"{name}.{names[code]}"] = _numbers(flagged[used], corrupt[used], suspicion[used])
    return found


def _numbers(
    flagged: Bool[ndarray, " cell"], corrupt: Bool[ndarray, " cell"], suspicion: Float[ndarray, " cell"]
) -> Numbers:
    found = asdict(quality(torch.from_numpy(flagged), torch.from_numpy(corrupt), torch.from_numpy(suspicion)))
    return {name: value if value == value else None for name, value in found.items()}  # NaN is not equal to itself


def _memory(counts: Int[ndarray, " 5"]) -> Numbers:
    """Clean shares of what is replayed; nothing without a memory."""
    cells, bad_cells, samples, bad_samples, bad_labels = counts.tolist()
    if not samples:
        return {}
    return {
        "entries": samples,
        "cells": 1.0 - bad_cells / cells,
        "samples": 1.0 - bad_samples / samples,
        "labels": 1.0 - bad_labels / samples,
    }
