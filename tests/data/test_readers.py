"""Readers: bit-equal to the files, and an error with words for every kind of damage."""

from __future__ import annotations

import pickle
import struct
import zlib

import numpy as np
import pytest
from scipy.io import savemat

from equipose.data.mmfi import read_csi, read_depth, read_ground_truth, read_joints2d, read_lidar, read_mmwave
from equipose.data.png import decode_gray16
from equipose.data.readers import FileError, looks_like_float32
from equipose.errors import DataError


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def encode_png(image, filters, depth=16, colour=0, interlace=0):
    """Forward filters, one byte at a time, straight from the PNG specification."""
    height, width = image.shape
    data = image.astype(">u2").view(np.uint8).reshape(height, 2 * width).astype(int)
    rows = []
    for r in range(height):
        row = []
        for c in range(2 * width):
            left = data[r, c - 2] if c >= 2 else 0
            up = data[r - 1, c] if r else 0
            corner = data[r - 1, c - 2] if r and c >= 2 else 0
            p = left + up - corner
            distance = {"left": abs(p - left), "up": abs(p - up), "corner": abs(p - corner)}
            nearest = min(distance, key=lambda k: (distance[k], list(distance).index(k)))
            paeth = {"left": left, "up": up, "corner": corner}[nearest]
            guess = (0, left, up, (left + up) // 2, paeth)[filters[r]]
            row.append((data[r, c] - guess) % 256)
        rows.append(bytes([filters[r], *row]))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    pixels = zlib.compress(b"".join(rows))
    half = len(pixels) // 2  # two IDAT chunks, as encoders may write
    parts = (
        chunk(b"IHDR", header),
        chunk(b"tEXt", b"a\0b"),
        chunk(b"IDAT", pixels[:half]),
        chunk(b"IDAT", pixels[half:]),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kinds", [(0,), (1,), (2,), (3,), (4,), (0, 1, 2), (4, 3, 1, 2, 0)])
def test_png_filters(kinds):
    rng = np.random.default_rng(len(kinds))
    image = rng.integers(0, 65536, (11, 7), dtype=np.uint16)
    filters = [kinds[i % len(kinds)] for i in range(11)]
    decoded = decode_gray16(encode_png(image, filters))
    assert decoded.dtype == np.uint16
    assert np.array_equal(decoded, image)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (3, 40), (40, 3)])
def test_png_shapes_with_mixed_filters(shape):
    rng = np.random.default_rng(3)
    image = rng.integers(0, 65536, shape, dtype=np.uint16)
    assert np.array_equal(decode_gray16(encode_png(image, rng.integers(0, 5, shape[0]))), image)


def test_depth_is_16_bit_millimetres(tmp_path):
    image = np.zeros((480, 640), np.uint16)
    image[100:110] = np.arange(640) + 3000
    path = tmp_path / "frame001.png"
    rows = image.astype(">u2").view(np.uint8).reshape(480, 640, 2)
    rows = np.diff(rows, axis=1, prepend=np.uint8(0)).reshape(480, 1280)  # the filter "sub", modulo 256
    pixels = zlib.compress(np.insert(rows, 0, 1, axis=1).tobytes())
    header = struct.pack(">IIBBBBB", 640, 480, 16, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))
    assert np.array_equal(read_depth(path), image)


def test_depth_refuses_other_images(tmp_path):
    image = np.zeros((4, 4), np.uint16)
    good = encode_png(image, [0] * 4)
    path = tmp_path / "frame001.png"
    cases = {
        "8-bit": encode_png(image, [0] * 4, depth=8),
        "3 channels": encode_png(image, [0] * 4, colour=2),
        "interlaced": encode_png(image, [0] * 4, interlace=1),
        "4 x 4": good,
        "not a PNG": b"JFIF" + good,
        "cut off": good[:-20],
        "damaged IDAT": good.replace(b"IDAT", b"IDAT\x01", 1)[:-1],
        "unknown row filter": encode_png(image, [0] * 4)[:8]
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, 0, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(bytes([7] + [0] * 8) * 4))
        + chunk(b"IEND", b""),
        "0 bytes": b"",
    }
    for words, data in cases.items():
        path.write_bytes(data)
        with pytest.raises(DataError) as error:
            read_depth(path)
        assert str(path) in str(error.value) and "16-bit grayscale" in str(error.value)
        if words not in ("0 bytes", "damaged IDAT"):
            assert words in str(error.value)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_joints2d_bit_equal(tmp_path, dtype):
    values = np.random.default_rng(0).normal(300, 100, (17, 2)).astype(dtype)
    values[3, 1] = np.nan
    np.save(tmp_path / "a.npy", values)
    read = read_joints2d(tmp_path / "a.npy")
    assert read.dtype == dtype
    assert read.tobytes() == values.tobytes()


@pytest.mark.parametrize("read, columns", [(read_lidar, 3), (read_mmwave, 5)])
def test_clouds_bit_equal_and_writable(tmp_path, read, columns):
    values = np.random.default_rng(0).normal(2, 1, (50, columns))
    values[4, 2] = np.nan
    (tmp_path / "a.bin").write_bytes(values.tobytes())
    points = read(tmp_path / "a.bin")
    assert points.dtype == np.float64 and points.tobytes() == values.tobytes()
    points[0, 0] = 1.0  # the toolbox's arrays are read-only
    (tmp_path / "a.bin").write_bytes(b"")
    assert read(tmp_path / "a.bin").shape == (0, columns)


