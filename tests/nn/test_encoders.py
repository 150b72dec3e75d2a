"""The contract of every encoder in the registry, in both sizes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from equipose.modality import MODALITIES
from equipose.nn.encoders.base import DEFAULT_ENCODER, InputLayout
from equipose.registry import ENCODERS
from equipose.types import Cloud, Dense

WIDTH = 24
WINDOWS = {"rgb": 9, "depth": 1, "lidar": 1, "mmwave": 5, "wifi": 3}
SENSORS = tuple(WINDOWS)
SHAPES = {"rgb": (17, 2), "depth": (24, 32), "lidar": (4,), "mmwave": (6,), "wifi": (2, 3, 114, 10)}
CASES = [pytest.param(sensor, size, id=f"{sensor}-{size}") for sensor in SENSORS for size in ("small", "paper")]
CLOUDS = [case for case in CASES if case.values[0] in ("lidar", "mmwave")]
DENSE = [case for case in CASES if case.values[0] not in ("lidar", "mmwave")]


def build(sensor, size, seed=0, window=None):
    spec = MODALITIES[sensor]
    encoder = ENCODERS[DEFAULT_ENCODER[spec.kind]]
    torch.manual_seed(seed)
    layout = InputLayout(window=window or WINDOWS[sensor], shape=SHAPES[sensor])
    return encoder(spec, layout, WIDTH, encoder.preset(size, spec))


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_every_registered_encoder_is_tested():
    assert set(DEFAULT_ENCODER.values()) == {name for name in ENCODERS}
    assert {MODALITIES[sensor].kind for sensor in SENSORS} == set(DEFAULT_ENCODER)


@pytest.mark.parametrize(("sensor", "size"), CASES)
class TestEveryEncoder:
    def test_feature_is_finite_and_every_weight_has_a_gradient(self, sensor, size, random_batch):
        encoder = build(sensor, size)
        feature = encoder(random_batch((sensor,), batch=2).inputs[sensor])
        assert feature.shape == (2, WIDTH)
        feature.square().sum().backward()
        for name, parameter in encoder.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
        used = sum(bool(p.grad.abs().sum() > 0) for p in encoder.parameters())
        assert used >= 0.9 * len(list(encoder.parameters()))

    def test_nothing_there_gives_a_finite_constant(self, sensor, size, random_batch):
        """An empty cloud or a window without a valid frame: finite feature and gradients, whatever the values."""
        encoder = build(sensor, size)
        given = random_batch((sensor,), batch=2).inputs[sensor]
        absent = (
            replace(given, mask=torch.zeros_like(given.mask))
            if isinstance(given, Cloud)
            else replace(given, valid=torch.zeros_like(given.valid))
        )
        feature = encoder(absent)
        assert feature.isfinite().all()
        close(feature, feature[:1].expand_as(feature))
        feature.square().sum().backward()
        assert all(p.grad.isfinite().all() for p in encoder.parameters() if p.grad is not None)

    def test_zero_values_are_finite(self, sensor, size, random_batch):
        encoder = build(sensor, size)
        given = random_batch((sensor,), batch=2).inputs[sensor]
        field = "points" if isinstance(given, Cloud) else "values"
        feature = encoder(replace(given, **{field: torch.zeros_like(getattr(given, field))}))
        feature.square().sum().backward()
        assert feature.isfinite().all()
        assert all(p.grad.isfinite().all() for p in encoder.parameters())

    def test_samples_do_not_influence_each_other(self, sensor, size, random_batch):
        encoder = build(sensor, size)
        batch = random_batch((sensor,), batch=2)
        whole = encoder(batch.inputs[sensor])
        one = encoder(batch.select(torch.tensor([1])).inputs[sensor])
        close(whole[1:2], one)

    def test_the_input_matters(self, sensor, size, random_batch):
        encoder = build(sensor, size)
        feature = encoder(random_batch((sensor,), batch=2).inputs[sensor])
        assert (feature[0] - feature[1]).abs().max() > 1e-3

    def test_forward_changes_no_state(self, sensor, size, random_batch):
        encoder = build(sensor, size)
        before = {name: value.clone() for name, value in encoder.state_dict().items()}
        encoder.train()(random_batch((sensor,), batch=2).inputs[sensor])
        assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
        assert not any(isinstance(module, torch.nn.modules.batchnorm._BatchNorm) for module in encoder.modules())
        assert not any(isinstance(module, torch.nn.Dropout) for module in encoder.modules())


@pytest.mark.parametrize(("sensor", "size"), CLOUDS)
class TestClouds:
    def test_the_order_of_points_does_not_matter(self, sensor, size, random_batch):
        encoder = build(sensor, size)
        cloud = random_batch((sensor,), batch=2).inputs[sensor]
        order = torch.randperm(cloud.mask.shape[1], generator=torch.Generator().manual_seed(1))
        close(encoder(cloud), encoder(Cloud(cloud.points[:, order], cloud.mask[:, order])))

    def test_masked_points_have_no_influence(self, sensor, size, random_batch):
        encoder = build(sensor, size)
        cloud = random_batch((sensor,), batch=2).inputs[sensor]
        noise = torch.randn(cloud.points.shape, generator=torch.Generator().manual_seed(1)) * 3.0
        dirty = torch.where(cloud.mask[..., None], cloud.points, noise)
        assert torch.equal(encoder(cloud), encoder(Cloud(dirty, cloud.mask)))

    def test_more_padding_changes_nothing(self, sensor, size, random_batch):
        encoder = build(sensor, size)
        cloud = random_batch((sensor,), batch=2).inputs[sensor]
        wider = Cloud(torch.nn.functional.pad(cloud.points, (0, 0, 0, 7)), torch.nn.functional.pad(cloud.mask, (0, 7)))
        close(encoder(cloud), encoder(wider))

    @pytest.mark.parametrize("count", [0, 1, 2, 5])
    def test_few_points(self, sensor, size, count, random_batch):
        encoder = build(sensor, size)
        cloud = random_batch((sensor,), batch=2).inputs[sensor]
        mask = torch.ones_like(cloud.mask[:, :count])
        feature = encoder(Cloud(cloud.points[:, :count], mask))
        feature.square().sum().backward()
        assert feature.isfinite().all()
        assert all(p.grad.isfinite().all() for p in encoder.parameters() if p.grad is not None)


@pytest.mark.parametrize(("sensor", "size"), DENSE)
class TestWindows:
    def test_invalid_frames_have_no_influence(self, sensor, size, random_batch):
        encoder = build(sensor, size, window=9 if sensor == "rgb" else 3)
        dense = random_batch((sensor,), batch=2).inputs[sensor]
        time = 9 if sensor == "rgb" else 3
        values = dense.values[:, :1].expand(-1, time, *dense.values.shape[2:]).clone()
        valid = torch.ones(values.shape[:2], dtype=torch.bool)
        valid[:, 0] = False
        dirty = values.clone()
        dirty[:, 0] = values[:, 0] * 0.9 + 1.0
        assert torch.equal(encoder(Dense(values, valid)), encoder(Dense(dirty, valid)))
        all_valid = torch.ones_like(valid)
        assert not torch.equal(encoder(Dense(values, all_valid)), encoder(Dense(dirty, all_valid)))

    def test_a_short_window_is_centred(self, sensor, size, random_batch):
        encoder = build(sensor, size, window=9)
        dense = random_batch((sensor,), batch=2).inputs[sensor]
        frame = dense.values[:, :1]
        padded = torch.zeros(frame.shape[0], 9, *frame.shape[2:])
        padded[:, 4] = frame[:, 0]
        valid = torch.zeros(padded.shape[:2], dtype=torch.bool)
        valid[:, 4] = True
        assert torch.equal(encoder(Dense(frame, valid[:, 4:5])), encoder(Dense(padded, valid)))

    def test_a_long_window_is_refused(self, sensor, size, random_batch):
        encoder = build(sensor, size, window=3)
        frame = random_batch((sensor,), batch=2).inputs[sensor].values[:, :1]
        values = frame.expand(-1, 4, *frame.shape[2:])
        with pytest.raises(ValueError, match=r"4 frames.*at most 3"):
            encoder(Dense(values, torch.ones(values.shape[:2], dtype=torch.bool)))


def test_paper_sizes_are_those_of_the_papers():
    assert build("rgb", "paper").embed.out_features == 1024
    assert ENCODERS["point_transformer"].preset("paper", MODALITIES["lidar"]).channels == (32, 64, 128, 256, 512)
    assert ENCODERS["csi_network"].preset("paper", MODALITIES["wifi"]).channels == 512


def test_csi_features_ignore_carrier_phase_timing_and_gain():
    """Oscillator phase and packet timing change nothing, gain steps only the level."""
    from equipose.nn.encoders.csi_network import csi_features

    generator = torch.Generator().manual_seed(0)
    channel = torch.randn(1, 1, 3, 114, 10, generator=generator, dtype=torch.complex64) + 3.0
    phase_error = torch.rand(1, 1, 1, 1, 10, generator=generator) * 6.0
    slope = torch.arange(114.0)[:, None] * 0.04 * torch.randn(10, generator=generator)
    distorted = channel * torch.exp(1j * (phase_error + slope))

    def features(h, gain_db=0.0):
        return csi_features(torch.stack([20 * h.abs().log10() + 30 + gain_db, h.angle()], 2))

    close(features(channel), features(distorted))
    step = torch.tensor([0.0, 2.0, -1.0])[None, None, :, None, None] * torch.randn(10, generator=generator)
    stepped, plain = features(channel, step), features(channel)
    level = slice(3, 6)
    assert not torch.allclose(stepped[:, :, level], plain[:, :, level])
    keep = [c for c in range(plain.shape[2]) if c not in range(3, 6)]
    close(stepped[:, :, keep], plain[:, :, keep])


def test_csi_features_of_a_still_channel_do_not_flicker():
    from equipose.nn.encoders.csi_network import csi_features

    generator = torch.Generator().manual_seed(0)
    still = torch.randn(1, 1, 3, 114, 1, generator=generator, dtype=torch.complex64).expand(-1, -1, -1, -1, 10)
    values = torch.stack([20 * still.abs().log10() + 40, still.angle()], 2)
    moving = still * (1.0 + 0.5 * torch.exp(1j * torch.arange(114.0)[:, None] * torch.arange(10.0)))
    changed = torch.stack([20 * moving.abs().log10() + 40, moving.angle()], 2)
    assert csi_features(values)[:, :, 6:9].max() < 0.01
    assert csi_features(changed)[:, :, 6:9].mean() > 0.5
