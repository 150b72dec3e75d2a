"""Strategies in somebody else's loop."""

import io

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from balance.steps import mpjpe, probe_of, started, without
from equipose.balance.balancer import Balancer
from equipose.balance.visits import Visits
from equipose.config import validate
from equipose.contribution.tracker import ContributionTracker
from equipose.errors import UsageError
from equipose.nn.foreign import adapt
from equipose.registry import BALANCE

EPOCHS, STEPS = 4, 3
SETTINGS = {
    "relearning": {"interval_epochs": 1, "times": 9},
    "g_blend": {"super_epoch": 1},
    "sample_resampling": {"warmup": 0.0},
    "modality_resampling": {"warmup": 0.0, "measured": 1.0, "strength": 9.0},
}
"""Under which a strategy acts within the few steps of these tests."""
WITHOUT_TEACHERS = [name for name in BALANCE if name != "umt"]


class Wrapped(nn.Module):
    """The parts of a ``PoseModel``, as another network would hold them."""

    def __init__(self, model):
        super().__init__()
        self.encoders, self.fusion, self.mean = model.encoders, model.fusion, model.mean_pose

    def fuse(self, features):
        parts = [self.fusion.part(name, feature) for name, feature in features.items()]
        return self.mean + self.fusion.combine(parts).reshape(-1, *self.mean.shape)


def read(batch):
    present = {name: batch.present[:, m] for m, name in enumerate(batch.modalities)}
    return dict(batch.inputs), batch.target, present


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def by_hand(name, model, batches):
    """The order of equipose's own loop; returns weights and contributions."""
    cls = BALANCE[name]
    strategy = cls(validate(cls.Settings, SETTINGS.get(name, {}), name), model.modalities)
    started(strategy, model, epochs=EPOCHS, steps_per_epoch=STEPS, num_samples=STEPS * len(batches[0]))
    tracker = ContributionTracker(model.modalities, model.num_joints, "pearson", model.mean_pose)
    optimizer = torch.optim.Adam([*model.parameters(), *strategy.modules.parameters()], lr=0.01)
    contribution = {}
    for epoch in range(EPOCHS):
        if epoch == 0:
            model.eval()
            with torch.no_grad():
                tracker.update(model, model.encode(batches[0]), batches[0])
            contribution = tracker.contribution()
            model.train()
        tracker.reset()
        probe = probe_of([batches[0]], epoch, [batches[1]], contribution=contribution, learning_rate=0.01)
        probe = type(probe)(**{**vars(probe), "epochs": EPOCHS})
        reset = lambda parameters: [optimizer.state.pop(p, None) for p in parameters]  # noqa: E731
        strategy.begin_epoch(model, type(probe)(**{**vars(probe), "reset_optimizer": reset}))
        for batch in batches:
            optimizer.zero_grad()
            features = model.encode(batch)
            fused = strategy.features(features, batch)
            output = model.decode(fused, batch.present)
            strategy.backward(strategy.objective(model, fused, output, batch, mpjpe(output, batch).mean()))
            strategy.gradients(model, output, batch)
            optimizer.step()
            strategy.after_step(model)
            tracker.update(model, features, batch)
        contribution = tracker.contribution()
        strategy.end_epoch(model, probe)
    return weights(model), contribution


def in_their_loop(balancer, network, loader, epochs=EPOCHS, rate=0.01, optimizer=None):
    optimizer = optimizer or torch.optim.Adam([*network.parameters(), *balancer.parameters()], lr=rate)
    while balancer.epoch < epochs:
        balancer.begin_epoch(optimizer)
        for batch in loader:
            optimizer.zero_grad()
            balancer.backward(balancer.loss(batch))
            optimizer.step()
            balancer.after_step()
        balancer.end_epoch()
    return optimizer


def numbered(batches):
    """Samples numbered through, as they come in each epoch."""
    made = []
    for k, batch in enumerate(batches):
        meta = type(batch.meta)(**{**vars(batch.meta), "sample": batch.meta.sample + k * len(batch)})
        made.append(type(batch)(**{**vars(batch), "meta": meta}))
    return made


# Not reconboost, which asks for the fusion's class; not those whose visits the hand-made loop does not follow.
ALIKE = ["joint", "awc", "ogm", "ogm_ge", "every_subset", "slow_encoders", "modality_dropout", "opm", "agm", "inforeg"]
ALIKE += ["gdl", "ume", "relearning", "pmr", "mmpareto", "cggm", "g_blend"]


