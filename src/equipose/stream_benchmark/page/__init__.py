"""Put ``continual.html`` together: one offline file with the look of the other pages."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from equipose.files import write_product
from equipose.report.canvas import Canvas
from equipose.report.colours import themes
from equipose.report.document import Document, assemble, check_replaceable
from equipose.stream_benchmark.page.appendix import cost_section, provenance_section
from equipose.stream_benchmark.page.examples import examples_section
from equipose.stream_benchmark.page.methods import methods_section, overview
from equipose.stream_benchmark.page.noise import noise_section
from equipose.stream_benchmark.page.over_time import stream_section
from equipose.stream_benchmark.page.picks import spoken_of
from equipose.stream_benchmark.page.sensors import sensors_section
from equipose.stream_benchmark.page.strength import strength_section
from equipose.stream_benchmark.study import Study

GENERATOR = "equipose continual"
_NAVIGATION = (
    ("overview", "Findings"),
    ("methods", "Methods"),
    ("stream", "Along the stream"),
    ("sensors", "Sensors"),
    ("noise", "Noise"),
    ("examples", "Examples"),
    ("strength", "Strength"),
    ("cost", "Cost"),
    ("provenance", "Provenance"),
)


def write_page(path: Path, study: Study) -> Path:
    """Write the page.

    Args:
        path: where, in the benchmark's folder; a file that is there may only be an earlier page.
        study: what it shows.

    Raises:
        UsageError: the file is something else.
        DataError: it cannot be written, or a file with examples is damaged.
    """
    check_replaceable(path, GENERATOR)
    write_product(path, render(study, path.parent))
    return path


def render(study: Study, out: Path) -> str:
    """The whole page as text; ``out`` is the benchmark's folder, where the examples are."""
    canvas = Canvas()
    labels = _labels(study)
    return assemble(
        Document(
            generator=GENERATOR,
            title=f"equipose: {study.recipe.title}",
            heading=study.recipe.title,
            navigation=_NAVIGATION,
            sections=(
                overview(study),
                methods_section(study, canvas),
                stream_section(study, canvas, labels),
                sensors_section(study),
                noise_section(study),
                examples_section(study, out),
                strength_section(study, canvas, labels),
                cost_section(study),
                provenance_section(study, out),
            ),
            colours=themes((), labels),
            payload={"charts": canvas.payload()},
            scripts=(_own("equipose.stream_benchmark.page", "choices.js"),),
            style=_own("equipose.benchmark", "benchmark.css") + _own("equipose.stream_benchmark.page", "continual.css"),
        )
    )


def _labels(study: Study) -> tuple[str, ...]:
    """All rows of the page; those that the text speaks of come first and get colours of their own."""
    spoken = [row for table in study.tables for row in (spoken_of(study, table)[0], table.reference) if row is not None]
    return tuple(
        dict.fromkeys([row.label for row in (*spoken, *(row for table in study.tables for row in table.rows))])
    )


def _own(package: str, name: str) -> str:
    return (files(package) / name).read_text(encoding="utf-8")
