"""Gain control's traces in packets: memory of the level, spread within frames."""

from __future__ import annotations

import numpy as np
import pytest

from equipose.report.fidelity.packets import frame_spread, packet_statistics
from equipose.simulate.wifi_band import TONES

RNG_SEED = 5


def test_a_level_drawn_anew_has_no_memory_and_a_slow_one_has():
    rng = np.random.default_rng(RNG_SEED)

    def of(level):
        csi = 100.0 * 10 ** (level[:, None, :] / 20) * np.ones((1, TONES.size, 1), complex)
        return packet_statistics(csi, TONES, np.ones(len(level) - 1, bool))

    fresh, slow = of(rng.normal(0, 2, (400, 3))), of(np.cumsum(rng.normal(0, 1, (400, 3)), axis=0))
    assert abs(fresh.level_memory.mean()) < 0.1 and slow.level_memory.mean() > 0.8
    assert np.std(fresh.level_shape) == pytest.approx(1.0)


def test_spread_within_frames_ignores_what_packets_share():
    rng = np.random.default_rng(RNG_SEED)
    shape = (2000, 10, 1, 3)
    common = np.exp(1j * rng.uniform(0, 2 * np.pi, (2000, 10, 1, 1)))
    slope = np.exp(1j * rng.normal(0, 0.03, (2000, 10, 1, 1)) * TONES[:, None])
    size = 10 ** (rng.normal(0, 1, shape) * [2.0, 1.0, 0.0] / 20 + rng.normal(0, 1, (2000, 1, 1, 1)))
    found = frame_spread(size * common * slope * np.exp(1j * rng.normal(0, 0.05, shape)))
    assert np.allclose(found.level.mean(axis=0), [2.0 * 0.923, 0.923, 0.0], atol=0.06)  # of ten packets
    assert np.allclose(found.phase.mean(axis=0), 0.05 * np.sqrt(2) * 0.923, rtol=0.05)
