"""``equipose simulate``: write a simulated MM-Fi data set."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path


def simulate(
    root: Path,
    preset: str = "demo",
    seed: int = 0,
    jobs: int | None = None,
    subjects: tuple[int, ...] = (),
    actions: tuple[int, ...] = (),
    environments: tuple[int, ...] = (),
    frames: int | None = None,
    modalities: tuple[str, ...] = (),
) -> int:
    """Write a simulated MM-Fi data set: scripted people in four rooms, seen by four physical sensor models.

    The folder has MM-Fi's own layout, so everything that reads MM-Fi reads it. The same call gives the same bytes. A
    run that was interrupted continues when the command is given again.

    Args:
        root: Folder to write; made if missing.
        preset: demo (40 people, 8 actions, 24 frames), tiny, mmfi-mini (27 actions, 30 frames) or mmfi-full (297
            frames, about 29 GB).
        seed: Seed of people, rooms, motion and noise.
        jobs: Processes; one per core if not given.
        subjects: Only these subjects, 1 to 40.
        actions: Only these actions, 1 to 27.
        environments: Only the subjects of these rooms, 1 to 4.
        frames: Frames per recording at 10 Hz.
        modalities: Of rgb, infra1, infra2, lidar, mmwave, wifi.

    Returns:
        Exit code.
    """
    from equipose.simulate.mmfi_writer import write_mmfi
    from equipose.simulate.presets import preset as find_preset

    chosen = find_preset(preset)
    chosen = replace(
        chosen,
        subjects=subjects or chosen.subjects,
        actions=actions or chosen.actions,
        frames=chosen.frames if frames is None else frames,
        modalities=modalities or chosen.modalities,
    )
    start = time.monotonic()
    done = write_mmfi(
        root,
        environments=environments or None,
        subjects=chosen.subjects,
        actions=chosen.actions,
        frames=chosen.frames,
        modalities=chosen.modalities,
        seed=seed,
        jobs=jobs,
        preset=preset,
    )
    seconds = time.monotonic() - start
    print(f"{done.root}: {done.recordings} recordings, {done.frames} frames in {seconds:.1f} s", end="")
    print(f"; {done.skipped} recordings were there already" if done.skipped else "")
    return 0
