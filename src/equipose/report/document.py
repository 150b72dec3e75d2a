"""The shell of every page: one HTML file that opens from a folder, without a network.

Scripts are allowed by their hash and every other source is forbidden (Content-Security-Policy), so that nothing from
a file that is shown can run or load anything.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any

from equipose.errors import UsageError
from equipose.report.colours import style_variables
from equipose.report.markup import Html, embed, tag


@dataclass(frozen=True)
class Document:
    """What a page is made of.

    Attributes:
        generator: the command that makes such pages; marks the file as one that may be replaced.
        title: of the browser's tab.
        heading: over the page.
        navigation: anchor and name of every section.
        sections: the page's parts.
        colours: theme -> role -> colour.
        payload: what the scripts need besides the colours; ``charts`` must be there.
        scripts: run after plotly and ``page.js``; one of them calls ``equipose.start()``.
        style: added to the common style sheet.
    """

    generator: str
    title: str
    heading: str
    navigation: Sequence[tuple[str, str]]
    sections: Sequence[Html]
    colours: Mapping[str, Mapping[str, str]]
    payload: Mapping[str, Any]
    scripts: Sequence[str]
    style: str = ""


def assemble(document: Document) -> str:
    """The whole page as text."""
    from plotly.offline import get_plotlyjs

    scripts = [asset("start.js"), get_plotlyjs(), asset("page.js"), *document.scripts]
    payload = embed({"themes": document.colours, **document.payload})
    style = (
        f":root{{{style_variables(document.colours['light'])}}}"
        f":root[data-theme=dark]{{{style_variables(document.colours['dark'])}}}" + asset("page.css") + document.style
    )
    policy = (
        f"default-src 'none'; script-src {' '.join(_hash(script) for script in scripts)}; "
        "style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    navigation = tag(
        "nav",
        *(tag("a", name, href=f"#{target}") for target, name in document.navigation),
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
            f'<meta name="generator" content="{document.generator}">',
            str(tag("title", document.title)),
            f"<style>{style}</style>",
            f"<script>{scripts[0]}</script>",
            "</head>",
            "<body>",
            str(tag("header", tag("h1", document.heading), navigation)),
            str(
                tag(
                    "main",
                    tag("noscript", tag("p", "The charts need JavaScript; the tables do not.", class_="note")),
                    *document.sections,
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


def check_replaceable(target: Path, generator: str) -> None:
    """A file that is there may be replaced only if the same command made it.

    Raises:
        UsageError: it is something else.
    """
    if target.is_file():
        with target.open("rb") as stream:
            if f'content="{generator}"'.encode() not in stream.read(4096):
                raise UsageError(f"{target} exists and is no {generator}; choose another file with --out FILE")


def asset(name: str) -> str:
    """A script or style sheet of the package."""
    return (files("equipose.report") / "assets" / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode('ascii')}'"


def _version() -> str:
    try:
        return version("equipose")
    except PackageNotFoundError:
        return "(not installed)"