@pytest.mark.parametrize("read, columns", [(read_lidar, 3), (read_mmwave, 5)])
def test_clouds_refuse_wrong_sizes(tmp_path, read, columns):
    values = np.random.default_rng(0).normal(2, 1, (50, columns))
    path = tmp_path / "a.bin"
    path.write_bytes(values.tobytes()[:-3])
    with pytest.raises(DataError, match=f"not a multiple of {8 * columns}"):
        read(path)
    path.write_bytes(values[:49].astype(np.float32).tobytes())  # an odd number of float32 points
    with pytest.raises(DataError, match=r"as float32 points would have"):
        read(path)


def test_float32_points_are_noticed_by_value(tmp_path):
    rng = np.random.default_rng(1)
    lidar = np.stack((rng.uniform(2, 5, 600), rng.normal(0, 0.5, 600), rng.normal(0, 0.5, 600)), 1)
    radar = np.concatenate((lidar[:30], rng.uniform(10, 40, (30, 1)), rng.normal(0, 1, (30, 1))), 1)
    path = tmp_path / "a.bin"
    for read, values in ((read_lidar, lidar), (read_mmwave, radar)):
        path.write_bytes(values.astype(np.float32).tobytes())
        with pytest.raises(DataError, match=r"holds float32 values"):
            read(path)
        path.write_bytes(values.tobytes())
        assert np.array_equal(read(path), values)
        assert not looks_like_float32(values.tobytes())


@pytest.mark.parametrize("seed", range(20))
def test_real_float64_points_never_look_like_float32(seed):
    rng = np.random.default_rng(seed)
    points = rng.normal((3, 0, 0), (1, 1, 1), (int(rng.integers(1, 400)), 3))
    points[0] = (60.0, 1e-5, 0.0)  # odd values that make the check look closer
    once_single = points.astype(np.float32).astype(np.float64)  # float64 with a short mantissa
    for values in (points, once_single, np.round(points, 3), np.round(points), points * 0, np.round(points * 4) / 4):
        assert not looks_like_float32(values.tobytes())


def test_csi_complex_gives_back_integers(tmp_path):
    rng = np.random.default_rng(0)
    i, q = rng.integers(-512, 512, (2, 3, 114, 10)).astype(float)
    i[0, 0, 0] = q[0, 0, 0] = 0.0
    with np.errstate(divide="ignore"):
        amplitude = 20 * np.log10(np.hypot(i, q))
    phase = np.arctan2(q, i)
    savemat(tmp_path / "a.mat", {"CSIamp": amplitude, "CSIphase": phase})
    frame = read_csi(tmp_path / "a.mat")
    assert frame.amplitude_db.tobytes() == amplitude.tobytes()
    assert frame.phase.tobytes() == phase.tobytes()
    assert frame.amplitude_db[0, 0, 0] == -np.inf
    assert frame.complex()[0, 0, 0] == 0
    assert np.abs(frame.complex() - (i + 1j * q)).max() < 1e-9  # a complex from dB itself would be off by 500


def test_csi_refuses_damage(tmp_path):
    path = tmp_path / "a.mat"
    good = np.zeros((3, 114, 10))
    for content, words in (
        ({"CSIamp": good}, "holds no CSIphase"),
        ({"CSIamp": good[:2], "CSIphase": good}, r"CSIamp as float64 of shape \(2, 114, 10\)"),
        ({"CSIamp": good + 0j, "CSIphase": good}, "complex128"),
    ):
        savemat(path, content)
        with pytest.raises(DataError, match=words):
            read_csi(path)
    savemat(path, {"CSIamp": good, "CSIphase": good})
    data = path.read_bytes()
    for damaged in (b"", data[:100], data[:20000], b"x" * 500, b"\x89HDF" + data):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=f"{len(damaged)} bytes"):
            read_csi(path)


def test_npy_refuses_damage(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((17, 2)))
    data = path.read_bytes()
    for damaged in (b"", data[:40], data[:-8], b"not numpy at all"):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"17 joints x 2"):
            read_joints2d(path)
    np.save(path, np.array([{"a": 1}], dtype=object))  # would run code when unpickled
    with pytest.raises(DataError):
        read_joints2d(path)
    np.save(path, np.zeros((2, 17)))
    with pytest.raises(DataError, match=r"\(2, 17\)"):
        read_joints2d(path)
    np.savez(tmp_path / "b.npz", a=np.zeros(3))
    (tmp_path / "b.npz").rename(path)
    with pytest.raises(DataError, match=r"archive"):
        read_joints2d(path)


def test_ground_truth_shape_and_type(tmp_path):
    path = tmp_path / "ground_truth.npy"
    good = np.random.default_rng(0).normal(size=(5, 17, 3)).astype(np.float32)
    np.save(path, good)
    assert read_ground_truth(path).tobytes() == good.tobytes()
    for bad in (np.zeros((5, 16, 3)), np.zeros((0, 17, 3)), np.zeros((5, 17)), np.zeros((5, 17, 3), int)):
        np.save(path, bad)
        with pytest.raises(DataError, match=r"17 joints x 3"):
            read_ground_truth(path)
    with pytest.raises(DataError, match=r"No such file"):
        read_ground_truth(tmp_path / "nothing.npy")


def test_file_error_crosses_processes():
    error = pickle.loads(pickle.dumps(FileError("a", "is cut off", "all of it")))
    assert str(error) == "a is cut off; expected all of it"
    assert error.exit_code == 3
