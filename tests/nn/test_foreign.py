"""Another network behind the interface of ``PoseModel``."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from equipose.contribution.measure import mean_features, measure
from equipose.errors import UsageError
from equipose.fisher import diagonal_fisher
from equipose.nn import foreign
from equipose.nn.foreign import adapt
from equipose.types import Cloud, PoseOutput, all_coalitions


class Tokens(nn.Module):
    """(batch, 12) -> (batch, token, width)."""

    def __init__(self, width=5):
        super().__init__()
        self.linear = nn.Linear(4, width)

    def forward(self, x):
        return torch.tanh(self.linear(x.unflatten(1, (3, 4))))


class Theirs(nn.Module):
    """Features of unequal shape; a parameter and a dropout of its own, and a part nobody uses."""

    def __init__(self, target=(2, 3), rate=0.0):
        super().__init__()
        self.target = target
        self.towers = nn.ModuleDict({"image": nn.Linear(6, 4), "audio": Tokens()})
        self.head = nn.Linear(9, int(np.prod(target)))
        self.gain = nn.Parameter(torch.ones(()))
        self.unused = nn.Linear(2, 2)
        self.rate = rate

    def fuse(self, features):
        assert features["image"].shape[1:] == (4,)
        assert features["audio"].shape[1:] == (3, 5)
        joined = torch.cat([features["image"], features["audio"].mean(1)], 1)
        joined = nn.functional.dropout(joined, self.rate, self.training)
        return self.gain * self.head(joined).reshape(-1, *self.target)


def theirs(target=(2, 3), **more):
    torch.manual_seed(0)
    return Theirs(target, **more)


def loader(target=(2, 3), batches=3, size=7):
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(size, 6, generator=generator), torch.randn(size, 12, generator=generator), 2.0 + y)
        for y in torch.randn(batches, size, *target, generator=generator)
    ]


def read(batch):
    return {"image": batch[0], "audio": batch[1]}, batch[2]


def adapted(net, target=(2, 3), **more):
    return adapt(net, dict(net.towers), net.fuse, read, loader(target), **more)


@pytest.mark.parametrize("target", [(2, 3), (2, 2), (4,), ()])
def test_every_coalition_is_the_network_with_the_other_features_zero(target):
    net = theirs(target)
    model = adapted(net, target)
    given = loader(target)[0]
    batch = model.batch(given)
    poses = model.decode_coalitions(model.encode(batch), all_coalitions(2), batch.present)
    for row, (image, audio) in enumerate([(0, 0), (1, 0), (0, 1), (1, 1)]):
        expected = net.fuse(
            {"image": net.towers["image"](given[0]) * image, "audio": net.towers["audio"](given[1]) * audio}
        )
        assert torch.equal(model.as_given(poses[row]), expected)
    assert torch.equal(model.as_given(batch.target), given[2])
    assert poses.shape[2:] == batch.target.shape[1:]


def test_the_public_fusion_gives_the_same_pose_as_an_offset():
    model = adapted(theirs())
    batch = model.batch(loader()[0])
    features = list(model.encode(batch).values())
    parts = [model.fusion.part(m, f) for m, f in zip(model.modalities, features, strict=True)]
    torch.testing.assert_close(
        model.mean_pose + model.fusion.combine(parts).reshape(-1, 2, 3), model(batch).joints, rtol=0, atol=1e-6
    )


def test_parameters_belong_to_one_encoder_or_to_all():
    net = theirs()
    model = adapted(net)
    assert {id(p) for p in model.parameters_of("audio")} == {id(p) for p in net.towers["audio"].parameters()}
    rest = [net.gain, *net.head.parameters(), *net.unused.parameters()]
    assert {id(p) for p in model.shared_parameters()} == {id(p) for p in rest}
    assert {id(p) for p in model.parameters()} == {id(p) for p in net.parameters()}
    assert model.parameter_counts() == {"image": 28, "audio": 25, "shared": 1 + 60 + 6}


def test_a_module_as_fusion_is_shared_too():
    class Join(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(8, 6)

        def forward(self, features):
            return self.linear(torch.cat(list(features.values()), 1)).reshape(-1, 2, 3)

    towers = nn.ModuleDict({"image": nn.Linear(6, 4), "audio": nn.Linear(12, 4)})
    join = Join()
    model = adapt(towers, dict(towers), join, read, loader())
    assert {id(p) for p in model.shared_parameters()} == {id(p) for p in join.parameters()}


def test_fisher_equals_autograd_and_leaves_every_parameter_in_its_place():
    net = theirs()
    before = {name: (id(p), p.detach().clone()) for name, p in net.named_parameters()}
    model = adapted(net)
    loss = lambda output, batch: torch.linalg.vector_norm(output.joints - batch.target, dim=-1).mean(-1)  # noqa: E731
    batch = model.batch(loader()[0])
    fast = diagonal_fisher(model, model.modalities, [batch], loss)
    after = {name: (id(p), p.detach()) for name, p in net.named_parameters()}
    assert {n: i for n, (i, _) in before.items()} == {n: i for n, (i, _) in after.items()}
    assert all(torch.equal(before[n][1], after[n][1]) for n in before)
    squares = torch.zeros_like(net.towers["audio"].linear.weight)
    for i in range(len(batch)):
        one = batch.select(torch.tensor([i]))
        (gradient,) = torch.autograd.grad(loss(model(one), one)[0], [net.towers["audio"].linear.weight])
        squares += gradient.square() / len(batch)
    torch.testing.assert_close(fast.diagonal["audio"]["encoders.audio.module.linear.weight"], squares)


def test_measuring_leaves_no_trace_and_shapley_values_sum_to_the_worth_of_all():
    net = theirs(rate=0.5)
    net.towers["image"].eval()
    model = adapted(net)
    flags, state = [m.training for m in net.modules()], copy.deepcopy(net.state_dict())
    first = measure(model, model.batches(loader()), bootstrap=0)
    second = measure(model, model.batches(loader()), bootstrap=0)
    assert np.array_equal(first.values, second.values), "dropout was on"
    assert flags == [m.training for m in net.modules()]
    assert all(torch.equal(state[name], value) for name, value in net.state_dict().items())
    assert first.phi.sum() == pytest.approx(first.values[-1] - first.values[0])
    assert first.samples == 21
    baseline = mean_features(model, model.batches(loader()))
    assert measure(model, model.batches(loader()), baseline=baseline, bootstrap=0).baseline == "mean"


def test_plain_outputs_are_worth_the_sum_of_their_correlations():
    net = theirs((4,))
    model = adapted(net, (4,))
    found = measure(model, model.batches(loader((4,))), bootstrap=0)
    with torch.no_grad():
        predicted = torch.cat([model.as_given(model(model.batch(given)).joints) for given in loader((4,))]).double()
    truth = torch.cat([given[2] for given in loader((4,))]).double()
    expected = sum(np.corrcoef(predicted[:, j], truth[:, j])[0, 1] for j in range(4))
    assert found.values[-1] == pytest.approx(expected, abs=1e-6)
    by_error = measure(model, model.batches(loader((4,))), profit="mpjpe", bootstrap=0)
    assert by_error.values[-1] == pytest.approx(-1000.0 * float((predicted - truth).abs().mean()), rel=1e-6)


def test_an_absent_modality_is_not_used():
    net = theirs()
    rows = torch.tensor([True, False, True, False, True, False, True])
    with_holes = lambda batch: (*read(batch), {"audio": rows})  # noqa: E731
    model = adapt(net, dict(net.towers), net.fuse, with_holes, loader())
    given = loader()[0]
    other = (given[0], torch.where(rows[:, None], given[1], 99.0), given[2])
    joints = model(model.batch(given)).joints
    assert torch.equal(joints, model(model.batch(other)).joints)
    alone = net.fuse({"image": net.towers["image"](given[0]), "audio": torch.zeros(7, 3, 5)})
    assert torch.equal(joints[1], alone[1])


def test_clouds_reach_the_encoder_as_they_are():
    class Points(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, cloud):
            return (self.linear(cloud.points) * cloud.mask[..., None]).sum(1)

    net = nn.ModuleDict({"image": nn.Linear(6, 4), "lidar": Points()})
    clouds = lambda batch: (  # noqa: E731
        {"image": batch[0], "lidar": Cloud(batch[1].unflatten(1, (3, 4)), torch.ones(7, 3, dtype=torch.bool))},
        batch[2],
    )
    fuse = lambda features: (features["image"] + features["lidar"]).sum(1)[:, None, None].expand(-1, 2, 3)  # noqa: E731
    model = adapt(net, dict(net), fuse, clouds, loader())
    assert isinstance(model(model.batch(loader()[0])), PoseOutput)


def test_the_random_state_and_the_loaders_shuffle_are_left_alone():
    data = torch.utils.data.TensorDataset(*loader()[0])
    shuffled = torch.utils.data.DataLoader(data, 2, shuffle=True)
    net = theirs()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = adapt(net, dict(net.towers), net.fuse, read, shuffled, samples=4)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first.mean_pose, adapt(net, dict(net.towers), net.fuse, read, shuffled, samples=4).mean_pose)


class Pair(nn.Module):
    def forward(self, x):
        return x, x


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.second = self.first

    def forward(self, x):
        return self.second(self.first(x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoders": {}}, "no encoder"),
        ({"encoders": {"an.image": nn.Identity()}}, "cannot be called"),
        ({"encoders": {"keys": nn.Identity()}}, "cannot be called"),
        ({"encoders": {"thermal": nn.Identity()}}, "no input for 'thermal'"),
        ({"encoders": {"image": Pair()}}, "wrap it in a module"),
        ({"encoders": {"image": Twice()}}, "under two names"),
        ({"fuse": lambda features: torch.zeros(7, 5)}, r"prediction of shape \(7, 5\)"),
        ({"fuse": lambda features: features}, "fuse gave a dict"),
        ({"read": lambda batch: batch[0]}, "read must return"),
        ({"read": lambda batch: ({"image": batch[0], "audio": [1]}, batch[2])}, "expected one tensor"),
        ({"read": lambda batch: (*read(batch)[:1], batch[2].long())}, "regression"),
        ({"read": lambda batch: (*read(batch)[:1], batch[2][None])}, "found a target of shape"),
        ({"read": lambda batch: (*read(batch), {"radio": torch.ones(7)})}, "radio"),
        ({"read": lambda batch: (*read(batch), {"image": torch.ones(2)})}, "one bool per sample"),
        ({"examples": []}, "no batch"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_reason(change, message):
    net = theirs()
    given = {"encoders": dict(net.towers), "fuse": net.fuse, "read": read, "examples": loader()} | change
    with pytest.raises(UsageError, match=message):
        adapt(net, **given)


def test_a_function_is_no_encoder():
    with pytest.raises(UsageError, match=r"expected an nn\.Module"):
        foreign._checked({"image": torch.relu})


def test_shared_encoders_are_refused():
    layer = nn.Linear(6, 4)
    net = nn.ModuleDict({"left": layer, "right": nn.Sequential(layer)})
    both = lambda batch: ({"left": batch[0], "right": batch[0]}, batch[2])  # noqa: E731
    with pytest.raises(UsageError, match="share parameters"):
        adapt(net, dict(net), lambda features: features["left"], both, loader())


def test_features_and_targets_keep_their_shape():
    model = adapted(theirs())
    image, audio, target = loader()[0]
    with pytest.raises(UsageError, match="found a target of shape"):
        model.batch((image, audio, target[:, :1]))
    with pytest.raises(UsageError, match="features must have one shape"):
        model.encode(model.batch((image[:, None].expand(-1, 2, -1), audio, target)))
