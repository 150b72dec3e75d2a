"""Every check fires on its own damage and on nothing else."""

from dataclasses import replace

import pytest
import torch

from equipose.separation.integrity import dead, fingerprints, integrity, repeats
from equipose.separation.reasons import Reason
from equipose.types import Batch, Cloud, Dense, FrameMeta

NAMES = ("rgb", "mmwave", "wifi")
SIZE = 6


def healthy(seed=0):
    g = torch.Generator().manual_seed(seed)
    points = torch.randn(SIZE, 24, 6, generator=g)
    points[..., -1] = torch.tensor([-0.1, 0.0, 0.1]).repeat(8)
    number = torch.arange(SIZE)
    return Batch(
        NAMES,
        {
            "rgb": Dense(torch.randn(SIZE, 5, 17, 2, generator=g), torch.ones(SIZE, 5, dtype=torch.bool)),
            "mmwave": Cloud(points, torch.ones(SIZE, 24, dtype=torch.bool)),
            "wifi": Dense(torch.randn(SIZE, 3, 2, 3, 8, 4, generator=g), torch.ones(SIZE, 3, dtype=torch.bool)),
        },
        torch.ones(SIZE, 3, dtype=torch.bool),
        torch.zeros(SIZE, 4, 3),
        FrameMeta(number, number, number, number, number + 10, number * 0),
    )


def damaged(kind):
    """Sample 2 of one sensor is damaged."""
    batch = healthy()
    rgb, cloud, wifi = (batch.inputs[n] for n in NAMES)
    values, csi, points, mask = rgb.values.clone(), wifi.values.clone(), cloud.points.clone(), cloud.mask.clone()
    own = points[2, :, -1] == 0
    column = {"rgb": 0, "cloud": 1, "csi": 2}[kind.split()[0]]
    match kind:
        case "rgb zero":
            values[2, 2] = 0
        case "rgb constant":
            values[2, 2] = torch.tensor([3.0, 4.0])
        case "rgb stale":
            values[2, 2] = values[2, 1]
        case "rgb nan":
            values[2, 4, 0, 0] = torch.nan
        case "csi constant":
            csi[2, 1] = 7.0
        case "csi chain":
            csi[2, 1, 0, 1] = 0.0
        case "csi inf":
            csi[2, 0] = -torch.inf
        case "cloud empty":
            mask[2] = False
            points[2] = 0
        case "cloud zero":
            points[2, :, :-1] = 0
        case "cloud constant":
            points[2, :, :3] = 1.5
        case "cloud stale":
            points[2, own, :-1] = points[2, points[2, :, -1] < 0, :-1]
        case "cloud inf":
            points[2, 0, 0] = torch.inf
    inputs = {
        "rgb": replace(rgb, values=values),
        "mmwave": Cloud(points, mask),
        "wifi": replace(wifi, values=csi),
    }
    return replace(batch, inputs=inputs), column


CASES = {
    "rgb zero": Reason.ZERO,
    "rgb constant": Reason.CONSTANT,
    "rgb stale": Reason.STALE,
    "rgb nan": Reason.NOT_FINITE,
    "csi constant": Reason.CONSTANT,
    "csi chain": Reason.DEAD_CHAIN,
    "csi inf": Reason.NOT_FINITE,
    "cloud empty": Reason.EMPTY,
    "cloud zero": Reason.ZERO,
    "cloud constant": Reason.CONSTANT,
    "cloud stale": Reason.STALE,
    "cloud inf": Reason.NOT_FINITE,
}


def test_healthy_samples_pass():
    assert not dead(healthy()).any()


@pytest.mark.parametrize("kind", CASES)
def test_damage_is_named_where_it_is(kind):
    batch, column = damaged(kind)
    codes = integrity(batch)
    assert codes[2, column] == CASES[kind]
    codes[2, column] = 0
    assert (codes == Reason.CLEAN).all()


def test_absent_sensors_are_absent_and_not_dead():
    batch, _ = damaged("rgb zero")
    present = batch.present.clone()
    present[2, 0] = False
    batch = replace(batch, present=present)
    assert integrity(batch)[2, 0] == Reason.ABSENT and not dead(batch).any()


def test_the_first_frame_is_not_stale_though_its_window_repeats_it():
    batch, _ = damaged("rgb stale")
    first = torch.arange(SIZE) == 2
    assert not dead(batch, first).any()


def test_a_frame_that_was_not_recorded_is_not_zero():
    batch, _ = damaged("rgb zero")
    valid = batch.inputs["rgb"].valid.clone()
    valid[2, 2] = False
    batch = replace(batch, inputs={**batch.inputs, "rgb": replace(batch.inputs["rgb"], valid=valid)})
    codes = integrity(batch)
    assert codes[2, 0] == Reason.UNRECORDED and int((codes > Reason.ABSENT).sum()) == 1


def test_repeats_between_samples_are_found_in_any_order():
    batch = healthy()
    values = batch.inputs["wifi"].values.clone()
    values[4, 1], values[3, 0] = values[3, 1], 0.0  # only the own frame (index 1) counts
    batch = replace(batch, inputs={**batch.inputs, "wifi": replace(batch.inputs["wifi"], values=values)})
    numbers = fingerprints(batch)
    expected = torch.zeros(SIZE, 3, dtype=torch.bool)
    expected[4, 2] = True
    order = torch.tensor([5, 3, 0, 4, 2, 1])
    recording, frame = batch.meta.recording, batch.meta.frame
    assert torch.equal(repeats(numbers, recording, frame), expected)
    assert torch.equal(repeats(numbers[order], recording[order], frame[order]), expected[order])
    other = recording + (frame >= 14).long()
    assert not repeats(numbers, other, frame).any()
