"""Peak memory of the audit and of packing against the number of recordings, and the time to open what was packed.

A skeleton of MM-Fi is written: up to 1,080 recordings in its own layout, with a few frames each. Every step runs in a
fresh process; its peak resident memory and that of its largest worker are read from Linux. Memory that
does not grow with the number of recordings shows as equal rows. A second table grows the number of frames instead.

    python benchmarks/bm_packing_memory.py --out benchmarks/results/packing_memory.json
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from synthetic_folder import environment, write_folder


def step(name: str, root: Path, out: Path, jobs: int) -> dict[str, float]:
    """Run one step in this process and report its peak memory in MB and its wall time in seconds."""
    start = time.perf_counter()
    if name == "audit":
        from equipose.data.audit import audit

        assert not audit(root, jobs).has_errors
    elif name == "pack":
        from equipose.data.packing import pack

        pack(root, out, jobs)
    elif name == "index":
        from equipose.data.mmfi import index

        index(root)
    else:
        from equipose.data.packed import PackedStore

        start = time.perf_counter()  # imports do not count
        store = PackedStore(out)
        opened = time.perf_counter() - start
        store.target(np.array([0]))
        for modality in store.modalities:
            store.present[modality]
        return {"open_seconds": opened, "open_and_touch_seconds": time.perf_counter() - start}
    seconds = time.perf_counter() - start
    own, workers = (
        resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return {"seconds": round(seconds, 2), "peak_mb": round(own), "largest_worker_peak_mb": round(workers)}


def fresh(name: str, root: Path, out: Path, jobs: int) -> dict[str, float]:
    """``step`` in a process of its own."""
    command = [sys.executable, __file__, "--step", name, str(root), str(out), "--jobs", str(jobs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def row(folder: Path, recordings: int, frames: int, jobs: int) -> dict[str, object]:
    """Write a folder, check it, pack it, open it."""
    root, out = folder / "mmfi", folder / "packed"
    write_folder(root, recordings, frames)
    result = {"recordings": recordings, "frames_per_recording": frames}
    for name in ("index", "audit", "pack", "open"):
        result[name] = fresh(name, root, out, jobs)
    pack = result["pack"]
    result["pack_total_mb_at_most"] = pack["peak_mb"] + jobs * pack["largest_worker_peak_mb"]
    shutil.rmtree(root)
    shutil.rmtree(out)
    return result


def main() -> None:
    """Measure all sizes and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, nargs="+", default=[135, 540, 1080])
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--long-frames", type=int, nargs="*", default=[75, 150, 297], help="second table")
    parser.add_argument("--long-recordings", type=int, default=12)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where to build the data; a temporary folder by default")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--step", nargs=3, metavar=("NAME", "ROOT", "OUT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        name, root, out = args.step
        print(json.dumps(step(name, Path(root), Path(out), args.jobs)))
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        result = {
            "jobs": args.jobs,
            "by_recordings": [row(folder, n, args.frames, args.jobs) for n in args.recordings],
            "by_frames": [row(folder, args.long_recordings, n, args.jobs) for n in args.long_frames],
            "environment": environment(),
        }
    text = json.dumps(result, indent=1)
    print(text)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
