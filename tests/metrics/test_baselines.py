import numpy as np
import pytest

from equipose.errors import UsageError
from equipose.metrics.baselines import group_mean_error, group_mean_pose


def poses(seed, n=30):
    return np.random.default_rng(seed).normal(size=(n, 5, 3)).astype(np.float32)


def test_mean_pose_room_mean_and_subject_mean():
    train, test = poses(0), poses(1)
    room, other_room = np.arange(30) % 3, np.arange(30) % 2
    expected = 1000 * np.linalg.norm(test - train.astype(np.float64).mean(0), axis=-1).mean()
    assert group_mean_error(train, None, test, None) == pytest.approx(expected)
    answers = np.stack([train[room == r].astype(np.float64).mean(0) for r in other_room])
    expected = 1000 * np.linalg.norm(test - answers, axis=-1).mean()
    assert group_mean_error(train, room, test, other_room) == pytest.approx(expected)


def test_an_oracle_of_finer_groups_is_better_and_of_single_samples_perfect():
    test = poses(1)
    everyone = group_mean_error(test, None, test, None)
    pairs = group_mean_error(test, np.arange(30) // 2, test, np.arange(30) // 2)
    assert pairs < everyone
    assert group_mean_error(test, np.arange(30), test, np.arange(30)) < 1e-4


def test_an_unknown_group_is_told():
    with pytest.raises(UsageError, match="group 7"):
        group_mean_error(poses(0), np.zeros(30, dtype=int), poses(1), np.full(30, 7))
    assert set(group_mean_pose(poses(0), np.arange(30) % 4)) == {0, 1, 2, 3}
