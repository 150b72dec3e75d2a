from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from equipose.errors import DataError, UsageError
from equipose.simulate.body import make_body
from equipose.simulate.joint_names import match
from equipose.simulate.motion import perform
from equipose.simulate.motion_clip import Clip
from equipose.simulate.motion_files import read_motion
from equipose.simulate.placing import DRIFT_SECONDS, field_of, place_motion, slow_path, turn_to_camera
from equipose.simulate.resample import bone_lengths, low_pass, resample, with_bone_lengths
from equipose.simulate.retarget import UNITS, retarget
from equipose.simulate.room import make_room
from equipose.skeleton import H36M17

Y_DOWN_TO = {
    "y": np.diag([1.0, -1.0, -1.0]),
    "-y": np.eye(3),
    "z": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
    "x": np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]),
}
MIXAMO = (
    *("Hips", "RightUpLeg", "RightLeg", "RightFoot", "LeftUpLeg", "LeftLeg", "LeftFoot", "Spine1", "Neck"),
    *("Head", "HeadTop_End", "LeftArm", "LeftForeArm", "LeftHand", "RightArm", "RightForeArm", "RightHand"),
)


def clip_of(joints, rate=10.0, names=H36M17.joints, kind="npz", digest="0123456789abcdef" * 4):
    return Clip("clip", Path("clip.npz"), tuple(names), np.asarray(joints, np.float64), rate, kind, digest)


@pytest.fixture(scope="module")
def scripted():
    """(time, 17, 3) joints of a scripted person, metres, y down, and the body."""
    body = make_body(0, 3)
    joints = perform(body, 9, 40, 0, np.array([0.0, 3.0]), 0.8).astype(np.float64)
    return joints, body


def lengths_spread(joints):
    lengths = bone_lengths(joints)
    return float((lengths.max(0) - lengths.min(0)).max())


@pytest.mark.parametrize("up", list(Y_DOWN_TO))
@pytest.mark.parametrize("unit", list(UNITS))
def test_unit_and_up_are_found(scripted, unit, up):
    joints, body = scripted
    turned = joints @ Y_DOWN_TO[up].T / UNITS[unit]
    motion = retarget(clip_of(turned))
    assert motion.source["unit"] == unit and motion.source["up"] == up
    assert motion.stature == pytest.approx(body.stature, rel=0.06)
    # The same motion, whatever it came in: distances and heights.
    assert np.allclose(motion.joints[..., 1] - motion.joints[:, :1, 1], -(joints[..., 1] - joints[:, :1, 1]), atol=1e-3)
    assert np.allclose(bone_lengths(motion.joints)[0], bone_lengths(joints)[0], atol=1e-4)
    assert any("assumed" in note and f"unit {unit}" in note for note in motion.notes)


def test_unit_and_up_can_be_given(scripted):
    joints, _ = scripted
    child = 0.5 * joints
    with pytest.raises(DataError, match="--motion-unit"):
        retarget(clip_of(child))
    assert retarget(clip_of(child), unit="m").stature < 1.0
    with pytest.raises(DataError, match=r"with --motion-unit cm the person is 0\.0\d+ m tall.*Type --motion-unit m"):
        retarget(clip_of(joints), unit="cm")
    lying = joints[..., [1, 0, 2]] * [1, 1, -1]
    assert retarget(clip_of(lying), up="-y").source["up"] == "-y"
    rolling = np.concatenate([joints @ Y_DOWN_TO[up].T for up in ("y", "-y", "z", "x")])
    with pytest.raises(DataError, match="--motion-up"):
        retarget(clip_of(rolling))
    for change, flag in (({"unit": "ells"}, "--motion-unit"), ({"up": "up"}, "--motion-up")):
        with pytest.raises(UsageError, match=flag):
            retarget(clip_of(joints), **change)


def test_joints_of_other_names_and_roots(scripted):
    joints, _ = scripted
    hips_above = joints.copy()
    hips_above[:, 0] += [0.0, -0.1, 0.0]
    prefixed = [f"mixamorig:{name}" for name in MIXAMO]
    motion = retarget(clip_of(hips_above, names=prefixed, kind="bvh"))
    assert "Mixamo" in str(motion.source["names"])
    assert np.allclose(motion.joints[:, 0], motion.joints[:, [1, 4]].mean(1), atol=2e-3)  # the pelvis of MM-Fi
    order = np.random.default_rng(0).permutation(17)
    shuffled = retarget(clip_of(hips_above[:, order], names=[prefixed[i] for i in order], kind="bvh"))
    assert np.allclose(shuffled.joints, motion.joints)
    no_tip = [i for i in range(17) if i != 10]
    motion = retarget(clip_of(joints[:, no_tip], names=[MIXAMO[i] for i in no_tip]))
    neck, head = motion.joints[:, 9] - motion.joints[:, 8], motion.joints[:, 10] - motion.joints[:, 9]
    assert np.allclose(np.cross(neck, head), 0.0, atol=1e-6)


