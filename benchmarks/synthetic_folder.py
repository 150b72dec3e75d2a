"""Writes folders of the MM-Fi layout with random values of realistic size, and describes the machine."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from scipy.io import savemat

ACTIONS = 27
SUBJECTS_PER_ROOM = 10


def write_folder(root: Path, recordings: int, frames: int, seed: int = 0, lidar_points: int = 1200) -> None:
    """Recordings in MM-Fi's order of environment, subject and action, each frame with four sensors.

    Args:
        root: the folder to fill.
        recordings: how many of the 1,080.
        frames: frames per recording.
        seed: of the values.
        lidar_points: mean points of a LiDAR frame.
    """
    rng = np.random.default_rng(seed)
    for i in range(recordings):
        subject, action = i // ACTIONS + 1, i % ACTIONS + 1
        environment = (subject - 1) // SUBJECTS_PER_ROOM + 1
        folder = root / f"E{environment:02d}" / f"S{subject:02d}" / f"A{action:02d}"
        for name in ("rgb", "lidar", "mmwave", "wifi-csi"):
            (folder / name).mkdir(parents=True)
        joints = rng.normal((0.0, 0.0, 3.3), 0.1, (frames, 17, 3))
        joints[:, (3, 6), 1] += 0.8  # ankles below the head
        joints[:, 10, 1] -= 0.8
        np.save(folder / "ground_truth.npy", joints.astype(np.float32))
        for number in range(1, frames + 1):
            name = f"frame{number:03d}"
            np.save(folder / "rgb" / f"{name}.npy", rng.uniform(50, 430, (17, 2)))
            points = rng.normal((3.2, 0.0, -0.3), (0.5, 0.8, 0.6), (rng.poisson(lidar_points), 3))
            (folder / "lidar" / f"{name}.bin").write_bytes(points.tobytes())
            radar = rng.normal((3.1, 0.0, 0.1, 20.0, 0.0), (0.3, 0.4, 0.4, 5.0, 1.0), (rng.poisson(30), 5))
            (folder / "mmwave" / f"{name}.bin").write_bytes(radar.tobytes())
            i_part, q_part = rng.integers(-300, 300, (2, 3, 114, 10)).astype(float)
            i_part[i_part == 0] = 1.0
            amplitude = 20.0 * np.log10(np.hypot(i_part, q_part))
            phase = np.arctan2(q_part, i_part)
            savemat(folder / "wifi-csi" / f"{name}.mat", {"CSIamp": amplitude, "CSIphase": phase})


def environment() -> dict[str, str | int | None]:
    """What the numbers depend on."""
    model = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].partition(":")[2].strip() if lines else ""
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": version("scipy"),
        "torch": version("torch"),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": model,
        "cores": os.cpu_count(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "load_1_minute": round(os.getloadavg()[0], 1),
        "command": " ".join(["python", *sys.argv]),
    }
