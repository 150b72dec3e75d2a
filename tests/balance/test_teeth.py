"""Contributions that are known in closed form, and each strategy where its paper says what it does."""

import copy
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from balance.analytic import Rehearsal, World, unequal_batch
from equipose.balance.readouts import alone, pose_errors
from equipose.contribution.measure import measure
from equipose.nn.decision_fusion import EnsembleFusion
from equipose.registry import BALANCE

WORLDS = {
    "additive": World(
        (3.0, 2.0, 1.0, 1.0),
        {"rgb": (3.0, 0, 0, 0), "lidar": (0, 2.0, 0, 0), "mmwave": (0, 0, 1.0, 0)},
        {},
    ),
    "redundant": World((2.0, 1.0), {"rgb": (1.0, 0), "infra1": (1.0, 0), "lidar": (0, 0.5)}, {}),
    "synergistic": World((1.0, 0.0), {"rgb": (1.0, 2.0), "lidar": (0.0, -2.0)}, {}),
    "noise": World((2.0, 1.0, 0.0), {"rgb": (1.8, 0, 0), "lidar": (0, 0.9, 0), "wifi": (0, 0, 1.5)}, {}),
    "collapsed": World((2.0, 1.0), {"rgb": (1.8, 0), "lidar": (0, 0.9), "wifi": (0, 0)}, {"wifi": 0.4}),
    "four": World(
        (2.0, 1.0, 1.0, 0.5),
        {"rgb": (1.5, 0.2, 0, 0), "lidar": (0.5, 0.8, 0, 0.1), "mmwave": (0, 0, 0.3, 0), "wifi": (0, -0.2, 0, 0.1)},
        {},
    ),
}


def found(world, profit):
    return measure(world.model(), [world.batch()], profit, bootstrap=0)


# Correlations depend on moments alone, and those of the samples are exact; a mean length depends on the draw.
CLOSE = {
    **{profit: {"rtol": 1e-4, "atol": 1e-4} for profit in ("pearson", "weighted_pearson", "concordance")},
    "mpjpe": {"rtol": 0.02, "atol": 20.0},
    "skill": {"rtol": 0.02, "atol": 0.01},
}
CLOSED_FORMS = [
    (name, profit)
    for name, world in WORLDS.items()
    for profit in CLOSE
    if not (world.offsets and profit in ("mpjpe", "skill"))  # a length about another centre has none
]


@pytest.mark.parametrize(("name", "profit"), CLOSED_FORMS)
def test_contributions_are_those_of_the_closed_form(name, profit):
    world, close = WORLDS[name], CLOSE[profit]
    result = found(world, profit)
    np.testing.assert_allclose(result.values, world.coalition_values(profit), **close)
    np.testing.assert_allclose(result.phi, world.shapley(profit), **close)
    for i in range(len(world.sensors)):
        for j in range(i):
            expected = world.interaction(profit, i, j)
            np.testing.assert_allclose(result.interactions[i, j], expected, **close)


def test_the_worlds_are_what_they_are_called():
    redundant = found(WORLDS["redundant"], "pearson")
    assert redundant.interactions[0, 1] < -1.0
    assert redundant.phi[0] == pytest.approx(redundant.phi[1], abs=1e-4)
    assert found(WORLDS["synergistic"], "pearson").interactions[0, 1] > 1.0
    assert found(WORLDS["noise"], "pearson").phi[2] < 0
    assert found(WORLDS["collapsed"], "pearson").phi[2] == pytest.approx(0.0, abs=1e-6)
    independent = World((1.0, 1.0, 0), {"rgb": (1.0, 0, 0), "lidar": (0, 1.0, 0)}, {})
    assert found(independent, "pearson").phi[0] == pytest.approx(found(independent, "pearson").phi[1], abs=1e-4)


def test_alarms_ring_where_they_should_and_only_there():
    assert [a.split()[0] for a in found(WORLDS["collapsed"], "pearson").alarms if "collapsed" in a] == ["wifi"]
    strong = World((3.0, 0.3), {"rgb": (3.0, 0), "lidar": (0, 0.4)}, {})
    assert any(a.startswith("rgb dominates") for a in found(strong, "pearson").alarms)
    even = World((1.0, 1.0, 1.0), {"rgb": (1.0, 0, 0), "lidar": (0, 1.0, 0), "wifi": (0, 0, 1.0)}, {})
    assert found(even, "pearson").alarms == ()


