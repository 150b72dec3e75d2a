"""Fixtures that several areas share."""

import os
from pathlib import Path

import pytest

# As the Makefile does, and before torch is imported: sums of two threads differ from those of one in the last bit, and
# some tests compare a run in this process with one in another.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")


@pytest.fixture(scope="session")
def real_data():
    """Folder of real recordings, or a skip with the reason."""
    folder = os.environ.get("EQUIPOSE_REAL_DATA")
    if not folder:
        pytest.skip("EQUIPOSE_REAL_DATA is not set: no real recordings here")
    return Path(folder)
