"""What balance strategies may look at between two epochs: fixed random parts of the training and validation splits.

In a stream the validation samples that a continual strategy keeps of earlier experiences follow the present ones.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from equipose.balance.base import Probe
from equipose.data.dataset import PoseDataset
from equipose.train.loop import Session, batches_per_epoch
from equipose.train.schedule import learning_rate
from equipose.types import Batch


def probe(session: Session, splits: dict[str, PoseDataset], contribution: dict[str, float]) -> Probe:
    """What a strategy may look at between two epochs."""
    settings, processes = session.recipe.train, session.processes
    steps = batches_per_epoch(len(splits["train"]), settings.batch_size)

    def passes(dataset: PoseDataset) -> Iterator[Batch]:
        count = min(max(settings.probe_samples, processes.world), len(dataset))
        chosen = np.sort(np.random.default_rng([settings.seed, 4]).choice(len(dataset), count, replace=False))
        mine = chosen[: count // processes.world * processes.world][processes.rank :: processes.world]
        for start in range(0, len(mine), settings.batch_size):
            yield dataset.batch(mine[start : start + settings.batch_size], None).to(processes.device)

    def held_out() -> Iterator[Batch]:
        yield from passes(splits["validation"])
        earlier = () if session.continual is None else session.continual.held_out()
        yield from (batch.to(processes.device) for batch in earlier)

    return Probe(
        epoch=session.progress.epoch,
        epochs=settings.epochs,
        learning_rate=learning_rate(settings, session.progress.step, settings.epochs * steps),
        batches=lambda: passes(splits["train"]),
        validation=held_out,
        loss=session.loss,
        contribution=contribution,
        all_reduce=processes.mean,
        reset_optimizer=session.reset_optimizer,
    )
