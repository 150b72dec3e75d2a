from __future__ import annotations

import re

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from equipose.errors import DataError, UsageError
from equipose.simulate.asf import parse_asf
from equipose.simulate.bvh import read_bvh
from equipose.simulate.motion_clip import axis_rotation
from equipose.simulate.motion_files import read_motion, read_npz
from equipose.skeleton import H36M17

BVH = """HIERARCHY
ROOT Hips
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT Left Arm
  {
    OFFSET 1 0 0
    CHANNELS 3 Zrotation Xrotation Yrotation
    End Site
    {
      OFFSET 0 2 0
    }
  }
}
MOTION
Frames: 3
Frame Time: 0.0083333
0 0 0 0 0 0 0 0 0
1 2 3 90 0 0 0 90 0
0 0 0 20 -30 40 70 10 -50
"""

ASF = """# a comment
:version 1.10
:units
  mass 1.0
  length 0.45
  angle deg
:root
  order TX TY TZ RX RY RZ
  axis XYZ
  position 0 0 0
  orientation 0 0 0
:bonedata
  begin
    id 1
    name up
    direction 0 2 0
    length 3
    axis 0 0 90 XYZ
    dof rx rz
    limits (-1 1)
           (-1 1)
  end
  begin
    id 2
    name tip
    direction 1 0 0
    length 1
    axis 0 0 0 XYZ
  end
:hierarchy
  begin
    root up
    up tip
  end
"""

AMC = """#!OML:ASF
:FULLY-SPECIFIED
:DEGREES
1
root 1 2 3 0 0 0
up 0 0
2
root 0 0 0 0 0 90
up 0 90
3
root 0 0 0 0 0 0
up 90 0
"""


def write(folder, name, text):
    path = folder / name
    path.write_text(text)
    return path


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


def pose(count=5):
    return np.random.default_rng(0).normal(size=(count, 17, 3))


@pytest.mark.parametrize("axis", "xyz")
def test_rotations_are_those_of_scipy(axis):
    angles = np.linspace(-200, 200, 7)
    assert np.allclose(
        axis_rotation(axis, angles), Rotation.from_euler(axis, angles[:, None], degrees=True).as_matrix()
    )


def test_bvh_by_hand_and_by_scipy(tmp_path):
    clip = read_bvh(write(tmp_path, "a.bvh", BVH))
    assert clip.names == ("Hips", "Left Arm", "Left Arm_end")
    assert clip.frame_rate == pytest.approx(120.0, rel=1e-4)
    assert np.allclose(clip.positions[0], [[0, 0, 0], [1, 0, 0], [1, 2, 0]])
    # The root turned by 90 degrees about z: x becomes y. The arm's y becomes z by its own turn about x.
    assert np.allclose(clip.positions[1], [[1, 2, 3], [1, 3, 3], [1, 3, 5]])
    root, arm = (Rotation.from_euler("ZXY", a, degrees=True).as_matrix() for a in ([20, -30, 40], [70, 10, -50]))
    assert np.allclose(clip.positions[2, 1], root @ [1, 0, 0])
    assert np.allclose(clip.positions[2, 2], root @ ([1, 0, 0] + arm @ [0, 2, 0]))


def test_bvh_joints_may_be_called_motion(tmp_path):
    clip = read_bvh(
        write(tmp_path, "a.bvh", "\ufeff" + BVH.replace("ROOT Hips", "ROOT MotionRoot").replace("\n", "\r\n"))
    )
    assert clip.names[0] == "MotionRoot" and len(clip.positions) == 3


def test_bvh_position_channels_stand_for_offsets(tmp_path):
    text = BVH.replace("CHANNELS 3 Zrotation", "CHANNELS 4 Xposition Zrotation").replace(
        "1 2 3 90 0 0", "1 2 3 0 0 0 7"
    )
    text = text.replace("0 0 0 0 0 0 0 0 0", "0 0 0 0 0 0 5 0 0 0").replace("0 0 0 20", "0 0 0 0 20")
    clip = read_bvh(write(tmp_path, "a.bvh", text))
    assert np.allclose(clip.positions[0, 1], [5, 0, 0])
    assert np.allclose(clip.positions[1, 1], [8, 2, 3])


