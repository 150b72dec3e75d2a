"""What is checked about one recording: its listing, its ground truth, every frame, and its coordinate frames."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipose.data.mmfi import (
    GROUND_TRUTH,
    FileError,
    frame_number,
    frame_path,
    ground_truth_length,
    list_frames,
    read_frame,
    read_ground_truth,
)
from equipose.modality import MODALITIES, ModalitySpec

FARTHEST = 200.0
"""No indoor sensor sees farther, metres; no SNR or speed is larger either."""
LOUDEST_DB = 57.2
"""20 log10 of the largest signed 10-bit I and Q, 512 sqrt(2)."""

AS_MISSING = "The frame is treated as missing"
AS_IS = "The values are used as they are"


@dataclass(frozen=True)
class Finding:
    """A problem inside one recording; ``file`` is relative to its folder. See ``audit.Problem``."""

    kind: str
    severity: str
    file: str
    frames: tuple[int, ...]
    found: str
    expected: str
    consequence: str


@dataclass(frozen=True)
class RecordingResult:
    """Findings and totals of one recording."""

    findings: tuple[Finding, ...]
    frames: int
    files: int
    modalities: tuple[str, ...]


def audit_recording(folder: str) -> RecordingResult:
    """Check every file of one recording folder; reads only."""
    findings = list(_foreign_entries(folder))
    listed = {
        name: numbers
        for name, spec in MODALITIES.items()
        if (numbers := list_frames(f"{folder}/{spec.folder}", spec.suffix)) is not None
    }
    length, truth_findings = _check_ground_truth(folder, listed)
    findings += truth_findings
    for name, numbers in listed.items():
        findings += _check_listing(folder, name, numbers, length)
        findings += _check_frames(folder, name, numbers)
    return RecordingResult(tuple(findings), length, sum(len(numbers) for numbers in listed.values()), tuple(listed))


def _foreign_entries(folder: str) -> Iterator[Finding]:
    known = {GROUND_TRUTH, "rgb_img", *(spec.folder for spec in MODALITIES.values())}  # MM-Fi's separate pictures
    others = sorted(set(os.listdir(folder)) - known)  # noqa: PTH208 (names only)
    if others:
        found = f"also holds {', '.join(others[:5])}{', ...' if len(others) > 5 else ''}"
        yield Finding("foreign file", "note", "", (), found, ", ".join(sorted(known)), "These are ignored")


def _check_ground_truth(folder: str, listed: dict[str, NDArray[np.int32]]) -> tuple[int, list[Finding]]:
    try:
        ground_truth_length(f"{folder}/{GROUND_TRUTH}")
        poses = read_ground_truth(f"{folder}/{GROUND_TRUTH}").astype(np.float64)
    except FileError as error:
        skipped = "The whole recording is skipped"
        return 0, [Finding("ground truth", "error", GROUND_TRUTH, (), error.found, error.expected, skipped)]
    length = len(poses)
    out = []
    last = max((int(numbers[-1]) for numbers in listed.values() if len(numbers)), default=0)
    if last and last != length:
        consequence = (
            f"Frames {length + 1} to {last} have no pose and are not used"
            if last > length
            else f"Frames {last + 1} to {length} have a pose and no sensor"
        )
        out.append(
            Finding(
                "ground truth length",
                "error",
                GROUND_TRUTH,
                (),
                f"holds {length} poses, the last sensor frame is {last}",
                "one pose per frame number",
                consequence,
            )
        )
    finite = np.isfinite(poses).all(axis=(1, 2))
    if not finite.all():
        out.append(
            Finding(
                "ground truth not finite",
                "error",
                GROUND_TRUTH,
                tuple((np.flatnonzero(~finite) + 1).tolist()),
                f"{(~finite).sum()} poses hold NaN or infinity",
                "finite metres",
                "These frames are not used as samples",
            )
        )
    if finite.any():
        out += _check_pose_frame(poses[finite])
    return length, out


def _check_pose_frame(poses: NDArray[np.float64]) -> Iterator[Finding]:
    """Unit and axes, by what holds for any standing person in front of the camera."""
    expected = "metres in the camera frame: x right, y down, z forward"
    middle = np.median(poses, axis=(0, 1))
    found = ""
    if np.abs(poses).max() > 50.0:
        found = f"coordinates reach {np.abs(poses).max():.4g}, which looks like millimetres"
    elif not (middle[2] > 0.3 and middle[2] == np.abs(middle).max()):
        found = f"the median joint is at ({middle[0]:.2f}, {middle[1]:.2f}, {middle[2]:.2f}); z should be the distance"
    elif np.median(poses[:, 10, 1]) > np.median(poses[:, (3, 6), 1]):
        found = "the head has a larger y than the ankles, so y seems to point up"
    if found:
        yield Finding("coordinate frame", "error", GROUND_TRUTH, (), found, expected, AS_IS)


def _check_listing(folder: str, name: str, numbers: NDArray[np.int32], length: int) -> Iterator[Finding]:
    spec = MODALITIES[name]
    absent = sorted(set(range(1, length + 1)) - set(numbers.tolist()))
    if absent:
        every = f"frame001{spec.suffix} to frame{length:03d}{spec.suffix}"
        found = f"{len(absent)} of {length} frames have no file"
        kind = "missing frame"
        yield Finding(kind, "error", spec.folder, tuple(absent), found, every, "These frames are treated as missing")
    names = os.listdir(f"{folder}/{spec.folder}")  # noqa: PTH208 (names only)
    foreign = sorted(entry for entry in names if not frame_number(entry, spec.suffix))
    if foreign:
        found = f"also holds {', '.join(foreign[:5])}{f', ... ({len(foreign)} in all)' if len(foreign) > 5 else ''}"
        expected = f"files named like frame001{spec.suffix}"
        yield Finding("foreign file", "note", spec.folder, (), found, expected, "These are ignored")


def _check_frames(folder: str, name: str, numbers: NDArray[np.int32]) -> list[Finding]:
    """Every frame of one sensor. Findings of one kind are joined where the same text fits all."""
    spec = MODALITIES[name]
    out: list[Finding] = []
    joined: dict[tuple[str, str, str, str, str], list[int]] = {}
    summaries = []
    for number in numbers.tolist():
        file = os.path.basename(frame_path("", name, number))  # noqa: PTH119 (str, once per frame)
        try:
            values = read_frame(name, frame_path(folder, name, number))
        except FileError as error:
            empty = Path(error.path).is_file() and Path(error.path).stat().st_size == 0
            kind = "empty file" if empty else "damaged file"
            place = f"{spec.folder}/{file}"
            out.append(Finding(kind, "error", place, (number,), error.found, error.expected, AS_MISSING))
            continue
        for check in _check_values(spec, values):
            joined.setdefault(check, []).append(number)
        if spec.kind == "cloud" and len(values) and np.isfinite(values).all():
            summaries.append(_summary(values))
    for (kind, severity, found, expected, consequence), where in joined.items():
        file = f"/{os.path.basename(frame_path('', name, where[0]))}" if len(where) == 1 else ""  # noqa: PTH119
        out.append(Finding(kind, severity, spec.folder + file, tuple(where), found, expected, consequence))
    if summaries:
        out += _check_cloud_frame(spec, np.array(summaries))
    return out


_Check = tuple[str, str, str, str, str]  # kind, severity, found, expected, consequence


def _check_values(spec: ModalitySpec, values: NDArray[Any]) -> Iterable[_Check]:
    if spec.kind == "csi":
        return _check_csi(values)
    if spec.kind == "cloud":
        return _check_cloud(spec, values)
    if spec.kind == "depth":
        if not values.any():
            return [("no depth", "note", "every pixel is 0", "millimetres; 0 only where nothing was measured", AS_IS)]
        return []
    return _check_joints2d(values)


def _check_joints2d(values: NDArray[Any]) -> Iterator[_Check]:
    expected = "pixels of a 640 x 480 image"
    if not np.isfinite(values).all():
        yield "not finite", "error", "holds NaN or infinity", expected, AS_MISSING
    elif values.max() <= 1.5:
        yield "implausible values", "error", "no coordinate exceeds 1.5, so they seem normalised", expected, AS_IS
    elif np.abs(values).max() > 3000:
        yield "implausible values", "error", "a coordinate is more than 3000 pixels away", expected, AS_IS


def _check_cloud(spec: ModalitySpec, values: NDArray[Any]) -> Iterator[_Check]:
    expected = f"points of {', '.join(spec.channels)} ({spec.unit})"
    if not len(values):
        if spec.name == "mmwave":
            normal = "30 points on average; an empty frame is normal in MM-Fi"
            yield "empty radar frame", "note", "0 bytes: the radar saw nothing", normal, "It carries no data"
        else:
            yield "empty file", "error", "0 bytes", expected, "It carries no data"
        return
    if not np.isfinite(values).all():
        yield "not finite", "error", "holds NaN or infinity", expected, AS_MISSING
    elif np.abs(values).max() > FARTHEST:
        found = f"a value exceeds {FARTHEST:.0f}"
        yield "implausible values", "error", found, expected, "Points outside the crop box are left out"


def _check_csi(values: NDArray[Any]) -> Iterator[_Check]:
    amplitude, phase = values
    zero = amplitude == -np.inf
    dead = (zero | np.isnan(amplitude)).all(axis=(0, 1))
    other = ~(np.isfinite(amplitude) | zero) | ~(np.isfinite(phase) | zero)
    expected = "finite decibels and radians"
    if dead.all():
        yield "no WiFi packet", "error", "all 10 packets are zero or NaN", expected, AS_MISSING
        return
    if dead.any():
        found = "a packet is zero (-inf dB) or NaN in every tone"
        consequence = "It is replaced by the nearest good packet of the frame"
        yield "zero WiFi packet", "note", found, expected, consequence
    if other[..., ~dead].any():
        yield "not finite", "error", "holds NaN or infinity", expected, AS_MISSING
        return
    if zero[..., ~dead].any():
        found = "tones with I = Q = 0 (-inf dB)"
        yield "zero WiFi tone", "note", found, "finite decibels; a few are normal in MM-Fi", "They are read as 0 dB"
    good = amplitude[..., ~dead]
    if good.max() > LOUDEST_DB + 0.1:
        expected = f"20 log10 |I + jQ| of 10-bit I and Q, at most {LOUDEST_DB} dB"
        yield "implausible values", "error", "amplitude exceeds the receiver's range", expected, AS_IS
    if np.abs(phase[~zero & np.isfinite(phase)]).max(initial=0.0) > np.pi + 1e-4:
        yield "implausible values", "error", "phase exceeds pi", "radians between -pi and pi", AS_IS


def _summary(values: NDArray[Any]) -> NDArray[np.float64]:
    """Median of the coordinates, then minimum and median of columns 3 and 4 where there are any."""
    extra = values[:, 3:5]
    row = np.zeros(7)
    row[:3] = np.median(values[:, :3], axis=0)
    if extra.shape[1] == 2:
        row[3:5], row[5:7] = extra.min(axis=0), np.median(extra, axis=0)
    return row


def _check_cloud_frame(spec: ModalitySpec, summaries: NDArray[np.float64]) -> Iterator[Finding]:
    """Axes and column order, by where a person in front of the rig must be."""
    middle = np.median(summaries[:, :3], axis=0)
    if not (middle[0] > 0.2 and middle[0] == np.abs(middle).max()):
        found = f"the median point is at ({middle[0]:.2f}, {middle[1]:.2f}, {middle[2]:.2f})"
        expected = f"{spec.frame}, so the first coordinate is the distance"
        yield Finding("coordinate frame", "error", spec.folder, (), found, expected, AS_IS)
    if spec.name == "mmwave":
        lowest, median = summaries[:, 3:5].min(axis=0), np.median(summaries[:, 5:7], axis=0)
        if lowest[0] < -0.05 and lowest[1] >= 0.0 and median[1] > 3.0:
            found = "column 3 is signed and column 4 is not, so they seem to be Doppler and SNR"
            expected = "SNR in column 3, Doppler in column 4"
            advice = "Type --set data.radar_columns=[doppler,snr]"
            yield Finding("radar columns", "note", spec.folder, (), found, expected, advice)
