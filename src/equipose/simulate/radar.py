"""A 60 GHz FMCW radar with 3 x 4 antennas (as the TI IWR6843): joints in, detected point clouds out.

``radar_instrument`` holds the settings, ``radar_echoes`` what the body and the floor reflect, ``radar_cube`` the
signal processing up to the range x Doppler x antenna cube, ``radar_detection`` the way from there to points.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from equipose.simulate.body import velocity
from equipose.simulate.radar_cube import cube
from equipose.simulate.radar_detection import detect_points
from equipose.simulate.radar_echoes import (
    body_scatterers,
    breathing,
    floor_ghosts,
    join,
    reflectivity,
    through_antennas,
)
from equipose.simulate.radar_instrument import Radar
from equipose.simulate.room import Room

_CHUNK = 8


def detect(
    joints: Float[np.ndarray, "time 17 3"],
    room: Room,
    generator: np.random.Generator,
    girth: float = 1.0,
    frame_rate: float = 10.0,
    joint_velocity: Float[np.ndarray, "time 17 3"] | None = None,
    radar: Radar | None = None,
) -> list[Float[np.ndarray, "_ 5"]]:
    """Detected point cloud of each frame.

    Static echoes (walls, furniture, limbs at rest) are removed by the clutter filter and so are not simulated.

    Args:
        joints: metres, camera frame.
        room: the radar's place and the floor.
        generator: source of aim, breathing, reflectivities, noise and lost frames.
        girth: factor on the body's capsule radii.
        frame_rate: of ``joints``, Hz.
        joint_velocity: metres per second; by default central differences of ``joints``.
        radar: waveform, antennas and detector.

    Returns:
        Points (forward, right, down in metres from the radar, SNR in dB, Doppler in m/s, positive when receding),
        float64. Empty arrays occur.
    """
    radar = radar or Radar()
    if joint_velocity is None:
        joint_velocity = velocity(joints, frame_rate)
    position = room.radar_position
    height = float(room.high[1] - position[1])
    aim = generator.normal(0.0, radar.mount_jitter, 2)
    breath = breathing(joints.shape[0], frame_rate, generator)
    lost = generator.random(size=(joints.shape[0],)) < radar.frame_loss
    noise = np.float32(10 ** (radar.noise_db / 20) / np.sqrt(2))
    clouds: list[np.ndarray] = []
    for first in range(0, joints.shape[0], _CHUNK):
        part = slice(first, first + _CHUNK)
        glints = reflectivity(joints[part].shape[0], generator)
        body = body_scatterers(joints[part], joint_velocity[part] + breath[part], position, glints, girth)
        body = replace(body, right=body.right + aim[0], up=body.up + aim[1])
        echoes = cube(join(through_antennas(body, radar), floor_ghosts(body, height, radar)), radar)
        flat = echoes.view(np.float32)
        flat += noise * generator.standard_normal(flat.shape, dtype=np.float32)
        clouds += detect_points(echoes, radar)
    return [np.zeros((0, 5)) if gone else cloud for gone, cloud in zip(lost, clouds, strict=True)]