def test_a_collapsed_sensor_is_credited_by_an_error_profit_and_not_by_a_correlation():
    """The reason for Pearson: a constant that supplies the mean pose lowers the error most."""
    world = World((0.5,), {"rgb": (0.4,), "wifi": (0.0,)}, {"wifi": 0.6})
    batch = world.batch()
    batch = replace(batch, target=batch.target + 0.6)
    rgb, wifi = measure(world.model(), [batch], "mpjpe", bootstrap=0).phi
    assert wifi > rgb > 0.0
    rgb, wifi = measure(world.model(), [batch], "pearson", bootstrap=0).phi
    assert rgb > 1.0
    assert wifi == pytest.approx(0.0, abs=1e-6)


# One test per strategy: does it do there what its paper says? rgb is strong, wifi weak.


def test_every_strategy_has_a_test_here():
    names = [name for name in vars(sys.modules[__name__]) if name.startswith("test_")]
    untested = [name for name in BALANCE if not any(test.startswith(f"test_{name}_does_") for test in names)]
    assert not untested


@pytest.fixture(scope="module")
def made():
    """Memory of what several tests need."""
    return {}


@pytest.fixture
def batches(make_batch):
    return [unequal_batch(make_batch, seed=seed) for seed in range(4)]


@pytest.fixture
def fresh(make_model):
    return make_model()


@pytest.fixture
def trained(make_model, batches, made):
    """A model after joint training, in which rgb is far ahead."""
    if "trained" not in made:
        model = Rehearsal("joint", make_model(), batches).train(60, 0.01, torch.optim.Adam).model
        errors = alone_errors(model, batches[0])
        assert errors["rgb"] < 0.9 * min(errors["lidar"], errors["wifi"])
        made["trained"] = model
    return made["trained"]


def alone_errors(model, batch):
    model = copy.deepcopy(model).eval()
    with torch.no_grad():
        errors = pose_errors(alone(model, model.encode(batch)), batch.target)
    return {name: float(error.mean()) for name, error in errors.items()}


def steps_of(name, model, batches, **settings):
    """Length of each encoder's step in one step of SGD."""
    rehearsal = Rehearsal(name, model, batches[:1], **settings)
    before = {m: rehearsal.encoder(m) for m in model.modalities}
    rehearsal.train(1)
    return {m: float((rehearsal.encoder(m) - before[m]).norm()) for m in model.modalities}


def shuffled(batch, sensor):
    """The same samples with one sensor's frames dealt to others: what was learned from it by heart is worth nothing."""
    window = batch.inputs[sensor]
    mixed = replace(window, values=window.values.roll(7, 0))
    return replace(batch, inputs={**batch.inputs, sensor: mixed})


def test_joint_does_minimise_the_pose_error_alone(trained, batches):
    rehearsal = Rehearsal("joint", trained, batches).begin()
    assert list(rehearsal.terms(batches[0]).terms) == ["pose"]


def test_slow_encoders_does_slow_all_encoders_alike(trained, batches):
    plain, slow = steps_of("joint", trained, batches), steps_of("slow_encoders", trained, batches, factor=0.25)
    for m in plain:
        assert slow[m] == pytest.approx(0.25 * plain[m], rel=1e-3)


def test_ogm_does_slow_the_dominant_sensor_only(trained, batches):
    plain, ogm = steps_of("joint", trained, batches), steps_of("ogm", trained, batches, alpha=0.8)
    assert ogm["rgb"] < 0.7 * plain["rgb"]
    assert ogm["wifi"] == pytest.approx(plain["wifi"], rel=1e-5)


def test_ogm_ge_does_slow_the_dominant_and_add_noise_of_the_gradients_size(trained, batches):
    settings = {"alpha": 0.8, "scale": "gradient"}
    gradients = {}
    for noise in (0.0, 1.0):
        rehearsal = Rehearsal("ogm_ge", trained, batches[:1], noise=noise, **settings).train(1)
        gradients[noise] = rehearsal.model.encoders["wifi"].first.weight.grad
    added = gradients[1.0] - gradients[0.0]
    assert float(added.std()) == pytest.approx(float(gradients[0.0].std()), rel=0.4)
    plain = steps_of("joint", trained, batches)
    assert steps_of("ogm_ge", trained, batches, noise=0.0, **settings)["rgb"] < 0.7 * plain["rgb"]


