"""What the files of a packed folder look like; the writer and the reader agree on it here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from equipose.modality import MODALITIES, ModalitySpec

FORMAT = "equipose-packed"
VERSION = 1
HEADER_BYTES = 128
"""Length of every array file's header, whatever its shape, so that it can be written last."""


@dataclass(frozen=True)
class ArrayFile:
    """One ``.npy`` of a packed folder: (items, *shape) of ``dtype``."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def item_bytes(self) -> int:
        """Bytes of one item."""
        return int(np.dtype(self.dtype).itemsize * np.prod(self.shape, dtype=np.int64))


def array_files(modality: str, dtype: Literal["float32", "source"]) -> dict[str, ArrayFile]:
    """The arrays of one modality, by role: ``present`` and either ``values`` or ``points`` and ``offsets``.

    Args:
        modality: its name.
        dtype: ``float32``, or ``source`` to keep what the files hold. Depth is uint16 either way.
    """
    spec = MODALITIES[modality]
    arrays = {"present": ArrayFile(f"present_{modality}", "|b1", ())}
    if spec.shape is None:
        number = "<f8" if dtype == "source" else "<f4"
        arrays["points"] = ArrayFile(f"{modality}_points", number, (len(spec.channels),))
        arrays["offsets"] = ArrayFile(f"{modality}_offsets", "<i8", ())
    else:
        arrays["values"] = ArrayFile(modality, _number(spec, dtype), spec.shape)
    return arrays


def _number(spec: ModalitySpec, dtype: str) -> str:
    if spec.kind == "depth":
        return "<u2"
    return "<f8" if dtype == "source" else "<f4"


def complete_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The journal's whole lines and how many bytes they take; a torn last line is left out."""
    lines = []
    size = 0
    with path.open("rb") as file:
        for line in file:
            try:
                if not line.endswith(b"\n"):
                    break
                lines.append(json.loads(line))
            except ValueError:
                break
            size += len(line)
    return lines, size


def npy_header(array: ArrayFile, items: int) -> bytes:
    """A version 1.0 ``.npy`` header of fixed length, so that it can be written last."""
    shape = (items, *array.shape)
    text = f"{{'descr': {array.dtype!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    assert len(text) < HEADER_BYTES - 11
    body = text.ljust(HEADER_BYTES - 11) + "\n"
    return b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body.encode("latin1")
