"""Put ``benchmark.html`` together: one offline file with the look of the other pages."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

from equipose.benchmark.appendix import contributions_section, provenance_section, references_section, tuning_section
from equipose.benchmark.sections import additions_section, overview, subsets_section
from equipose.benchmark.study import Study
from equipose.files import write_product
from equipose.modality import MODALITIES
from equipose.report.canvas import Canvas
from equipose.report.colours import themes
from equipose.report.document import Document, assemble, asset, check_replaceable

GENERATOR = "equipose benchmark"
_NAVIGATION = (
    ("overview", "Findings"),
    ("subsets", "Subsets"),
    ("additions", "Adding a sensor"),
    ("fewer", "Fewer sensors"),
    ("contributions", "Contributions"),
    ("tuning", "Tuning"),
    ("provenance", "Provenance"),
)


def write_page(path: Path, study: Study) -> Path:
    """Write the page.

    Args:
        path: where; a file that is there may only be an earlier page.
        study: what it shows.

    Raises:
        UsageError: the file is something else.
        DataError: it cannot be written.
    """
    check_replaceable(path, GENERATOR)
    write_product(path, render(study, path.parent))
    return path


def render(study: Study, folder: Path) -> str:
    """The whole page as text."""
    canvas = Canvas()
    found = {name for each in study.tables for name in each.sensors}
    modalities = tuple([name for name in MODALITIES if name in found] + sorted(found - set(MODALITIES)))
    return assemble(
        Document(
            generator=GENERATOR,
            title=f"equipose: {study.recipe.title}",
            heading=study.recipe.title,
            navigation=_NAVIGATION,
            sections=(
                overview(study, canvas),
                subsets_section(study),
                additions_section(study),
                references_section(study),
                contributions_section(study, canvas, modalities),
                tuning_section(study),
                provenance_section(study, folder.resolve().name, data_name(folder)),
            ),
            colours=themes(modalities, ()),
            payload={"charts": canvas.payload()},
            scripts=(asset("start_charts.js"),),
            style=(files("equipose.benchmark") / "benchmark.css").read_text(encoding="utf-8"),
        )
    )


def data_name(folder: Path) -> str:
    """Name of the data folder, without where it lies."""
    note = folder / "data.json"
    if not note.is_file():
        return "DATA"
    return Path(json.loads(note.read_text(encoding="utf-8")).get("data", "DATA")).name
