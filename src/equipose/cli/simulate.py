"""``equipose simulate``: write a simulated MM-Fi data set."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Literal

from equipose.errors import UsageError, at_least


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
    confidence: bool = False,
    images: bool = False,
    labels: Literal["fitted", "exact"] = "fitted",
    furniture_drift: float = 0.0,
    motion: tuple[Path, ...] = (),
    motion_unit: str = "auto",
    motion_up: str = "auto",
    motion_fps: float | None = None,
    motion_place: str = "auto",
) -> int:
    """Write a simulated MM-Fi data set: people in four rooms, seen by four physical sensor models.

    The people are scripted, or with --motion they move as recorded people did. The folder has MM-Fi's own layout, so
    everything that reads MM-Fi reads it. The same call gives the same bytes. A run that was interrupted continues
    when the command is given again.

    Args:
        root: Folder to write; made if missing.
        preset: demo (40 people, 8 actions, 24 frames), tiny, mmfi-mini (27 actions, 30 frames) or mmfi-full (297
            frames, about 31 GB on the disk).
        seed: Seed of people, rooms, motion and noise.
        jobs: Processes; one per core if not given.
        subjects: Only these subjects, 1 to 40. With --motion: numbers for the people in the files.
        actions: Only these actions, 1 to 27.
        environments: Only the subjects of these rooms, 1 to 4. With --motion: play each clip in each of these rooms;
            room 1 if not given.
        frames: Frames per recording at 10 Hz. With --motion: keep the first so many of each clip.
        modalities: Of rgb, infra1, infra2, depth, lidar, mmwave, wifi; rgb, lidar, mmwave and wifi if not given. Depth
            takes 0.1 MB a frame and makes the simulation about three times slower.
        confidence: Write the joint detector's confidence as a third column of rgb, infra1 and infra2; MM-Fi has two.
        images: Also write rendered pictures, rgb_img/frame001.png of 640 x 480; 0.14 MB a frame.
        labels: fitted: wrong by some centimetres, as labels are that were fitted to camera images; exact: the truth.
        furniture_drift: Stress test: metres by which every person finds the furniture moved, as WiFi sees it. From
            0.004 on, a network can tell people by their empty room.
        motion: Recorded motion in place of a preset: .bvh, .amc with its .asf, or .npz with joints and fps. Each clip
            becomes one recording; motion.json in the folder says which.
        motion_unit: Unit of the files: m, cm, mm, inch, cmu, or auto, by the person's stature.
        motion_up: Which way is up in the files: y, z, -y, -z, x, -x, or auto, by the body.
        motion_fps: Frames per second of the files, where they do not say or are wrong.
        motion_place: The path over the floor: keep, centre (walking becomes walking on the spot), or auto: keep it
            where the sensors see all of it.

    Returns:
        Exit code.
    """
    from equipose.modality import DEFAULT_MODALITIES
    from equipose.simulate.recording_jobs import Extras

    if not 0.0 <= furniture_drift <= 1.0:
        raise UsageError(f"--furniture-drift: found {furniture_drift}, expected metres from 0 to 1, such as 0.004")
    extras = Extras(confidence, images, labels, furniture_drift)
    if jobs is not None:
        at_least("--jobs", jobs, 1)
    start = time.monotonic()
    if motion:
        from equipose.simulate.motion_writer import write_motion

        if preset != "demo" or actions:
            raise UsageError("--motion brings its own people and actions: leave out --preset and --actions")
        done = write_motion(
            root,
            motion,
            environments=environments or (1,),
            subjects=subjects,
            frames=frames,
            modalities=modalities or DEFAULT_MODALITIES,
            seed=seed,
            unit=motion_unit,
            up=motion_up,
            frame_rate=motion_fps,
            place=motion_place,
            extras=extras,
            jobs=jobs,
            tell=lambda line: print(line, flush=True),
        )
    else:
        from equipose.simulate.mmfi_writer import write_mmfi
        from equipose.simulate.presets import preset as find_preset

        if (motion_unit, motion_up, motion_fps, motion_place) != ("auto", "auto", None, "auto"):
            raise UsageError("--motion-unit, -up, -fps and -place describe recorded motion: give its files by --motion")
        chosen = find_preset(preset)
        chosen = replace(
            chosen,
            subjects=subjects or chosen.subjects,
            actions=actions or chosen.actions,
            frames=chosen.frames if frames is None else frames,
            modalities=modalities or chosen.modalities,
        )
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
            extras=extras,
        )
    seconds = time.monotonic() - start
    print(f"{done.root}: {done.recordings} recordings, {done.frames} frames in {seconds:.1f} s", end="")
    print(f"; {done.skipped} recordings were there already" if done.skipped else "")
    return 0
