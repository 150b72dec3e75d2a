"""Clips for the 3D view, packed small: 16-bit millimetres in base64, which the page unpacks."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from equipose.report.run import Scene
from equipose.report.study import Series, Study, sensor
from equipose.skeleton import SKELETONS

MOST_CLIPS = 12
MOST_FRAMES = 600
MOST_POINTS = 24_000
FRAME_RATE_HZ = 10.0


def scene_payload(study: Study) -> dict[str, Any]:
    """Clips of all runs, each with the predictions of every run that knows its frames.

    Runs pick their own best and worst recordings, so a clip is known by its true poses, and a run that did not pick
    it answers from its ``predictions.npz``. Positions are metres in the camera frame (x right, y down, z forward),
    stored as whole millimetres.
    """
    clips: list[tuple[list[str], Scene]] = []
    for series in study.series:
        for scene in series.run.scenes:
            name = f"{series.label}, {scene.name}" if len(study.series) > 1 else scene.name
            same = next((names for names, other in clips if _same_clip(other, scene)), None)
            if same is None:
                clips.append(([name], scene))
            else:
                same.append(name)
    rows = [_row_of_pose(series) if len(study.series) > 1 else {} for series in study.series] if clips else []
    shown = [
        _clip(study, "; ".join(names[:2]) + (" ..." if len(names) > 2 else ""), scene, rows)
        for names, scene in clips[:MOST_CLIPS]
    ]
    return {"rate_hz": FRAME_RATE_HZ, "left_out": len(clips) - len(shown), "clips": shown}


def _same_clip(first: Scene, second: Scene) -> bool:
    return first.target.shape == second.target.shape and bool(np.allclose(first.target, second.target, atol=1e-4))


def _row_of_pose(series: Series) -> dict[bytes, int]:
    """True pose -> row of the run's predictions."""
    found = series.run.predictions
    if found is None:
        return {}
    return {pose.tobytes(): row for row, pose in enumerate(np.ascontiguousarray(found.target, dtype=np.float32))}


def _prediction(series: Series, rows: dict[bytes, int], scene: Scene) -> np.ndarray | None:
    """What a run predicts for a clip: (time, joint, 3) metres; None if it does not know all of its frames."""
    own = next((other for other in series.run.scenes if _same_clip(other, scene)), None)
    if own is not None:
        return own.joints
    found = [rows.get(pose.tobytes()) for pose in np.ascontiguousarray(scene.target, dtype=np.float32)]
    known = [row for row in found if row is not None]
    if series.run.predictions is None or not known or len(known) < len(found):
        return None
    return series.run.predictions.joints[known]


def _clip(study: Study, name: str, scene: Scene, rows: Sequence[dict[bytes, int]]) -> dict[str, Any]:
    time = min(len(scene.frames), MOST_FRAMES)
    joints = scene.target.shape[1]
    skeleton = next(
        (
            found
            for series in study.series
            if (found := SKELETONS.get(series.run.metrics.skeleton)) is not None and len(found) == joints
        ),
        None,
    )
    bones = skeleton.bones if skeleton is not None else ()
    poses: list[dict[str, Any]] = [{"label": "true pose", "colour": "@truth", "xyz": _packed(scene.target[:time])}]
    for series, lookup in zip(study.series, rows, strict=True):
        predicted = _prediction(series, lookup, scene)
        if predicted is None or predicted.shape != scene.target.shape:
            continue
        error = 1000.0 * np.linalg.norm(predicted[:time].astype(np.float64) - scene.target[:time], axis=-1).mean(-1)
        poses.append(
            {
                "label": series.label,
                "colour": series.colour,
                "xyz": _packed(predicted[:time]),
                "error_mm": [round(float(e), 1) for e in error],
            }
        )
    return {
        "name": name,
        "frames": [int(frame) for frame in scene.frames[:time]],
        "joints": joints,
        "bones": [list(bone) for bone in bones],
        "poses": poses,
        "clouds": [_cloud(study, m, points, time) for m, points in scene.clouds.items() if len(points)],
    }


def _cloud(study: Study, modality: str, points: np.ndarray, time: int) -> dict[str, Any]:
    """Points in frame order and the offset at which each frame starts."""
    frame = points[:, 3].astype(np.int64)
    kept = points[(frame >= 0) & (frame < time) & np.isfinite(points).all(1)]
    every = -(-len(kept) // MOST_POINTS) if len(kept) else 1
    kept = kept[::every]
    kept = kept[np.argsort(kept[:, 3], kind="stable")]
    offsets = np.searchsorted(kept[:, 3].astype(np.int64), np.arange(time + 1))
    return {
        "label": f"{sensor(modality)} points" + (f" (1 of {every})" if every > 1 else ""),
        "colour": study.colour(modality) if modality in study.modalities else "@muted",
        "size": 2 if modality == "lidar" else 5,
        "xyz": _packed(kept[:, :3]),
        "offsets": [int(offset) for offset in offsets],
    }


def _packed(metres: np.ndarray) -> str:
    """Base64 of little-endian int16 millimetres, clipped to 32.7 m; NaN becomes -32768, which the page leaves out."""
    millimetres = np.clip(np.rint(1000.0 * metres.astype(np.float64)), -32767, 32767)
    whole = np.where(np.isfinite(millimetres), millimetres, -32768).astype("<i2")
    return base64.b64encode(whole.tobytes()).decode("ascii")
