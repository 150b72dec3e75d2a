import copy

import numpy as np
import pytest
import torch

from balance.steps import exact, probe_of, started, step, without
from equipose.balance.joint import Joint
from equipose.balance.umt import Umt, UmtSettings
from equipose.config import Settings
from equipose.errors import UsageError

THREE = ("rgb", "lidar", "wifi")
TEACHERS = {"rgb": "runs/rgb", "wifi": "runs/wifi"}


def umt(**settings):
    return Umt(UmtSettings(**{"teachers": TEACHERS, **settings}), THREE)


@pytest.fixture
def library(make_model):
    """Run folder -> model of one sensor, other than the student."""
    models = {f"runs/{m}": make_model(seed=7, modalities=(m,)).eval().double() for m in THREE}
    return models.__getitem__


def distances(model, library, batch, name):
    teacher = library(f"runs/{name}").encoders[name]
    wanted = teacher(batch.inputs[name]).detach().numpy()
    return ((model.encode(batch)[name].detach().numpy() - wanted) ** 2).mean(1), wanted


def test_raw_adds_the_published_squared_distance(make_model, make_batch, library):
    model = make_model().eval().double()
    batch = without(exact(make_batch(8)), "wifi", [0, 5])
    strategy = started(umt(scaling="raw", strength=3.0), model, load_model=library)
    strategy.begin_epoch(model, probe_of([batch]))
    terms, _ = step(strategy, model, batch)
    rgb, wifi = (distances(model, library, batch, m)[0] for m in ("rgb", "wifi"))
    expected = 3.0 * (rgb.mean() + np.delete(wifi, [0, 5]).mean())
    assert float(terms["teachers"].detach()) == pytest.approx(expected, rel=1e-5)


def test_relative_counts_in_the_teachers_spread_and_the_present_loss(make_model, make_batch, library):
    model = make_model().eval().double()
    probe, batch = [exact(make_batch(16, 1)), exact(make_batch(16, 2))], exact(make_batch(8, 3))
    strategy = started(umt(strength=2.0), model, load_model=library)
    strategy.begin_epoch(model, probe_of(probe))
    terms, _ = step(strategy, model, batch)
    expected = 0.0
    for m in TEACHERS:
        spread = np.concatenate([distances(model, library, b, m)[1] for b in probe]).var(0).mean()
        expected += distances(model, library, batch, m)[0].mean() / spread
    expected *= 2.0 * float(terms["pose"].detach())
    assert float(terms["teachers"].detach()) == pytest.approx(expected, rel=1e-5)
    again = dict(strategy._variance)
    strategy.begin_epoch(model, probe_of([batch], epoch=1))
    assert strategy._variance == again, "the scale is measured once"


def test_a_teacher_that_agrees_pulls_nowhere(make_model, make_batch):
    model, batch = make_model().eval(), make_batch(8)
    strategy = started(umt(), model, load_model=lambda run: copy.deepcopy(model))
    strategy.begin_epoch(model, probe_of([batch]))
    _, found = step(strategy, model, batch)
    _, joint = step(Joint(Settings(), THREE), model, batch)
    for name in found:
        torch.testing.assert_close(found[name], joint[name])


def test_only_encoders_with_a_teacher_are_pulled(make_model, make_batch, library):
    model, batch = make_model().eval().double(), exact(make_batch(8))
    strategy = started(umt(), model, load_model=library)
    strategy.begin_epoch(model, probe_of([batch]))
    _, found = step(strategy, model, batch)
    _, joint = step(Joint(Settings(), THREE), model, batch)
    changed = {name.split(".")[1] for name in found if not torch.equal(found[name], joint[name])}
    assert changed == set(TEACHERS)
    assert strategy.notes() == ["umt: no teacher for lidar"]


def test_teachers_are_neither_trained_nor_saved(make_model, make_batch, library):
    model, batch = make_model().double(), exact(make_batch(8))
    strategy = started(umt(), model, load_model=library)
    strategy.begin_epoch(model, probe_of([batch]))
    model.train()
    step(strategy, model, batch)
    assert not list(strategy.modules.parameters())
    for teacher in strategy._teachers.values():
        assert not any(p.requires_grad for p in teacher.parameters())
        assert not any(module.training for module in teacher.modules())
    assert set(strategy.state_dict()) == {"variance", "distance"}


def test_a_teacher_of_one_constant_feature_has_a_bounded_weight(make_model, make_batch):
    model, batch = make_model().eval(), make_batch(8)
    dead = make_model(seed=7).eval()
    with torch.no_grad():
        dead.encoders["rgb"].second.weight.zero_()
    strategy = started(umt(teachers={"rgb": "x"}), model, load_model=lambda run: dead)
    strategy.begin_epoch(model, probe_of([batch]))
    terms, _ = step(strategy, model, batch)
    assert float(terms["teachers"].detach()) < 1e6
    with torch.no_grad():
        dead.encoders["rgb"].second.bias.zero_()
    strategy = started(umt(teachers={"rgb": "x"}), model, load_model=lambda run: dead)
    strategy.begin_epoch(model, probe_of([batch]))
    assert step(strategy, model, batch)[0]["teachers"].isfinite()


def test_the_teachers_features_must_fit(make_model, library):
    model = make_model().double()
    with pytest.raises(UsageError, match="found no teachers"):
        started(umt(teachers={}), model, load_model=library)
    with pytest.raises(UsageError, match="trained on wifi, expected rgb"):
        started(umt(teachers={"rgb": "runs/wifi"}), model, load_model=library)
    wide = library("runs/rgb")
    wide.width = 16
    with pytest.raises(UsageError, match="are 16 long, those of this model 8"):
        started(umt(teachers={"rgb": "runs/rgb"}), model, load_model=library)
    with pytest.raises(UsageError, match="Did you mean 'rgb'"):
        umt(teachers={"rgbb": "runs/rgb"})
    with pytest.raises(UsageError, match="nothing here can load them"):
        started(umt(), model)


def test_at_strength_zero_no_teacher_is_loaded(make_model, make_batch):
    model, batch = make_model().eval(), make_batch(8)
    strategy = started(umt(strength=0.0, teachers={"rgb": "nowhere"}), model)
    strategy.begin_epoch(model, probe_of([batch]))
    assert list(step(strategy, model, batch)[0]) == ["pose"]
