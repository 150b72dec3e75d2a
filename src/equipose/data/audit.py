"""Checks an MM-Fi folder file by file and says what is wrong, what was expected and what happens to it.

The folder is only read. Recordings are checked in parallel; memory does not grow with the size of the folder, because
at most ``MAX_LISTED`` problems are kept (all are counted).
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from equipose.data.checks import Finding, audit_recording
from equipose.data.mmfi import GROUND_TRUTH, SIMULATION_FILE, numbered_folders, wrong_folder
from equipose.data.parallel import map_in_order
from equipose.data.stretches import stretches
from equipose.modality import MODALITIES
from equipose.progress import progress

MAX_LISTED = 5000
_ROOT_FILES = {SIMULATION_FILE, "motion.json", "MMFi_action_segments.csv"}


@dataclass(frozen=True)
class Problem:
    """Something about the folder a user should know.

    Attributes:
        kind: short word for tables, such as ``missing frame``.
        severity: ``error``, or ``note`` for what is normal in MM-Fi.
        path: file or folder, relative to the root.
        frames: numbers of the frames concerned; empty if the whole recording is.
        found: what is there.
        expected: what should be there.
        consequence: what reading the folder makes of it.
    """

    kind: str
    severity: str
    path: str
    frames: tuple[int, ...]
    found: str
    expected: str
    consequence: str

    def __str__(self) -> str:
        frames = f" [{ranges(self.frames)}]" if len(self.frames) > 1 else ""
        return (
            f"{self.severity.upper():5} {self.path}{frames}: {self.found}. "
            f"Expected: {self.expected}. {self.consequence}."
        )


@dataclass(frozen=True)
class AuditReport:
    """What an audit found.

    Attributes:
        root: the folder.
        recordings: number of recordings.
        frames: frames with ground truth.
        files: frame files that were read.
        modalities: sensors that at least one recording has.
        problems: the first ``MAX_LISTED`` problems, errors and notes.
        counts: (severity, kind) -> frames or files concerned, over all problems.
        unlisted: problems that were counted and not kept.
        seconds: wall time.
    """

    root: str
    recordings: int
    frames: int
    files: int
    modalities: tuple[str, ...]
    problems: tuple[Problem, ...]
    counts: dict[tuple[str, str], int]
    unlisted: int
    seconds: float

    @property
    def has_errors(self) -> bool:
        """True if anything but notes was found."""
        return any(severity == "error" for severity, _ in self.counts)

    @property
    def exit_code(self) -> int:
        """3 if there are errors, else 0."""
        return 3 if self.has_errors else 0

    def to_json(self) -> dict[str, Any]:
        """The whole report as plain JSON values."""
        values = asdict(self)
        values["counts"] = [
            {"severity": severity, "kind": kind, "count": n} for (severity, kind), n in sorted(self.counts.items())
        ]
        return values | {"exit_code": self.exit_code}

    def to_text(self, limit: int = 50) -> str:
        """The report for people, with at most ``limit`` problems spelled out, errors first."""
        lines = [
            f"{self.root}: {self.recordings} recordings, {self.frames} frames with ground truth, "
            f"{', '.join(self.modalities) or 'no sensor'}; {self.files} files read in {self.seconds:.1f} s"
        ]
        for (severity, kind), count in sorted(self.counts.items()):
            lines.append(f"  {severity}: {kind}: {count}")
        shown = sorted(self.problems, key=lambda problem: problem.severity != "error")
        lines += [str(problem) for problem in shown[:limit]]
        rest = len(self.problems) + self.unlisted - min(limit, len(shown))
        if rest:
            lines.append(f"... and {rest} more; --limit N shows more, --json all that were kept ({len(shown)})")
        if not self.counts:
            lines.append("No problem found.")
        elif self.has_errors:
            lines.append("Training runs in spite of these; each line ends with what happens to the frame or recording.")
        return "\n".join(lines)


def audit(root: Path | str, jobs: int = 2) -> AuditReport:
    """Read every file of an MM-Fi folder and report what is wrong.

    Args:
        root: the folder that holds E01 and so on; never written to.
        jobs: processes.

    Raises:
        DataError: if the folder is missing or holds nothing of the layout.
    """
    root = Path(root)
    start = time.monotonic()
    folders = [action for e in _sub(root, "E") for s in _sub(e, "S") for action in _sub(s, "A")]
    if not folders:
        raise wrong_folder(root)
    problems: list[Problem] = []
    counts: Counter[tuple[str, str]] = Counter()
    found = 0

    def note(problem: Problem) -> None:
        nonlocal found
        found += 1
        counts[problem.severity, problem.kind] += max(1, len(problem.frames))
        if len(problems) < MAX_LISTED:
            problems.append(problem)

    for problem in _foreign_folders(root):
        note(problem)
    frames = files = 0
    seen: Counter[str] = Counter()
    without: dict[str, list[str]] = {name: [] for name in MODALITIES}
    with progress("checking", len(folders), "recordings") as advance:
        for folder, result in map_in_order(audit_recording, folders, jobs):
            frames += result.frames
            files += result.files
            seen.update(result.modalities)
            for name in MODALITIES:
                if name not in result.modalities:
                    without[name].append(folder)
            for finding in result.findings:
                note(_located(finding, folder, root))
            advance(1)
    for name, places in without.items():
        if seen[name]:
            for folder in places:
                note(_missing_folder(name, folder, root, seen[name], len(folders)))
    return AuditReport(
        root=str(root),
        recordings=len(folders),
        frames=frames,
        files=files,
        modalities=tuple(name for name in MODALITIES if seen[name]),
        problems=tuple(problems),
        counts=dict(counts),
        unlisted=found - len(problems),
        seconds=time.monotonic() - start,
    )


def ranges(numbers: tuple[int, ...]) -> str:
    """``frames 3, 5 to 9``."""
    parts = [str(first) if first == last else f"{first} to {last}" for first, last in stretches(numbers)]
    shown = ", ".join(parts[:6]) + (f", ... ({len(numbers)} in all)" if len(parts) > 6 else "")
    return ("frame " if len(numbers) == 1 else "frames ") + shown


def _sub(folder: Path | str, letter: str) -> list[str]:
    return [path for _, path in numbered_folders(folder, letter)]


def _located(finding: Finding, folder: str, root: Path) -> Problem:
    path = os.path.relpath(f"{folder}/{finding.file}" if finding.file else folder, root)
    return Problem(
        finding.kind,
        finding.severity,
        path,
        finding.frames,
        finding.found,
        finding.expected,
        finding.consequence,
    )


def _missing_folder(name: str, folder: str, root: Path, having: int, total: int) -> Problem:
    return Problem(
        kind="missing sensor",
        severity="error",
        path=os.path.relpath(f"{folder}/{MODALITIES[name].folder}", root),
        frames=(),
        found="no such folder",
        expected=f"one folder per sensor; {having} of {total} recordings have {name}",
        consequence=f"{name} counts as missing in every frame of this recording",
    )


def _foreign_folders(root: Path) -> Iterator[Problem]:
    """Entries beside E01, S01 and A01 that are not of the layout, and folders without any recording."""
    for folder, letter in [
        (str(root), "E"),
        *((e, "S") for e in _sub(root, "E")),
        *((s, "A") for e in _sub(root, "E") for s in _sub(e, "S")),
    ]:
        known = {Path(path).name for path in _sub(folder, letter)}
        others = sorted(set(os.listdir(folder)) - known - _ROOT_FILES)  # noqa: PTH208 (names only)
        where = os.path.relpath(folder, root)
        if others:
            yield Problem(
                "foreign file",
                "note",
                where,
                (),
                f"also holds {', '.join(others[:5])}{', ...' if len(others) > 5 else ''}",
                f"folders named like {letter}01",
                "These are ignored",
            )
        if not known:
            yield Problem(
                "empty folder",
                "error",
                where,
                (),
                "holds no recording",
                f"folders named like {letter}01, each recording with {GROUND_TRUTH}",
                "It is skipped",
            )
