"""HTML from plain values: everything that comes from a file passes through ``text`` or ``embed``."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"


class Html(str):
    """A string that is HTML already. Anything else is escaped before it enters the page."""

    __slots__ = ()


def text(value: object) -> Html:
    """A value as HTML text, escaped unless it is ``Html``."""
    return value if isinstance(value, Html) else Html(html.escape(str(value), quote=True))


def join(parts: Iterable[object], separator: str = "") -> Html:
    """Parts escaped and joined."""
    return Html(separator.join(text(part) for part in parts))


def tag(name: str, *content: object, **attributes: object) -> Html:
    """An element; ``class_`` gives ``class``, underscores become hyphens, attributes that are None are left out."""
    shown = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value), quote=True)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{shown}>{join(content)}</{name}>")


def table(
    head: Sequence[object], rows: Iterable[Sequence[object]], caption: object = "", numeric_from: int = 1
) -> Html:
    """A table in a box that scrolls sideways; the first cell of a row is its heading."""
    header = tag(
        "tr",
        *(tag("th", cell, scope="col", class_="n" if i >= numeric_from else None) for i, cell in enumerate(head)),
    )
    body = [
        tag(
            "tr",
            tag("th", row[0], scope="row"),
            *(
                cell
                if isinstance(cell, Html) and cell.startswith("<td")
                else tag("td", cell, class_="n" if i >= numeric_from else None)
                for i, cell in enumerate(row[1:], 1)
            ),
        )
        for row in rows
    ]
    title = tag("caption", caption) if caption else ""
    return tag("div", tag("table", title, tag("thead", header), tag("tbody", *body)), class_="scroll", tabindex=0)


def bullets(items: Iterable[object], class_: str | None = None) -> Html:
    """An unordered list."""
    return tag("ul", *(tag("li", item) for item in items), class_=class_)


def details(summary: object, *content: object, opened: bool = False) -> Html:
    """A part that opens on a click."""
    return tag("details", tag("summary", summary), *content, open="open" if opened else None)


def note(*content: object) -> Html:
    """A remark about something missing or to be read with care."""
    return tag("p", *content, class_="note")


def code(value: object) -> Html:
    """A command or a file name."""
    return tag("code", value)


def embed(value: Any) -> Html:
    """JSON for a script element: no ``<``, ``>``, ``&`` and no line separators, so that nothing can end the element."""
    plain = json.dumps(_finite(value), allow_nan=False, separators=(",", ":"))
    return Html(plain.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _finite(value: Any) -> Any:
    """The value with NaN and infinity as None, which JSON has no word for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value


def number(value: float | None, digits: int = 1, unit: str = "") -> str:
    """``51.2 mm``; a dash for None."""
    if value is None or not math.isfinite(value):
        return "\N{EN DASH}"
    shown = f"{value:,.{digits}f}"
    if float(shown.replace(",", "")) == 0:
        shown = shown.removeprefix("-")
    return shown.replace("-", MINUS).replace(",", "\N{THIN SPACE}") + (f"\N{NO-BREAK SPACE}{unit}" if unit else "")


def change(value: float | None, digits: int = 1, unit: str = "") -> str:
    """The same with a sign."""
    shown = number(value, digits, unit)
    return f"+{shown}" if value is not None and shown[:1].isdigit() and float(f"{value:.{digits}f}") > 0 else shown


def interval(ends: tuple[float, float] | None, digits: int = 1, signed: bool = False) -> str:
    """``[48.9, 53.6]``; empty without one."""
    if ends is None:
        return ""
    shown = change if signed else number
    return f"[{shown(ends[0], digits)},\N{NO-BREAK SPACE}{shown(ends[1], digits)}]"


def percent(value: float | None, digits: int = 0) -> str:
    """``41 %`` from 0.41."""
    return number(None if value is None else 100.0 * value, digits, "%")


def duration(seconds: float | None) -> str:
    """``4.2 s``, ``12 min 30 s`` or ``3 h 05 min``."""
    if seconds is None or not math.isfinite(seconds):
        return "\N{EN DASH}"
    if seconds < 90:
        return (
            f"{seconds:.1f}\N{NO-BREAK SPACE}s"
            if seconds >= 0.1 or seconds == 0
            else f"{1000 * seconds:.2g}\N{NO-BREAK SPACE}ms"
        )
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 90:
        return f"{minutes}\N{NO-BREAK SPACE}min {rest:02d}\N{NO-BREAK SPACE}s"
    return f"{minutes // 60}\N{NO-BREAK SPACE}h {minutes % 60:02d}\N{NO-BREAK SPACE}min"


def sentence(words: str) -> str:
    """With a capital letter first."""
    return words[:1].upper() + words[1:]


def listing(names: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else "none"
