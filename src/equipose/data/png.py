"""A decoder for the one kind of PNG that MM-Fi's depth frames use: 16-bit, one channel, not interlaced.

Follows the PNG specification (ISO/IEC 15948), sections 5 (chunks) and 9 (filters). An 8-bit file is refused rather
than scaled: an image library that quietly converts depth to 8 bit loses everything below 26 cm.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def decode_gray16(data: bytes) -> NDArray[np.uint16]:
    """Pixels of a 16-bit grayscale PNG.

    Args:
        data: the whole file.

    Returns:
        (row, column) uint16, bit-equal to what the file holds.

    Raises:
        ValueError: in plain words, if the bytes are damaged or another kind of image.
    """
    header, packed = _chunks(data)
    width, height, depth, colour, _, _, interlace = header
    if (depth, colour) != (16, 0):
        channels = {0: "1 channel", 2: "3 channels", 3: "a palette", 4: "2 channels", 6: "4 channels"}
        raise ValueError(
            f"holds {depth}-bit pixels with {channels.get(colour, 'unknown channels')}, expected 16-bit, 1 channel"
        )
    if interlace:
        raise ValueError("is interlaced, expected a plain PNG")
    try:
        raw = zlib.decompress(packed)
    except zlib.error as error:
        raise ValueError(f"has damaged pixels ({error})") from None
    if len(raw) != height * (1 + 2 * width):
        raise ValueError(f"holds {len(raw)} bytes of pixels, expected {height * (1 + 2 * width)}")
    rows = np.frombuffer(raw, np.uint8).reshape(height, 1 + 2 * width)
    filters = rows[:, 0]
    if height and filters.max() > 4:
        raise ValueError(f"uses the unknown row filter {filters.max()}")
    residual = rows[:, 1:].reshape(height, width, 2)
    pixels = _undo_simple(residual, filters) if (filters <= 2).all() else _undo_any(residual, filters)
    return pixels.reshape(height, 2 * width).view(">u2").astype(np.uint16)


def _chunks(data: bytes) -> tuple[tuple[int, ...], bytes]:
    """The header fields and the joined image data."""
    if data[:8] != _SIGNATURE:
        raise ValueError("is not a PNG")
    header: tuple[int, ...] | None = None
    packed = []
    position = 8
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            break
        body = data[position + 8 : end - 4]
        if zlib.crc32(data[position + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise ValueError(f"has a damaged {kind.decode('ascii', 'replace')} chunk")
        if kind == b"IHDR":
            if length != 13:
                raise ValueError("has a damaged header")
            header = struct.unpack(">IIBBBBB", body)
        elif kind == b"IDAT":
            packed.append(body)
        elif kind == b"IEND":
            if header is None:
                raise ValueError("has no header")
            return header, b"".join(packed)
        position = end
    raise ValueError("is cut off before its end")


def _undo_simple(residual: NDArray[np.uint8], filters: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Filters none, sub and up: whole rows at once."""
    pixels = residual.copy()
    sub = filters == 1
    pixels[sub] = np.cumsum(residual[sub], axis=1, dtype=np.uint8)
    for row in np.flatnonzero(filters == 2):
        if row:
            pixels[row] += pixels[row - 1]
    return pixels


def _undo_any(residual: NDArray[np.uint8], filters: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """All five filters.

    A pixel needs its left, upper and upper-left neighbours, so all pixels with the same row + column are
    independent: one vector step per such diagonal. Diagonals are stored as rows of ``skewed``.
    """
    height, width, _ = residual.shape
    row = np.arange(height)
    skewed = np.zeros((height + width + 1, height + 1, 2), np.int16)  # [row + column + 2, row + 1]; borders are zero
    filter_of = filters.astype(np.int16)[:, None]
    for diagonal in range(height + width - 1):
        first, last = max(0, diagonal - width + 1), min(height, diagonal + 1)
        r = row[first:last]
        left = skewed[diagonal + 1, first + 1 : last + 1].copy()
        up = skewed[diagonal + 1, first:last].copy()
        corner = skewed[diagonal, first:last].copy()
        if first == r[0] and diagonal - r[-1] == 0:  # column 0: nothing to the left
            left[-1] = corner[-1] = 0
        kind = filter_of[first:last]
        guess = np.where(kind == 1, left, 0)
        guess = np.where(kind == 2, up, guess)
        guess = np.where(kind == 3, (left + up) >> 1, guess)
        guess = np.where(kind == 4, _paeth(left, up, corner), guess)
        skewed[diagonal + 2, first + 1 : last + 1] = (residual[r, diagonal - r] + guess) & 255
    pixels = np.empty(residual.shape, np.uint8)
    for line in range(height):
        pixels[line] = skewed[line + 2 : line + 2 + width, line + 1]
    return pixels


def _paeth(left: NDArray[np.int16], up: NDArray[np.int16], corner: NDArray[np.int16]) -> NDArray[np.int16]:
    """The neighbour nearest to left + up - corner; ties in this order."""
    to_left, to_up, to_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
    nearest = np.where(to_up <= to_corner, up, corner)
    return np.where((to_left <= to_up) & (to_left <= to_corner), left, nearest)
