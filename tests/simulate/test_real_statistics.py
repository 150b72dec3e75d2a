"""Simulated sensors against statistics of real ones: level, spread and number, within stated bounds."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from equipose.simulate import radar, wifi
from equipose.simulate.body import make_body
from equipose.simulate.mmfi_writer import Job, simulate_joints
from equipose.simulate.presets import PRESETS, environment_of
from equipose.simulate.randomness import generator_for
from equipose.simulate.room import make_room

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def real():
    folder = os.environ.get("EQUIPOSE_REAL_DATA")
    if not folder:
        pytest.skip("EQUIPOSE_REAL_DATA is not set")
    return Path(folder)


def recordings(subjects):
    for subject in subjects:
        for action in PRESETS["demo"].actions:
            room = make_room(0, environment_of(subject))
            generator = generator_for(0, "statistics", subject, action)
            yield room, simulate_joints(Job(0, subject, action, 12, ())), make_body(0, subject).girth, generator


def test_csi_level_and_spread_are_near_mmfis(real):
    profiles = [
        np.loadtxt(real / "mmfi_statistics" / f"E0{e}_profile.csv", delimiter=",", skiprows=1) for e in (1, 2, 3)
    ]
    amplitude = np.stack([wifi.observe(j, room, g, girth)[0] for room, j, girth, g in recordings((1, 12, 23, 34))])
    amplitude = np.where(np.isfinite(amplitude), amplitude, np.nan)
    level, spread = np.nanmean(amplitude), np.nanstd(amplitude, axis=(0, 1, 4)).mean()
    assert abs(level - np.mean([p[:, 1].mean() for p in profiles])) < 4.0
    assert 0.6 < spread / np.mean([p[:, 2].mean() for p in profiles]) < 1.5


def test_radar_clouds_are_as_dense_as_mars(real):
    rows = np.loadtxt(real / "mars" / "subject1" / "radar_data_test.csv", delimiter=",", skiprows=1, usecols=range(7))
    starts = np.flatnonzero(np.diff(rows[:, 0], prepend=-1.0))
    measured = np.diff(np.append(starts, len(rows))).mean()
    clouds = [c for room, j, girth, g in recordings((1, 12, 23, 34)) for c in radar.detect(j, room, g, girth)]
    assert 0.6 < np.mean([len(c) for c in clouds]) / measured < 1.6
