"""Contributions and balance strategies in a Lightning Trainer (``pip install 'equipose[lightning]'``).

    model = adapt(module, {"camera": module.camera, "radar": module.radar}, module.fuse, read, loader)
    callback = balance_callback("awc", model, loader)
    Trainer(max_epochs=20, callbacks=[callback]).fit(module, loader)
    callback.balancer.contribution

While fitting, the module's ``training_step`` and ``backward`` are the strategy's; everything else (validation, logging,
``configure_optimizers``, checkpoints) stays the module's own. The last epoch's contributions are logged as
``contribution/camera`` and so on. The callback's state is in the Trainer's checkpoints.

For automatic optimization with one optimizer in one process, without accumulated gradients or a scaled loss.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any

from torch import Tensor

from equipose.balance.balancer import BalancedLoss, Balancer
from equipose.errors import UsageError
from equipose.nn.foreign import ForeignModel

_PACKAGES = ("lightning.pytorch", "pytorch_lightning")


class BalanceHooks:
    """The hooks of the callback, without Lightning.

    Args:
        build: makes the balancer from the number of epochs.
        model: the adapted network.

    Attributes:
        balancer: made when fitting starts.
    """

    balancer: Balancer

    def __init__(self, build: Callable[[int], Balancer], model: ForeignModel) -> None:
        self._build = build
        self._model = model
        self._state: Mapping[str, Any] = {}
        self._loss: BalancedLoss | None = None
        self._module: Any = None

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Refuse what does not go together.

        Raises:
            UsageError: naming what is in the way.
        """
        if stage != "fit":
            return
        wrong = [
            (trainer.world_size > 1, "several processes", "devices=1"),
            (trainer.accumulate_grad_batches != 1, "accumulated gradients", "accumulate_grad_batches=1"),
            (str(trainer.precision).startswith("16"), "a scaled loss", 'precision="32-true" or "bf16-mixed"'),
            (not pl_module.automatic_optimization, "manual optimization", "a Balancer in the module's own step"),
            ((trainer.max_epochs or -1) < 1, "no number of epochs", "max_epochs=20 or another number"),
        ]
        for found, what, instead in wrong:
            if found:
                raise UsageError(f"the balance callback does not work with {what}: use {instead}")

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Make the balancer on the module's device, give its parameters to the optimizer, take over the step."""
        if len(trainer.optimizers) != 1:
            raise UsageError(f"the balance callback needs one optimizer, and found {len(trainer.optimizers)}")
        self._model.to(pl_module.device)
        self.balancer = self._build(trainer.max_epochs)
        # Into a group that is there: schedulers count the groups.
        trainer.optimizers[0].param_groups[0]["params"].extend(self.balancer.parameters())
        if self._state:
            self.balancer.load_state_dict(self._state)
        self._module = pl_module
        pl_module.training_step = self._training_step
        pl_module.backward = self._backward

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Let the strategy look; before the first epoch, measure."""
        if self.balancer.begun:  # continued from a checkpoint that was saved just before the epoch ended
            self.balancer.end_epoch()
        self.balancer.begin_epoch(trainer.optimizers[0])

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """After the optimizer's step."""
        self.balancer.after_step()

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Pool and log the epoch's contributions."""
        self.balancer.end_epoch()
        pl_module.log_dict({f"contribution/{name}": value for name, value in self.balancer.contribution.items()})

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Give the step back to the module."""
        self._release()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """The same, after an error or Ctrl-C."""
        self._release()

    def state_dict(self) -> dict[str, Any]:
        """That of the balancer."""
        return self.balancer.state_dict() if self._module is not None else dict(self._state)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Called before or after the balancer is made."""
        self._state = state_dict
        if self._module is not None:
            self.balancer.load_state_dict(state_dict)

    def _training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self._loss = self.balancer.loss(batch)
        return self._loss.total

    def _backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        assert self._loss is not None
        self.balancer.backward(self._loss)
        self._loss = None

    def _release(self) -> None:
        if self._module is not None:
            self._state = self.balancer.state_dict()
            del self._module.training_step, self._module.backward
        self._module = None


def balance_callback(strategy: str, model: ForeignModel, loader: Iterable[Any], **options: Any) -> Any:
    """A Lightning callback that measures contributions and trains by a balance strategy.

    Args:
        strategy: a name from ``equipose list balance``.
        model: from ``adapt``, of the LightningModule or of a network in it.
        loader: of the training batches.
        options: as of ``Balancer``, but for ``epochs``, which the Trainer knows.

    Returns:
        A ``lightning.pytorch.Callback``; its attribute ``balancer`` is made when fitting starts.

    Raises:
        UsageError: Lightning is not installed.
    """
    base = _callback_class()
    cls = type("BalanceCallback", (BalanceHooks, base), {})
    return cls(lambda epochs: Balancer(strategy, model, loader, epochs, **options), model)


def _callback_class() -> type:
    """That of the Lightning package that is in use already, else of the first that is installed."""
    for package in sorted(_PACKAGES, key=lambda name: name not in sys.modules):
        try:
            return import_module(package).Callback
        except ModuleNotFoundError as error:
            if not package.startswith(f"{error.name}"):
                raise
    raise UsageError("the balance callback needs Lightning, which is not installed: pip install 'equipose[lightning]'")
