"""The filter in time keeps what persists and drops what does not."""

import torch
from scipy.signal import medfilt

from equipose.separation.in_time import half_width, median_in_time, persistence

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
