"""The Lightning callback: on a stand-in Trainer that calls its hooks in Lightning's order, and on the real one."""

import importlib.util
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from equipose.balance.balancer import Balancer
from equipose.balance.lightning_callback import BalanceHooks, balance_callback
from equipose.errors import UsageError
from equipose.nn.foreign import adapt

LIGHTNING = importlib.util.find_spec("lightning") is not None
EPOCHS = 3


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.image, self.audio, self.head = nn.Linear(6, 4), nn.Linear(5, 4), nn.Linear(8, 6)

    def fuse(self, features):
        return self.head(torch.cat([features["image"], features["audio"]], 1)).reshape(-1, 2, 3)


def read(batch):
    return {"image": batch[0], "audio": batch[1]}, batch[2]


def loader():
    generator = torch.Generator().manual_seed(1)
    tensors = [torch.randn(24, *shape, generator=generator) for shape in ((6,), (5,), (2, 3))]
    return DataLoader(TensorDataset(*tensors), 8)


class Methods:
    """What a LightningModule of the tests has of its own."""

    def training_step(self, batch, batch_idx):
        raise AssertionError("the module's own step must not run")

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


class StandInModule(Methods, Net):
    automatic_optimization = True
    device = torch.device("cpu")

    def __init__(self):
        super().__init__()
        self.logged = []

    def log_dict(self, values):
        self.logged.append(values)

    def backward(self, loss):
        raise AssertionError("the module's own backward must not run")


class StandInTrainer:
    """Of a Trainer, the order of the hooks."""

    def __init__(self, callback, max_epochs=EPOCHS, **settings):
        self.callback, self.max_epochs = callback, max_epochs
        self.world_size, self.accumulate_grad_batches, self.precision = 1, 1, "32-true"
        vars(self).update(settings)

    def fit(self, module, batches, checkpoint=None):
        callback = self.callback
        callback.setup(self, module, "fit")
        self.optimizers = [module.configure_optimizers()]
        if checkpoint:
            module.load_state_dict(checkpoint[0])
            callback.load_state_dict(checkpoint[2])
        try:
            callback.on_fit_start(self, module)
            if checkpoint:
                self.optimizers[0].load_state_dict(checkpoint[1])
            for _ in range(callback.balancer.epoch, self.max_epochs):
                callback.on_train_epoch_start(self, module)
                for i, batch in enumerate(batches):
                    loss = module.training_step(batch, i)
                    self.optimizers[0].zero_grad()
                    module.backward(loss)
                    self.optimizers[0].step()
                    callback.on_train_batch_end(self, module, {"loss": loss.detach()}, batch, i)
                callback.on_train_epoch_end(self, module)
            callback.on_fit_end(self, module)
        except AssertionError as error:
            callback.on_exception(self, module, error)
            raise


def plain(strategy):
    """The same training with a ``Balancer``."""
    torch.manual_seed(0)
    net = Net()
    batches = loader()
    balancer = Balancer(strategy, adapted(net, batches), batches, EPOCHS)
    optimizer = torch.optim.Adam([*net.parameters(), *balancer.parameters()], lr=0.01)
    for _ in range(EPOCHS):
        balancer.begin_epoch(optimizer)
        for batch in batches:
            optimizer.zero_grad()
            balancer.backward(balancer.loss(batch))
            optimizer.step()
            balancer.after_step()
        balancer.end_epoch()
    return net.state_dict(), balancer.history


def adapted(net, batches):
    return adapt(net, {"image": net.image, "audio": net.audio}, net.fuse, read, batches)


def hooks(strategy, net, batches):
    model = adapted(net, batches)
    return BalanceHooks(lambda epochs: Balancer(strategy, model, batches, epochs), model)


def module():
    torch.manual_seed(0)
    return StandInModule()


@pytest.mark.parametrize("strategy", ["awc", "ogm_ge", "mmpareto"])
def test_the_hooks_train_as_a_plain_loop_does(strategy):
    expected, history = plain(strategy)
    net, batches = module(), loader()
    callback = hooks(strategy, net, batches)
    StandInTrainer(callback).fit(net, batches)
    assert all(torch.equal(expected[name], value) for name, value in net.state_dict().items())
    assert callback.balancer.history == history
    assert net.logged == [{f"contribution/{m}": v for m, v in line.items()} for line in history[1:]]
    with pytest.raises(AssertionError, match="own step"):
        net.training_step(None, 0)


