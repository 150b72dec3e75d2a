"""The training side of a learner: steps on clean samples, and what the strategies are told of experiences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from equipose.balance.base import BalanceStrategy, Probe, Setup
from equipose.config import validate
from equipose.continual.base import Clean, ContinualStrategy, End, Start
from equipose.continual.memory import Memory
from equipose.errors import UsageError
from equipose.inspection import evaluating
from equipose.nn.model import PoseModel
from equipose.registry import CONTINUAL
from equipose.separation.separator import applied
from equipose.train.build import assembled
from equipose.train.live_noise import Checked
from equipose.train.live_readings import labelled, usable
from equipose.train.live_recipe import LiveRecipe
from equipose.train.loop import Session, set_learning_rate, step
from equipose.train.processes import Processes
from equipose.types import Batch


class LiveTraining:
    """Steps of a stream.

    Args:
        recipe: all settings.
        model: on the device of the training.
        processes: one.

    Raises:
        UsageError: a balance strategy that chooses which samples are visited.
    """

    def __init__(self, recipe: LiveRecipe, model: PoseModel, processes: Processes) -> None:
        self._recipe, self._live = recipe, recipe.live
        self._ring = self._live.epoch * recipe.train.batch_size
        self.session: Session = assembled(recipe, model, processes, self._ring, self._live.epoch, endless=True)
        strategy = type(self.session.strategy)
        if strategy.visit is not BalanceStrategy.visit:
            raise UsageError(
                f"balance.name={recipe.balance.name} chooses which samples are visited again, and a stream comes as it "
                "comes; take another of `equipose list balance`"
            )
        self.continual = _continual(recipe, self.session, self._ring)
        self.session.continual = self.continual
        self.index = -1
        self._taught = 0
        self._recent = self._no_samples()

    @property
    def model(self) -> PoseModel:
        """The network."""
        return self.session.model

    def begin_experience(self, noise_rate: Mapping[str, float]) -> None:
        """End the experience before, if something was learned in it, and begin another.

        Args:
            noise_rate: sensor -> share found corrupt in the experience that ends.
        """
        if self.index >= 0:
            if not self._taught:
                return
            end = End(
                self.index,
                batches=self._samples,
                validation=self._samples,
                contribution=dict(self.session.progress.contribution),
                noise_rate={name: noise_rate[name] for name in self.model.modalities if name in noise_rate},
            )
            self.continual.end_experience(self.model, end)
        self.index, self._taught, self.session.progress.step = self.index + 1, 0, 0
        self._recent = self._no_samples()
        start = Start(self.index, self.model.modalities, 0, self.session.reset_optimizer)
        self.continual.begin_experience(self.model, start)

    def learn(
        self, batch: Batch, checked: Checked, arrival: int
    ) -> tuple[Bool[Tensor, " batch"], dict[str, float], tuple[str, ...]]:
        """Take the steps of a batch.

        Args:
            batch: on the model's device, as it came.
            checked: what was found in it.
            arrival: number of its first sample.

        Returns:
            which samples were learned from, the loss terms (means over the steps), and why nothing was, if so.

        Raises:
            UsageError: the loss is not finite.
        """
        number = (torch.arange(arrival, arrival + len(batch)) % self._ring).to(batch.meta.sample.device)
        batch = replace(usable(batch), meta=replace(batch.meta, sample=number))
        verdict = checked.verdict
        kept, weight = applied(verdict, batch, self._recipe.separation)
        known = labelled(kept.target)
        taught = known & (weight > 0)
        if not bool(taught.any()):
            return taught.cpu(), {}, (_nothing(kept, known),)
        new = replace(kept, weight=weight).select(taught)
        labels = ~verdict.bad_label.to(taught.device)[taught]
        clean = Clean((new.present | ~batch.present[taught]), labels)
        terms = self._steps(new, clean)
        outputs = checked.readings.fused.to(new.target.device)[taught]
        self._recent.insert(new, outputs, self.index, clean)
        self._taught += len(new)
        return taught.cpu(), terms, ()

    def memory_bytes(self) -> dict[str, int]:
        """Bytes of the strategy's memory and of the recent samples."""
        return {"continual": self.continual.memory_bytes(), "recent": self._recent.bytes()}

    def state_dict(self) -> dict[str, Any]:
        """Everything but the weights that an exact continuation needs."""
        recent = self._recent.state_dict()
        return {**self.session.state_dict(), "live": {"index": self.index, "taught": self._taught, "recent": recent}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self.session.load_state_dict(dict(state))
        self.index, self._taught = state["live"]["index"], state["live"]["taught"]
        self._recent.load_state_dict(state["live"]["recent"])

    def _steps(self, new: Batch, clean: Clean) -> dict[str, float]:
        session, progress, tracker = self.session, self.session.progress, self.session.tracker
        if progress.batch == 0:
            self._begin_epoch(new)
        session.model.train()
        session.strategy.modules.train()
        set_learning_rate(session.optimizer, self._recipe.train.learning_rate)
        due = self._recipe.contribution.samples_per_epoch * progress.batch / self._live.epoch
        track = tracker is not None and tracker.samples <= due
        before = dict(progress.sums)
        for k in range(self._live.steps):
            step(session, new, track and k == 0, clean=clean, fresh=k == 0)
            progress.step += 1
        changes = {name: value - before.get(name, 0.0) for name, value in progress.sums.items()}
        terms = {n.removeprefix("term."): v / self._live.steps for n, v in changes.items() if n.startswith("term.")}
        if not all(math.isfinite(value) for value in terms.values()):
            raise UsageError(
                f"the loss is {terms}: training has diverged. Load the learner as it was last saved, and lower "
                "train.learning_rate or set train.clip_norm"
            )
        progress.batch += 1
        if progress.batch == self._live.epoch:
            self._end_epoch()
        return terms

    def _begin_epoch(self, new: Batch) -> None:
        """As ``fit.begin_epoch``, with the recent samples for a probe, or the new ones where there are none."""
        session, state = self.session, self.session.progress
        if session.tracker is not None:
            session.tracker.reset()
            if not state.contribution:
                with evaluating(session.model):
                    session.tracker.update(session.model, session.model.encode(new), new)
                state.contribution = session.tracker.contribution()
                session.tracker.reset()
        session.strategy.begin_epoch(session.model, self._probe(new))

    def _end_epoch(self) -> None:
        """As ``fit.end_epoch``, without a validation of its own."""
        session, state = self.session, self.session.progress
        if session.tracker is not None:
            state.contribution = session.tracker.contribution()
        session.strategy.before_validation(session.model, self._probe())
        session.strategy.end_epoch(session.model, self._probe())
        state.epoch, state.batch, state.sums = state.epoch + 1, 0, {}

    def _probe(self, new: Batch | None = None) -> Probe:
        train = self._recipe.train

        def batches() -> Iterator[Batch]:
            if len(self._recent) or new is None:
                yield from self._samples()
            else:
                yield replace(new, weight=None)

        return Probe(
            epoch=self.session.progress.epoch,
            epochs=train.epochs,
            learning_rate=train.learning_rate,
            batches=batches,
            validation=batches,
            loss=self.session.loss,
            contribution=self.session.progress.contribution,
            reset_optimizer=self.session.reset_optimizer,
        )

    def _samples(self) -> Iterator[Batch]:
        """Clean samples of the present experience."""
        entries, device = self._recent.entries, self.session.processes.device
        if entries is not None:
            for rows in torch.split(torch.arange(len(entries)), self._recipe.train.batch_size):
                yield entries.select(rows).usable().to(device)

    def _no_samples(self) -> Memory:
        seed = self._recipe.train.seed * 1_000_003 + 31 * (self.index + 2)
        return Memory(self._live.recent, "reservoir", seed, endless=True)


def _continual(recipe: LiveRecipe, session: Session, ring: int) -> ContinualStrategy:
    cls: type[ContinualStrategy] = CONTINUAL[recipe.continual.name]
    settings = validate(cls.Settings, recipe.continual.settings, f"continual.settings of {recipe.continual.name!r}")
    strategy = cls(settings, session.model.modalities)
    setup = Setup(
        loss=session.loss,
        seed=recipe.train.seed,
        optimizer=recipe.train.optimizer,
        num_samples=ring,
        endless=True,
    )
    strategy.setup(session.model, setup)
    return strategy


def _nothing(batch: Batch, known: Tensor) -> str:
    """Why nothing can be learned from a batch."""
    if not bool(known.any()):
        return "nothing was learned: no sample has a label"
    if not bool(batch.present.any()):
        return "nothing was learned: no sensor of any sample can be trusted"
    return "nothing was learned: no labelled sample has a sensor and a label that can be trusted"