def watch_decode(rehearsal, monkeypatch):
    """Coalitions that the model is asked for from now on."""
    seen, decode = [], rehearsal.model.decode

    def watched(features, coalition, *rest):
        seen.append(coalition.clone())
        return decode(features, coalition, *rest)

    monkeypatch.setattr(rehearsal.model, "decode", watched)
    return seen


def kept_shares(rehearsal, monkeypatch, epochs):
    """How often each sensor was kept in the second answer to a batch, the one that is trained on."""
    seen = watch_decode(rehearsal, monkeypatch)
    rehearsal.train(epochs, 1e-6)
    masks = torch.cat([mask for mask in seen if not mask.all()])
    return dict(zip(rehearsal.model.modalities, masks.float().mean(0).tolist(), strict=True))


def test_opm_does_drop_the_dominant_sensor_more_often(trained, batches, monkeypatch):
    rehearsal = Rehearsal("opm", trained, batches, warm_up=0.0, probability=1.0)
    kept = kept_shares(rehearsal, monkeypatch, 4)
    assert kept["rgb"] < 0.6
    assert kept["wifi"] == 1.0


def test_modality_dropout_does_drop_all_alike(trained, batches, monkeypatch):
    kept = kept_shares(Rehearsal("modality_dropout", trained, batches, rate=0.3), monkeypatch, 8)
    for share in kept.values():  # 0.7, and what is kept of the samples that would lose all
        assert share == pytest.approx(0.7 + 0.3**3 / 3, abs=0.04)


def test_agm_does_slow_a_sensor_whose_share_has_grown(fresh, trained, batches):
    rehearsal = Rehearsal("agm", fresh, batches, alpha=1.0).train(2, 1e-6)
    rehearsal.model.load_state_dict(trained.state_dict())
    rehearsal.begin()
    rehearsal.terms(batches[0])
    factor = rehearsal.strategy.log()["factor"]
    assert factor["rgb"] < 1.0
    assert factor["rgb"] < min(factor["lidar"], factor["wifi"])


def test_cggm_does_slow_the_sensor_whose_head_improves_fastest(trained, batches):
    rehearsal = Rehearsal("cggm", trained, batches).train(1, 0.02, torch.optim.Adam).train(4, 0.02, torch.optim.Adam)
    factor = rehearsal.strategy.log()["factor"]
    assert factor["rgb"] < min(factor["lidar"], factor["wifi"])


def test_inforeg_does_pull_the_dominant_sensor_back_only(trained, batches):
    rehearsal = Rehearsal("inforeg", trained, batches, unimodal=0.0).begin()
    with torch.no_grad():
        for p in rehearsal.model.parameters():
            p.add_(0.1)
    pulls = {}
    for beta in (0.0, 1.0):
        other = Rehearsal("inforeg", trained, batches, unimodal=0.0, beta=beta).begin()
        with torch.no_grad():
            for p in other.model.parameters():
                p.add_(0.1)
        torch.manual_seed(1)
        other.strategy.backward(other.terms(batches[0]))
        other.strategy.gradients(other.model, other.output, batches[0])
        pulls[beta] = {m: other.encoder_gradient(m) for m in trained.modalities}
    way = pulls[1.0]["rgb"] - pulls[0.0]["rgb"]
    assert float(way.min()) > 0.0, "moved up, so the gradient of the pull points up: descent goes back"
    assert torch.equal(pulls[1.0]["wifi"], pulls[0.0]["wifi"])


