"""The filter in time keeps what persists and drops what does not."""

import numpy as np
import pytest
import torch
from scipy.signal import medfilt

from equipose.separation.in_time import half_width, median_in_time, near_sums, persistence, smooth

ALL = torch.ones(60, dtype=torch.bool)
FRAME = torch.arange(1, 61)
ONE = torch.zeros(60, dtype=torch.long)


def test_equals_a_median_filter_away_from_the_ends():
    flags = torch.rand(60, generator=torch.Generator().manual_seed(3)) < 0.4
    ours = median_in_time(flags, ALL, ONE, FRAME, 5)
    assert ours[5:-5].tolist() == medfilt(flags.double().numpy(), 11)[5:-5].astype(bool).tolist()


def test_a_single_flag_goes_and_a_gap_in_a_burst_is_filled():
    flags = torch.zeros(60, dtype=torch.bool)
    flags[10] = True
    flags[30:45] = True
    flags[37] = False
    filtered = median_in_time(flags, ALL, ONE, FRAME, 5)
    assert not filtered[10] and filtered[30:45].all() and filtered.sum() == 15


def test_recordings_and_gaps_do_not_leak():
    flags = torch.zeros(60, dtype=torch.bool)
    flags[20:40] = True
    recording = (torch.arange(60) >= 20).long() + (torch.arange(60) >= 40).long()
    assert torch.equal(median_in_time(flags, ALL, recording, FRAME, 5), flags)
    far_apart = FRAME * 20
    alternate = torch.arange(60) % 2 == 0
    assert torch.equal(median_in_time(alternate, ALL, ONE, far_apart, 5), alternate)


def test_order_of_samples_does_not_matter():
    flags = torch.rand(60, generator=torch.Generator().manual_seed(4)) < 0.5
    recording = torch.arange(60) // 20
    order = torch.randperm(60, generator=torch.Generator().manual_seed(5))
    straight = median_in_time(flags, ALL, recording, FRAME, 4)
    assert torch.equal(median_in_time(flags[order], ALL[order], recording[order], FRAME[order], 4), straight[order])


def test_unknown_cells_do_not_vote():
    flags = torch.zeros(60, dtype=torch.bool)
    known = torch.arange(60) % 2 == 0
    flags[~known] = True
    assert not median_in_time(flags, known, ONE, FRAME, 5)[known].any()


def test_runs_are_measured_and_the_width_fits_them():
    bursts = (torch.arange(60) // 10) % 2 == 0
    assert abs(persistence(bursts, ALL, ONE, FRAME, 5) - 10) < 1e-9  # 27 of 30 are followed by another
    alternate = torch.arange(60) % 3 == 0
    assert persistence(alternate, ALL, ONE, FRAME, 5) == 1.0
    assert half_width("auto", 1.0, 5) == 0 and half_width("auto", 3.0, 5) == 1
    assert half_width("auto", float("inf"), 5) == 5 and half_width("off", 9.0, 5) == 0 and half_width("on", 1.0, 5) == 5


def scattered(seed, size=80):
    """Samples in any order: recording and frame of each, with gaps."""
    generator = np.random.default_rng(seed)
    place = generator.permutation(generator.choice(4 * 40, size, replace=False))
    return torch.as_tensor(place // 40 * 7 + 3), torch.as_tensor(place % 40 + 5), generator


def near(recording, frame, i, reach):
    return (recording == recording[i]) & ((frame - frame[i]).abs() <= reach)


@pytest.mark.parametrize("reach", [0, 1, 3, 50])
def test_sums_of_near_frames_are_those_of_a_loop(reach):
    recording, frame, generator = scattered(reach)
    values = torch.as_tensor(generator.standard_normal(len(frame)))
    expected = torch.stack([values[near(recording, frame, i, reach)].sum() for i in range(len(frame))])
    torch.testing.assert_close(near_sums(values, recording, frame, reach), expected, rtol=0, atol=1e-12)
    assert near_sums(values[:0], recording[:0], frame[:0], reach).shape == (0,)


@pytest.mark.parametrize("reach", [1, 2, 5])
def test_the_filter_is_the_majority_of_the_known_frames_around(reach):
    recording, frame, generator = scattered(reach)
    flags, known = (torch.as_tensor(generator.random(len(frame)) < share) for share in (0.4, 0.8))
    expected = flags.clone()
    for i in range(len(frame)):
        votes = flags[near(recording, frame, i, reach) & known]
        if known[i] and len(votes) >= 3 and 2 * votes.sum() != len(votes):
            expected[i] = 2 * votes.sum() > len(votes)
    filtered = median_in_time(flags, known, recording, frame, reach)
    assert torch.equal(filtered, expected) and not torch.equal(filtered, flags)


def test_columns_are_filtered_each_as_wide_as_its_flags_persist():
    bursts = (torch.arange(60) // 12) % 2 == 0
    bursts[6] = False
    single = torch.arange(60) % 7 == 0
    flags, known = torch.stack([bursts, single], 1), torch.stack([ALL, ALL], 1)
    filtered = smooth(flags, known, ONE, FRAME, "auto", 5)
    assert filtered[6, 0] and torch.equal(filtered[:, 1], single)
    assert torch.equal(smooth(flags, known, ONE, FRAME, "off", 5), flags)
    assert torch.equal(smooth(flags, known, ONE, FRAME, "on", 3)[:, 1], median_in_time(single, ALL, ONE, FRAME, 3))
