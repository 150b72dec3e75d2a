"""The page's numbers as JSON, and the rule they follow in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from equipose.report.fidelity.rows import Chapter, Row
from equipose.report.fidelity.source import Simulation

FORMAT = "equipose-fidelity"

METHOD = (
    "Distance: for a distribution, the one-dimensional Wasserstein distance (how far its values must be moved on "
    "average), in its own unit; for a curve over tones or a list of bones, the root mean square difference; for a "
    "number, the difference. It is the mean over all pairs of a simulated and a real part.",
    "Tolerance: the 90th percentile of the same distance over all pairs of real parts (rooms, persons, stretches of a "
    "capture). Where the parts of the real data agree better than they can show, the smallest difference they can show "
    "takes its place. Radar rows are means over movements, so their tolerance is the mean too: how far different "
    "people doing the same movement lie apart. The rule knows nothing of the simulation.",
    "Where the two cannot be held against each other, such as a setting of another instrument, the row is context: it "
    "is shown with the reason and not judged.",
    "The verdict compares the two: within means as near to the real parts as those to each other.",
    "Two or three real parts give a rough tolerance. Stretches of one capture from one device know nothing of other "
    "devices and rooms, so their tolerance is strict.",
    "Outside is a finding, not always a fault: the remark under a row says where the instrument, the place or the task "
    "differ.",
    "Within is not always a validation: some constants of the simulator were set from these recordings, as the remarks "
    "and the simulator's documentation say. Such a row checks that the whole chain gives back what was put in.",
)


def command(simulation: Simulation) -> str:
    """What made the simulated data set."""
    record = simulation.record
    words = ["equipose simulate DATA"]
    if record.get("preset"):
        words.append(f"--preset {record['preset']}")
    words.append(f"--seed {record['seed']}")
    return " ".join(words)


def as_json(simulation: Simulation, chapters: Sequence[Chapter]) -> dict[str, Any]:
    """The page's numbers as JSON values; no paths."""
    record = simulation.record
    judged = [row for chapter in chapters for row in chapter.rows if row.judged]
    return {
        "format": FORMAT,
        "version": 1,
        "commands": [command(simulation), "equipose simulate report DATA --real REAL_DATA --json fidelity.json"],
        "simulation": {
            **{key: record.get(key) for key in ("simulator_version", "preset", "seed", "frames", "modalities")},
            "recordings": simulation.total,
            "recordings_read": len(simulation.recordings),
            "frames_read": simulation.num_frames,
        },
        "rule": {"distance": METHOD[0], "tolerance": METHOD[1]},
        "within": sum(row.within for row in judged),
        "outside": sum(not row.within for row in judged),
        "context": sum(not row.judged for chapter in chapters for row in chapter.rows),
        "statistics": [_row_json(chapter, row) for chapter in chapters for row in chapter.rows],
    }


def _row_json(chapter: Chapter, row: Row) -> dict[str, Any]:
    return {
        "sensor": chapter.key,
        "key": row.key,
        "name": row.name,
        "unit": row.unit,
        "summary": row.summary,
        "simulated": _significant(row.simulated),
        "real": {name: _significant(value) for name, value in zip(row.parts, row.real, strict=True)},
        "measure": row.measure,
        "distance": _significant(row.distance),
        "tolerance": _significant(row.tolerance),
        "within": row.within if row.judged else None,
        "reason": row.reason,
        "caution": row.caution,
        "context": row.context,
    }


def _significant(value: float) -> float:
    return float(f"{value:.6g}")
