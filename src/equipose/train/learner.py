"""Learn from a recording that never ends: separate, learn, remember, batch by batch, with bounded memory.

::

    learner = Learner.start(recipe, run)            # a trained run, a model, or nothing but a mean pose
    for batch in stream:                            # in the order of time, any size, gaps allowed
        report = learner.observe(batch)             # judged before it is learned from; labels may be NaN
    joints = learner.predict(batch)
    learner.save(path); learner = Learner.load(path)
    learner.log()                                   # what was set aside and why; learner.restore undoes it
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from equipose.config import load_settings
from equipose.errors import DataError, UsageError
from equipose.inspection import untouched
from equipose.nn.model import PoseModel
from equipose.separation.integrity import dead
from equipose.separation.verdict import Verdict
from equipose.train.checkpoint import find_checkpoint, load_state, load_weights, save_checkpoint
from equipose.train.live_log import Log, Report, fused_error_mm
from equipose.train.live_noise import SHIFTS, LiveNoise
from equipose.train.live_readings import accepted, labelled, unjudged, usable
from equipose.train.live_recipe import LiveRecipe
from equipose.train.live_start import first_model, loaded
from equipose.train.live_training import LiveTraining
from equipose.train.processes import launch
from equipose.types import Batch


class Learner:
    """A model that follows a stream; made by ``start`` or ``load``.

    Every random choice is a function of the recipe's seed and the batch's number, the caller's random state is left
    alone, and a learner that was saved and loaded goes on bit for bit. One process.

    Attributes:
        recipe: all settings.
        experience: name of the present experience.
        experiences: how many there were before it.
        batches: observed so far.
        samples: observed so far.
    """

    def __init__(self, recipe: LiveRecipe, model: PoseModel) -> None:
        if recipe.train.devices != 1:
            raise UsageError(f"train.devices is {recipe.train.devices}; a learner is one process: set it to 1")
        processes = launch(recipe.train)
        self.recipe = recipe
        self._training = LiveTraining(recipe, model.to(processes.device), processes)
        self._noise = LiveNoise(recipe.separation, recipe.live, model.modalities, recipe.train.seed)
        self._log = Log(recipe.live.rows, recipe.live.aside, model.modalities)
        self.experience, self.experiences, self.batches, self.samples = "0", 0, 0, 0

    @classmethod
    def start(
        cls,
        recipe: LiveRecipe,
        model: PoseModel | Path | str | None = None,
        mean_pose: Float[Tensor, "joint 3"] | None = None,
        trusted: Batch | None = None,
        experience: str = "0",
    ) -> Learner:
        """Begin.

        Args:
            recipe: all settings.
            model: a network, which is trained from now on; a run folder, whose network, sensors and windows win over
                the recipe's; None for a new network.
            mean_pose: for a new network: what it answers at first, metres, camera frame, such as the mean of the first
                batch's targets.
            trusted: clean labelled samples that will not be trained on, to judge by; see ``trust``.
            experience: name of the first experience.

        Raises:
            UsageError: a setting that is impossible here.
            DataError: the run folder cannot be read.
        """
        learner = cls(*first_model(recipe, model, mean_pose))
        learner._begin(experience)
        if trusted is not None:
            learner.trust(trusted)
        return learner

    @classmethod
    def load(cls, path: Path | str, model: PoseModel | None = None) -> Learner:
        """A learner as it was saved; it goes on as if it had not stopped.

        Args:
            path: the folder given to ``save``.
            model: where the learner was started with a model of the caller's, another instance of it; its weights are
                replaced.

        Raises:
            DataError: there is none, or it is damaged.
        """
        found = find_checkpoint(Path(path))
        if found is None:
            raise DataError(f"no learner at {path}: expected a folder as Learner.save makes it")
        recipe = load_settings(LiveRecipe, found / "config.yaml")
        if model is None:
            model = loaded(recipe, found)
        else:
            load_weights(found, model)
        learner = cls(recipe, model)
        device = learner._device
        state = load_state(found, device)
        if "learner" not in state:
            raise DataError(f"{path} is the checkpoint of a run and no learner; type Learner.start(recipe, RUN)")
        own = state["learner"]
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            learner._training.load_state_dict(state)
        learner._noise.load_state_dict(own["noise"])
        learner._log.load_state_dict(own["log"])
        learner.experience, learner.experiences = own["experience"], own["experiences"]
        learner.batches, learner.samples = own["batches"], own["samples"]
        return learner

    def save(self, path: Path | str) -> None:
        """Write a folder with the weights, the recipe and the whole state; the one before is replaced in one piece."""
        own = {
            "noise": self._noise.state_dict(),
            "log": self._log.state_dict(),
            "experience": self.experience,
            "experiences": self.experiences,
            "batches": self.batches,
            "samples": self.samples,
        }
        save_checkpoint(Path(path), self.model, self.recipe, {**self._training.state_dict(), "learner": own})

    @property
    def model(self) -> PoseModel:
        """The network as it is now."""
        return self._training.model

    def observe(self, batch: Batch) -> Report:
        """Judge a batch, learn from what is clean of it, remember it.

        The verdict is that of the model before: it does not depend on what is learned here. A sample is learned from if
        its label is finite, it is not in quarantine, and a sensor is left; all samples are checked.

        Args:
            batch: one or more samples, in the order of time; ``meta.recording`` and ``meta.frame`` tell what follows
                what. Joints or samples without a label are NaN; so may be inputs.

        Raises:
            UsageError: sensors or joints are not the model's, or the training has diverged.
        """
        batch = self._taken(batch)
        notes: tuple[str, ...] = ()
        with self._own_randomness():
            checked = self._noise.check(self.model, batch, self.samples)
            shifts = [event for event in checked.events if event.kind in SHIFTS]
            self._log.add_events(checked.events, self.samples, self.experience)
            if shifts and self.recipe.live.events:
                self._begin(str(self.experiences + 1))
                checked = replace(checked, verdict=unjudged(checked.readings))
                words = ", ".join(f"{event.kind} of {event.subject}" for event in shifts)
                notes = (f"{words}: experience {self.experience} begins, nothing is flagged in its warm-up",)
            learned, terms, more = self._training.learn(batch, checked, self.samples)
        self._log.add(batch, checked, self.samples, self.experience)
        self._noise.remember(checked, self.samples)
        error = fused_error_mm(checked)
        place, found = (self.batches, self.samples, self.experience), checked.verdict
        report = Report(*place, found, learned, error, terms, checked.events, (*notes, *more))
        self.batches, self.samples = self.batches + 1, self.samples + len(batch)
        return report

    def predict(self, batch: Batch) -> Float[Tensor, "batch joint 3"]:
        """Poses, metres, camera frame; sensors that are dead or not finite are left out. Changes nothing."""
        batch = self._taken(batch)
        shown = replace(usable(batch), present=batch.present & ~dead(batch))
        with untouched(self.model), self._training.session.processes.autocast():
            return self.model(shown).joints.float()

    def check(self, batch: Batch) -> Verdict:
        """What ``observe`` would find in a batch; changes nothing."""
        return self._noise.check(self.model, self._taken(batch), self.samples).verdict

    def trust(self, batch: Batch) -> None:
        """Judge by these samples until the experience ends: clean, labelled, of this place, never learned from.

        Without any, batches are judged by how earlier ones of the experience looked when they came.
        """
        batch = self._taken(batch)
        known = labelled(batch.target) & batch.present.any(1)
        if not bool(known.any()):
            raise UsageError(
                "found no labelled sample among the trusted ones: expected clean samples with finite labels"
            )
        self._noise.trust(batch.select(known))

    def begin_experience(self, name: str | None = None, trusted: Batch | None = None) -> None:
        """Say that another place, person or set-up begins; what was learned so far is kept from now on.

        Args:
            name: for the log; numbered where None.
            trusted: see ``trust``.
        """
        with self._own_randomness():
            self._begin(str(self.experiences + 1) if name is None else name)
        if trusted is not None:
            self.trust(trusted)

    def restore(self, samples: Sequence[int]) -> int:
        """Learn after all from samples that were set aside, as they came; the log marks them.

        Args:
            samples: numbers from ``log()``; those that are no longer kept (``live.aside``) are left out.

        Returns:
            how many were learned from.
        """
        batch, _ = self._log.take(samples)
        if batch is None:
            return 0
        batch = batch.to(self._device)
        with self._own_randomness():
            checked = self._noise.check(self.model, batch, self.samples)
            learned, _, _ = self._training.learn(
                batch, replace(checked, verdict=unjudged(checked.readings)), self.samples
            )
        return int(learned.sum())

    def log(self) -> list[dict[str, Any]]:
        """One row per sensor cell or label that was not found clean: sample, where, why, whether it was restored.

        The latest ``live.rows``. Data are never changed, so that leaving a row out undoes it; see ``restore``.
        """
        return [dict(row) for row in self._log.rows]

    def events(self) -> list[dict[str, Any]]:
        """What happened to a sensor or the labels as a whole, the latest ``live.rows``."""
        return [dict(row) for row in self._log.events]

    def summary(self) -> dict[str, Any]:
        """How far the learner has come; plain values."""
        return {
            "experience": self.experience,
            "experiences": self.experiences,
            "batches": self.batches,
            "samples": self.samples,
            "set_aside": dict(self._log.totals),
            "noise_rate": self._noise.noise_rate(),
            "contribution": dict(self._training.session.progress.contribution),
            "continual": self._training.continual.log(),
            "balance": self._training.session.strategy.log(),
            "memory_bytes": self.memory_bytes(),
        }

    def memory_bytes(self) -> dict[str, int]:
        """Bytes kept besides the network and its optimizer; none grows with the length of the stream.

        ``continual`` is what its strategy says; ``recent`` and ``log`` are at most ``live.recent`` and ``live.aside``
        samples (and ``live.rows`` rows); ``separation`` is at most ``live.window`` and ``separation.calibration``
        readings, and as many trusted samples with readings.
        """
        return {
            **self._training.memory_bytes(),
            "separation": self._noise.memory_bytes(),
            "log": self._log.memory_bytes(),
        }

    @property
    def _device(self) -> torch.device:
        return self._training.session.processes.device

    def _begin(self, name: str) -> None:
        self._training.begin_experience(self._noise.noise_rate())
        self._noise.begin_experience()
        self.experience, self.experiences = name, self._training.index

    def _taken(self, batch: Batch) -> Batch:
        return accepted(batch, self.model).to(self._device)

    @contextmanager
    def _own_randomness(self) -> Iterator[None]:
        """The random state of this batch; the caller's is as it was afterwards."""
        with torch.random.fork_rng(devices=[self._device] if self._device.type == "cuda" else []):
            seed = (self.recipe.train.seed * 1_000_003 + self.batches) % 2**63
            torch.default_generator.manual_seed(seed)
            if self._device.type == "cuda":
                torch.cuda.manual_seed(seed)
            yield
