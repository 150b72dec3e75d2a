"""Put the page together: one HTML file that opens from a folder, without a network.

Scripts are allowed by their hash and every other source is forbidden (Content-Security-Policy), so that nothing from
a run folder can run or load anything.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path

from equipose.errors import DataError, UsageError
from equipose.files import write_text
from equipose.report import appendix, sections, sensors
from equipose.report.canvas import Canvas
from equipose.report.colours import style_variables, themes
from equipose.report.load import load_run
from equipose.report.markup import embed, tag
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
    page = render(build_study([load_run(run) for run in runs]))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_text(target, page)
    except OSError as error:
        raise DataError(f"cannot write {target}: {error.strerror}; choose another place with --out FILE") from None
    return target


def render(study: Study) -> str:
    """The whole page as text."""
    from plotly.offline import get_plotlyjs

    canvas = Canvas()
    clips = scene_payload(study)
    body = (
        sections.overview(study),
        sections.accuracy_section(study, canvas),
        sensors.subsets_section(study, canvas),
        sensors.contributions_section(study, canvas),
        sections.failure_section(study, canvas),
        appendix.cost_section(study, canvas),
        appendix.scene_section(len(clips["clips"]), clips["left_out"]),
        appendix.provenance_section(study),
    )
    colours = themes(study.modalities, study.strategies)
    scripts = [_asset("start.js"), get_plotlyjs(), _asset("page.js"), _asset("scene.js")]
    payload = embed({"themes": colours, "charts": canvas.payload(), "scene": clips})
    style = (
        f":root{{{style_variables(colours['light'])}}}"
        f":root[data-theme=dark]{{{style_variables(colours['dark'])}}}" + _asset("page.css")
    )
    policy = (
        f"default-src 'none'; script-src {' '.join(_hash(script) for script in scripts)}; "
        "style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    title = "equipose report: " + ", ".join(group.label for group in study.groups[:4])
    navigation = tag(
        "nav",
        *(tag("a", name, href=f"#{target}") for target, name in _NAV),
        tag("button", "Dark", type="button", id="theme", aria_label="Switch between light and dark"),
        aria_label="Sections",
    )
    return "\n".join(
        (
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta name="generator" content="{GENERATOR}">',
            str(tag("title", title)),
            f"<style>{style}</style>",
            f"<script>{scripts[0]}</script>",
            "</head>",
            "<body>",
            str(tag("header", tag("h1", _heading(study)), navigation)),
            str(
                tag(
                    "main",
                    tag("noscript", tag("p", "The charts need JavaScript; the tables do not.", class_="note")),
                    *body,
                )
            ),
            str(tag("footer", f"Made by equipose {_version()}. One file; it loads nothing from anywhere.")),
            f'<script type="application/json" id="payload">{payload}</script>',
            *(f"<script>{script}</script>" for script in scripts[1:]),
            "</body>",
            "</html>",
            "",
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
    if target.is_file():
        with target.open("rb") as stream:
            if GENERATOR.encode() not in stream.read(4096):
                raise UsageError(f"{target} exists and is no equipose report; choose another file with --out FILE")
    return target


def _asset(name: str) -> str:
    return (files("equipose.report") / "assets" / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode('ascii')}'"


def _version() -> str:
    try:
        return version("equipose")
    except PackageNotFoundError:
        return "(not installed)"
