import pytest
import torch

from balance.steps import exact, mpjpe, started, step, without
from equipose.balance.gdl import Gdl, GdlSettings
from equipose.config import validate
from equipose.errors import UsageError
from equipose.nn.fusion import AttentionFusion, MlpFusion
from equipose.types import PoseOutput

TWO, THREE = ("rgb", "lidar"), ("rgb", "lidar", "wifi")


def gdl(modalities=THREE, **settings):
    return Gdl(GdlSettings(**settings), modalities)


def published(model, batch, alpha):
    """The published two passes: unimodal losses, the fusion's gradients cleared, then the joint loss on constants."""
    model.zero_grad(set_to_none=True)
    features = model.encode(batch)
    total = 0.0
    for i in range(len(model.modalities)):
        only = torch.zeros_like(batch.present)
        only[:, i] = True
        total = total + mpjpe(model.decode(features, only), batch).mean()
    (alpha * total).backward()
    for p in model.shared_parameters():
        p.grad = None
    constant = {name: f.detach() for name, f in features.items()}
    mpjpe(model.decode(constant, batch.present), batch).mean().backward()
    return {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize("fusion", [None, MlpFusion, AttentionFusion])
@pytest.mark.parametrize("modalities", [TWO, THREE], ids=len)
def test_gradients_are_those_of_the_published_two_passes(make_model, make_batch, modalities, fusion):
    model = make_model(modalities=modalities).eval().double()
    if fusion is not None:
        model.fusion = fusion(modalities, model.width, 9).double()
    batch = exact(make_batch(8, modalities=modalities))
    _, found = step(started(gdl(modalities, alpha=4.0), model), model, batch)
    expected = published(model, batch, 4.0)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name])


def test_the_prediction_is_the_joint_one(make_model, make_batch):
    model, batch = make_model().eval(), make_batch(8)
    terms, _ = step(started(gdl(), model), model, batch)
    assert torch.equal(terms["pose"], mpjpe(model(batch), batch).mean())


def test_joint_share_adds_that_much_of_the_joint_gradient(make_model, make_batch):
    model, batch = make_model().eval().double(), exact(make_batch(8))
    _, none = step(started(gdl(alpha=1.0), model), model, batch)
    _, some = step(started(gdl(alpha=1.0, joint_share=0.3), model), model, batch)
    _, joint = step(started(gdl(alpha=0.0, joint_share=1.0), model), model, batch)
    for name in none:
        share = 0.3 if name.startswith("encoders") else 0.0
        torch.testing.assert_close(some[name], none[name] + share * joint[name])


def test_with_heads_the_fusion_still_learns_from_the_joint_loss_alone(make_model, make_batch):
    model, batch = make_model().eval().double(), exact(make_batch(8))
    strategy = started(gdl(readout="heads", alpha=2.0), model)
    strategy.modules.double()
    _, found = step(strategy, model, batch)
    _, joint = step(started(gdl(alpha=0.0, joint_share=1.0), model), model, batch)
    features = model.encode(batch)
    poses = strategy.modules["heads"].poses(model, features)
    own = {m: mpjpe(PoseOutput(pose), batch).mean() for m, pose in poses.items()}
    for name, p in model.named_parameters():
        if name.startswith("fusion"):
            torch.testing.assert_close(found[name], joint[name])
        else:
            modality = name.split(".")[1]
            (gradient,) = torch.autograd.grad(2.0 * own[modality], p, retain_graph=True)
            torch.testing.assert_close(found[name], gradient)
    assert all(found[name].any() for name, _ in strategy.modules.named_parameters())


def test_samples_without_a_sensor_do_not_teach_its_encoder(make_model, make_batch):
    model, batch = make_model().eval().double(), exact(make_batch(8))
    _, found = step(started(gdl(), model), model, without(batch, "lidar", [1, 4, 6]))
    _, expected = step(started(gdl(), model), model, batch.select(torch.tensor([0, 2, 3, 5, 7])))
    for name in found:
        if name.startswith("encoders.lidar"):
            torch.testing.assert_close(found[name], expected[name])


def test_a_frozen_fusion_stays_frozen_and_a_learning_one_learning(make_model, make_batch):
    model = make_model()
    model.fusion.bias.requires_grad_(False)
    step(started(gdl(), model), model, make_batch(4))
    assert not model.fusion.bias.requires_grad
    assert all(p.requires_grad for name, p in model.named_parameters() if name != "fusion.bias")


def test_encoders_that_would_learn_nothing_are_refused():
    with pytest.raises(UsageError, match="encoders would learn nothing"):
        validate(GdlSettings, {"alpha": 0, "joint_share": 0}, "settings")


def test_a_note_where_read_outs_and_sum_disagree(make_model):
    model = make_model()
    assert "readout=heads" in started(gdl(), model).notes()[0]
    assert started(gdl(readout="heads"), model).notes() == []
    model.fusion = MlpFusion(THREE, model.width, 9)
    assert started(gdl(), model).notes() == []


def test_the_log_tells_each_sensor_alone(make_model, make_batch):
    model, batch = make_model().eval(), without(make_batch(8), "wifi", slice(None))
    strategy = started(gdl(), model)
    terms, _ = step(strategy, model, batch)
    found = strategy.log()["alone"]
    assert found["wifi"] is None
    assert 4.0 * (found["rgb"] + found["lidar"]) == pytest.approx(float(terms["alone"].detach()), rel=1e-5)
