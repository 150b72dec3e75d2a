"""From a script to joint positions: phase, angles, forward kinematics, feet on the floor, a place in the room.

Bone lengths are constant by construction: every joint is its parent plus a fixed length along a unit direction.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from equipose.simulate.actions import ACTIONS, CHANNELS, CURVES, ActionScript
from equipose.simulate.body import Body
from equipose.simulate.randomness import generator_for

FRAME_RATE_HZ = 10.0
_SLOW = 16  # frames: actions with shorter periods go on without a pause


@dataclass(frozen=True)
class Style:
    """How one person moves.

    Attributes:
        tempo: factor on the periods.
        size: factor on all excursions.
        rest: posture in degrees.
        yaw: degrees to the left of facing the rig.
        pause: share of a repetition that the person rests before the next one.
        side: factor on excursions of the left limbs; its inverse on the right ones.
        lag: repetitions by which the right limbs follow the left ones.
        sway: standard deviation of the pelvis over the feet while standing, metres.
    """

    tempo: float
    size: float
    rest: dict[str, float]
    yaw: float
    pause: float
    side: float
    lag: float
    sway: float


def make_style(seed: int, subject: int) -> Style:
    """The way ``subject`` moves; depends on the seed and the subject alone."""
    generator = generator_for(seed, "style", subject)
    rest = dict.fromkeys(CHANNELS, 0.0)
    stance = generator.normal(4.0, 1.2)
    for side in ("left", "right"):
        rest[f"{side}_raise"] = generator.normal(11.0, 2.5)
        rest[f"{side}_azimuth"] = generator.normal(18.0, 8.0)
        rest[f"{side}_elbow"] = abs(generator.normal(14.0, 5.0))
        rest[f"{side}_bend"] = generator.normal(85.0, 6.0)
        rest[f"{side}_abduct"] = stance + generator.normal(0.0, 0.7)
        rest[f"{side}_hip"] = generator.normal(2.0, 1.0)
        rest[f"{side}_knee"] = abs(generator.normal(4.0, 1.5))
    rest["lean"] = generator.normal(2.0, 2.0)
    rest["nod"] = generator.normal(3.0, 4.0)
    return Style(
        tempo=float(np.exp(generator.normal(0.0, 0.07))),
        size=float(np.clip(generator.normal(0.97, 0.07), 0.8, 1.12)),
        rest=rest,
        yaw=float(generator.normal(0.0, 4.0)),
        # Hardly anybody rests: in MARS' movements the median speed of moving joints equals their mean. Sway of 3 to
        # 5 mm in quiet standing is posturography's; side and lag are choices.
        pause=float(np.clip(generator.normal(0.03, 0.03), 0.0, 0.12)),
        side=float(np.exp(np.clip(generator.normal(0.0, 0.03), -0.06, 0.06))),
        lag=float(np.clip(generator.normal(0.0, 0.01), -0.02, 0.02)),
        sway=float(generator.uniform(0.003, 0.005)),
    )


def perform(
    body: Body,
    action: int,
    num_frames: int,
    seed: int,
    place: Float[np.ndarray, " 2"],
    floor: float,
    environment: int = 1,
    period: float | None = None,
) -> Float[np.ndarray, "time 17 3"]:
    """One recording's joints.

    Args:
        body: who moves.
        action: 1 to 27.
        num_frames: length at 10 Hz.
        seed: of the whole simulation; with the subject, the action and the room it decides the motion.
        place: x and z of the standing place, metres, camera frame.
        floor: y of the floor, metres, camera frame.
        environment: the room's number.
        period: frames per repetition at the person's usual tempo; by default the action's own.

    Returns:
        (time, 17, 3) float32, metres, camera frame (x right, y down, z forward); the person faces the camera.
    """
    generator = generator_for(seed, "motion", body.subject, action, environment)
    style = make_style(seed, body.subject)
    script = ACTIONS[action] if period is None else replace(ACTIONS[action], period=period)
    repetition, size = repetitions(script, style.tempo, num_frames, generator)
    channels = _angles(script, style, repetition, size, generator)
    yaw = np.full(num_frames, style.yaw + generator.normal(0.0, 2.0))
    own = _kinematics(body, channels, np.radians(yaw))
    own = _plant(own, body, channels, script)
    own = _sway(own, body, style, generator)
    # The person's left, up, forward become the camera's x, -y, -z.
    joints = own * np.array([1.0, -1.0, -1.0]) + np.array([place[0], floor, place[1]])
    return joints.astype(np.float32)


def repetitions(
    script: ActionScript, tempo: float, num_frames: int, generator: np.random.Generator
) -> tuple[Float[np.ndarray, " time"], Float[np.ndarray, " time"]]:
    """Repetition count (its fraction is the phase) and size factor of every frame."""
    count = int(2 * num_frames / script.period) + 4
    lengths = script.period * tempo * np.exp(generator.normal(0.0, 0.05, count))
    ends = np.concatenate([[0.0], np.cumsum(lengths)])
    first = generator.random() * ends[1]
    progress = np.interp(first + np.arange(num_frames), ends, np.arange(count + 1))
    sizes = np.clip(generator.normal(1.0, 0.06, count + 1), 0.8, 1.2)
    return progress, sizes[progress.astype(int)]


def _angles(
    script: ActionScript, style: Style, progress: np.ndarray, size: np.ndarray, generator: np.random.Generator
) -> dict[str, np.ndarray]:
    """Channel values over time: resting posture, scripted moves, slow drift."""
    time = np.arange(progress.size) / FRAME_RATE_HZ
    pause = _pauses(script, style, progress, generator)
    values = {name: np.full(progress.size, rest) for name, rest in style.rest.items()}
    for move in script.moves:
        own = generator.normal(1.0, 0.06)  # this person, this recording
        left, right = (move.channel.startswith(side) for side in ("left", "right"))
        if move.curve != "always":
            own *= style.side if left else 1 / style.side if right else 1.0
        phase = _phase(progress - (style.lag if right else 0.0), pause)
        scale = own if move.curve == "always" else own * style.size * size
        values[move.channel] = values[move.channel] + move.peak * scale * CURVES[move.curve](phase)
    drift = {"lean": 0.8, "side": 0.7, "twist": 1.0, "nod": 1.5, "turn": 2.5}
    drift |= {f"{side}_{part}": 1.5 for side in ("left", "right") for part in ("raise", "azimuth", "elbow")}
    for name, amplitude in drift.items():
        values[name] = values[name] + amplitude * _wander(time, generator, 0.1, 0.5)
    # Nobody holds or moves a limb quite steadily: corrections of the hand's path at 1 to 3 per second (choice).
    for side in ("left", "right"):
        for part, amplitude in (("raise", 0.5), ("azimuth", 0.5), ("elbow", 0.7), ("hip", 0.15), ("knee", 0.2)):
            name = f"{side}_{part}"
            values[name] = values[name] + amplitude * _wander(time, generator, 1.0, 3.0)
    return values


def _wander(
    time: Float[np.ndarray, " time"], generator: np.random.Generator, slowest: float, fastest: float
) -> Float[np.ndarray, " time"]:
    """Three sines of random rates in Hz; standard deviation 1."""
    rate = generator.uniform(slowest, fastest, 3)
    shift = generator.uniform(0, 2 * np.pi, 3)
    return np.sin(2 * np.pi * time[:, None] * rate + shift).sum(-1) / np.sqrt(1.5)


def _pauses(
    script: ActionScript, style: Style, progress: np.ndarray, generator: np.random.Generator
) -> Float[np.ndarray, " repetition"]:
    """Share of each repetition that is rest; fast actions go on without one."""
    count = int(progress.max()) + 2
    shares = np.clip(style.pause + generator.normal(0.0, 0.03, count), 0.0, 0.3)
    return shares if script.period >= _SLOW else np.zeros(count)


def _phase(progress: np.ndarray, pause: np.ndarray) -> Float[np.ndarray, " time"]:
    """Phase in [0, 1) of the movement itself: 0 while the person rests at the start of a repetition."""
    phase = progress - np.floor(progress)
    rest = pause[np.maximum(np.floor(progress), 0).astype(int)]
    return np.maximum(phase - rest, 0.0) / (1.0 - rest)


def _sway(
    joints: np.ndarray, body: Body, style: Style, generator: np.random.Generator
) -> Float[np.ndarray, "time 17 3"]:
    """A standing body swings about the ankles like an inverted pendulum, 0.1 to 0.5 Hz; bones keep their lengths."""
    time = np.arange(len(joints)) / FRAME_RATE_HZ
    angle = style.sway / (body.thigh + body.shin)
    pitch, side = (angle * _wander(time, generator, 0.1, 0.5) for _ in range(2))
    pivot = np.array([0.0, body.ankle_height, 0.0])
    return pivot + np.einsum("tij,tnj->tni", _rotation(np.zeros_like(pitch), pitch, side), joints - pivot)


def _rotation(yaw: np.ndarray, pitch: np.ndarray, side: np.ndarray) -> Float[np.ndarray, "time 3 3"]:
    """Yaw to the left after pitch forward after bend to the left; axes left, up, forward; radians."""
    zero, one = np.zeros_like(yaw), np.ones_like(yaw)
    cy, sy, cp, sp, cs, ss = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(side), np.sin(side)

    def matrix(*rows: np.ndarray) -> np.ndarray:
        return np.stack(rows, axis=-1).reshape(-1, 3, 3)

    turn = matrix(cy, zero, sy, zero, one, zero, -sy, zero, cy)
    lean = matrix(one, zero, zero, zero, cp, -sp, zero, sp, cp)
    bend = matrix(cs, ss, zero, -ss, cs, zero, zero, zero, one)
    return turn @ lean @ bend


def _kinematics(body: Body, channels: dict[str, np.ndarray], yaw: np.ndarray) -> Float[np.ndarray, "time 17 3"]:
    """Joints with the pelvis at the origin, axes left, up, forward."""
    deg = {name: np.radians(value) for name, value in channels.items()}
    lean, side, twist = deg["lean"], deg["side"], deg["twist"]
    pelvis = _rotation(yaw + 0.3 * twist, 0.55 * lean, 0.35 * side)
    waist = _rotation(yaw + 0.65 * twist, 0.8 * lean, 0.7 * side)
    chest = _rotation(yaw + twist, lean, side)
    head = _rotation(yaw + twist + deg["turn"], 0.85 * lean + deg["nod"], 0.9 * side)
    heading = _rotation(yaw, np.zeros_like(yaw), np.zeros_like(yaw))
    left, up, forward = np.eye(3)

    joints = np.zeros((yaw.size, 17, 3))
    joints[:, 7] = body.lower_spine * (waist @ up)
    joints[:, 8] = joints[:, 7] + body.upper_spine * (chest @ up)
    joints[:, 9] = joints[:, 8] + body.neck * (head @ _unit(up + 0.55 * forward))
    joints[:, 10] = joints[:, 9] + body.head * (head @ _unit(up - 0.25 * forward))
    for sign, name, hip, shoulder in ((1.0, "left", 4, 11), (-1.0, "right", 1, 14)):
        joints[:, hip] = body.half_hip * sign * (pelvis @ left)
        thigh, shin = _leg(deg[f"{name}_hip"], deg[f"{name}_abduct"], deg[f"{name}_knee"], sign)
        joints[:, hip + 1] = joints[:, hip] + body.thigh * np.einsum("tij,tj->ti", heading, thigh)
        joints[:, hip + 2] = joints[:, hip + 1] + body.shin * np.einsum("tij,tj->ti", heading, shin)
        joints[:, shoulder] = joints[:, 8] + body.half_shoulder * (chest @ _unit(sign * left - 0.12 * up))
        upper, fore = _arm(
            deg[f"{name}_raise"],
            deg[f"{name}_azimuth"],
            deg[f"{name}_elbow"],
            deg[f"{name}_bend"],
            sign,
        )
        joints[:, shoulder + 1] = joints[:, shoulder] + body.upper_arm * np.einsum("tij,tj->ti", chest, upper)
        joints[:, shoulder + 2] = joints[:, shoulder + 1] + body.forearm * np.einsum("tij,tj->ti", chest, fore)
    return joints


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector, axis=-1, keepdims=True)


def _leg(
    hip: np.ndarray, abduct: np.ndarray, knee: np.ndarray, sign: float
) -> tuple[Float[np.ndarray, "time 3"], Float[np.ndarray, "time 3"]]:
    thigh = np.stack([sign * np.sin(abduct) * np.cos(hip), -np.cos(abduct) * np.cos(hip), np.sin(hip)], axis=-1)
    by_hip = np.stack([-sign * np.sin(abduct) * np.sin(hip), np.cos(abduct) * np.sin(hip), np.cos(hip)], axis=-1)
    by_hip = _unit(by_hip)
    knee = np.maximum(knee, 0.0)[:, None]
    return thigh, np.cos(knee) * thigh - np.sin(knee) * by_hip


def _arm(
    raised: np.ndarray, azimuth: np.ndarray, elbow: np.ndarray, bend: np.ndarray, sign: float
) -> tuple[Float[np.ndarray, "time 3"], Float[np.ndarray, "time 3"]]:
    """Directions of upper arm and forearm; the elbow bends within the tangent plane of the upper arm's sphere."""
    sr, cr, sa, ca = np.sin(raised), np.cos(raised), np.sin(azimuth), np.cos(azimuth)
    upper = np.stack([sign * sr * ca, -cr, sr * sa], axis=-1)
    by_raise = np.stack([sign * cr * ca, sr, cr * sa], axis=-1)
    by_azimuth = np.stack([-sign * sa, np.zeros_like(sa), ca], axis=-1)
    towards = np.cos(bend)[:, None] * by_raise + np.sin(bend)[:, None] * by_azimuth
    elbow = np.clip(elbow, 0.0, 2.6)[:, None]
    return upper, np.cos(elbow) * upper + np.sin(elbow) * towards


def _plant(
    joints: np.ndarray, body: Body, channels: dict[str, np.ndarray], script: ActionScript
) -> Float[np.ndarray, "time 17 3"]:
    """Put the lower foot on the floor (height 0) and the planted foot at its resting place; then shift and jump."""
    ankles = joints[:, [6, 3]]
    height = body.ankle_height + channels["flight"] - ankles[..., 1].min(axis=1)
    if script.planted == "both":
        anchor, rest = ankles[..., ::2].mean(axis=1), np.zeros(2)
    else:
        foot = 0 if script.planted == "left" else 1
        sign = 1.0 if script.planted == "left" else -1.0
        anchor = ankles[:, foot, ::2]
        rest = np.array([sign * (body.half_hip + 0.06), 0.0])
    ground = rest - anchor
    shift = np.stack([ground[:, 0] + channels["sideways"], height, ground[:, 1] + channels["forward"]], axis=-1)
    return joints + shift[:, None]
