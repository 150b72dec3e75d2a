"""``results.csv``: one line per finished final cell and subset of its sensors, for any other tool."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from equipose.benchmark.results import CellResult
from equipose.benchmark.study import Study
from equipose.files import write_text

COLUMNS = (
    "method",
    "strategy",
    "fusion",
    "protocol",
    "split",
    "seed",
    "trained_on",
    "subset",
    "sensors",
    "mpjpe_mm",
    "pa_mpjpe_mm",
    "validation_mpjpe_mm",
    "samples",
    "contribution",
    "share",
    "collapse",
    "entropy",
    "epochs",
    "step_seconds",
    "training_seconds",
    "peak_memory_mb",
    "parameters",
    "settings",
    "run",
)


def write_csv(path: Path, study: Study) -> None:
    """Write the table; ``contribution``, ``share`` and ``collapse`` stand in the lines of single sensors.

    ``method`` is the page's name; of models trained on fewer sensors it is ``trained on`` and those.
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_lines(study))
    write_text(path, stream.getvalue())


def _lines(study: Study) -> Iterator[dict[str, Any]]:
    for table in study.tables:
        place = {
            "fusion": table.condition.fusion,
            "protocol": table.condition.protocol,
            "split": table.condition.split,
        }
        named = [(row.label, row.trained) for row in table.rows]
        named += [(f"trained on {model.label}", model) for model in table.subsets.values()]
        for label, trained in named:
            for seed, cell in trained.cells.items():
                for line in _cell(cell):
                    yield {"method": label, **place, "seed": seed, **line}


def _cell(cell: CellResult) -> Iterator[dict[str, Any]]:
    test = cell.test
    assert test is not None, "final cells have a test part"
    balance = cell.recipe["balance"]
    for row in test.subsets:
        alone = row.sensors[0] if len(row.sensors) == 1 else ""
        yield {
            "strategy": balance["name"],
            "trained_on": "+".join(test.sensors),
            "subset": row.name,
            "sensors": len(row.sensors),
            "mpjpe_mm": row.mpjpe_mm,
            "pa_mpjpe_mm": row.pa_mpjpe_mm,
            "validation_mpjpe_mm": cell.validation_mpjpe_mm,
            "samples": test.samples,
            "contribution": test.phi.get(alone),
            "share": test.share.get(alone),
            "collapse": test.collapse.get(alone),
            "entropy": test.entropy,
            "epochs": cell.epochs,
            "step_seconds": cell.step_seconds,
            "training_seconds": cell.training_seconds,
            "peak_memory_mb": cell.peak_memory_mb,
            "parameters": sum(cell.parameters.values()),
            "settings": json.dumps(balance["settings"], sort_keys=True),
            "run": cell.run,
        }