# The kind of a file, its names, and those of: right hip, spine, thorax, face, head, left shoulder, left wrist.
REAL_NAMES = [
    (
        "bvh",
        """Hips LHipJoint LeftUpLeg LeftLeg LeftFoot LeftToeBase RHipJoint RightUpLeg RightLeg RightFoot LowerBack Spine
        Spine1 Neck Neck1 Head Head_end LeftShoulder LeftArm LeftForeArm LeftHand RightShoulder RightArm RightForeArm
        RightHand""",
        "RightUpLeg Spine Neck Head Head_end LeftArm LeftHand",
    ),
    (
        "bvh",
        """Hips LeftHip LeftKnee LeftAnkle RightHip RightKnee RightAnkle Chest LeftCollar LeftShoulder LeftElbow
        LeftWrist RightCollar RightShoulder RightElbow RightWrist Neck Head Head_end""",
        "RightHip Chest Neck Head Head_end LeftShoulder LeftWrist",
    ),
    (
        "bvh",
        """root lhipjoint lfemur ltibia lfoot ltoes rhipjoint rfemur rtibia rfoot rtoes lowerback upperback thorax
        lowerneck upperneck head head_end lclavicle lhumerus lradius lwrist lhand rclavicle rhumerus rradius rwrist""",
        "rfemur upperback lowerneck head head_end lhumerus lwrist",
    ),
    (
        "npz",
        """pelvis L_Hip R_Hip spine1 L_Knee R_Knee spine2 L_Ankle R_Ankle spine3 L_Foot R_Foot neck L_Collar R_Collar
        head L_Shoulder R_Shoulder L_Elbow R_Elbow L_Wrist R_Wrist""",
        "R_Hip spine2 neck head - L_Shoulder L_Wrist",
    ),
    (
        "npz",
        """Bip01_Pelvis Bip01_L_Thigh Bip01_L_Calf Bip01_L_Foot Bip01_R_Thigh Bip01_R_Calf Bip01_R_Foot Bip01_Spine
        Bip01_Spine1 Bip01_Neck Bip01_Head Bip01_L_UpperArm Bip01_L_Forearm Bip01_L_Hand Bip01_R_UpperArm
        Bip01_R_Forearm Bip01_R_Hand""",
        "Bip01_R_Thigh Bip01_Spine1 Bip01_Neck Bip01_Head - Bip01_L_UpperArm Bip01_L_Hand",
    ),
]


@pytest.mark.parametrize(("kind", "words", "expected"), REAL_NAMES)
def test_names_in_common_use(kind, words, expected):
    names = words.split()
    columns = match(names, kind, Path("x")).columns
    found = [names[columns[i]] if columns[i] >= 0 else "-" for i in (1, 7, 8, 9, 10, 11, 13)]
    assert found == expected.split() and columns[0] == -1


def test_far_ends_and_near_ends_are_told_apart():
    names = ["root", "lhipjoint", "lfemur", "ltibia", "rhipjoint", "rfemur", "rtibia"]
    names += ["lowerback", "thorax", "upperneck", "head"]
    names += [f"{side}{bone}" for side in "lr" for bone in ("clavicle", "humerus", "radius")]
    columns = match(names, "asf", Path("x")).columns
    assert [names[i] for i in columns[1:4]] == ["rhipjoint", "rfemur", "rtibia"]
    with pytest.raises(DataError, match=r"upperback|lowerneck|lfoot"):
        match(names, "bvh", Path("x"))


def test_the_same_motion_from_a_bvh_file(scripted, tmp_path):
    joints, _ = scripted
    zup = joints @ Y_DOWN_TO["z"].T * 100.0  # centimetres
    words, order = [], []

    def write(joint, depth):
        order.append(joint)
        parent = H36M17.parents[joint]
        words.append(f"{'JOINT' if depth else 'ROOT'} {MIXAMO[joint]}\n{{\nOFFSET 0 0 0")
        words.append("CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation")
        rows.append((zup[:, joint] - zup[:, parent]) if parent >= 0 else zup[:, joint])
        children = [child for child, above in enumerate(H36M17.parents) if above == joint]
        for child in children:
            write(child, depth + 1)
        if not children:
            words.append("End Site\n{\nOFFSET 0 0 1\n}")
        words.append("}")

    rows = []
    write(0, 0)
    values = np.stack([np.concatenate([row, 0 * row], axis=1) for row in rows], axis=1).reshape(len(joints), -1)
    lines = [" ".join(f"{value:.6f}" for value in line) for line in values]
    path = tmp_path / "dance.bvh"
    path.write_text("\n".join(["HIERARCHY", *words, "MOTION", f"Frames: {len(joints)}", "Frame Time: 0.1", *lines]))
    (clip,) = read_motion([path])
    from_file, direct = retarget(clip), retarget(clip_of(joints))
    assert from_file.source["unit"] == "cm" and from_file.source["up"] == "z"
    ours, theirs = (m.joints - m.joints[:, :1] for m in (from_file, direct))
    assert np.allclose(turn_to_camera(ours), turn_to_camera(theirs), atol=1e-4)