@pytest.mark.parametrize(("name", "holes"), [*((name, True) for name in ALIKE), ("awc", False), ("ogm_ge", False)])
def test_bit_for_bit_as_on_the_equivalent_pose_model(name, holes, make_model, make_batch):
    batches = numbered([make_batch(size=16, seed=s) for s in range(STEPS)])
    if holes:
        batches = [without(b, "lidar", torch.arange(0, 16, 3)) for b in batches]
    ours, theirs = make_model(), Wrapped(make_model())
    model = adapt(theirs, dict(theirs.encoders), theirs.fuse, read, [batches[0]])
    model.mean_pose.copy_(ours.mean_pose)
    model.fusion.offset.copy_(ours.mean_pose.flatten())
    torch.manual_seed(3)
    expected, contribution = by_hand(name, ours, batches)
    balancer = Balancer(
        name,
        model,
        batches,
        EPOCHS,
        SETTINGS.get(name),
        validation=[batches[1]],
        probe_samples=16,
        contribution_samples=99,
    )
    torch.manual_seed(3)
    in_their_loop(balancer, theirs, batches)
    assert torch.equal(weights(model), expected)
    assert balancer.contribution == contribution
    assert [id(p) for p in model.parameters()] == [id(p) for p in theirs.parameters()]


class Theirs(nn.Module):
    def __init__(self, outputs=(2, 3)):
        super().__init__()
        self.outputs = outputs
        self.image = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))
        self.audio = nn.Linear(4, 5)
        self.query = nn.Parameter(torch.zeros(5))
        self.head = nn.Linear(9, torch.Size(outputs).numel())

    def fuse(self, features):
        weight = (features["audio"] @ self.query).softmax(1)
        audio = (weight[..., None] * features["audio"]).sum(1)
        return self.head(torch.cat([features["image"], audio], 1)).reshape(-1, *self.outputs)


def data(outputs=(2, 3), size=24):
    generator = torch.Generator().manual_seed(1)
    image, audio = torch.randn(size, 6, generator=generator), torch.randn(size, 3, 4, generator=generator)
    signal = torch.cat([image, audio.mean(1)], 1) @ torch.randn(10, torch.Size(outputs).numel(), generator=generator)
    return TensorDataset(image, audio, signal.reshape(size, *outputs))


def read_two(batch):
    return {"image": batch[0], "audio": batch[1]}, batch[2]


def read_holes(batch):
    there = torch.arange(len(batch[0])) % 3 > 0
    return *read_two(batch), {"audio": there}


def made(name, outputs=(2, 3), read=read_two, settings=None, seed=0, **more):
    torch.manual_seed(seed)
    net = Theirs(outputs)
    whole = data(outputs)
    loader = DataLoader(whole, 8, sampler=Visits(len(whole)))
    model = adapt(net, {"image": net.image, "audio": net.audio}, net.fuse, read, loader)
    chosen = SETTINGS.get(name, {}) if settings is None else settings
    validation = DataLoader(whole, 8)
    return net, loader, Balancer(name, model, loader, EPOCHS, chosen, validation=validation, **more)


@pytest.mark.parametrize("name", WITHOUT_TEACHERS)
@pytest.mark.parametrize(
    ("outputs", "read"), [((2, 3), read_two), ((3,), read_holes)], ids=["poses", "outputs and holes"]
)
def test_every_strategy_trains_a_foreign_network(name, outputs, read):
    net, loader, balancer = made(name, outputs, read)
    before = weights(net)
    in_their_loop(balancer, net, loader, epochs=2)
    assert weights(net).isfinite().all()
    assert not torch.equal(weights(net), before)
    assert len(balancer.history) == 3
    values = balancer.tracker.values()
    assert sum(balancer.contribution.values()) == pytest.approx(float(values[-1] - values[0]))
    assert all(isinstance(note, str) for note in balancer.notes())


@pytest.fixture(scope="module")
def joint_weights():
    net, loader, balancer = made("joint")
    in_their_loop(balancer, net, loader)
    return weights(net)


@pytest.mark.parametrize("name", [n for n in WITHOUT_TEACHERS if n != "joint"])
def test_every_strategy_acts(name, joint_weights):
    net, loader, balancer = made(name)
    in_their_loop(balancer, net, loader)
    assert not torch.equal(weights(net), joint_weights)


@pytest.mark.parametrize("name", WITHOUT_TEACHERS)
def test_a_saved_state_continues_exactly(name):
    net, loader, balancer = made(name)
    optimizer = in_their_loop(balancer, net, loader, epochs=2)
    file = io.BytesIO()
    torch.save([net.state_dict(), optimizer.state_dict(), balancer.state_dict()], file)
    in_their_loop(balancer, net, loader, optimizer=optimizer)
    file.seek(0)
    states = torch.load(file, weights_only=True)
    again, loader, resumed = made(name, seed=9)
    optimizer = torch.optim.Adam([*again.parameters(), *resumed.parameters()], lr=0.01)
    for part, state in zip((again, optimizer, resumed), states, strict=True):
        part.load_state_dict(state)
    in_their_loop(resumed, again, loader, optimizer=optimizer)
    assert torch.equal(weights(net), weights(again))
    assert balancer.history == resumed.history


