"""The section with a look at what was set aside, missed and falsely set aside."""

from __future__ import annotations

from pathlib import Path

from equipose.report.canvas import section
from equipose.report.markup import Html, note, number, sentence, tag
from equipose.report.study import sensor
from equipose.stream_benchmark.examples import Example, examples_path, read_examples
from equipose.stream_benchmark.page.picks import noisy_tables, recommended
from equipose.stream_benchmark.page.pictures import pictures
from equipose.stream_benchmark.study import Row, Study, Table

MOST_CAUGHT, MOST_WRONG = 6, 3


def examples_section(study: Study, out: Path) -> Html:
    """Pictures of one run: of the recommended preset if it has any."""
    title = "A look at what was set aside"
    found = _first(study, out)
    if found is None:
        return section(
            "examples", title, "", note("No run kept examples: nothing looked for planned noise, or none is finished.")
        )
    table, row, told, examples = found
    caught = [each for each in examples if each.outcome == "caught"][:MOST_CAUGHT]
    wrong = [each for each in examples if each.outcome != "caught"][:MOST_WRONG]
    rest = "" if wrong else note("Nothing was missed and nothing set aside wrongly, as far as examples were kept.")
    return section(
        "examples",
        title,
        f"Training samples of the last experience of one run: {row.label}, {table.noise.label}, {told}. Typical ones, "
        "not the best: of each kind of corruption the one with the middle p-value, sensors in turns.",
        tag(
            "ul",
            _key("bad", 2.0, "what the sensor or label says", "5 3"),
            _key("ink", 2.4, "consensus of what was kept"),
            _key("muted", 7.0, "truth: the true pose, or the sensor without the corruption"),
            class_="key",
        ),
        tag("div", *(_card(each) for each in (*caught, *wrong)), class_="examples"),
        rest,
    )


def _first(study: Study, out: Path) -> tuple[Table, Row, str, tuple[Example, ...]] | None:
    """The run to show: the recommended preset's, else any."""
    candidates = []
    for table in noisy_tables(study):
        best = recommended(study, table)
        candidates += [(row is not best, table, row) for row in table.finished if row.separation == "find"]
    for _, table, row in sorted(candidates, key=lambda each: each[0]):
        for (order, seed), record in row.runs.records.items():
            examples = read_examples(examples_path(out, Path(record.run).name))
            if examples:
                names = " \N{RIGHTWARDS ARROW} ".join(row.runs.errors[(order, seed)].names)
                return table, row, f"{names}, seed {seed}", examples
    return None


def _card(example: Example) -> Html:
    what = "Label" if example.sensor == "label" else sensor(example.sensor)
    verdict = {
        "caught": "\N{CHECK MARK} rightly set aside",
        "missed": "\N{MULTIPLICATION X} missed",
        "false alarm": "\N{MULTIPLICATION X} false alarm",
    }[example.outcome]
    corrupted = f"{example.kind.replace('_', ' ')}, severity {example.severity}" if example.kind else "not corrupt"
    p = f"; p\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{number(example.p, 3)}" if example.p is not None else ""
    panels = [
        tag("figure", picture, tag("figcaption", caption), class_="panel") for caption, picture in pictures(example)
    ]
    where = f"S{example.subject:02d}, A{example.action:02d}, frame {example.frame}"
    return tag(
        "div",
        tag("strong", f"{what}: {corrupted}"),
        tag("div", verdict, class_="verdict"),
        tag("div", *panels, class_="panels"),
        tag("p", f"{sentence(example.reason)}{p}."),
        tag("p", f"{example.experience}, {where}"),
        class_=f"example {'caught' if example.outcome == 'caught' else 'wrong'}",
    )


def _key(colour: str, width: float, told: str, dash: str | None = None) -> Html:
    opacity = "0.35" if colour == "muted" else None
    line = tag("path", d="M3 7H31", class_=colour, stroke_width=width, stroke_dasharray=dash, opacity=opacity)
    return tag("li", tag("svg", line, viewBox="0 0 34 14", aria_hidden="true"), told)
