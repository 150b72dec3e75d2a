import pytest
import torch

from balance.steps import in_two_processes, without
from equipose.balance.sensor_losses import WeightedMeans, over_present


def same(tensor):
    return tensor


def random_losses(batch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {m: torch.rand(len(batch), generator=generator, dtype=torch.float64) for m in batch.modalities}


def test_the_mean_is_over_the_samples_that_have_the_sensor(make_batch):
    batch = without(make_batch(6), "lidar", [0, 2, 5])
    losses = random_losses(batch)
    found = over_present(losses, batch, same)
    assert float(found.values["rgb"]) == pytest.approx(losses["rgb"].numpy().mean())
    assert float(found.values["lidar"]) == pytest.approx(losses["lidar"].numpy()[[1, 3, 4]].mean())
    assert {m: float(n) for m, n in found.counts.items()} == {"rgb": 6, "lidar": 3, "wifi": 6}
    assert float(found.sum()) == pytest.approx(sum(float(v) for v in found.values.values()))


def test_a_sensor_that_no_sample_has_costs_nothing(make_batch):
    batch = without(make_batch(4), "wifi", slice(None))
    losses = {m: x.requires_grad_() for m, x in random_losses(batch).items()}
    losses["wifi"] = torch.full((4,), torch.inf, requires_grad=True)
    found = over_present({m: x.double() for m, x in losses.items()}, batch, same)
    found.sum().backward()
    assert float(found.values["wifi"]) == 0.0
    assert not losses["wifi"].grad.any()
    assert torch.allclose(losses["rgb"].grad, torch.full((4,), 0.25).double())


def test_samples_can_be_left_out(make_batch):
    batch = make_batch(4)
    losses = random_losses(batch)
    usable = {m: torch.tensor([True, False, True, False]) for m in losses}
    assert float(over_present(losses, batch, same, usable).values["rgb"]) == pytest.approx(
        losses["rgb"].numpy()[[0, 2]].mean()
    )


def test_two_processes_with_unequal_shares_give_the_gradient_of_one(make_batch):
    batch = without(make_batch(8), "lidar", [0, 1, 2, 5])  # one sample of the first half, three of the second
    losses = random_losses(batch)
    whole = {m: x.clone().requires_grad_() for m, x in losses.items()}
    over_present(whole, batch, same).sum().backward()

    def half(rank, mean):
        rows = torch.arange(8)[4 * rank : 4 * rank + 4]
        part = {m: x[rows].clone().requires_grad_() for m, x in losses.items()}
        found = over_present(part, batch.select(rows), mean)
        torch.autograd.backward(found.sum())
        return found.values, {m: x.grad / 2 for m, x in part.items()}  # averaged over processes

    (first, top), (second, bottom) = in_two_processes(half)
    for m in losses:
        assert torch.equal(first[m], second[m])
        torch.testing.assert_close(torch.cat([top[m], bottom[m]]), whole[m].grad)


def test_weighted_means_survive_a_file(tmp_path):
    means = WeightedMeans()
    means.add({"a": torch.tensor(1.0), "b": torch.tensor(5.0)}, {"a": torch.tensor(1.0), "b": torch.tensor(0.0)})
    torch.save(means.state_dict(), tmp_path / "state.pt")
    again = WeightedMeans()
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for each in (means, again):
        each.add({"a": torch.tensor(3.0)}, {"a": torch.tensor(3.0)})
        assert each.of(["a", "b", "c"]) == {"a": 2.5, "b": None, "c": None}
    means.reset()
    assert means.of(["a"]) == {"a": None}