def test_unmatched_joints_are_listed(scripted):
    joints, _ = scripted
    names = [name.replace("LeftHand", "Paw") for name in MIXAMO]
    with pytest.raises(DataError) as caught:
        retarget(clip_of(joints, names=names))
    text = str(caught.value)
    assert "1 joints have no known name" in text and "left_wrist: looked for lefthand" in text
    assert "Paw" in text and "Mixamo" in text and "rightforearm" in text


def test_joints_in_another_order_are_refused(scripted):
    joints, _ = scripted
    with pytest.raises(DataError, match="another order than MM-Fi's"):
        retarget(clip_of(joints[:, np.roll(np.arange(17), 5)]))
    same_place = joints.copy()
    same_place[3, 2] = same_place[3, 1]
    with pytest.raises(DataError, match="right_hip to right_knee has no length"):
        retarget(clip_of(same_place))


def test_bones_stay_constant_under_noise_and_mirroring_keeps_sides(scripted):
    joints, _ = scripted
    noisy = joints + np.random.default_rng(0).normal(0, 0.004, joints.shape)
    assert lengths_spread(noisy) > 0.01
    motion = retarget(clip_of(noisy, rate=25.0))
    assert lengths_spread(motion.joints) < 1e-9
    mirrored = retarget(clip_of((noisy * [-1, 1, 1])[:, H36M17.mirror], rate=25.0))
    assert np.allclose(mirrored.joints, (motion.joints * [-1, 1, 1])[:, H36M17.mirror])
    room = make_room(0, 1)
    ours, theirs = (place_motion(m, room, 0).joints for m in (motion, mirrored))
    about = [joints - joints[:, :1] for joints in (ours, theirs)]
    assert np.allclose(about[1], (about[0] * [-1, 1, 1])[:, H36M17.mirror], atol=1e-5)
    assert ours[0, 1, 0] < ours[0, 4, 0]  # facing the camera, the right hip has the smaller x


def test_left_handed_files_are_noticed(scripted):
    joints, _ = scripted
    bent = perform(make_body(0, 3), 12, 40, 0, np.array([0.0, 3.0]), 0.8).astype(np.float64)
    assert not any("left-handed" in note for note in retarget(clip_of(bent)).notes)
    assert any("left-handed" in note for note in retarget(clip_of(bent * [1, 1, -1])).notes)
    assert not any("left-handed" in note for note in retarget(clip_of(joints)).notes)


@pytest.mark.parametrize("rate", [7.5, 10.0, 24.0, 29.97, 30.0, 60.0, 120.0])
def test_resampling_keeps_slow_motion_and_stops_fast_motion(rate):
    time = np.arange(int(6 * rate)) / rate

    def wave(hertz, at):
        return np.sin(2 * np.pi * hertz * at)[:, None, None] * np.ones((1, 2, 3))

    slow = resample(wave(0.5, time) + time[:, None, None], rate, 10.0)
    new_time = np.arange(len(slow)) / 10.0
    assert new_time[-1] <= time[-1] + 1e-6 < new_time[-1] + 0.1
    assert abs(slow - wave(0.5, new_time) - new_time[:, None, None])[3:-3].max() < 0.05
    straight = resample(time[:, None, None] * np.ones((1, 2, 3)), rate, 10.0)
    assert np.allclose(straight, new_time[:, None, None])  # also at both ends
    if rate > 20:
        fast = resample(wave(9.0, time), rate, 10.0)[3:-3]
        assert abs(fast).max() < 0.15  # unfiltered, it would be a wave of 1 Hz with its full height
    if rate <= 10:
        assert low_pass(wave(3.0, time), rate, 10.0) is not None and np.array_equal(
            low_pass(wave(3.0, time), rate, 10.0), wave(3.0, time)
        )


def test_bone_lengths_are_set_and_directions_kept(scripted):
    joints, _ = scripted
    wanted = np.linspace(0.1, 0.4, 16)
    out = with_bone_lengths(joints, wanted)
    assert np.allclose(bone_lengths(out), wanted) and np.array_equal(out[:, 0], joints[:, 0])
    for parent, child in H36M17.bones:
        ours, theirs = out[:, child] - out[:, parent], joints[:, child] - joints[:, parent]
        assert np.allclose(np.cross(ours, theirs), 0.0, atol=1e-9) and ((ours * theirs).sum(-1) > 0).all()


