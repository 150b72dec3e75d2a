"""Speed of the simulator: frames per second with all four sensors and files written, and milliseconds per sensor.

    OMP_NUM_THREADS=1 python benchmarks/bm_simulate.py --out benchmarks/results/simulate.json

The first part writes data sets of growing size into a temporary folder and takes wall and CPU time and the largest
memory of the worker processes: more people, then longer recordings. The second runs each stage alone in this process,
CPU time, best of three. CPU figures hardly depend on what else the machine does.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read by numpy when it is imported

import argparse
import json
import platform
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import scipy

from equipose.simulate import camera, lidar, radar, wifi
from equipose.simulate.body import make_body
from equipose.simulate.matfile import csi_file
from equipose.simulate.mmfi_writer import Job, simulate_joints, write_mmfi
from equipose.simulate.presets import PRESETS
from equipose.simulate.room import make_room


def whole_run(subjects, frames, jobs):
    """Write the demonstration's actions of some subjects. Memory is the largest of any worker so far."""
    demo = PRESETS["demo"]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "simulated"
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        done = write_mmfi(root, subjects=subjects, actions=demo.actions, frames=frames, jobs=jobs, progress=False)
        wall = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "frames": done.frames,
        "frames_per_recording": frames,
        "jobs": jobs,
        "wall_seconds": round(wall, 2),
        "frames_per_second": round(done.frames / wall, 1),
        "cpu_ms_per_frame": round(1e3 * cpu / done.frames, 3),
        "frames_per_cpu_second": round(done.frames / cpu, 1),
        "kilobytes_per_frame": round(size / done.frames / 1e3, 1),
        "peak_memory_mb": round(after.ru_maxrss / 1024, 1),
    }


def stages(frames):
    """CPU milliseconds per frame of each stage alone."""
    job = Job(0, 3, 9, frames, ())
    room, girth, joints = make_room(0, 1), make_body(0, 3).girth, simulate_joints(Job(0, 3, 9, frames, ()))
    amplitude, phase = wifi.observe(joints, room, np.random.default_rng(0), girth)
    calls = {
        "motion": lambda: simulate_joints(job),
        "rgb": lambda: camera.observe(joints, room, np.random.default_rng(0), girth),
        "lidar": lambda: lidar.scan(joints, room, np.random.default_rng(0), girth),
        "mmwave": lambda: radar.detect(joints, room, np.random.default_rng(0), girth),
        "wifi": lambda: wifi.observe(joints, room, np.random.default_rng(0), girth),
        "mat_file": lambda: [csi_file(a, p) for a, p in zip(amplitude, phase, strict=True)],
    }
    return {name: round(best(call) / frames * 1e3, 3) for name, call in calls.items()}


def best(call, repetitions=3):
    """Least CPU seconds of a call."""
    seconds = []
    for _ in range(repetitions):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return min(seconds)


def main():
    """Run and print, or write, the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--subjects", type=int, default=16, help="of the demonstration's 40")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    people = tuple(range(1, options.subjects + 1))
    short = PRESETS["demo"].frames
    result = {
        "smaller_run": whole_run(people[: options.subjects // 4], short, options.jobs),
        "whole_run": whole_run(people, short, options.jobs),
        "long_recordings": whole_run(people[: options.subjects // 4], 297, options.jobs),
        "stage_cpu_ms_per_frame": stages(240),
        "environment": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "load_average": round(os.getloadavg()[0], 2),
        },
    }
    text = json.dumps(result, indent=1)
    print(text)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
