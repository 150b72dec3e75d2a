"""What the tests on a room of simulated people ask of it."""

from __future__ import annotations

import numpy as np

from equipose.separation.separator import spread
from equipose.separation.settings import SeparationSettings
from equipose.separation.signal_verdict import judge_signals


def signals_of(data, trusted, settings=None):
    """What the signals of a data set say."""
    positions = spread(len(trusted), 300)
    return judge_signals(data, trusted, positions, data.modalities, settings or SeparationSettings())


def truth_of(data):
    """What is wrong with a corrupted data set."""
    return data.truth(np.arange(len(data)))