@pytest.mark.parametrize("strategy", ["awc", "mmpareto"])
def test_continuing_from_a_checkpoint_is_exact(strategy):
    expected, history = plain(strategy)
    net, batches = module(), loader()
    first = hooks(strategy, net, batches)
    halted = StandInTrainer(first)
    checkpoint = []

    def save_after_two(trainer, pl_module):
        BalanceHooks.on_train_epoch_end(first, trainer, pl_module)
        if first.balancer.epoch == 2:
            optimizer = halted.optimizers[0].state_dict()
            checkpoint.extend([net.state_dict(), optimizer, first.state_dict()])
            raise AssertionError("interrupted")

    first.on_train_epoch_end = save_after_two
    with pytest.raises(AssertionError, match="interrupted"):
        halted.fit(net, batches)
    assert "training_step" not in vars(net), "the step was not given back"
    again = module()
    second = hooks(strategy, again, batches)
    StandInTrainer(second).fit(again, batches, checkpoint)
    assert all(torch.equal(expected[name], value) for name, value in again.state_dict().items())
    assert second.balancer.history == history


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"world_size": 2}, "several processes"),
        ({"accumulate_grad_batches": 4}, "accumulated"),
        ({"precision": "16-mixed"}, "scaled loss"),
        ({"max_epochs": -1}, "max_epochs"),
    ],
)
def test_what_does_not_go_together_is_refused(settings, message):
    net, batches = module(), loader()
    with pytest.raises(UsageError, match=message):
        StandInTrainer(hooks("awc", net, batches), **settings).fit(net, batches)


def test_manual_optimization_and_two_optimizers_are_refused():
    net, batches = module(), loader()
    callback = hooks("awc", net, batches)
    manual = SimpleNamespace(automatic_optimization=False)
    with pytest.raises(UsageError, match="manual"):
        callback.setup(StandInTrainer(callback), manual, "fit")
    with pytest.raises(UsageError, match="one optimizer"):
        callback.on_fit_start(SimpleNamespace(optimizers=[1, 2]), net)


def test_without_lightning_the_message_says_what_to_install(monkeypatch):
    for name in ("lightning", "lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    batches = loader()
    with pytest.raises(UsageError, match=r"equipose\[lightning\]"):
        balance_callback("awc", adapted(Net(), batches), batches)


@pytest.mark.skipif(not LIGHTNING, reason="Lightning is not installed: pip install 'equipose[lightning]'")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("strategy", ["awc", "mmpareto"])
def test_the_real_trainer_trains_as_a_plain_loop_does(strategy, tmp_path):
    from lightning.pytorch import LightningModule, Trainer

    class Module(Methods, LightningModule):
        def __init__(self):
            super().__init__()
            self.net = Net()

    def trainer(callback, **settings):
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        return Trainer(
            max_epochs=EPOCHS, callbacks=[callback], accelerator="cpu", default_root_dir=tmp_path, **quiet, **settings
        )

    def made():
        torch.manual_seed(0)
        own, batches = Module(), loader()
        model = adapt(own, {"image": own.net.image, "audio": own.net.audio}, own.net.fuse, read, batches)
        return own, batches, balance_callback(strategy, model, batches)

    expected, history = plain(strategy)
    own, batches, callback = made()
    trainer(callback).fit(own, batches)
    assert all(torch.equal(expected[name], value) for name, value in own.net.state_dict().items())
    assert callback.balancer.history == history

    own, batches, callback = made()
    halted = trainer(callback, limit_train_batches=3)
    halted.fit_loop.max_epochs = 2
    # The strategy is to see the run's own length.
    callback._build = (lambda build: lambda epochs: build(EPOCHS))(callback._build)
    halted.fit(own, batches)
    halted.save_checkpoint(tmp_path / "two.ckpt")
    own, batches, callback = made()
    trainer(callback).fit(own, batches, ckpt_path=tmp_path / "two.ckpt")
    assert all(torch.equal(expected[name], value) for name, value in own.net.state_dict().items())
    assert callback.balancer.history == history
