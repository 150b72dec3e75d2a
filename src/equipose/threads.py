"""What a process asks of the operating system: one thread each, and to keep the memory that it will need again.

numpy, torch and BLAS read the number of threads from the environment when they are imported.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""What the libraries ask."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Processes that are started inside use one thread each; the environment is as before afterwards."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def keep_freed_memory() -> None:
    """Have the C library keep freed memory for this process in place of giving it back, where it is glibc.

    A training step allocates the same tensors again and again. By default those of a megabyte or more are given back
    to the system and cleared by it when they are asked for again.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library, which has its own ways
        return
    for option, value in ((_TRIM_THRESHOLD, 2**31 - 1), (_MMAP_THRESHOLD, 2**25)):
        mallopt(option, value)


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Names of the two numbers in glibc's malloc.h; 2^25 bytes is the largest of the second that it takes."""
