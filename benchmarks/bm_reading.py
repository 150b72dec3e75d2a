"""Random access to frames: a packed folder against the per-frame files, read as the MM-Fi toolbox reads them.

Both read the same frames of four sensors (joints, LiDAR, radar, WiFi) and the pose, from a warm page cache, in turns.
``toolbox`` is our own re-implementation of that behaviour: one file per sensor and frame, the amplitude's ``-inf``
replaced by the packet's mean and min-max scaled, and the whole ground truth of the recording loaded for every sample.

    python benchmarks/bm_reading.py --out benchmarks/results/reading.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from equipose.config import DataSettings
from equipose.data.dataset import PoseDataset
from equipose.data.mmfi import frame_path, index
from equipose.data.packed import PackedStore, pack
from equipose.data.raw import RawStore
from synthetic_folder import environment, write_folder

MODALITIES = ("rgb", "lidar", "mmwave", "wifi")
SINGLE_FRAMES = {"rgb": 1, "lidar": 1, "mmwave": 1, "wifi": 1}


def toolbox_sample(folder: str, number: int) -> dict[str, np.ndarray]:
    """One sample from files, with the costs of the toolbox."""
    amplitude = loadmat(frame_path(folder, "wifi", number))["CSIamp"]
    amplitude[np.isinf(amplitude)] = np.nan
    for packet in range(10):
        values = amplitude[:, :, packet]
        bad = np.isnan(values)
        if bad.any():
            values[bad] = values[~bad].mean()
    return {
        "rgb": np.load(frame_path(folder, "rgb", number)),
        "lidar": np.frombuffer(Path(frame_path(folder, "lidar", number)).read_bytes(), float).reshape(-1, 3),
        "mmwave": np.frombuffer(Path(frame_path(folder, "mmwave", number)).read_bytes(), float).reshape(-1, 5),
        "wifi": (amplitude - amplitude.min()) / (amplitude.max() - amplitude.min()),
        "target": np.load(f"{folder}/ground_truth.npy")[number - 1],
    }


def store_frames(store: PackedStore | RawStore, rows: np.ndarray) -> dict[str, object]:
    """The same frames from a store: amplitude and phase, with validity."""
    return {
        "rgb": store.dense("rgb", rows),
        "lidar": store.cloud("lidar", rows),
        "mmwave": store.cloud("mmwave", rows),
        "wifi": store.dense("wifi", rows),
        "target": store.target(rows),
    }


def seconds_per_sample(read: Callable[[np.ndarray], object], picks: list[np.ndarray]) -> float:
    """Mean wall time per sample over all picks."""
    start = time.perf_counter()
    for rows in picks:
        read(rows)
    return (time.perf_counter() - start) / sum(len(rows) for rows in picks)


def measure(root: Path, packed: Path, repeats: int, samples: int) -> dict[str, object]:
    """Samples per second of every way of reading, and ratios to the toolbox's."""
    store, raw = PackedStore(packed), RawStore(root)
    folders = [str(recording.path) for recording in index(root)]
    everything = np.arange(store.recordings.num_frames)
    windows = PoseDataset(store, everything, DataSettings())
    single = PoseDataset(store, everything, DataSettings(windows=SINGLE_FRAMES))
    training = np.random.default_rng(1)

    def toolbox(rows: np.ndarray) -> list[dict[str, np.ndarray]]:
        return [toolbox_sample(folders[store.frame_recording[r]], int(store.frame_number[r])) for r in rows]

    ways: dict[str, tuple[Callable[[np.ndarray], object], int]] = {
        "toolbox_single": (toolbox, 1),
        "toolbox_batch_64": (toolbox, 64),
        "raw_store_batch_64": (lambda rows: store_frames(raw, rows), 64),
        "packed_single": (lambda rows: store_frames(store, rows), 1),
        "packed_batch_64": (lambda rows: store_frames(store, rows), 64),
        "packed_training_batch_64_single_frames": (lambda rows: single.batch(rows, training), 64),
        "packed_training_batch_64_default_windows": (lambda rows: windows.batch(rows, training), 64),
    }
    rng = np.random.default_rng(0)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name, (read, size) in ways.items():
            picks = list(rng.choice(everything, (samples // size, size)))
            seconds = seconds_per_sample(read, picks)
            if repeat:  # the first round warms the caches
                times[name].append(seconds)
    rate = {name: 1.0 / float(np.median(values)) for name, values in times.items()}
    ratio = rate["packed_batch_64"] / rate["toolbox_batch_64"]
    return {
        "samples_per_second": {name: round(value) for name, value in rate.items()},
        "milliseconds_per_call": {name: round(1e3 * ways[name][1] / value, 4) for name, value in rate.items()},
        "ratio_single": round(rate["packed_single"] / rate["toolbox_single"], 1),
        "ratio_batch_64": round(ratio, 1),
        "bar_ratio_batch_64_at_least_20": ratio >= 20.0,
        "ratio_training_batch_64_single_frames": round(
            rate["packed_training_batch_64_single_frames"] / rate["toolbox_batch_64"], 1
        ),
    }


def main() -> None:
    """Build a folder, pack it, measure, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, default=8)
    parser.add_argument("--frames", type=int, default=297)
    parser.add_argument("--samples", type=int, default=640, help="samples per way and repeat")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where to build the data; a temporary folder by default")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        root, packed = Path(name) / "mmfi", Path(name) / "packed"
        write_folder(root, args.recordings, args.frames)
        start = time.perf_counter()
        pack(root, packed, jobs=1)
        packing = time.perf_counter() - start
        result = {
            "recordings": args.recordings,
            "frames": args.recordings * args.frames,
            "modalities": MODALITIES,
            "packing_frames_per_second": round(args.recordings * args.frames / packing),
            **measure(root, packed, args.repeats, args.samples),
            "environment": environment(),
        }
    text = json.dumps(result, indent=1)
    print(text)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
