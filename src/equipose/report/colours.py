"""Colours by role, in a light and a dark theme. The charts and the style sheet take them from here.

A chart names a role such as ``@m0`` (first modality); the page replaces it by the theme's colour. The data colours
are those of Okabe and Ito, which stay apart for colour-blind readers, adjusted in lightness per theme. Colour is
never the only sign: symbols, dashes or words say the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

_LIGHT = {
    "bg": "#f5f6f8",
    "card": "#ffffff",
    "ink": "#1b2129",
    "muted": "#566172",
    "grid": "#e3e7ec",
    "line": "#c5ccd6",
    "accent": "#0b5cad",
    "bad": "#b3261e",
    "badbg": "#fdecea",
    "good": "#1b6e3c",
    "goodbg": "#e6f4ea",
    "warn": "#8a5300",
    "warnbg": "#fff4dd",
    "shade": "rgba(120,130,150,0.16)",
    "truth": "#1b2129",
}
_DARK = {
    "bg": "#0f1318",
    "card": "#181d24",
    "ink": "#e8ebf0",
    "muted": "#a3adbb",
    "grid": "#2a313b",
    "line": "#424c59",
    "accent": "#7ab8ff",
    "bad": "#ff8a80",
    "badbg": "#3a1b1a",
    "good": "#7ddb9b",
    "goodbg": "#14301f",
    "warn": "#ffcf70",
    "warnbg": "#362a10",
    "shade": "rgba(150,165,190,0.18)",
    "truth": "#f2f4f7",
}

_MODALITIES = {  # name: (light, dark)
    "rgb": ("#0072b2", "#4aa8e0"),
    "lidar": ("#c77700", "#f0a830"),
    "mmwave": ("#008a66", "#2fc79b"),
    "wifi": ("#b0488a", "#e58fc2"),
    "depth": ("#6b5b95", "#b3a2e0"),
    "infra1": ("#8c6d1f", "#d8bd5a"),
    "infra2": ("#3a7f8c", "#7fd0de"),
}
_STRATEGIES = {"joint": ("#5c6675", "#a8b2c0"), "awc": ("#cc4400", "#ff8047")}
_SPARE = (
    ("#3d5a80", "#8fb0dd"),
    ("#7a4f9e", "#c39be8"),
    ("#5d7a1f", "#b2d063"),
    ("#9c3d54", "#f08aa0"),
    ("#1f7a7a", "#6fd3d3"),
    ("#7d5a3c", "#d3a988"),
)

_SYMBOLS = {
    "rgb": "circle",
    "lidar": "square",
    "mmwave": "diamond",
    "wifi": "triangle-up",
    "depth": "cross",
    "infra1": "triangle-left",
    "infra2": "triangle-right",
}
_SPARE_SYMBOLS = ("star", "hexagon", "pentagon", "x", "hourglass", "bowtie")


def themes(modalities: Sequence[str], strategies: Sequence[str]) -> dict[str, dict[str, str]]:
    """Theme -> role -> colour; the modalities are ``m0``, ``m1``, ... and the strategies ``s0``, ``s1``, ..."""
    light, dark = dict(_LIGHT), dict(_DARK)
    for prefix, names, fixed in (("m", modalities, _MODALITIES), ("s", strategies, _STRATEGIES)):
        for i, pair in enumerate(_assigned(names, fixed)):
            light[f"{prefix}{i}"], dark[f"{prefix}{i}"] = pair
    return {"light": light, "dark": dark}


def modality_symbol(name: str, modalities: Sequence[str]) -> str:
    """Plotly's name of a modality's symbol."""
    others = [each for each in modalities if each not in _SYMBOLS]
    return _SYMBOLS.get(name) or _SPARE_SYMBOLS[others.index(name) % len(_SPARE_SYMBOLS)]


def style_variables(theme: Mapping[str, str]) -> str:
    """The theme as CSS custom properties."""
    return "".join(f"--{role}:{colour};" for role, colour in theme.items())


def _assigned(names: Iterable[str], fixed: Mapping[str, tuple[str, str]]) -> list[tuple[str, str]]:
    """Each name's pair; names without one of their own, and repeated names, take the spare ones in turn."""
    pairs: list[tuple[str, str]] = []
    spare = 0
    for name in names:
        if name in fixed and fixed[name] not in pairs:
            pairs.append(fixed[name])
        else:
            pairs.append(_SPARE[spare % len(_SPARE)])
            spare += 1
    return pairs
