"""Put the report of one or more runs together from its sections."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from equipose.errors import UsageError
from equipose.files import write_product
from equipose.report import appendix, sections, sensors
from equipose.report.canvas import Canvas
from equipose.report.colours import themes
from equipose.report.document import Document, assemble, asset, check_replaceable
from equipose.report.load import load_run
from equipose.report.scenes import scene_payload
from equipose.report.study import Study, build_study

GENERATOR = "equipose report"
_NAV = (
    ("overview", "Overview"),
    ("accuracy", "Accuracy"),
    ("subsets", "Subsets"),
    ("contributions", "Contributions"),
    ("failure", "Failures"),
    ("cost", "Cost"),
    ("scenes", "3D"),
    ("provenance", "Provenance"),
)


def write_report(runs: Sequence[Path], out: Path | None = None) -> Path:
    """Write the report of one or more runs.

    Args:
        runs: run folders with ``config.yaml`` and ``metrics.json``.
        out: the file, or a folder to put ``report.html`` in. Default: in the run folder for one run, in the folder
            that holds the first run for several.

    Returns:
        The file written.

    Raises:
        UsageError: no run was named, one was named twice, or the file to write is there and is no report.
        DataError: a run folder cannot be read, or the place cannot be written.
    """
    if not runs:
        raise UsageError("no run was named; expected one or more run folders: equipose report RUN [RUN ...]")
    resolved = [run.resolve() for run in runs]
    if len(set(resolved)) < len(resolved):
        raise UsageError("a run folder was named twice; name each run once: equipose report RUN [RUN ...]")
    target = _target(runs, out)
    write_product(target, render(build_study([load_run(run) for run in runs])))
    return target


def render(study: Study) -> str:
    """The whole page as text."""
    canvas = Canvas()
    clips = scene_payload(study)
    return assemble(
        Document(
            generator=GENERATOR,
            title="equipose report: " + ", ".join(group.label for group in study.groups[:4]),
            heading=_heading(study),
            navigation=_NAV,
            sections=(
                sections.overview(study),
                sections.accuracy_section(study, canvas),
                sensors.subsets_section(study, canvas),
                sensors.contributions_section(study, canvas),
                sections.failure_section(study, canvas),
                appendix.cost_section(study, canvas),
                appendix.scene_section(len(clips["clips"]), clips["left_out"]),
                appendix.provenance_section(study),
            ),
            colours=themes(study.modalities, study.strategies),
            payload={"charts": canvas.payload(), "scene": clips},
            scripts=(asset("scene.js"),),
        )
    )


def _heading(study: Study) -> str:
    if len(study.groups) == 1:
        return f"3D human pose: {study.groups[0].label}"
    if len(study.groups) <= 3:
        return "3D human pose: " + " and ".join(group.label for group in study.groups)
    return f"3D human pose: {len(study.groups)} methods, {len(study.series)} runs"


def _target(runs: Sequence[Path], out: Path | None) -> Path:
    target = out if out is not None else (runs[0] if len(runs) == 1 else runs[0].resolve().parent)
    if target.is_dir() or (out is None and not target.exists()):
        target = target / "report.html"
    check_replaceable(target, GENERATOR)
    return target
