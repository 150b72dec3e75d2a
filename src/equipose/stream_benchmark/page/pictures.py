"""Small static pictures of one example: what the sensor gave, and the pose that it says beside the consensus."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from equipose.modality import MODALITIES
from equipose.report.markup import Html, tag
from equipose.skeleton import H36M17, SKELETONS
from equipose.stream_benchmark.examples import Example

SIZE = 200
_EDGE = 10.0
MOST_POINTS = 300
Points = Float[ndarray, "point 2"]


def pictures(example: Example) -> tuple[tuple[str, Html], ...]:
    """Caption and picture of each panel: at most two."""
    panels = [("poses, from the front", poses(example))]
    seen = recorded(example)
    return ((f"{_what(example)}", seen), *panels) if seen else tuple(panels)


def poses(example: Example) -> Html:
    """The consensus and the doubted pose, front view: x to the right, y down, equal scale."""
    bones = SKELETONS[example.skeleton].bones if example.skeleton in SKELETONS else ()
    doubted = example.label if example.sensor == "label" else example.alone
    shapes = ((example.truth, "muted", 7.0), (example.consensus, "ink", 2.4), (doubted, "bad", 2.0))
    place = _Frame(np.concatenate([_finite(pose[:, :2]) for pose, _, _ in shapes]))
    drawn = [
        _lines(place.at(pose[:, :2]), bones, colour, width, "5 3" if colour == "bad" else None)
        for pose, colour, width in shapes
        if np.isfinite(pose).all()
    ]
    told = "The pose told by this sensor alone" if example.sensor != "label" else "The label"
    return _svg(drawn, f"{told}, dashed, beside the consensus of the others and the truth.")


def recorded(example: Example) -> Html:
    """What the sensor gave, over what it would have given without the corruption; nothing for labels."""
    kind = MODALITIES[example.sensor].kind if example.sensor in MODALITIES else ""
    if kind == "cloud":
        return _cloud(example)
    if kind == "joints2d" and len(example.seen):
        return _keypoints(example)
    if kind == "csi" and example.seen.size:
        return _amplitudes(example)
    return Html("")


class _Frame:
    """Fits points into the picture with one scale for both directions."""

    def __init__(self, points: Points) -> None:
        if not len(points):
            points = np.zeros((1, 2))
        low, high = np.quantile(points, 0.01, 0), np.quantile(points, 0.99, 0)
        self.middle = (low + high) / 2
        self.scale = (SIZE - 4 * _EDGE) / max(float((high - low).max()), 1e-6)

    def at(self, points: Points) -> Points:
        """Pixels."""
        return (points - self.middle) * self.scale + SIZE / 2


def _cloud(example: Example) -> Html:
    seen, clean = (_finite(each[:, :2]) for each in (example.seen, example.clean))
    place = _Frame(np.concatenate([clean, example.consensus[:, :2]]) if len(clean) else example.consensus[:, :2])
    size = 3.0 if len(clean) > 60 else 5.0
    drawn = [
        _lines(place.at(example.consensus[:, :2]), _bones(example), "ink", 1.6),
        _dots(place.at(clean), "muted", size + 1.5),
        _dots(place.at(seen), "bad", size),
    ]
    return _svg(drawn, f"{len(seen)} points, and {len(clean)} without the corruption, from the front.")


def _keypoints(example: Example) -> Html:
    there = example.seen.any(1) & np.isfinite(example.seen).all(1)
    place = _Frame(np.concatenate([_finite(example.clean), example.seen[there]]))
    whole = [pair for pair in H36M17.bones if max(pair) < len(example.clean)]
    bones = [pair for pair in whole if there[list(pair)].all()]
    drawn = [
        _lines(place.at(example.clean), whole, "muted", 7.0),
        _lines(place.at(example.seen), bones, "bad", 2.0, "5 3"),
        _dots(place.at(example.seen[there]), "bad", 5.0),
    ]
    return _svg(drawn, "Keypoints in the picture, and those without the corruption.")


def _amplitudes(example: Example) -> Html:
    """Amplitude over the tones, one line per receiver."""
    both = [np.where(np.isfinite(each), each, np.nan) for each in (example.clean, example.seen)]
    finite = np.concatenate([each[np.isfinite(each)].ravel() for each in both])
    if not len(finite):
        return Html("")
    low, high = float(finite.min()), float(finite.max())
    drawn = []
    for values, colour, width in ((both[0], "muted", 4.5), (both[1], "bad", 1.3)):
        across = np.linspace(_EDGE, SIZE - _EDGE, values.shape[1])
        for receiver in values:
            up = SIZE - _EDGE - (receiver - low) / max(high - low, 1e-6) * (SIZE - 2 * _EDGE)
            points = np.stack([across, up], 1)[np.isfinite(up)]
            drawn.append(_path("M" + "L".join(_pair(point) for point in points), colour, width) if len(points) else "")
    return _svg(drawn, f"Amplitude over the tones, {low:.0f} to {high:.0f} dB, a line per receiver.")


def _what(example: Example) -> str:
    kind = MODALITIES[example.sensor].kind
    return {
        "cloud": f"{len(example.seen)} points, from the front",
        "joints2d": "keypoints in the picture",
        "csi": "amplitude over tones, a line per receiver",
    }.get(kind, "recorded")


def _bones(example: Example) -> Sequence[tuple[int, int]]:
    return SKELETONS[example.skeleton].bones if example.skeleton in SKELETONS else ()


def _lines(
    points: Points, bones: Sequence[tuple[int, int]], colour: str, width: float, dash: str | None = None
) -> Html:
    told = "".join(f"M{_pair(points[a])}L{_pair(points[b])}" for a, b in bones if np.isfinite(points[[a, b]]).all())
    return _path(told, colour, width, dash) if told else Html("")


def _dots(points: Points, colour: str, width: float) -> Html:
    """Points as strokes of no length with round ends."""
    kept = points[:: max(1, -(-len(points) // MOST_POINTS))]
    inside = kept[((kept > 1) & (kept < SIZE - 1)).all(1)]
    return _path("".join(f"M{_pair(point)}h0" for point in inside), colour, width) if len(inside) else Html("")


def _path(told: str, colour: str, width: float, dash: str | None = None) -> Html:
    opacity = "0.35" if colour == "muted" else None
    return tag("path", d=told, class_=colour, stroke_width=width, stroke_dasharray=dash, opacity=opacity)


def _svg(drawn: Sequence[object], told: str) -> Html:
    return tag("svg", *drawn, viewBox=f"0 0 {SIZE} {SIZE}", role="img", aria_label=told)


def _finite(points: Points) -> Points:
    return points[np.isfinite(points).all(1)].astype(np.float64)


def _pair(point: Float[ndarray, " 2"]) -> str:
    return f"{point[0]:.1f} {point[1]:.1f}"
