"""Held-out samples of earlier experiences: bounded, shared fairly, and given to balance strategies."""

from dataclasses import replace

import pytest
import torch

from continual.world import samples, tiny_model
from equipose.balance.base import Setup
from equipose.continual.base import End
from equipose.continual.er import Er, ErSettings
from equipose.continual.gdumb import Gdumb, GdumbSettings
from equipose.continual.held_out import HeldOut
from equipose.train.losses import mpjpe_loss
from equipose.types import FrameMeta


def numbered(size, first):
    number = torch.arange(first, first + size)
    return replace(samples(size, seed=first), meta=FrameMeta(number, number, 0 * number, 0 * number, number, number))


def numbers(kept):
    return [batch.meta.sample.tolist() for batch in kept]


def test_experiences_share_the_room_and_are_evenly_spread():
    kept = HeldOut(12)
    kept.add([numbered(20, 0), numbered(4, 20)])
    assert numbers(kept) == [list(range(0, 24, 2))]
    kept.add([numbered(30, 100)])
    assert numbers(kept) == [[0, 4, 8, 12, 16, 20], [100, 105, 110, 115, 120, 125]]
    kept.add([numbered(3, 200)])
    assert len(kept) == 4 + 4 + 3 and numbers(kept)[2] == [200, 201, 202]
    for _ in range(20):
        kept.add([numbered(9, 300)])
        assert len(kept) <= 12


def test_nothing_is_kept_where_there_is_no_room_or_nothing_to_keep():
    none, empty = HeldOut(0), HeldOut(5)
    none.add([numbered(4, 0)])
    empty.add([])
    assert len(none) == len(empty) == 0 and none.bytes() == 0


def test_what_is_kept_comes_back_as_it_was():
    kept, again = HeldOut(8), HeldOut(8)
    kept.add([numbered(9, 0)])
    kept.add([numbered(9, 50)])
    again.load_state_dict(kept.state_dict())
    assert numbers(again) == numbers(kept) and again.bytes() == kept.bytes() > 0
    for one, other in zip(kept, again, strict=True):
        assert torch.equal(one.target, other.target) and torch.equal(one.present, other.present)


@pytest.mark.parametrize(("kind", "settings"), [(Er, ErSettings), (Gdumb, GdumbSettings)])
@pytest.mark.parametrize(("room", "endless", "kept"), [(0, False, 0), (6, False, 6), (6, True, 0)])
def test_a_strategy_with_a_memory_keeps_them_and_does_not_train_on_them(kind, settings, room, endless, kept):
    model = tiny_model()
    strategy = kind(settings(held_out=room), model.modalities)
    strategy.setup(model, Setup(loss=mpjpe_loss, endless=endless))
    before = strategy.memory_bytes()
    strategy.end_experience(model, End(0, batches=tuple, validation=lambda: [numbered(10, 0)]))
    assert sum(len(batch) for batch in strategy.held_out()) == kept
    assert (strategy.memory_bytes() > before) == (kept > 0)
    assert len(strategy.memory) == 0
