"""Fixtures that several areas share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data():
    """Folder of real recordings, or a skip with the reason."""
    folder = os.environ.get("EQUIPOSE_REAL_DATA")
    if not folder:
        pytest.skip("EQUIPOSE_REAL_DATA is not set: no real recordings here")
    return Path(folder)
