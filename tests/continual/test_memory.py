"""What a memory keeps, and that it comes back as it was."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch

from continual.world import JOINTS, SENSORS, build, samples, tiny_model
from equipose.balance.base import Setup
from equipose.continual.base import Clean, End, Start
from equipose.continual.batches import joined
from equipose.continual.memory import Memory, purity
from equipose.continual.reservoir import Reservoir
from equipose.train.losses import mpjpe_loss
from equipose.types import FrameMeta


def outputs(batch):
    return batch.target + 0.5


def numbered(size, first=0, subject=None):
    batch = samples(size, seed=first)
    number = torch.arange(first, first + size)
    subjects = number % 5 + 1 if subject is None else torch.full((size,), subject)
    return replace(batch, meta=FrameMeta(number, number, subjects, 0 * number, number, number))


def same(first, second):
    return all(
        torch.equal(a, b)
        for a, b in zip(
            [first.batch.target, first.outputs, first.experience, first.clean],
            [second.batch.target, second.outputs, second.experience, second.clean],
            strict=True,
        )
    )


def test_a_plain_reservoir_is_a_uniform_sample():
    counts = np.zeros(40)
    for seed in range(600):
        reservoir, held = Reservoir(8, "reservoir"), {}
        generator = torch.Generator().manual_seed(seed)
        for i in range(40):
            slot = reservoir.place((0, 0, 0), generator)
            if slot is not None:
                held[slot] = i
        counts[list(held.values())] += 1
    expected = 600 * 8 / 40
    assert np.abs(counts - expected).max() < 5 * expected**0.5
    assert counts.sum() == 600 * 8


@pytest.mark.parametrize("selection", ["stratified", "greedy"])
def test_strata_get_equal_shares_however_rare(selection):
    memory = Memory(12, selection)
    for first, subject in ((0, 1), (100, 1), (200, 1), (300, 2), (305, 3), (310, 1)):
        memory.insert(
            numbered(5 if subject > 1 else 30, first, subject), torch.zeros(5 if subject > 1 else 30, 3, 3), 0
        )
    subjects = memory.entries.batch.meta.subject.tolist()
    assert sorted(subjects.count(s) for s in (1, 2, 3)) == [4, 4, 4]
    newest = memory.entries.batch.meta.sample[torch.tensor([s == 1 for s in subjects])].max()
    assert (newest < 200) if selection == "greedy" else True


def test_a_full_stratum_stays_a_uniform_sample():
    counts = np.zeros(30)
    for seed in range(400):
        memory = Memory(6, "stratified", seed)
        memory.insert(numbered(30, 0, 1), torch.zeros(30, 3, 3), 0)
        counts[memory.entries.batch.meta.sample.numpy()] += 1
    expected = 400 * 6 / 30
    assert np.abs(counts - expected).max() < 5 * expected**0.5


@pytest.mark.parametrize("selection", ["reservoir", "stratified", "greedy"])
def test_resuming_is_exact_and_bounded(selection):
    def fill(memory, start, stop):
        for k in range(start, stop):
            if k == 3:
                memory.begin_experience()
            batch = numbered(7, 7 * (k % 3), None)
            memory.insert(batch, outputs(batch), k // 3)
            drawn = memory.draw(4, torch.device("cpu"))
            assert drawn is None or len(drawn.batch) <= 4
        return memory

    whole = fill(Memory(9, selection, 1), 0, 6)
    file = io.BytesIO()
    torch.save(fill(Memory(9, selection, 1), 0, 4).state_dict(), file)
    file.seek(0)
    resumed = Memory(9, selection, 1)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    fill(resumed, 4, 6)
    assert len(whole) == 9
    assert same(whole.entries, resumed.entries)
    assert whole.bytes() == resumed.bytes() > 0


def test_a_sample_is_considered_once_per_experience():
    memory = Memory(50)
    batch = numbered(6)
    for _ in range(3):
        memory.insert(batch, outputs(batch), 0)
    assert len(memory) == 6
    memory.begin_experience()
    memory.insert(batch, outputs(batch), 1)
    assert len(memory) == 12
    assert len(memory.draw(99, torch.device("cpu"), before=1).batch) == 6
    assert len(memory.draw(99, torch.device("cpu"), only=1).batch) == 6
    assert memory.draw(99, torch.device("cpu"), before=0) is None


def test_entries_are_what_was_given_whatever_the_padding():
    memory = Memory(20)
    short, long = samples(6, 0, points=3), samples(6, 1, points=8)
    for batch in (short, long, samples(6, 2, points=5)):
        memory.insert(batch, outputs(batch), 0)
    for i, batch in ((0, short), (6, long)):
        held = memory.entries.batch.select(torch.arange(i, i + 6))
        torch.testing.assert_close(held.target, batch.target)
        torch.testing.assert_close(memory.entries.outputs[i : i + 6], outputs(batch))
        torch.testing.assert_close(held.inputs["rgb"].values, batch.inputs["rgb"].values)
        width = batch.inputs["lidar"].mask.shape[1]
        torch.testing.assert_close(held.inputs["lidar"].points[:, :width], batch.inputs["lidar"].points)
        assert not held.inputs["lidar"].mask[:, width:].any()
    batch.target.zero_()
    assert memory.entries.batch.target.abs().sum() > 0


def test_corrupt_labels_stay_out_and_corrupt_cells_hidden():
    batch, memory = samples(8), Memory(20)
    cells = torch.ones(8, 4, dtype=torch.bool)
    cells[1] = False  # nothing usable
    cells[2, 0] = False
    labels = torch.ones(8, dtype=torch.bool)
    labels[5] = False
    memory.insert(batch, outputs(batch), 0, Clean(cells, labels))
    numbers = memory.entries.batch.meta.sample.tolist()
    assert 1 not in numbers and 5 not in numbers and len(numbers) == 6
    drawn = memory.draw(6, torch.device("cpu"))
    row = drawn.batch.meta.sample.tolist().index(~2)  # replayed: not sample 2 of this experience
    assert drawn.batch.present[row].tolist() == [False, True, True, True]
    corrupt = torch.zeros(6, 4, dtype=torch.bool)
    corrupt[numbers.index(2), 0] = True  # hidden: does no harm
    assert purity(memory.entries, corrupt) == 1.0
    corrupt[0, 1] = True
    assert purity(memory.entries, corrupt) == pytest.approx(1 - 1 / 23)
    assert purity(memory.entries, corrupt, "samples") == pytest.approx(5 / 6)


def test_entries_can_be_scored_again():
    memory, batch = Memory(6, "stratified"), numbered(6)
    memory.insert(batch, outputs(batch), 0)
    memory.relabel(outputs=torch.zeros(6, JOINTS, 3), clean=torch.zeros(6, 4, dtype=torch.bool))
    assert not memory.entries.outputs.any() and not memory.entries.usable().present.any()
    memory.remove(torch.tensor([True, False, True, False, False, False]))
    assert memory.entries.batch.meta.sample.tolist() == [1, 3, 4, 5]
    more = numbered(10, 50)
    memory.insert(more, outputs(more), 0)
    assert len(memory) == 6
    memory.remove(torch.ones(6, dtype=torch.bool))
    assert len(memory) == 0 and memory.entries is None
    memory.insert(more, outputs(more), 1)


def test_bytes_are_those_of_the_samples():
    batch, memory = samples(10), Memory(10)
    memory.insert(batch, outputs(batch), 0)
    floats = 2 * 6 + 2 * 5 * 4 + 2 * 3 * JOINTS
    booleans = 2 * 2 + 2 * 5 + 2 * len(SENSORS)
    assert memory.bytes() == 10 * (4 * floats + booleans + 8 * 7)


def test_batches_join_with_the_first_in_front():
    a, b = samples(3, 0, points=4), samples(5, 1, points=6)
    both = joined(a, b)
    assert len(both) == 8
    torch.testing.assert_close(both.target[:3], a.target)
    torch.testing.assert_close(both.inputs["mmwave"].points[3:], b.inputs["mmwave"].points)


def test_label_weights_are_joined_too():
    a, b = samples(3, 0), samples(2, 1)
    assert joined(a, b).weight is None
    half = replace(a, weight=torch.full((3,), 0.5))
    assert joined(half, b).weight.tolist() == [0.5, 0.5, 0.5, 1.0, 1.0]
    assert joined(b, half).weight.tolist() == [1.0, 1.0, 0.5, 0.5, 0.5]
    memory = Memory(4)
    memory.insert(half, outputs(half), 0)
    memory.insert(b, outputs(b), 0)  # one with weights, one without
    assert memory.entries.batch.weight is None and len(memory) == 4


@pytest.mark.parametrize("selection", ["reservoir", "stratified"])
def test_an_endless_memory_keeps_nothing_per_sample_and_nothing_of_strata_that_are_gone(selection):
    memory = Memory(6, selection, endless=True)
    sizes = []
    for experience in range(40):
        memory.begin_experience()
        for part in range(5):
            memory.insert(numbered(8), outputs(numbered(8)), experience)  # numbers that begin anew are other samples
            assert len(memory) == 6 or (experience, part) == (0, 0)
        state = memory.state_dict()
        assert len(state["seen"]) == 0
        sizes.append(len(state["reservoir"]["offered"]))
    assert max(sizes[20:]) <= max(sizes[:20])
    assert memory.state_dict()["reservoir"]["total"] == 40 * 5 * 8


def test_the_end_of_an_experience_purifies_its_entries():
    """What was found corrupt after a sample was stored is hidden, and wrong labels are dropped; others stay."""
    strategy, model = build("er", SENSORS, {"capacity": 40}), tiny_model()
    strategy.setup(model, Setup(mpjpe_loss))
    for index in (0, 1):
        strategy.begin_experience(model, Start(index, SENSORS))
        batch = numbered(10)
        strategy.observe(batch, outputs(batch))

    def found(numbers):
        cells = torch.ones(len(numbers), 4, dtype=torch.bool)
        cells[numbers == 3, 1] = False
        cells[numbers == 4] = False
        return Clean(cells, numbers != 5)

    strategy.end_experience(model, End(1, tuple, found=found))
    entries = strategy.memory.entries
    old, new = (entries.select((entries.experience == k).nonzero()[:, 0]) for k in (0, 1))
    assert len(old) == 10 and old.clean.all()
    numbers = new.batch.meta.sample.tolist()
    assert len(new) == 8 and not {4, 5} & set(numbers)
    assert new.usable().present[numbers.index(3)].tolist() == [True, False, True, True]
    strategy.end_experience(model, End(1, tuple, found=lambda numbers: None))
    assert len(strategy.memory) == 18
