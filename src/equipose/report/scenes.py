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
    """Clips by name, each with the predictions of every run that has the same clip.

    Positions are metres in the camera frame (x right, y down, z forward), stored as whole millimetres.
    """
    clips: dict[str, list[tuple[Series, Scene]]] = {}
    for series in study.series:
        for scene in series.run.scenes:
            same = clips.get(scene.name)
            if same is None:
                clips[scene.name] = [(series, scene)]
            elif _same_clip(same[0][1], scene):
                same.append((series, scene))
            else:
                clips[f"{scene.name} ({series.label})"] = [(series, scene)]
    names = list(clips)[:MOST_CLIPS]
    return {
        "rate_hz": FRAME_RATE_HZ,
        "left_out": len(clips) - len(names),
        "clips": [_clip(study, name, clips[name]) for name in names],
    }


def _same_clip(first: Scene, second: Scene) -> bool:
    return first.target.shape == second.target.shape and bool(np.allclose(first.target, second.target, atol=1e-4))


def _clip(study: Study, name: str, members: Sequence[tuple[Series, Scene]]) -> dict[str, Any]:
    scene = members[0][1]
    time = min(len(scene.frames), MOST_FRAMES)
    joints = scene.target.shape[1]
    skeleton = SKELETONS.get(members[0][0].run.metrics.skeleton)
    bones = skeleton.bones if skeleton is not None and len(skeleton) == joints else ()
    poses: list[dict[str, Any]] = [{"label": "true pose", "colour": "@truth", "xyz": _packed(scene.target[:time])}]
    for series, own in members:
        error = 1000.0 * np.linalg.norm(own.joints[:time].astype(np.float64) - scene.target[:time], axis=-1).mean(-1)
        poses.append(
            {
                "label": series.label,
                "colour": series.colour,
                "xyz": _packed(own.joints[:time]),
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