def test_heads_stay_silent_on_axes_that_a_target_has_not():
    net, loader, balancer = made("mmpareto", (3,))
    in_their_loop(balancer, net, loader)
    heads = balancer.strategy.modules["heads"]
    weight = heads["image"].weight.unflatten(0, (3, 3))
    assert weight[:, 0].abs().min() > 0
    assert torch.equal(weight[:, 1:], torch.zeros_like(weight[:, 1:]))


def test_an_own_loss_and_unreduced_losses_of_torch():
    squared = made("joint", (3,), loss=nn.MSELoss(reduction="none"))
    by_hand = made("joint", (3,), loss=lambda y, t: (y - t).square().mean(1))
    for net, loader, balancer in (squared, by_hand):
        in_their_loop(balancer, net, loader, epochs=1)
    torch.testing.assert_close(weights(squared[0]), weights(by_hand[0]))
    net, loader, balancer = made("joint", (3,), loss=nn.MSELoss())
    with pytest.raises(UsageError, match="reduction='none'"):
        in_their_loop(balancer, net, loader)


def test_joint_is_their_own_training():
    net, loader, balancer = made("joint")
    in_their_loop(balancer, net, loader, epochs=2)
    other, loader, balancer = made("joint")
    optimizer = torch.optim.Adam(other.parameters(), lr=0.01)
    for epoch in range(2):
        loader.sampler.plan(balancer.strategy, epoch)
        for image, audio, target in loader:
            optimizer.zero_grad()
            joints = other.fuse({"image": other.image(image), "audio": other.audio(audio)})
            torch.linalg.vector_norm(joints - target, dim=-1).mean().backward()
            optimizer.step()
    assert torch.equal(weights(net), weights(other))


def test_visits_are_shuffled_anew_and_hide_what_the_strategy_says():
    net, loader, balancer = made("modality_resampling")
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    orders, hidden = [], []
    for _ in range(EPOCHS):
        balancer.begin_epoch(optimizer)
        orders.append(list(loader.sampler))
        for batch in loader:
            optimizer.zero_grad()
            loss = balancer.loss(batch)
            where = loss.batch.meta.sample
            assert torch.equal(loader.dataset.tensors[2][where], loss.batch.target), "numbers do not fit the samples"
            hidden.append(int((~loss.batch.present).sum()))
            balancer.backward(loss)
            optimizer.step()
            balancer.after_step()
        balancer.end_epoch()
    assert sorted(orders[0]) == list(range(24))
    assert orders[0] != orders[1]
    assert sum(hidden) > 0


def test_misuse_is_told():
    net, loader, balancer = made("mmpareto")
    batch = next(iter(loader))
    with pytest.raises(UsageError, match="begin_epoch"):
        balancer.loss(batch)
    with pytest.raises(UsageError, match="after backward"):
        balancer.after_step()
    with pytest.raises(UsageError, match=r"balancer\.parameters"):
        balancer.begin_epoch(torch.optim.SGD(net.parameters(), lr=0.1))
    optimizer = torch.optim.SGD([*net.parameters(), *balancer.parameters()], lr=0.1)
    balancer.begin_epoch(optimizer)
    with pytest.raises(UsageError, match="end_epoch"):
        balancer.begin_epoch(optimizer)
    with pytest.raises(UsageError, match="no step"):
        balancer.end_epoch()
    with pytest.raises(UsageError, match="other training data"):
        balancer.load_state_dict({**balancer.state_dict(), "mean": torch.zeros(7, 3)})


def test_what_a_strategy_lacks_is_told():
    model = made("joint")[2].model
    plain = DataLoader(data(), 8)
    with pytest.raises(UsageError, match="Did you mean 'awc'"):
        Balancer("acw", model, plain, 2)
    with pytest.raises(UsageError, match="alpha_superior"):
        Balancer("awc", model, plain, 2, {"alpha_superio": 1.0})
    with pytest.raises(UsageError, match="contribution_samples"):
        Balancer("awc", model, plain, 2, contribution_samples=0)
    with pytest.raises(UsageError, match="sampler=Visits"):
        Balancer("sample_resampling", model, plain, 2)
    with pytest.raises(UsageError, match="umt"):
        Balancer("umt", model, plain, 2)
    with pytest.raises(UsageError, match="steps_per_epoch"):
        Balancer("joint", model, (batch for batch in plain), 2)
    with pytest.raises(UsageError, match="no batch"):
        Balancer("joint", model, [], 2)
    blend = Balancer("g_blend", model, plain, 2)
    with pytest.raises(UsageError, match="validation="):
        blend.begin_epoch(torch.optim.SGD([*model.parameters(), *blend.parameters()], lr=0.1))