def test_awc_does_pull_the_superior_group_harder(trained, batches):
    contribution = {"rgb": 9.0, "lidar": 1.0, "wifi": 0.5}
    pull = {}
    for groups in ("kmeans", "swapped"):
        rehearsal = Rehearsal("awc", trained, batches, contribution=contribution, groups=groups).begin()
        with torch.no_grad():
            for p in rehearsal.model.parameters():
                p.add_(0.1)
        rehearsal.terms(batches[0]).terms["awc"].backward()
        pull[groups] = {m: float(rehearsal.encoder_gradient(m).norm()) for m in trained.modalities}
    assert pull["kmeans"]["rgb"] == pytest.approx(2 * pull["swapped"]["rgb"], rel=1e-4)
    assert pull["kmeans"]["wifi"] == pytest.approx(0.5 * pull["swapped"]["wifi"], rel=1e-4)
    assert pull["kmeans"]["rgb"] > pull["kmeans"]["wifi"]


def test_gdl_does_give_encoders_no_gradient_of_the_joint_loss(trained, batches):
    rehearsal = Rehearsal("gdl", trained, batches).begin()
    terms = rehearsal.terms(batches[0]).terms
    terms["pose"].backward(retain_graph=True)
    assert all(not rehearsal.encoder_gradient(m).any() for m in trained.modalities)
    joint = rehearsal.fusion_gradient()
    assert joint.any()
    terms["alone"].backward()
    assert all(rehearsal.encoder_gradient(m).any() for m in trained.modalities)
    assert torch.equal(rehearsal.fusion_gradient(), joint), "the fusion learns from the joint loss only"


def test_mmpareto_does_work_against_neither_loss(fresh, batches):
    conflicts = 0
    for seed in range(8):
        rehearsal = Rehearsal("mmpareto", fresh, batches).begin()
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():  # small weights, so that the pose decides; heads that ask for the opposite, more or less
            for m, head in rehearsal.strategy.modules["heads"].items():
                weight = rehearsal.model.fusion.weights[m].weight.mul_(0.1)
                head.weight.copy_(-weight + 0.005 * seed * torch.randn(weight.shape, generator=generator))
        rehearsal.model.eval()  # the same graph twice, without dropout
        terms = rehearsal.terms(batches[seed % 4]).terms
        apart = []
        for name in ("pose", "heads"):
            terms[name].backward(retain_graph=True)
            apart.append({m: rehearsal.encoder_gradient(m) for m in fresh.modalities})
            for p in [*rehearsal.model.parameters(), *rehearsal.strategy.modules.parameters()]:
                p.grad = None
        rehearsal.strategy.backward(rehearsal.terms(batches[seed % 4]))
        for m in fresh.modalities:
            combined, joint, own = rehearsal.encoder_gradient(m), apart[0][m], apart[1][m]
            conflicts += int(joint @ own < 0)
            slack = 1e-4 * float(combined.norm())
            assert float(combined @ joint) >= -slack * float(joint.norm())
            assert float(combined @ own) >= -slack * float(own.norm())
    assert conflicts >= 6, "the losses never conflicted: the test shows nothing"


def test_reconboost_does_train_one_sensor_at_a_time(trained, batches):
    rehearsal = Rehearsal("reconboost", trained, batches, stage=0.25, refit=0.0).begin()
    taught = []
    for _ in range(6):
        rehearsal.strategy.backward(rehearsal.terms(batches[0]))
        taught.append([m for m in trained.modalities if rehearsal.encoder_gradient(m).any()])
        rehearsal.strategy.after_step(rehearsal.model)
    assert taught == [["rgb"], ["lidar"], ["wifi"]] * 2


def test_pmr_does_act_on_the_weak_sensors_only(trained, batches):
    rehearsal = Rehearsal("pmr", trained, batches, codes=4).begin()
    terms = rehearsal.terms(batches[0]).terms
    terms["prototypes"].backward()
    score = rehearsal.strategy.log()["score"]
    best = max(score, key=score.get)
    assert not rehearsal.encoder_gradient(best).any()
    assert all(rehearsal.encoder_gradient(m).any() for m in trained.modalities if m != best)


def test_g_blend_does_give_a_head_that_learns_by_heart_less_weight(trained, batches):
    small = [batches[0].select(torch.arange(24))]
    validation = [shuffled(batches[1], "wifi")]
    rehearsal = Rehearsal("g_blend", trained, small, validation=validation, super_epoch=40, floor=0.0)
    rehearsal.train(41, 0.02, torch.optim.Adam)
    weights = rehearsal.strategy.weights()
    assert weights["wifi"] < weights["rgb"]