def test_short_and_long_clips_are_refused(scripted):
    joints, _ = scripted
    with pytest.raises(DataError, match="3 frames at 120 Hz are 1 frame at 10 Hz"):
        retarget(clip_of(joints[:3], rate=120.0))
    long = np.concatenate([joints] * 26)
    with pytest.raises(DataError, match=r"1040 frames at 10 Hz, expected at most 999.*--frames 999"):
        retarget(clip_of(long))
    assert len(retarget(clip_of(long), frames=999).joints) == 999


def walking(joints, speed):
    """The person walks forward and turned by a quarter."""
    time = np.arange(len(joints)) / 10.0
    path = joints + np.stack([speed * time, 0 * time, 0 * time], axis=-1)[:, None]
    return retarget(clip_of(path))


def test_the_person_is_put_before_the_rig(scripted):
    joints, body = scripted
    room = make_room(0, 2)
    turn = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    placed = place_motion(retarget(clip_of(joints @ turn.T + [50.0, 7.0, -80.0])), room, 0)
    assert placed.place == "keep" and placed.seen == 1.0 and placed.joints.dtype == np.float32
    first = placed.joints[:5]
    across = (first[:, 4] - first[:, 1] + first[:, 11] - first[:, 14]).mean(0)
    assert across[0] > 0.2 and abs(across[2]) < 1e-5
    middle = 0.5 * (placed.joints[:, 0].min(0) + placed.joints[:, 0].max(0))[[0, 2]]
    assert np.linalg.norm(middle - room.spot) < 0.6
    ankles = placed.joints[:, [3, 6], 1].max(1)
    assert np.percentile(room.camera_height - ankles, 50) == pytest.approx(body.ankle_height, abs=0.02)
    other_seed = place_motion(retarget(clip_of(joints)), room, 1)
    assert not np.allclose(other_seed.joints[:, 0], placed.joints[:, 0])


def test_a_walk_is_kept_or_centred(scripted):
    joints, _ = scripted
    room = make_room(0, 1)
    slow, far = walking(joints, 0.1), walking(joints, 1.5)
    assert place_motion(slow, room, 0).place == "keep"
    assert np.ptp(place_motion(slow, room, 0).joints[:, 0, 0]) > 0.3
    centred = place_motion(far, room, 0)
    assert centred.place == "centre" and field_of(room).holds(centred.joints[:, 0]).all()
    assert np.ptp(centred.joints[:, 0, 0]) < 0.3
    # The limbs about the pelvis are those of the clip.
    kept = turn_to_camera(far.joints) * [1, -1, -1]
    assert np.allclose(centred.joints - centred.joints[:, :1], kept - kept[:, :1], atol=1e-5)
    with pytest.raises(DataError, match=r"(left|right) of the room E01.*--motion-place centre"):
        place_motion(far, room, 0, "keep")
    flying = replace(far, joints=far.joints.copy())
    flying.joints[20:, :, 1] += 3.0
    with pytest.raises(DataError, match=r"above the room .*Is -y up in the file"):
        place_motion(flying, room, 0)


def test_only_slow_motion_is_taken_from_the_path():
    time = np.arange(100) / 10.0

    def share(hertz):
        path = np.stack([np.sin(2 * np.pi * hertz * time), 0 * time], axis=-1)
        return np.abs(path - slow_path(path))[20:-20, 0].max()

    cut = np.exp(-0.5 * (2 * np.pi * np.array([0.1, 2.0]) * DRIFT_SECONDS) ** 2)
    assert share(0.1) == pytest.approx(1 - cut[0], abs=0.02) and share(2.0) == pytest.approx(1 - cut[1], abs=0.06)


@pytest.mark.data
def test_real_motion_keeps_its_speed_and_gets_constant_bones(real_data):
    clips = read_motion(sorted((real_data / "cmu_mocap").glob("*_30hz.npz")))
    assert len(clips) == 23
    for clip in clips:
        motion = retarget(clip)
        assert lengths_spread(motion.joints) < 1e-9
        assert 1.6 < motion.stature < 1.9 and motion.source["up"] == "y" and motion.source["unit"] == "m"
        assert not any("left-handed" in note for note in motion.notes)
        # The oracle: the joints of the far ends of CMU's bones, every third frame of 30 Hz.
        names = ("rfemur", "rtibia", "lfemur", "ltibia", "thorax", "lradius", "rradius")
        source = clip.positions[::3, [clip.names.index(name) for name in names]]
        ours = motion.joints[:, [2, 3, 5, 6, 8, 13, 16]]
        speed, true_speed = (np.linalg.norm(np.diff(j, axis=0), axis=-1).mean() for j in (ours, source[: len(ours)]))
        assert speed == pytest.approx(true_speed, rel=0.025), clip.name
        assert np.linalg.norm(ours - source[: len(ours)], axis=-1).mean() < 0.012, clip.name