def test_acclaim_by_hand(tmp_path):
    write(tmp_path, "02.asf", ASF)
    (clip,) = read_motion([write(tmp_path, "02_01.amc", AMC)])
    assert clip.names == ("root", "up", "tip") and clip.frame_rate == 120.0
    assert any("120 frames a second" in words for words in clip.assumed)
    assert np.allclose(clip.positions[0], [[1, 2, 3], [1, 5, 3], [2, 5, 3]])
    # The root turns by 90 degrees about z, the bone by 90 more.
    assert np.allclose(clip.positions[1], [[0, 0, 0], [0, -3, 0], [-1, -3, 0]])
    # A turn about the bone's own x, which its axis (90 degrees about z) makes the world's y: y stays, x becomes -z.
    assert np.allclose(clip.positions[2], [[0, 0, 0], [0, 3, 0], [0, 3, -1]])
    (faster,) = read_motion([tmp_path / "02_01.amc"], frame_rate=60.0)
    assert faster.frame_rate == 60.0 and not faster.assumed


def test_acclaim_in_radians(tmp_path):
    radians = ASF.replace("angle deg", "angle rad").replace("axis 0 0 90", f"axis 0 0 {np.pi / 2}")
    write(tmp_path, "a.asf", radians)
    text = re.sub(r"\b90\b", str(np.pi / 2), AMC).replace("DEGREES", "RADIANS")
    (clip,) = read_motion([write(tmp_path, "a.amc", text)])
    assert np.allclose(clip.positions[1], [[0, 0, 0], [0, -3, 0], [-1, -3, 0]])


def test_npz_with_and_without_names(tmp_path):
    joints = pose()
    plain = read_npz(save(tmp_path / "a.npz", joints=joints, fps=30))
    assert plain.names == H36M17.joints and plain.frame_rate == 30.0 and np.array_equal(plain.positions, joints)
    names = np.array([f"joint {i}" for i in range(20)])
    more = np.random.default_rng(1).normal(size=(4, 20, 3)).astype(np.float32)
    both = read_npz(save(tmp_path / "b.npz", joints17=joints[:4], joints20=more, names20=names, frame_rate=50.0))
    assert both.names == tuple(names) and np.array_equal(both.positions, more)


def damage(text, old, new):
    assert old in text
    return text.replace(old, new)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.bvh", BVH[:120], "HIERARCHY and MOTION"),
        ("a.bvh", BVH[:-12], "found 24 motion values, expected 3 frames x 9 channels = 27"),
        ("a.bvh", BVH[: BVH.index("20 -30")], "cut off"),
        ("a.bvh", damage(BVH, "Frame Time: 0.0083333\n", ""), "'Frame Time'"),
        ("a.bvh", damage(BVH, "0.0083333", "0"), "expected seconds per frame"),
        ("a.bvh", damage(BVH, "20 -30", "20 --30"), "'--30', expected a number"),
        ("a.bvh", damage(BVH, "Xposition", "Qposition"), "'qposition' at Hips"),
        ("a.bvh", damage(BVH, "  }\n}\nMOTION", "MOTION"), "cut off"),
        ("a.amc", "1\nroot 0 0 0\n", "found 3 values of root, expected 6"),
        ("a.amc", AMC[: AMC.index("up 90 0")], "frame 3 of 3 has 1 of 2 bones; up is missing"),
        ("a.amc", "1\nother 0\n", "found 'other'"),
        ("a.amc", "# nothing\n", "found no frame"),
    ],
)
def test_damaged_files_are_explained(tmp_path, name, text, message):
    write(tmp_path, "a.asf", ASF)
    with pytest.raises(DataError, match=re.escape(message)):
        read_motion([write(tmp_path, name, text)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ASF[:100], "no section :bonedata"),
        (ASF[: ASF.index("direction 1")], "no section :hierarchy"),
        (damage(ASF, "    direction 1 0 0\n", ""), "bone tip: found no direction"),
        (damage(ASF, "    up tip\n", ""), "tip is in only one of"),
        (damage(ASF, "length 3", "length three"), "'three', expected a number"),
    ],
)
def test_damaged_skeletons_are_explained(tmp_path, text, message):
    with pytest.raises(DataError, match=re.escape(message)):
        parse_asf(text, tmp_path / "a.asf")


