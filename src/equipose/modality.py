"""What a modality is: its folder, its file format, its unit and its coordinate frame.

Adding a sensor is one more ``ModalitySpec``; the data layer, the networks and the training loop look it up here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["joints2d", "cloud", "csi", "depth"]


@dataclass(frozen=True)
class ModalitySpec:
    """One sensor as MM-Fi stores it.

    Attributes:
        name: the word used in flags, tables and array names.
        kind: how frames are shaped. ``joints2d``: (joint, 2); ``cloud``: (point, channel) with any number of
            points; ``csi``: (2, receiver, tone, packet) with amplitude in dB and phase in radians; ``depth``:
            (row, column).
        folder: subfolder of a recording.
        suffix: file suffix of one frame.
        channels: names of the last axis for ``joints2d`` and ``cloud``.
        shape: fixed frame shape, or None for clouds.
        unit: unit of the stored values.
        frame: coordinate frame of the stored values.
        label: how tables and figures call the sensor.
    """

    name: str
    kind: Kind
    folder: str
    suffix: str
    channels: tuple[str, ...]
    shape: tuple[int, ...] | None
    unit: str
    frame: str
    label: str


_PIXELS = "image plane of 640 x 480 pixels, u right, v down"

MODALITIES: dict[str, ModalitySpec] = {
    spec.name: spec
    for spec in (
        ModalitySpec("rgb", "joints2d", "rgb", ".npy", ("u", "v"), (17, 2), "pixel", _PIXELS, "RGB"),
        ModalitySpec("infra1", "joints2d", "infra1", ".npy", ("u", "v"), (17, 2), "pixel", _PIXELS, "infrared left"),
        ModalitySpec("infra2", "joints2d", "infra2", ".npy", ("u", "v"), (17, 2), "pixel", _PIXELS, "infrared right"),
        ModalitySpec("depth", "depth", "depth", ".png", (), (480, 640), "millimetre", _PIXELS, "depth"),
        ModalitySpec(
            "lidar",
            "cloud",
            "lidar",
            ".bin",
            ("x", "y", "z"),
            None,
            "metre",
            "LiDAR: x forward, y left, z up",
            "LiDAR",
        ),
        ModalitySpec(
            "mmwave",
            "cloud",
            "mmwave",
            ".bin",
            ("forward", "right", "down", "snr", "doppler"),
            None,
            "metre, metre, metre, decibel, metre per second",
            "radar: forward, right, down",
            "mmWave",
        ),
        ModalitySpec(
            "wifi",
            "csi",
            "wifi-csi",
            ".mat",
            (),
            (2, 3, 114, 10),
            "decibel, radian",
            "receiver x tone x packet",
            "WiFi",
        ),
    )
}

DEFAULT_MODALITIES = ("rgb", "lidar", "mmwave", "wifi")
"""The four sensors of the paper, in its order; this order is the modality axis of every array."""

FOCAL_LENGTH = 615.0
"""Pixels. The colour camera of MM-Fi's RealSense D435 at 640 x 480; no calibration is published."""
PRINCIPAL_POINT = (320.0, 240.0)
"""Pixels, of the same camera."""
