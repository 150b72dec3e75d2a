"""Encode once, decode any coalition: exactness, parameters, seeds, per-sample gradients."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.func import functional_call, grad, vmap

from equipose.config import ModelSettings
from equipose.errors import UsageError
from equipose.modality import MODALITIES
from equipose.nn.fusion import Fusion
from equipose.nn.model import build_model
from equipose.nn.tensors import add_batch_axis, batch_from_tensors, batch_to_tensors
from equipose.registry import FUSION
from equipose.types import Batch, all_coalitions

FOUR = ("rgb", "lidar", "mmwave", "wifi")
FUSIONS = tuple(FUSION)
SUBSETS = [("rgb",), ("wifi",), ("lidar", "mmwave"), FOUR, (*FOUR, "infra1", "depth")]


def model_for(modalities=FOUR, seed=0, joints=17, **settings):
    settings = {"width": 24, **settings}
    mean_pose = torch.arange(joints * 3.0).reshape(joints, 3) / 100
    return build_model(ModelSettings(**settings), modalities, joints, seed, mean_pose, shapes={"depth": (24, 32)})


def mpjpe(output, batch):
    return (output.joints - batch.target).norm(dim=-1).mean(-1)


@pytest.mark.parametrize(
    ("fusion", "modalities", "size"),
    [
        *((fusion, modalities, "small") for fusion in FUSIONS for modalities in SUBSETS),
        ("concat", SUBSETS[-1], "paper"),
    ],
    ids=str,
)
def test_any_number_of_sensors(fusion, modalities, size, random_batch):
    model = model_for(modalities, fusion=fusion, size=size)
    batch = random_batch(modalities, batch=2)
    output = model(batch)
    assert output.joints.shape == (2, 17, 3)
    mpjpe(output, batch).mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("fusion", FUSIONS)
def test_twelve_sensors(fusion):
    names = tuple(MODALITIES)[:5] * 3
    modalities = tuple(f"{name}{i}" for i, name in enumerate(names))[:12]
    layer = FUSION[fusion](modalities, 24, 51)
    parts = [layer.part(name, torch.randn(3, 24)) for name in modalities]
    assert layer.combine(parts).shape == (3, 51)


@pytest.mark.parametrize("baseline", [False, True])
@pytest.mark.parametrize("modalities", SUBSETS, ids="+".join)
@pytest.mark.parametrize("fusion", FUSIONS)
def test_decoding_all_coalitions_equals_full_forwards_bit_for_bit(fusion, modalities, baseline, random_batch):
    model = model_for(modalities, fusion=fusion).eval()
    batch = random_batch(modalities, batch=5)
    generator = torch.Generator().manual_seed(2)
    present = torch.rand(5, len(modalities), generator=generator) < 0.7
    batch = Batch(modalities, batch.inputs, present, batch.target, batch.meta)
    stand_in = {name: torch.randn(24, generator=generator) for name in modalities} if baseline else None
    coalitions = all_coalitions(len(modalities))
    with torch.no_grad():
        features = model.encode(batch)
        together = model.decode_coalitions(features, coalitions, present, stand_in)
        for row, coalition in enumerate(coalitions):
            alone = model.decode(features, coalition & present, stand_in).joints
            assert torch.equal(together[row], alone)
            if not baseline and len(modalities) < 6:
                assert torch.equal(together[row], model(batch, coalition.expand(5, -1)).joints)


@pytest.mark.parametrize("fusion", [name for name in FUSIONS if FUSION[name].absent is Fusion.absent])
def test_decoding_equals_features_replaced_before_fusion(fusion, random_batch):
    """The definition: the feature of a sensor outside the coalition is replaced, then the fusion runs."""
    model = model_for(fusion=fusion)
    batch = random_batch(batch=6)
    features = model.encode(batch)
    coalition = torch.rand(6, 4, generator=torch.Generator().manual_seed(0)) < 0.5
    stand_in = {name: torch.full((24,), float(m + 1)) for m, name in enumerate(FOUR)}
    for given in (None, stand_in):
        replaced = {
            name: torch.where(coalition[:, m, None], features[name], 0.0 if given is None else given[name])
            for m, name in enumerate(FOUR)
        }
        everything = torch.ones_like(coalition)
        expected = model.decode(replaced, everything).joints
        torch.testing.assert_close(model.decode(features, coalition, given).joints, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("absent", range(4))
def test_a_sensor_outside_the_coalition_has_no_influence(fusion, absent, random_batch):
    model = model_for(fusion=fusion)
    batch = random_batch()
    features = model.encode(batch)
    coalition = torch.ones(3, 4, dtype=torch.bool)
    coalition[:, absent] = False
    changed = {**features, FOUR[absent]: features[FOUR[absent]] * 7.0 + 1.0}
    full = torch.ones_like(coalition)
    assert torch.equal(model.decode(features, coalition).joints, model.decode(changed, coalition).joints)
    assert not torch.equal(model.decode(features, full).joints, model.decode(changed, full).joints)
    mpjpe(model.decode(features, coalition), batch).sum().backward()
    gradients = [p.grad for p in model.parameters_of(FOUR[absent])]
    assert all(g is None or not g.any() for g in gradients)


def test_concatenation_is_one_linear_regressor(random_batch):
    """y = mean pose + sum_m W_m f_m + b, as published."""
    model = model_for(fusion="concat")
    batch = random_batch()
    features = model.encode(batch)
    weight = torch.cat([model.fusion.weights[name].weight for name in FOUR], 1)
    joined = torch.cat([features[name] for name in FOUR], 1)
    expected = model.mean_pose + (joined @ weight.T + model.fusion.bias).reshape(-1, 17, 3)
    torch.testing.assert_close(model(batch).joints, expected)


def test_without_any_sensor_the_pose_is_constant(random_batch):
    model = model_for(fusion="concat")
    nothing = torch.zeros(3, 4, dtype=torch.bool)
    joints = model(random_batch(), nothing).joints
    assert torch.equal(joints, model.mean_pose.expand(3, -1, -1))


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("modalities", SUBSETS, ids="+".join)
def test_every_parameter_belongs_to_one_sensor_or_is_shared(fusion, modalities):
    model = model_for(modalities, fusion=fusion)
    groups = [model.parameters_of(name) for name in modalities] + [model.shared_parameters()]
    counted = [id(p) for group in groups for p in group]
    assert len(counted) == len(set(counted))
    assert set(counted) == {id(p) for p in model.parameters()}
    assert all(group for group in groups)
    every = dict(model.named_parameters())
    for name in modalities:
        assert all(every[key] is p for key, p in model.named_parameters_of(name).items())


def test_weights_come_from_the_seed_alone():
    torch.manual_seed(123)
    state = torch.get_rng_state()
    first = model_for(seed=4)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(9)
    second, other = model_for(seed=4), model_for(seed=5)
    for key, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[key])
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_a_sensor_starts_from_the_same_weights_alone_and_among_others():
    alone, among = model_for(("lidar",)), model_for()
    for a, b in zip(alone.parameters_of("lidar"), among.parameters_of("lidar"), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("size", ["small", "paper"])
def test_weights_survive_a_file(tmp_path, size, random_batch):
    from safetensors.torch import load_file, save_file

    first, second = model_for(size=size, seed=0), model_for(size=size, seed=1)
    save_file(first.state_dict(), tmp_path / "model.safetensors")  # refuses shared storage
    second.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=True)
    batch = random_batch(batch=2)
    assert torch.equal(first(batch).joints, second(batch).joints)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_vmap_gradients_equal_a_loop_over_samples(fusion, random_batch):
    model = model_for(fusion=fusion)
    batch = random_batch(batch=3)
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())

    def loss(parameters, sample):
        one = batch_from_tensors(add_batch_axis(sample), batch.modalities)
        return mpjpe(functional_call(model, (parameters, buffers), (one,)), one)[0]

    mapped = vmap(grad(loss), in_dims=(None, 0))(parameters, batch_to_tensors(batch))
    for i in range(3):
        model.zero_grad()
        one = batch.select(torch.tensor([i]))
        mpjpe(model(one), one).sum().backward()
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(mapped[name][i], parameter.grad, rtol=2e-3, atol=2e-6)


def test_mixed_precision_keeps_the_neighbours_and_stays_near(random_batch):
    model = model_for()
    batch = random_batch()
    exact = model(batch).joints
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model(batch).joints
    assert mixed.isfinite().all()
    assert (mixed - exact).abs().mean() < 0.02 * (exact - model.mean_pose).abs().mean() + 0.01


def test_batch_to_tensors_and_back(random_batch):
    batch = random_batch((*FOUR, "depth"))
    again = batch_from_tensors(batch_to_tensors(batch), batch.modalities)
    assert again.modalities == batch.modalities
    assert torch.equal(again.target, batch.target)
    assert torch.equal(again.meta.frame, batch.meta.frame)
    assert torch.equal(again.inputs["lidar"].mask, batch.inputs["lidar"].mask)
    assert torch.equal(again.inputs["wifi"].values, batch.inputs["wifi"].values)
    assert again.weight is None
    weighed = replace(batch, weight=torch.tensor([0.0, 0.5, 1.0]))
    assert torch.equal(batch_from_tensors(batch_to_tensors(weighed), batch.modalities).weight, weighed.weight)
    assert weighed.select(torch.tensor([1])).weight.tolist() == [0.5]


class TestRefusals:
    def test_unknown_modality(self):
        with pytest.raises(UsageError, match=r"lidat.*Did you mean 'lidar'"):
            model_for(("lidat",))

    def test_unknown_fusion(self):
        with pytest.raises(UsageError, match=r"concatt.*Did you mean 'concat'"):
            model_for(fusion="concatt")

    def test_unknown_encoder(self):
        with pytest.raises(UsageError, match=r"point_transformr.*Did you mean"):
            model_for(encoders={"lidar": "point_transformr"})

    def test_encoder_for_another_kind(self):
        with pytest.raises(UsageError, match=r"reads csi, but lidar is cloud"):
            model_for(encoders={"lidar": "csi_network"})

    def test_encoder_setting_for_an_unknown_modality(self):
        with pytest.raises(ValueError, match=r"unknown modality 'lidr'"):  # refused by the settings themselves
            model_for(encoders={"lidr": "point_transformer"})

    def test_no_modality(self):
        with pytest.raises(UsageError, match=r"at least one"):
            model_for(())

    def test_a_modality_twice(self):
        with pytest.raises(UsageError, match=r"twice"):
            model_for(("rgb", "rgb"))

    def test_mean_pose_of_another_skeleton(self):
        with pytest.raises(UsageError, match=r"\(25, 3\).*\(17, 3\)"):
            build_model(ModelSettings(), ("rgb",), 17, 0, torch.zeros(25, 3))

    def test_batch_without_a_sensor(self, random_batch):
        with pytest.raises(UsageError, match=r"no input for wifi"):
            model_for()(random_batch(("rgb", "lidar", "mmwave")))

    def test_unknown_modality_of_a_model(self):
        with pytest.raises(UsageError, match=r"depth"):
            model_for().parameters_of("depth")