def test_an_amc_needs_its_asf(tmp_path):
    amc = write(tmp_path, "02_01.amc", AMC)
    with pytest.raises(DataError, match=r"02_01\.asf or .*02\.asf.*--motion 02_01\.amc 02\.asf"):
        read_motion([amc])
    (tmp_path / "elsewhere").mkdir()
    asf = write(tmp_path / "elsewhere", "any.asf", ASF)
    assert len(read_motion([amc, asf])) == 1
    with pytest.raises(UsageError, match="found no motion"):
        read_motion([asf])


def test_damaged_npz_are_explained(tmp_path):
    path = save(tmp_path / "a.npz", joints=pose(), fps=30)
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"x" * 100, whole[:200] + b"\xff" * 300 + whole[500:]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.npz"):
            read_motion([path])
    with pytest.raises(DataError, match="--motion-fps 30"):
        read_motion([save(path, joints=pose())])
    assert read_motion([path], frame_rate=25.0)[0].frame_rate == 25.0
    with pytest.raises(DataError, match=r"found poses \(5, 17, 3\), fps \(\), expected 'joints'"):
        read_motion([save(path, poses=pose(), fps=30)])
    with pytest.raises(DataError, match=r"'names' of shape"):
        read_motion([save(path, joints=np.zeros((5, 20, 3)), fps=30)])
    with pytest.raises(DataError, match="0 frames per second"):
        read_motion([save(path, joints=pose(), fps=0)])
    with pytest.raises(DataError, match="found 1 frame, expected a motion"):
        read_motion([save(path, joints=pose(1), fps=30)])
    broken = pose()
    broken[2, 4, 1] = np.nan
    broken[4] = np.inf
    with pytest.raises(DataError, match=r"2 of 5 frames .* frame 3, joint left_hip"):
        read_motion([save(path, joints=broken, fps=30)])


def test_what_is_given_is_checked(tmp_path):
    path = save(tmp_path / "a.npz", joints=pose(), fps=30)
    copy = tmp_path / "b.npz"
    copy.write_bytes(path.read_bytes())
    with pytest.raises(UsageError, match="same motion as"):
        read_motion([path, copy])
    with pytest.raises(UsageError, match=r"end in \.bvh"):
        read_motion([tmp_path / "a.fbx"])
    with pytest.raises(DataError, match="found no file"):
        read_motion([tmp_path / "none.bvh"])
    with pytest.raises(UsageError, match="--motion-fps"):
        read_motion([path], frame_rate=-1.0)


@pytest.mark.data
def test_real_acclaim_files_give_the_published_joints(real_data):
    folder = real_data / "cmu_mocap"
    (raw,) = read_motion([folder / "raw" / "02_01.amc", folder / "raw" / "02.asf"])
    (given,) = read_motion([folder / "02_01_30hz.npz"])
    column = [raw.names.index(name) for name in given.names]
    ours = raw.positions[::4][:, column] * 0.0254 / 0.45  # 120 Hz to 30 Hz; the scale is in the .asf: length 0.45
    assert given.frame_rate == 30 and ours.shape == given.positions.shape
    assert abs(ours - given.positions).max() < 1e-4  # a tenth of a millimetre
