"""One frame of one MM-Fi sensor, read from its file without any change of value.

Every reader raises ``DataError`` on damage, naming the file, what it holds and what was expected. Nothing here cleans:
``-inf`` decibels, NaN and empty radar frames come back as they are.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipose.data.png import decode_gray16
from equipose.errors import DataError
from equipose.modality import MODALITIES

CSI_SHAPE = (3, 114, 10)
LARGEST_METRE = 1000.0
"""No coordinate, decibel or speed in a point cloud reaches this."""


class FileError(DataError):
    """A file that is missing, damaged or not what it claims to be.

    Args:
        path: the file.
        found: what it is or holds, as a verb phrase.
        expected: what it should hold.
    """

    def __init__(self, path: str, found: str, expected: str) -> None:
        super().__init__(path, found, expected)  # these three make the copy when it crosses processes
        self.path, self.found, self.expected = path, found, expected

    def __str__(self) -> str:
        return f"{self.path} {self.found}; expected {self.expected}"


EXPECTED = {
    "joints2d": "a numeric .npy array of 17 joints x 2 pixels, or x 3 with the detector's confidence",
    "lidar": "points of 3 float64 values, 24 bytes each",
    "mmwave": "points of 5 float64 values, 40 bytes each",
    "csi": f"MATLAB v5 arrays CSIamp and CSIphase of {' x '.join(map(str, CSI_SHAPE))} (receiver, tone, packet)",
    "depth": "a 16-bit grayscale PNG of 480 x 640 millimetres",
    "ground_truth": "a floating-point .npy array of frames x 17 joints x 3 metres",
}
"""What a file of each kind holds."""


@dataclass(frozen=True, eq=False)
class CsiFrame:
    """WiFi channel state of one frame.

    Attributes:
        amplitude_db: (receiver 3, tone 114, packet 10) ``20 log10 |I + jQ|`` in decibel; ``-inf`` where I = Q = 0.
        phase: (receiver 3, tone 114, packet 10) ``atan2(Q, I)`` in radians.
    """

    amplitude_db: NDArray[Any]
    phase: NDArray[Any]

    def complex(self) -> NDArray[np.complex128]:
        """(3, 114, 10) channel state I + jQ, ``10**(dB / 20) * exp(j phase)``; ``-inf`` dB becomes 0."""
        dead = self.amplitude_db == -np.inf
        magnitude = np.where(dead, 0.0, 10.0 ** (np.where(dead, 0.0, self.amplitude_db) / 20.0))
        return magnitude * np.exp(1j * np.where(dead, 0.0, self.phase))

    def stacked(self) -> NDArray[Any]:
        """(2, 3, 114, 10): amplitude in dB, then phase in radians."""
        return np.stack((self.amplitude_db, self.phase))


def read_joints2d(path: Path | str) -> NDArray[Any]:
    """2D joints of a camera frame; a third column is left out, see ``read_confidence``.

    Returns:
        (17, 2) u right, v down in pixels of the 640 x 480 image plane; dtype as in the file.

    Raises:
        DataError: if the file is not a numeric ``.npy`` of 17 x 2 or 17 x 3.
    """
    return np.ascontiguousarray(_load_joints2d(path)[:, :2])


def read_confidence(path: Path | str) -> NDArray[Any] | None:
    """The joint detector's confidence in a camera frame; MM-Fi's own files have none.

    Returns:
        (17,) from 0 to 1, dtype as in the file; None if the file holds positions only.

    Raises:
        DataError: as ``read_joints2d``.
    """
    values = _load_joints2d(path)
    return values[:, 2].copy() if values.shape[1] == 3 else None


def _load_joints2d(path: Path | str) -> NDArray[Any]:
    values = _load_npy(path, EXPECTED["joints2d"])
    if values.shape not in ((17, 2), (17, 3)) or values.dtype.kind not in "fiu":
        raise FileError(str(path), f"holds {values.dtype} of shape {values.shape}", EXPECTED["joints2d"])
    return values


def read_lidar(path: Path | str) -> NDArray[np.float64]:
    """Points of a LiDAR frame.

    Returns:
        (point, 3) float64, metres, LiDAR frame: x forward, y left, z up.

    Raises:
        DataError: if the size is not a multiple of 24 bytes or the values are float32.
    """
    return _read_points(path, 3, EXPECTED["lidar"])


def read_mmwave(path: Path | str) -> NDArray[np.float64]:
    """Points of a radar frame; a file of 0 bytes is a frame in which the radar saw nothing.

    Returns:
        (point, 5) float64: forward, right, down in metres, then SNR in decibel and Doppler in metres per second
        (the MM-Fi paper names the last two the other way round; see ``DataSettings.radar_columns``).

    Raises:
        DataError: if the size is not a multiple of 40 bytes or the values are float32.
    """
    return _read_points(path, 5, EXPECTED["mmwave"])


def read_csi(path: Path | str) -> CsiFrame:
    """WiFi channel state of a frame, from ``CSIamp`` and ``CSIphase`` of a MATLAB v5 file.

    Raises:
        DataError: if the file is not such a file or an array has another shape.
    """
    from scipy.io import loadmat  # 0.2 to 0.5 s to import

    data = read_bytes(path, EXPECTED["csi"])
    try:
        content = loadmat(io.BytesIO(data), variable_names=("CSIamp", "CSIphase"))
    except Exception as error:  # scipy raises a dozen types on damaged bytes
        found = f"is not a readable MATLAB v5 file of {len(data)} bytes ({error})"
        raise FileError(str(path), found, EXPECTED["csi"]) from None
    for name in ("CSIamp", "CSIphase"):
        values = content.get(name)
        if values is None:
            raise FileError(str(path), f"holds no {name}", EXPECTED["csi"])
        if values.shape != CSI_SHAPE or values.dtype.kind not in "fiu":
            found = f"holds {name} as {values.dtype} of shape {values.shape}"
            raise FileError(str(path), found, EXPECTED["csi"])
    return CsiFrame(content["CSIamp"], content["CSIphase"])


def read_depth(path: Path | str) -> NDArray[np.uint16]:
    """Depth image.

    Returns:
        (480, 640) uint16 millimetres along the camera's z axis; 0 where nothing was measured.

    Raises:
        DataError: if the file is not a 16-bit grayscale PNG of this size. 8-bit files are refused, not scaled.
    """
    data = read_bytes(path, EXPECTED["depth"])
    try:
        values = decode_gray16(data)
    except ValueError as error:
        raise FileError(str(path), str(error), EXPECTED["depth"]) from None
    if values.shape != (480, 640):
        found = f"holds an image of {values.shape[0]} x {values.shape[1]}"
        raise FileError(str(path), found, EXPECTED["depth"])
    return values


def read_ground_truth(path: Path | str) -> NDArray[Any]:
    """Poses of a recording; row i belongs to frame number i + 1.

    Returns:
        (frame, 17, 3) metres, camera frame (x right, y down, z forward); dtype as in the file (float32).

    Raises:
        DataError: if the file is not a floating-point ``.npy`` of this shape.
    """
    values = _load_npy(path, EXPECTED["ground_truth"])
    check_ground_truth_shape(path, values.shape, values.dtype)
    return values


def check_ground_truth_shape(path: Path | str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """DataError unless the array is floating point and (frame, 17, 3) with at least one frame."""
    if len(shape) != 3 or shape[1:] != (17, 3) or shape[0] == 0 or dtype.kind != "f":
        raise FileError(str(path), f"holds {dtype} of shape {shape}", EXPECTED["ground_truth"])


def read_frame(modality: str, path: Path | str) -> NDArray[Any]:
    """One frame of any modality as one array; WiFi as (2, 3, 114, 10) of dB and radians."""
    return _READERS[MODALITIES[modality].folder](path)


def read_bytes(path: Path | str, expected: str) -> bytes:
    """The whole file; FileError instead of OSError."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 (a Path costs 2 us per frame)
            return file.read()
    except OSError as error:
        raise FileError(str(path), f"cannot be read ({error.strerror or error})", expected) from None


