"""What every method that scales, drops or holds owes beside the contract; the rules are in files of their own."""

from dataclasses import replace

import pytest
import torch

from balance.short_training import in_two, run, setup_of, weights
from equipose.registry import BALANCE

NAMES = ("slow_encoders", "modality_dropout", "ogm", "ogm_ge", "opm", "agm", "cggm", "inforeg")
SCALED = [name for name in NAMES if "scale" in BALANCE[name].Settings.model_fields]
ALWAYS = {"slow_encoders": {"window": 1.0}, "ogm": {"window": 1.0}, "ogm_ge": {"window": 1.0}, "opm": {"warm_up": 0.0}}


def make(name, modalities=("rgb", "lidar", "wifi"), **settings):
    cls = BALANCE[name]
    return cls(cls.Settings(**{**ALWAYS.get(name, {}), **settings}), modalities)


@pytest.fixture
def batches(make_batch):
    found = []
    for seed in range(4):
        batch = make_batch(16, seed)
        meta = replace(batch.meta, sample=batch.meta.sample + 16 * seed)
        found.append(replace(batch, meta=meta))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_drawn_from_the_global_generator(name, make_model, batches):
    model = make_model()
    state = torch.get_rng_state()
    run(model, make(name), batches, train=False)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("name", "settings"), [(name, {}) for name in NAMES] + [(name, {"scale": "gradient"}) for name in SCALED]
)
def test_two_processes_with_unequally_many_sensors_do_what_one_does(name, settings, make_model, batches):
    for batch in batches:
        batch.present[::3, 1] = False
        batch.present[1, 2] = False
    batches[2].present[:, 0] = False
    one = make_model()
    run(one, make(name, **settings), batches, optimizer="sgd", train=False)
    models = [make_model(), make_model()]

    def compute(mean, rank):
        mine = [b.select(torch.arange(rank, 16, 2)) for b in batches]
        run(models[rank], make(name, **settings), mine, optimizer="sgd", mean=mean, train=False)

    in_two(compute)
    torch.testing.assert_close(weights(models[0]), weights(models[1]), rtol=0, atol=0)
    torch.testing.assert_close(weights(models[0]), weights(one), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_batches_without_a_sensor_or_without_any_are_finite(name, make_model, batches):
    batches[0].present[:, 1] = False
    batches[1].present[:, :2] = False
    batches[2].present[:] = False
    batches[3].present[::2, 2] = False
    model = make_model()
    run(model, make(name), batches)
    assert weights(model).isfinite().all()


@pytest.mark.parametrize("name", SCALED)
def test_scaled_gradients_are_warned_of_where_the_optimizer_undoes_them(name, make_model, batches):
    model = make_model()
    for scale, optimizer, warned in (("gradient", "adam", True), ("gradient", "sgd", False), ("step", "adam", False)):
        strategy = make(name, scale=scale)
        strategy.setup(model, setup_of(batches, optimizer=optimizer))
        assert bool(strategy.notes()) == warned
