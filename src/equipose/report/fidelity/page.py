"""The fidelity page and its JSON file."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from equipose.errors import UsageError
from equipose.files import write_product
from equipose.report.canvas import Canvas, section
from equipose.report.colours import themes
from equipose.report.document import Document, assemble, asset, check_replaceable
from equipose.report.fidelity.charts import ratio_text, ratios
from equipose.report.fidelity.lidar import lidar_chapter
from equipose.report.fidelity.motion import motion_chapter
from equipose.report.fidelity.numbers import METHOD, as_json, command
from equipose.report.fidelity.radar import radar_chapter
from equipose.report.fidelity.rows import Chapter, Row
from equipose.report.fidelity.source import Simulation, open_simulation, real_folder
from equipose.report.fidelity.wifi import wifi_chapter
from equipose.report.markup import Html, bullets, code, join, listing, note, number, table, tag

GENERATOR = "equipose simulate report"

_CHAPTERS: tuple[tuple[str, Callable[[Simulation, Path], Chapter]], ...] = (
    ("wifi", wifi_chapter),
    ("mmwave", radar_chapter),
    ("lidar", lidar_chapter),
)

_SOURCES = (
    ("MM-Fi", "mean and deviation of CSI amplitude, rooms E01 to E03", "Yang et al., NeurIPS 2023; CC BY-NC 4.0"),
    ("Atheros CSI", "401 packets, 56 tones, 3 x 2 antennas", "csiread; MIT"),
    ("MARS", "radar points and Kinect joints, subjects 1 and 3", "An and Ogras, ACM TECS 20(5s):72, 2021; MIT"),
    ("Ouster", "one sweep of an OS1-32", "Ouster SDK; BSD-3-Clause"),
    ("CMU motion capture", "23 clips of three actors", "mocap.cs.cmu.edu, NSF EIA-0196217"),
)

_MOST_LISTED = 3
"""Real parts whose values are shown one by one; of more, the smallest and the largest."""


def write_fidelity(root: Path, real: Path | None = None, out: Path | None = None, data: Path | None = None) -> Path:
    """Compare a simulated data set with real recordings and write the page.

    Args:
        root: a folder written by ``equipose simulate``.
        real: the real recordings; by default the folder that EQUIPOSE_REAL_DATA names.
        out: the page, or a folder for ``fidelity.html``. Default: ``fidelity.html`` here.
        data: the same numbers as JSON.

    Returns:
        The page's path.

    Raises:
        UsageError: no real folder is known, or the page's place holds something else.
        DataError: a folder is missing or is not what it should be, or a file cannot be written.
    """
    folder = real_folder(real)
    simulation = open_simulation(root)
    target = Path("fidelity.html") if out is None else out
    target = target / "fidelity.html" if target.is_dir() else target
    check_replaceable(target, GENERATOR)
    if data is not None and data.is_dir():
        raise UsageError(f"{data} is a folder; expected a file for the numbers: --json FILE")
    chapters = compare_all(simulation, folder)
    files = {target: render(simulation, chapters)}
    if data is not None:
        files[data] = json.dumps(as_json(simulation, chapters), indent=1, ensure_ascii=False) + "\n"
    for path, content in files.items():
        write_product(path, content)
    return target


def compare_all(simulation: Simulation, real: Path) -> list[Chapter]:
    """A chapter per simulated sensor that has a real counterpart, and one on motion."""
    chapters = [make(simulation, real) for name, make in _CHAPTERS if name in simulation.modalities]
    return [*chapters, motion_chapter(simulation, real)]


def render(simulation: Simulation, chapters: Sequence[Chapter]) -> str:
    """The whole page as text."""
    canvas = Canvas()
    parts = [_overview(simulation, chapters, canvas), *(_chapter(each, canvas) for each in chapters)]
    parts += [_method(), _sources(simulation)]
    navigation = [("overview", "All statistics"), *((each.key, each.title) for each in chapters)]
    return assemble(
        Document(
            generator=GENERATOR,
            title="equipose: simulated against real",
            heading="The simulator against real sensors and real people",
            navigation=[*navigation, ("method", "Method"), ("sources", "Sources")],
            sections=parts,
            colours=themes(("rgb", "lidar"), ()),
            payload={"charts": canvas.payload()},
            scripts=(asset("start_charts.js"),),
            style=asset("fidelity.css"),
        )
    )


def _overview(simulation: Simulation, chapters: Sequence[Chapter], canvas: Canvas) -> Html:
    rows = [row for chapter in chapters for row in chapter.rows if row.judged]
    context = sum(not row.judged for chapter in chapters for row in chapter.rows)
    within = sum(row.within for row in rows)
    missing = [name for name, _ in _CHAPTERS if name not in simulation.modalities]
    named = [(f"{_sensor(chapter)}: {row.name}", row) for chapter in chapters for row in chapter.rows if row.judged]
    ordered = sorted(named, key=lambda pair: -pair[1].ratio)
    return section(
        "overview",
        "All statistics",
        "",
        tag(
            "p",
            f"{within} of {len(rows)} statistics of the simulated data lie as near to real data as real rooms, people "
            f"and captures lie to each other; {len(rows) - within} lie farther off."
            + (f" {context} more cannot be judged and are shown as context." if context else ""),
            class_="headline",
        ),
        tag("div", *(_tile(chapter) for chapter in chapters), class_="tiles"),
        _simulated(simulation),
        note(f"Not simulated, so not compared: {listing(missing)}.") if missing else "",
        _verdicts(chapters),
        canvas.figure(
            "How far outside, how far inside",
            ratios([row for _, row in ordered], [name for name, _ in ordered]),
            "Sorted; every statistic in units of its own tolerance.",
        ),
    )


def _simulated(simulation: Simulation) -> Html:
    part = "" if len(simulation.recordings) == simulation.total else f" out of {simulation.total}, chosen at random"
    return tag(
        "p",
        "Simulated data: ",
        code(command(simulation)),
        f"; read here: {simulation.num_frames} frames in {len(simulation.recordings)} recordings{part}.",
        class_="remark",
    )


def _sensor(chapter: Chapter) -> str:
    return {"wifi": "WiFi", "mmwave": "Radar", "lidar": "LiDAR", "motion": "Motion"}[chapter.key]


def _tile(chapter: Chapter) -> Html:
    judged = [row for row in chapter.rows if row.judged]
    within = sum(row.within for row in judged)
    worst = max(judged, key=lambda row: row.ratio)
    return tag(
        "a",
        tag("span", chapter.title, class_="question"),
        tag("span", f"{within} of {len(judged)} within", class_="answer"),
        tag("span", f"Farthest: {worst.name}, {ratio_text(worst.ratio)} times the tolerance", class_="line"),
        class_="tile",
        href=f"#{chapter.key}",
    )


def _verdicts(chapters: Sequence[Chapter]) -> Html:
    """The one table with every distance, tolerance, reason and verdict."""
    head = (
        "statistic",
        "simulated",
        "real",
        "distance",
        "tolerance",
        "ratio",
        "verdict",
        "where the tolerance is from",
    )
    body = []
    for chapter in chapters:
        judged = [row for row in chapter.rows if row.judged]
        title = f"{chapter.title}: {sum(row.within for row in judged)} of {len(judged)} within"
        body.append(tag("tr", tag("th", title, colspan=len(head), scope="colgroup"), class_="group"))
        body += [_verdict_row(row) for row in chapter.rows]
    header = tag(
        "tr", *(tag("th", name, scope="col", class_="n" if 1 <= i <= 5 else None) for i, name in enumerate(head))
    )
    return tag(
        "div",
        tag(
            "table",
            tag(
                "caption",
                "Real values: one per part, in the order that the reason names, or the smallest and the largest; "
                "distance and tolerance in the unit of the statistic; ratio: distance over tolerance.",
            ),
            tag("thead", header),
            tag("tbody", *body),
        ),
        class_="scroll verdicts",
        tabindex=0,
    )


def _verdict_row(row: Row) -> Html:
    unit = f"{row.unit}, " if row.unit else ""
    measure = row.measure if row.measure != "difference" else "difference of two numbers"
    real = [number(value, row.digits) for value in row.real]
    if len(real) > _MOST_LISTED:
        low, high = min(row.real), max(row.real)
        ends = [number(value, row.digits) for value in (low, high)]
        real = [ends[0]] if ends[0] == ends[1] else [f"{ends[0]} to {ends[1]}"]
    verdict = ("within" if row.within else "outside") if row.judged else "context"
    return tag(
        "tr",
        tag("th", row.name, tag("small", f"{unit}{row.summary}; {measure}"), scope="row"),
        tag("td", number(row.simulated, row.digits), class_="n"),
        tag("td", join(real, Html("<br>")), class_="n"),
        tag("td", number(row.distance, row.digits), class_="n"),
        tag("td", number(row.tolerance, row.digits), class_="n"),
        tag("td", ratio_text(row.ratio).replace("more than ", ">") if row.judged else "", class_="n"),
        tag("td", verdict, class_=verdict),
        tag("td", row.context or row.reason, tag("em", row.caution) if row.caution else "", class_="why"),
    )


def _chapter(chapter: Chapter, canvas: Canvas) -> Html:
    figures = [canvas.figure(figure.title, figure.chart, figure.remark) for figure in chapter.figures]
    return section(chapter.key, chapter.title, chapter.lead, tag("div", *figures, class_="pair"))


def _method() -> Html:
    return section("method", "Method", "One rule for every row.", bullets(METHOD))


def _sources(simulation: Simulation) -> Html:
    again = "\n".join((command(simulation), "equipose simulate report DATA --real REAL_DATA --out fidelity.html"))
    return section(
        "sources",
        "Sources",
        "The real recordings are not part of this project and are not on this page; only statistics of them are.",
        table(("data", "what is used", "source and licence"), _SOURCES, numeric_from=9),
        tag("h3", "To make this page"),
        tag("pre", again),
    )
