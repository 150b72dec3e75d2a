"""The tables for any other tool: ``results.csv``, ``measures.csv`` and ``noise.csv``, all long."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from equipose.benchmark.statistics import Estimate
from equipose.files import write_text
from equipose.stream_benchmark.plan import ORDERLESS
from equipose.stream_benchmark.study import Row, Study, subsets

_ROW = ("noise", "row", "kind", "strategy", "separation")
RESULTS = (
    *_ROW,
    "order",
    "seed",
    "after",
    "step",
    "experience",
    "place",
    "subset",
    "samples",
    "mpjpe_mm",
    "pa_mpjpe_mm",
)
MEASURES = (
    *_ROW,
    "subset",
    "measure",
    "value",
    "low",
    "high",
    "runs",
    "difference",
    "difference_low",
    "difference_high",
)
NOISE = (*_ROW, "of", "group", "number", "value")


def write_csv(out: Path, study: Study) -> None:
    """Write all three.

    ``results.csv`` has a line per run, moment, experience and subset of the sensors: ``after`` is the experience that
    was trained last, ``step`` its place in the stream, ``place`` that of the experience tested on. Rows derived from
    others are not in it. ``measures.csv`` has the measures of ``measures`` with their intervals, ``noise.csv`` what
    separation found and what the memory holds.
    """
    _write(out / "results.csv", RESULTS, _results(study))
    _write(out / "measures.csv", MEASURES, _measures(study))
    _write(out / "noise.csv", NOISE, _noise(study))


def _write(path: Path, columns: Sequence[str], lines: Iterable[dict[str, Any]]) -> None:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    write_text(path, stream.getvalue())


def _rows(study: Study) -> Iterator[tuple[dict[str, Any], Row]]:
    for table in study.tables:
        for row in table.finished:
            told = (table.noise.label, row.label, row.kind, row.strategy, row.separation)
            yield dict(zip(_ROW, told, strict=True)), row


def _results(study: Study) -> Iterator[dict[str, Any]]:
    for head, row in _rows(study):
        if row.kind == "derived":
            continue
        orderless = row.strategy in ORDERLESS
        for (order, seed), errors in row.runs.distinct.errors.items():
            inside = errors.person[:, :1] == np.arange(len(errors.names))
            samples = errors.samples @ inside
            plain, aligned = (table @ inside / samples for table in (errors.error_mm, errors.pa_error_mm))
            for step, trained in enumerate(errors.trained.tolist()):
                for place, experience in enumerate(errors.names):
                    for names in subsets(errors.modalities):
                        at = (step, row.runs.coalition(names), place)
                        yield {
                            **head,
                            "order": "any" if orderless else "-".join(study.recipe.orders[order]) or "natural",
                            "seed": seed,
                            "after": errors.names[trained],
                            "step": step,
                            "experience": experience,
                            "place": place,
                            "subset": "+".join(names),
                            "samples": int(samples[place]),
                            "mpjpe_mm": round(float(plain[at]), 4),
                            "pa_mpjpe_mm": round(float(aligned[at]), 4),
                        }


def _measures(study: Study) -> Iterator[dict[str, Any]]:
    for head, row in _rows(study):
        whole = row.runs.first.modalities
        for names, values in row.subsets.items():
            for measure, estimate in (row.values if names == whole else values).items():
                gap = row.differences.get(measure) if names == whole else None
                yield {
                    **head,
                    "subset": "+".join(names),
                    "measure": measure,
                    **_numbers("value", "low", "high", estimate),
                    "runs": len(estimate.per_seed),
                    **_numbers("difference", "difference_low", "difference_high", gap),
                }


def _noise(study: Study) -> Iterator[dict[str, Any]]:
    for head, row in _rows(study):
        if row.found is None:
            continue
        named = [("group", name, each) for name, each in row.found.groups.items()]
        named += [("kind", name, each) for name, each in row.found.kinds.items()]
        named += [("memory", "memory", row.found.memory)] if row.found.memory else []
        for of, group, numbers in named:
            for number, value in numbers.items():
                yield {**head, "of": of, "group": group, "number": number, "value": round(value, 6)}


def _numbers(value: str, low: str, high: str, estimate: Estimate | None) -> dict[str, float]:
    if estimate is None:
        return {}
    found = {value: round(estimate.value, 5)}
    if estimate.interval is not None:
        found |= {low: round(estimate.interval[0], 5), high: round(estimate.interval[1], 5)}
    return found