def test_ume_does_train_every_sensor_as_if_it_were_alone(make_model, batches):
    model = make_model()
    torch.manual_seed(0)
    model.fusion = EnsembleFusion(model.modalities, model.width, 3 * model.num_joints)
    gradients = []
    for batch in (batches[0], shuffled(shuffled(batches[0], "lidar"), "wifi")):
        rehearsal = Rehearsal("ume", model, [batch]).begin()
        rehearsal.model.eval()
        rehearsal.strategy.backward(rehearsal.terms(batch))
        gradients.append({m: rehearsal.encoder_gradient(m) for m in model.modalities})
    torch.testing.assert_close(gradients[0]["rgb"], gradients[1]["rgb"])
    assert not torch.allclose(gradients[0]["lidar"], gradients[1]["lidar"])


def test_umt_does_draw_features_to_the_teachers(make_model, trained, batches):
    def distance(model):
        model = copy.deepcopy(model).eval()
        with torch.no_grad():
            wanted = copy.deepcopy(trained).eval().encode(batches[0])["wifi"]
            return float((model.encode(batches[0])["wifi"] - wanted).norm())

    student = make_model(seed=5)
    teachers = {"teachers": {"wifi": "somewhere"}, "load_model": lambda _: copy.deepcopy(trained).eval()}
    taught = Rehearsal("umt", student, batches, **teachers).train(20, 0.01, torch.optim.Adam).model
    untaught = Rehearsal("joint", student, batches).train(20, 0.01, torch.optim.Adam).model
    assert distance(taught) < 0.7 * distance(untaught)


def test_every_subset_does_make_each_sensor_better_alone(fresh, batches):
    joint = Rehearsal("joint", fresh, batches).train(40, 0.01, torch.optim.Adam).model
    ours = Rehearsal("every_subset", fresh, batches).train(40, 0.01, torch.optim.Adam).model
    before, after = alone_errors(joint, batches[0]), alone_errors(ours, batches[0])
    assert all(after[m] < before[m] for m in before)


def shown(name, trained, batches, **settings):
    """How often each sensor is shown after one epoch of measuring."""
    batches = [replace(b, meta=replace(b.meta, sample=b.meta.sample + i * len(b))) for i, b in enumerate(batches)]
    rehearsal = Rehearsal(name, trained, batches, warmup=0.0, **settings).train(1, 1e-6).begin()
    order = np.random.default_rng(0).permutation(sum(map(len, batches)))
    _, sensors = rehearsal.strategy.visit(order, 1)
    assert sensors.any(1).all(), "a visit without any sensor teaches nothing"
    return dict(zip(trained.modalities, sensors.mean(0).tolist(), strict=True))


def test_sample_resampling_does_show_the_weak_sensors_more_often(trained, batches):
    share = shown("sample_resampling", trained, batches)
    assert share["rgb"] < min(share["lidar"], share["wifi"]) < 1.0


def test_modality_resampling_does_hide_the_dominant_sensor_only(trained, batches):
    share = shown("modality_resampling", trained, batches, measured=1.0)
    assert share["rgb"] < 0.9
    assert share["wifi"] == 1.0


def test_relearning_does_pull_the_over_fitted_encoder_back(trained, batches):
    validation = [shuffled(batch, "lidar") for batch in batches]
    rehearsal = Rehearsal("relearning", trained, batches, validation=validation, interval_epochs=1)
    rehearsal.begin()
    start = {m: rehearsal.encoder(m) for m in trained.modalities}
    rehearsal.train(1, 0.05)
    before = {m: rehearsal.encoder(m) for m in trained.modalities}
    rehearsal.reset.clear()
    rehearsal.begin()
    pull = rehearsal.strategy.log()["pull"]
    assert pull["lidar"] > 0.3
    assert pull["rgb"] == pull["wifi"] == 0.0
    expected = (1 - pull["lidar"]) * before["lidar"] + pull["lidar"] * start["lidar"]
    torch.testing.assert_close(rehearsal.encoder("lidar"), expected)
    assert torch.equal(rehearsal.encoder("rgb"), before["rgb"])
    assert list(map(id, rehearsal.reset)) == list(map(id, rehearsal.model.parameters_of("lidar")))
