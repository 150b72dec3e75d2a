"""Contributions and balance strategies in somebody else's training loop.

    balancer = Balancer("awc", adapt(net, encoders, fuse, read, loader), loader, epochs=20)
    optimizer = torch.optim.Adam([*net.parameters(), *balancer.parameters()])
    for epoch in range(20):
        balancer.begin_epoch(optimizer)
        for batch in loader:
            optimizer.zero_grad()
            balancer.backward(balancer.loss(batch))
            optimizer.step()
            balancer.after_step()
        balancer.end_epoch()
        print(balancer.contribution)

The hooks are called in the order of equipose's own loop (``balance/base.py``). One process, one optimizer;
autocast to bf16 around ``loss`` works, a scaled loss (fp16) does not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from equipose.balance.balancer_parts import Loss, evenly, length, per_sample, probe_batches, silence_padding
from equipose.balance.base import BalanceStrategy, Probe, Setup
from equipose.balance.visits import visits_of
from equipose.config import validate
from equipose.contribution.profit import Profit
from equipose.contribution.tracker import ContributionTracker
from equipose.errors import UsageError
from equipose.inspection import untouched
from equipose.nn.foreign import ForeignModel
from equipose.registry import BALANCE
from equipose.types import Batch, LossTerms, PoseOutput


@dataclass(frozen=True)
class BalancedLoss:
    """What a strategy minimises on one batch, and what it needs to go on.

    Attributes:
        terms: named terms; ``pose`` is the loss of the joint prediction.
        features: modality -> (batch, width), before the strategy changed them.
        output: the joint prediction.
        batch: the samples.
    """

    terms: LossTerms
    features: Mapping[str, Tensor]
    output: PoseOutput
    batch: Batch

    @property
    def total(self) -> Float[Tensor, ""]:
        """Sum of the terms."""
        return self.terms.total

    def __float__(self) -> float:
        return float(self.total.detach())


class Balancer:
    """A balance strategy, and contributions measured while training, for another network's own loop.

    Args:
        strategy: a name from ``equipose list balance``; ``joint`` trains as always and only measures.
        model: from ``adapt``, on the device where it is trained.
        loader: of the training batches. Its first ones, at least ``probe_samples``, are kept as the strategy's probe,
            so it should shuffle.
        epochs: of the whole training.
        settings: of the strategy; ``equipose describe`` lists them.
        loss: None stands for the mean distance over joints, or the mean absolute error over outputs.
        validation: loader of validation batches, for strategies that look at some.
        profit: what a coalition is worth, or its name.
        contribution_samples: training samples per epoch that contributions are measured on; 0 for none.
        probe_samples: size of the probe.
        steps_per_epoch: needed where the loader has no length.
        optimizer: kind of the optimizer, ``adam``, ``adamw`` or ``sgd``; for the strategy's notes only.
        seed: of all that the strategy draws.

    Attributes:
        history: modality -> Shapley value, before training (on the probe) and of each epoch since.
        epoch: the epoch in progress or next, from 0.

    Raises:
        UsageError: an unknown strategy or setting, or a strategy without what it needs.
    """

    def __init__(
        self,
        strategy: str,
        model: ForeignModel,
        loader: Iterable[Any],
        epochs: int,
        settings: Mapping[str, Any] | None = None,
        loss: Loss | None = None,
        validation: Iterable[Any] | None = None,
        profit: str | Profit = "pearson",
        contribution_samples: int = 512,
        probe_samples: int = 128,
        steps_per_epoch: int | None = None,
        optimizer: str = "adam",
        seed: int = 0,
    ) -> None:
        cls: type[BalanceStrategy] = BALANCE[strategy]
        self.strategy = cls(validate(cls.Settings, dict(settings or {}), f"settings of {strategy!r}"), model.modalities)
        self.model = model
        self.epoch = 0
        self.history: list[dict[str, float]] = []
        self._name, self._epochs, self._seed = strategy, epochs, seed
        self._loss = per_sample(model, loss)
        self._visits = visits_of(strategy, self.strategy, loader)
        self._steps_per_epoch = length(loader) if steps_per_epoch is None else steps_per_epoch
        self._probe = probe_batches(model, loader, probe_samples, seed)
        if not self._probe:
            raise UsageError("the training loader gave no batch")
        data = getattr(loader, "dataset", None)
        self._num_samples = len(data) if isinstance(data, Sized) else self._steps_per_epoch * len(self._probe[0])
        self._validation = None if validation is None else probe_batches(model, validation, probe_samples, seed)
        self.tracker: ContributionTracker | None = None
        if contribution_samples:
            self.tracker = ContributionTracker(model.modalities, model.num_joints, profit, model.mean_pose)
        elif self.strategy.needs_contribution:
            raise UsageError(f"{strategy!r} needs the contribution of each modality: set contribution_samples above 0")
        self._tracked = evenly(self._steps_per_epoch, math.ceil(contribution_samples / len(self._probe[0])))
        self._begun = False
        self._batch = self._seen = 0
        self._pending: BalancedLoss | None = None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.strategy.setup(
                model,
                Setup(
                    loss=self._loss,
                    seed=seed,
                    optimizer=optimizer,
                    epochs=epochs,
                    steps_per_epoch=self._steps_per_epoch,
                    num_samples=self._num_samples,
                ),
            )
        self.strategy.modules.to(model.mean_pose.device)
        silence_padding(self.strategy.modules, model)

    def parameters(self) -> Iterator[nn.Parameter]:
        """Those of the strategy's own heads, which the optimizer must train too; most strategies have none."""
        return self.strategy.modules.parameters()

    def notes(self) -> list[str]:
        """What to know before training, one sentence each."""
        return self.strategy.notes()

    def log(self) -> dict[str, Any]:
        """What the strategy says about the epoch; plain values."""
        return self.strategy.log()

    @property
    def contribution(self) -> dict[str, float]:
        """Modality -> Shapley value in the profit's unit, of the last epoch; empty before the first."""
        return dict(self.history[-1]) if self.history else {}

    @property
    def begun(self) -> bool:
        """Whether an epoch has begun and not ended."""
        return self._begun

    def begin_epoch(self, optimizer: torch.optim.Optimizer) -> None:
        """Call before each epoch's first step, with the optimizer.

        Raises:
            UsageError: the epoch before was not ended, or the optimizer lacks the strategy's parameters.
        """
        if self._begun:
            raise UsageError(f"epoch {self.epoch} has begun already: call end_epoch() after its last step")
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if any(id(p) not in held for p in self.parameters()):
            raise UsageError(
                f"{self._name!r} trains heads of its own, and the optimizer does not have them: build it with "
                "[*network.parameters(), *balancer.parameters()]"
            )
        if self.tracker is not None:
            if not self.history:
                self.history = [self._first_contribution(self.tracker)]
            self.tracker.reset()
        self.strategy.modules.train()
        self.strategy.begin_epoch(self.model, self._probe_of(optimizer))
        if self._visits is not None:
            self._visits.plan(self.strategy, self.epoch)
        self._optimizer = optimizer
        self._begun, self._batch, self._seen = True, 0, 0

    def loss(self, batch: Any) -> BalancedLoss:
        """Run the network on a batch of the loader; the strategy says what is to be minimised."""
        if not self._begun:
            raise UsageError("no epoch has begun: call begin_epoch(optimizer) before the first step of each epoch")
        samples = self._numbered(self.model.batch(batch))
        features = self.model.encode(samples)
        fused = self.strategy.features(features, samples)
        output = self.model.decode(fused, samples.present)
        pose_loss = self._loss(output, samples).mean()
        terms = self.strategy.objective(self.model, fused, output, samples, pose_loss)
        return BalancedLoss(terms, features, output, samples)

    def backward(self, loss: BalancedLoss) -> None:
        """Compute the gradients and let the strategy edit them; clip and step the optimizer afterwards."""
        self.strategy.backward(loss.terms)
        self.strategy.gradients(self.model, loss.output, loss.batch)
        self._pending = loss

    def after_step(self) -> None:
        """Call after every step of the optimizer."""
        if self._pending is None:
            raise UsageError("after_step() belongs after backward(loss) and the optimizer's step")
        step, self._pending = self._pending, None
        self.strategy.after_step(self.model)
        if self.tracker is not None and self._batch in self._tracked:
            self.tracker.update(self.model, step.features, step.batch)
        self._batch += 1
        self._seen += len(step.batch)

    def end_epoch(self) -> None:
        """Call after each epoch's last step; ``contribution`` is then that of the epoch."""
        if not self._begun or self._batch == 0:
            raise UsageError("end_epoch() found no step: call begin_epoch, loss, backward and after_step before it")
        if self.tracker is not None:
            self.history = [*self.history, self.tracker.contribution()]
        self.strategy.end_epoch(self.model, self._probe_of(self._optimizer))
        self.epoch += 1
        self._begun = False

    def state_dict(self) -> dict[str, Any]:
        """All but the network and the optimizer that an exact continuation needs; tensors and plain values.

        To be saved between epochs, and loaded into a balancer made with the same loader and seed.
        """
        return {
            "epoch": self.epoch,
            "begun": self._begun,
            "batch": self._batch,
            "seen": self._seen,
            "history": [dict(contribution) for contribution in self.history],
            "mean": self.model.mean_pose.clone(),
            "strategy": self.strategy.state_dict(),
            "modules": self.strategy.modules.state_dict(),
            "tracker": self.tracker.state_dict() if self.tracker else {},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned.

        Raises:
            UsageError: the state is of a network with another target.
        """
        mean = state["mean"].to(self.model.mean_pose)
        if mean.shape != self.model.mean_pose.shape or not torch.allclose(mean, self.model.mean_pose):
            raise UsageError("the state was saved with other training data: adapt the network with the same loader")
        self.epoch, self._begun = state["epoch"], state["begun"]
        self._batch, self._seen = state["batch"], state["seen"]
        self.history = [dict(contribution) for contribution in state["history"]]
        self.strategy.load_state_dict(state["strategy"])
        self.strategy.modules.load_state_dict(state["modules"])
        if self.tracker is not None:
            self.tracker.load_state_dict(state["tracker"])

    def _first_contribution(self, tracker: ContributionTracker) -> dict[str, float]:
        """Contribution over the probe, before the first step."""
        tracker.reset()
        with untouched(self.model):
            for batch in self._probe:
                tracker.update(self.model, self.model.encode(batch), batch)
        return tracker.contribution()

    def _numbered(self, batch: Batch) -> Batch:
        """The samples with the numbers of the epoch's visits, and without the modalities that a visit hides."""
        places = np.arange(self._seen, self._seen + len(batch)) % self._num_samples
        visits = self._visits
        number = torch.from_numpy(places if visits is None else visits.positions[places]).to(batch.present.device)
        batch = replace(batch, meta=replace(batch.meta, sample=number))
        if visits is None or visits.coalition is None:
            return batch
        shown = torch.from_numpy(visits.coalition[places]).to(batch.present)
        return replace(batch, present=batch.present & shown)

    def _probe_of(self, optimizer: torch.optim.Optimizer) -> Probe:
        def forget(parameters: Iterable[nn.Parameter]) -> None:
            for parameter in parameters:
                optimizer.state.pop(parameter, None)

        def validation() -> list[Batch]:
            if self._validation is None:
                raise UsageError(f"{self._name!r} looks at validation data: give validation=, a loader like the other")
            return self._validation

        return Probe(
            epoch=self.epoch,
            batches=lambda: self._probe,
            loss=self._loss,
            contribution=self.contribution,
            epochs=self._epochs,
            learning_rate=float(optimizer.param_groups[0]["lr"]),
            validation=validation,
            reset_optimizer=forget,
        )
