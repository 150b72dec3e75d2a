"""PNG files as bytes, of images whose pixels are doubled: 16-bit grey for depth, 8-bit colour for pictures.

An image is given at half its width and height. Every second row then equals the one above it, which the row filter
"up" turns into zeros, so a file costs a quarter of what its size suggests. Only the standard library's ``zlib``.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from jaxtyping import UInt8, UInt16

_NONE, _SUB, _UP = 0, 1, 2
_LEVEL = 1
"""Of zlib. Level 3 makes depth files a tenth smaller and takes half as long again."""


def doubled_gray16(half: UInt16[np.ndarray, "row column"]) -> bytes:
    """A 16-bit grey PNG of twice the width and height of ``half``."""
    rows, columns = half.shape
    big = half.astype(">u2").view(np.uint8).reshape(rows, columns, 2)
    return _png(np.repeat(big, 2, axis=1).reshape(rows, -1), _NONE, (2 * columns, 2 * rows, 16, 0))


def doubled_rgb8(half: UInt8[np.ndarray, "row column 3"]) -> bytes:
    """An 8-bit colour PNG of twice the width and height of ``half``."""
    rows, columns, channels = half.shape
    left = np.zeros((rows, columns, 2, channels), np.uint8)  # difference to the left neighbour, modulo 256
    left[:, 0, 0] = half[:, 0]
    np.subtract(half[:, 1:], half[:, :-1], out=left[:, 1:, 0])
    return _png(left.reshape(rows, -1), _SUB, (2 * columns, 2 * rows, 8, 2))


def _png(lines: UInt8[np.ndarray, "row byte"], row_filter: int, header: tuple[int, int, int, int]) -> bytes:
    """Every line, then one that repeats it; ``header`` is width, height, bits and colour type."""
    filtered = np.zeros((2 * lines.shape[0], 1 + lines.shape[1]), np.uint8)
    filtered[::2, 0], filtered[1::2, 0] = row_filter, _UP
    filtered[::2, 1:] = lines
    packed = zlib.compress(filtered.tobytes(), _LEVEL)
    start = _chunk(b"IHDR", struct.pack(">IIBBBBB", *header, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + start + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
