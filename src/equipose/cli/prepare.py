"""``equipose data prepare mars``: real radar recordings as a packed folder."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from equipose.errors import at_least

if TYPE_CHECKING:
    from equipose.data.mars import MarsRecording
    from equipose.data.mars_packing import OtherSensors
    from equipose.simulate.room import Room


def prepare_mars(
    source: Annotated[Path, tyro.conf.Positional],
    out: Annotated[Path, tyro.conf.Positional],
    skeleton: Literal["h36m17", "kinect25"] = "h36m17",
    simulate: tuple[Literal["rgb", "infra1", "infra2", "lidar", "wifi"], ...] = (),
    hold_out: float = 0.18,
    seed: int = 0,
) -> int:
    """Turn the MARS radar recordings into a packed folder, with the official test part as its test side.

    Train on it with --split given. Interrupted, the same command continues.

    Args:
        source: folder with subject1, subject2, ...: synced_data/wooutlier of github.com/SizheAn/MARS.
        out: the packed folder to make.
        skeleton: h36m17, MM-Fi's joints (pelvis and face are interpolated), or kinect25, all joints as labelled.
        simulate: further sensors to simulate from the recorded motion, such as rgb lidar wifi; marked as simulated.
        hold_out: where a subject has no train file, the share of each validation movement kept for validation.
        seed: of the simulated sensors.
    """
    from equipose.data.mars import read_mars
    from equipose.data.mars_packing import pack_mars, with_sides

    at_least("--seed", seed, 0)
    recordings = with_sides(read_mars(source), hold_out)
    modalities = tuple(dict.fromkeys(simulate))
    origin = {"root": str(source.absolute()), "hold_out": hold_out, "simulation_seed": seed if simulate else None}
    sensors = _sensors(recordings, modalities, seed) if modalities else None
    pack_mars(recordings, out, skeleton, sensors, modalities, origin)
    frames = {side: sum(len(r) for r in recordings if r.part == side) for side in ("train", "validation", "test")}
    _say(f"wrote {out}: " + ", ".join(f"{count} {side} frames" for side, count in frames.items()))
    # MM-Fi's people stand at three metres, these at two: the default LiDAR crop would cut them off.
    crop = " --set data.crop.lidar=[-1.25,1.25,-1.4,1.3,1.0,4.6]" if "lidar" in modalities else ""
    _say(f"next: equipose train {out} --split given --modalities {' '.join((*modalities, 'mmwave'))}{crop}")
    return 0


def _sensors(recordings: Sequence[MarsRecording], modalities: tuple[str, ...], seed: int) -> OtherSensors:
    """The simulated sensors, in one room for all recordings."""
    import numpy as np

    from equipose.data.mars_joints import kinect_to_h36m
    from equipose.simulate.beside import room_around

    room = room_around(np.concatenate([kinect_to_h36m(r.joints) for r in recordings]), seed)
    return partial(_observe, modalities=modalities, room=room, seed=seed)


def _observe(
    recording: MarsRecording, joints: Any, modalities: tuple[str, ...], room: Room, seed: int
) -> dict[str, list[Any]]:
    from equipose.simulate.beside import sensor_frames

    key = (recording.subject, recording.movement, int(recording.frames[0]))
    return sensor_frames(joints, modalities, room, seed, key)


def _say(text: str) -> None:
    print(text, file=sys.stderr)
