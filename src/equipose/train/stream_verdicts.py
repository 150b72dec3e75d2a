"""What separation said at the end of each training of a stream, beside the truth: ``verdicts/<stage>.npz``.

Raw cells, so that every number about noise can be computed later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from equipose.continual.base import ContinualStrategy
from equipose.continual.memory import Entries, Memory
from equipose.data.corrupt.dataset import CorruptedDataset
from equipose.data.corrupt.table import KIND_NAMES
from equipose.data.dataset import PoseDataset
from equipose.errors import DataError
from equipose.files import write_npz
from equipose.separation.quality import set_aside, suspicion
from equipose.separation.reasons import Reason
from equipose.train.separation import FoundNoise, KnownNoise, Separation
from equipose.train.stream_stages import Stage


@dataclass(frozen=True, eq=False)
class Verdicts:
    """Cells and labels of one training's samples.

    Attributes:
        experience: name of the training.
        modalities: names of the sensor columns.
        kind_names: of the numbers in ``kind``.
        judged: whether anything looked for noise, or knew it.
        events: kind, subject and share of what happened to a sensor as a whole.
        present: cells that count: recorded before anything was corrupted, but for clean ones whose window reaches
            into a fault, which are neither clean nor corrupt.
        corrupt: the truth about them.
        kind: kind of corruption, -1 where clean.
        flagged: cells that were kept out at the end, those that a fault left without a record among them.
        suspicion: larger is more suspect; NaN where nothing was measured.
        label_corrupt: the truth about the labels.
        label_kind: as ``kind``.
        label_flagged: labels that were not trusted at the end.
        label_suspicion: as ``suspicion``.
        memory: cells that the replay memory replays, corrupt ones of them, its samples, those with a corrupt cell,
            those with a wrong label; zeros without a memory.
    """

    experience: str
    modalities: tuple[str, ...]
    kind_names: tuple[str, ...]
    judged: bool
    events: tuple[tuple[str, str, float], ...]
    present: Bool[ndarray, "sample modality"]
    corrupt: Bool[ndarray, "sample modality"]
    kind: Int[ndarray, "sample modality"]
    flagged: Bool[ndarray, "sample modality"]
    suspicion: Float[ndarray, "sample modality"]
    label_corrupt: Bool[ndarray, " sample"]
    label_kind: Int[ndarray, " sample"]
    label_flagged: Bool[ndarray, " sample"]
    label_suspicion: Float[ndarray, " sample"]
    memory: Int[ndarray, " 5"]


def verdicts(
    stages: Sequence[Stage], index: int, separation: Separation | None, continual: ContinualStrategy
) -> Verdicts | None:
    """Of the training that has just ended; None where no noise was planned and none was looked for.

    Args:
        stages: all trainings.
        index: which one has ended.
        separation: what kept noise out.
        continual: whose memory is looked at, if it has one.
    """
    stage = stages[index]
    dataset = stage.train
    if separation is None and not isinstance(dataset, CorruptedDataset):
        return None
    corrupt, kind, label, label_kind = _truth(dataset, np.arange(len(dataset)))
    present = _counted(dataset)
    found: dict[str, Any] = {
        "flagged": np.zeros_like(corrupt),
        "suspicion": np.zeros(corrupt.shape, np.float32),
        "label_flagged": np.zeros_like(label),
        "label_suspicion": np.zeros(label.shape, np.float32),
    }
    events: tuple[tuple[str, str, float], ...] = ()
    verdict = separation.separator.verdict if isinstance(separation, FoundNoise) else None
    if isinstance(separation, FoundNoise):
        events = tuple((e["kind"], e["subject"], float(e["share"])) for e in separation.summary().get("events", ()))
    if verdict is not None:
        cells, labels = set_aside(verdict)
        doubt, label_doubt = suspicion(verdict)
        gone = verdict.reason == Reason.ABSENT
        found = {
            "flagged": (cells | gone).numpy() & present,
            "suspicion": torch.where(gone, torch.inf, doubt).float().numpy(),
            "label_flagged": labels.numpy(),
            "label_suspicion": label_doubt.float().numpy(),
        }
    elif isinstance(separation, KnownNoise):
        found = {
            "flagged": corrupt & present,
            "suspicion": corrupt.astype(np.float32),
            "label_flagged": label,
            "label_suspicion": label.astype(np.float32),
        }
    return Verdicts(
        experience=stage.name,
        modalities=dataset.modalities,
        kind_names=tuple(KIND_NAMES),
        judged=separation is not None,
        events=events,
        present=present,
        corrupt=corrupt,
        kind=kind,
        label_corrupt=label,
        label_kind=label_kind,
        memory=_memory(getattr(continual, "memory", None), stages),
        **found,
    )


def verdicts_path(run: Path, index: int) -> Path:
    """File of the training with this index."""
    return run / "verdicts" / f"{index:02d}.npz"


def write_verdicts(path: Path, found: Verdicts | None) -> None:
    """Write them, if there are any."""
    if found is None:
        return
    path.parent.mkdir(exist_ok=True)
    arrays = {name: np.asarray(value) for name, value in vars(found).items() if name != "events"}
    write_npz(path, {**arrays, "events": np.array([list(map(str, event)) for event in found.events], str)})


def read_verdicts(path: Path) -> Verdicts | None:
    """Read what ``write_verdicts`` wrote; None where there is nothing.

    Raises:
        DataError: it is damaged.
    """
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            values: dict[str, Any] = {name: file[name] for name in file.files}
        values["experience"], values["judged"] = str(values["experience"]), bool(values["judged"])
        for name in ("modalities", "kind_names"):
            values[name] = tuple(str(each) for each in values[name])
        values["events"] = tuple((kind, subject, float(share)) for kind, subject, share in values["events"])
        return Verdicts(**values)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path} cannot be read ({error}); remove its run folder and repeat the run") from None


def _counted(dataset: PoseDataset) -> ndarray:
    """Cells that were recorded, without the clean ones whose window a fault reaches into."""
    store = dataset.clean.store if isinstance(dataset, CorruptedDataset) else dataset.store
    present = np.stack([store.present[name][dataset.rows] for name in dataset.modalities], 1)
    if isinstance(dataset, CorruptedDataset):
        truth = dataset.truth(np.arange(len(dataset)))
        present &= (truth.sensor | ~truth.touched).numpy()
    return present


def _truth(dataset: PoseDataset, positions: ndarray) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    """Corrupt cells, their kind, wrong labels, their kind."""
    if isinstance(dataset, CorruptedDataset):
        truth = dataset.truth(positions)
        return truth.sensor.numpy(), truth.kind.numpy(), truth.label.numpy(), truth.label_kind.numpy()
    shape = (len(positions), len(dataset.modalities))
    nothing = np.zeros(shape, bool)
    return nothing, np.full(shape, -1), np.zeros(shape[0], bool), np.full(shape[0], -1)


def _memory(memory: object, stages: Sequence[Stage]) -> ndarray:
    """The counts of ``Verdicts.memory``."""
    if not isinstance(memory, Memory) or memory.entries is None:
        return np.zeros(5, np.int64)
    entries: Entries = memory.entries
    cells, labels = torch.zeros_like(entries.clean), torch.zeros(len(entries), dtype=torch.bool)
    for experience in sorted(set(entries.experience.tolist())):
        mine = entries.experience == experience
        positions = entries.batch.meta.sample[mine].numpy()
        corrupt, _, label, _ = _truth(stages[experience].train, positions)
        cells[mine], labels[mine] = torch.from_numpy(corrupt), torch.from_numpy(label)
    used = entries.usable().present
    bad = used & cells
    counts = (used.sum(), bad.sum(), used.any(1).sum(), bad.any(1).sum(), labels[used.any(1)].sum())
    return np.array([int(each) for each in counts], np.int64)
