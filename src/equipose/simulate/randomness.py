"""Random generators named by what they are for, so that nothing depends on the order of the work."""

from __future__ import annotations

import zlib

import numpy as np


def generator_for(seed: int, purpose: str, *key: int) -> np.random.Generator:
    """A generator that depends on its arguments alone.

    Args:
        seed: of the whole simulation.
        purpose: a word such as ``radar``; two purposes never share numbers.
        key: such as subject and action.
    """
    return np.random.default_rng(np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), *key]))
