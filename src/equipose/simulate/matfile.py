"""The two file formats of a recording as bytes: MATLAB 5 for CSI and npy for arrays.

Written directly rather than through scipy and numpy: no date in the header, so equal data give equal bytes, and ten
times faster for files this small.
"""

from __future__ import annotations

import io
import struct
from functools import cache

import numpy as np
from jaxtyping import Float

_MI_INT8, _MI_INT32, _MI_UINT32, _MI_DOUBLE, _MI_MATRIX, _MX_DOUBLE = 1, 5, 6, 9, 14, 6


def csi_file(
    amplitude: Float[np.ndarray, "receiver tone packet"], phase: Float[np.ndarray, "receiver tone packet"]
) -> bytes:
    """A MAT-file with ``CSIamp`` (dB) and ``CSIphase`` (radians), float64; for MM-Fi's shape 54,992 bytes, as there."""
    head = b"MATLAB 5.0 MAT-file, simulated by equipose".ljust(116) + bytes(8) + struct.pack("<H2s", 0x0100, b"IM")
    return b"".join([head, *_variable("CSIamp", amplitude), *_variable("CSIphase", phase)])


def _variable(name: str, values: np.ndarray) -> tuple[bytes, bytes]:
    # MATLAB stores the first axis fastest.
    return _prefix(name, values.shape), np.asarray(values, "<f8").tobytes(order="F")


@cache
def _prefix(name: str, shape: tuple[int, ...]) -> bytes:
    """Everything of a real double matrix but its numbers."""

    def element(kind: int, content: bytes) -> bytes:
        return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)

    size = 8 * int(np.prod(shape))
    parts = (
        element(_MI_UINT32, struct.pack("<II", _MX_DOUBLE, 0))
        + element(_MI_INT32, struct.pack(f"<{len(shape)}i", *shape))
        + element(_MI_INT8, name.encode())
        + struct.pack("<II", _MI_DOUBLE, size)
    )
    return struct.pack("<II", _MI_MATRIX, len(parts) + size) + parts


def npy_file(values: np.ndarray) -> bytes:
    """The bytes ``np.save`` would write."""
    return _npy_header(values.shape, values.dtype.str) + values.tobytes()


@cache
def _npy_header(shape: tuple[int, ...], descr: str) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"shape": shape, "fortran_order": False, "descr": descr})
    return buffer.getvalue()