def looks_like_float32(data: bytes) -> bool:
    """True if the bytes make no sense as float64 coordinates but do as float32.

    The low half of a float64 is as good as random, so float64 data read as float32 gives absurd values, one in eight
    of which at most is plausible. Float32 data read as float64 has every exponent multiplied by about eight, so it
    holds values far too large or far too small.
    """
    with np.errstate(invalid="ignore"):
        double = np.abs(np.frombuffer(data, "<f8"))
        if double.size < 8 or not ((double > 50.0) | ((double < 1e-4) & (double > 0.0))).any():
            return False
        single = np.abs(np.frombuffer(data, "<f4"))
        plausible = ((single > 1e-6) & (single < LARGEST_METRE)) | (single == 0.0)
        return bool(plausible.all()) and bool((single[::2] > 0.0).mean() > 0.5)


def _read_points(path: Path | str, columns: int, expected: str) -> NDArray[np.float64]:
    data = read_bytes(path, expected)
    if len(data) % (8 * columns):
        hint = ", as float32 points would have" if len(data) % (4 * columns) == 0 else ""
        found = f"has {len(data)} bytes, not a multiple of {8 * columns}{hint}"
        raise FileError(str(path), found, expected)
    points = np.frombuffer(data, "<f8").reshape(-1, columns).copy()
    if looks_like_float32(data):
        found = f"holds float32 values (read as float64 they go up to {np.nanmax(np.abs(points)):.3g})"
        raise FileError(str(path), found, expected)
    return points


def _load_npy(path: Path | str, expected: str) -> NDArray[Any]:
    data = read_bytes(path, expected)
    try:
        values = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError, TypeError, zipfile.BadZipFile) as error:
        foreign = data and not data.startswith((b"\x93NUMPY", b"PK"))  # numpy would advise to load it as a pickle
        found = f"is not a readable .npy file of {len(data)} bytes ({'it begins otherwise' if foreign else error})"
        raise FileError(str(path), found, expected) from None
    if not isinstance(values, np.ndarray):
        values.close()
        raise FileError(str(path), "is an .npz archive", expected)
    return values


_READERS: dict[str, Callable[[Path | str], NDArray[Any]]] = {
    "rgb": read_joints2d,
    "infra1": read_joints2d,
    "infra2": read_joints2d,
    "depth": read_depth,
    "lidar": read_lidar,
    "mmwave": read_mmwave,
    "wifi-csi": lambda path: read_csi(path).stacked(),
}
