"""Examples of what separation set aside, for the page: ``DIR/cells/<name>_examples.npz``.

Typical ones, not the best: of each group of cells alike, the one whose p-value lies in the middle.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from numpy import ndarray
from torch import Tensor

from equipose.data.corrupt.dataset import CorruptedDataset, Truth
from equipose.data.corrupt.table import KIND_NAMES, LABEL
from equipose.errors import DataError
from equipose.files import write_npz
from equipose.inspection import untouched
from equipose.modality import MODALITIES
from equipose.nn.model import PoseModel
from equipose.separation.quality import set_aside
from equipose.separation.reasons import WORDS, Reason
from equipose.separation.verdict import Verdict
from equipose.train.checkpoint import find_checkpoint, load_state, load_weights
from equipose.train.run_dir import RunDir
from equipose.train.separation import FoundNoise
from equipose.train.stream_recipe import StreamRecipe
from equipose.train.stream_work import Work
from equipose.types import Cloud, Dense

Outcome = Literal["caught", "missed", "false alarm"]
_Pick = tuple[int, int, Outcome]
_ARRAYS = ("seen", "clean", "alone", "label", "truth", "consensus")


@dataclass(frozen=True, eq=False)
class Example:
    """One sensor cell, or one label, and what was decided about it.

    Attributes:
        experience: whose training sample it is.
        sensor: or ``label``.
        outcome: whether the verdict is right.
        kind: corruption, a name of ``KIND_NAMES``; empty for a false alarm.
        severity: 1 to 3; 0 for a false alarm.
        reason: the verdict in words.
        p: p-value of the verdict; None where it needed none.
        environment: of the sample, as the next three.
        subject: number of the person.
        action: number of the action.
        frame: number of the frame.
        skeleton: name in ``skeleton.SKELETONS``.
        seen: what the sensor gave at the sample's own frame: points (point, 3) in metres in the camera frame, keypoints
            (joint, 2) in pixels, or the amplitude of CSI (receiver, tone) in dB; empty for a label or another sensor.
        clean: the same without the corruption.
        alone: the pose that the model tells from this sensor alone, metres; NaN for a label.
        label: as given for training.
        truth: the true label.
        consensus: of the sensors that were not set aside.
    """

    experience: str
    sensor: str
    outcome: Outcome
    kind: str
    severity: int
    reason: str
    p: float | None
    environment: int
    subject: int
    action: int
    frame: int
    skeleton: str
    seen: Float32[ndarray, "row column"]
    clean: Float32[ndarray, "clean_row clean_column"]
    alone: Float32[ndarray, "joint 3"]
    label: Float32[ndarray, "joint 3"]
    truth: Float32[ndarray, "joint 3"]
    consensus: Float32[ndarray, "joint 3"]


def examples_of(
    experience: str,
    dataset: CorruptedDataset,
    verdict: Verdict,
    model: PoseModel,
    caught: int = 6,
    wrong: int = 2,
) -> tuple[Example, ...]:
    """A few cells and labels of one experience that were rightly set aside, were missed, or are a false alarm.

    Sensors take turns, each first with the corruption that it was caught with most often.

    Args:
        experience: its name.
        dataset: its training samples.
        verdict: of all of them, in order.
        model: as it is now; left as it is.
        caught: at most so many that are right.
        wrong: at most so many that are not, missed ones and false alarms in turns.
    """
    truth = dataset.truth(range(len(dataset)))
    picked = _picked(truth, verdict, caught, wrong)
    if not picked:
        return ()
    names = (*dataset.modalities, LABEL)
    positions = np.array([row for row, _, _ in picked])
    noisy, clean = dataset.batch(positions), dataset.clean.batch(positions)
    own = torch.tensor([[column == m for m in range(len(dataset.modalities))] for _, column, _ in picked])
    device = next(model.parameters()).device
    with untouched(model):
        alone = model.decode(model.encode(noisy.to(device)), own.to(device)).joints.cpu()
    found = []
    for i, (row, column, outcome) in enumerate(picked):
        sensor = names[column]
        about = _About.of(truth, verdict, row, column)
        meta = noisy.meta
        found.append(
            Example(
                experience,
                sensor,
                outcome,
                about.kind,
                about.severity,
                about.reason,
                about.p,
                int(meta.environment[i]),
                int(meta.subject[i]),
                int(meta.action[i]),
                int(meta.frame[i]),
                dataset.skeleton.name,
                _shown(sensor, noisy.inputs.get(sensor), i),
                _shown(sensor, clean.inputs.get(sensor), i),
                np.full_like(truth.target[row].numpy(), np.nan) if sensor == LABEL else alone[i].float().numpy(),
                noisy.target[i].float().numpy(),
                truth.target[row].float().numpy(),
                verdict.consensus[row].float().numpy(),
            )
        )
    return tuple(found)


def examples_of_run(run: RunDir, data: Path) -> tuple[Example, ...]:
    """Examples of the last training of a finished run; none where nothing was looked for, or nothing is known.

    Args:
        run: with its checkpoint ``last``, which holds the last verdicts.
        data: the data folder.

    Raises:
        UsageError: the data folder does not fit the run.
        DataError: the checkpoint or the data folder is damaged.
    """
    recipe = run.recipe_of(StreamRecipe)
    last = find_checkpoint(run.checkpoint("last"))
    if recipe.separation.mode != "find" or last is None:
        return ()
    work = Work.of(recipe, data)
    stage = work.stages[-1]
    load_weights(run.checkpoint("last"), work.model)
    state = load_state(last, work.processes.device)
    if not isinstance(work.separation, FoundNoise) or not isinstance(stage.train, CorruptedDataset):
        return ()
    work.separation.load_state_dict(state["separator"])
    verdict = work.separation.separator.verdict
    return examples_of(stage.name, stage.train, verdict, work.model) if verdict is not None else ()


def examples_path(out: Path, name: str) -> Path:
    """Where the examples of a cell are."""
    return out / "cells" / f"{name}_examples.npz"


def write_examples(path: Path, examples: Iterable[Example]) -> None:
    """Write ``<name>_examples.npz``: ``notes``, a list in JSON, and ``<i>_seen`` and so on for the arrays."""
    listed = list(examples)
    plain = [field.name for field in fields(Example) if field.name not in _ARRAYS]
    notes = json.dumps([{name: getattr(each, name) for name in plain} for each in listed])
    arrays = {f"{i}_{name}": getattr(each, name) for i, each in enumerate(listed) for name in _ARRAYS}
    write_npz(path, {"notes": np.array(notes), **arrays})


def read_examples(path: Path) -> tuple[Example, ...]:
    """Read what ``write_examples`` wrote; none where there is no file.

    Raises:
        DataError: it is damaged.
    """
    if not path.is_file():
        return ()
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            notes: list[dict[str, Any]] = json.loads(str(file["notes"]))
            return tuple(
                Example(**note, **{name: file[f"{i}_{name}"] for name in _ARRAYS}) for i, note in enumerate(notes)
            )
    except Exception as error:  # numpy and zipfile have many ways to say that a file is damaged
        raise DataError(f"{path} is damaged ({error}); remove it, the page does without") from None


@dataclass(frozen=True)
class _About:
    kind: str
    severity: int
    reason: str
    p: float | None

    @classmethod
    def of(cls, truth: Truth, verdict: Verdict, row: int, column: int) -> _About:
        """What is known about one cell, or label."""
        label = column == verdict.reason.shape[1]
        kind = int(truth.label_kind[row] if label else truth.kind[row, column])
        severity = int(truth.label_severity[row] if label else truth.severity[row, column])
        code = int(verdict.label_reason[row] if label else verdict.reason[row, column])
        p = float(verdict.label_p[row] if label else verdict.p[row, column])
        return cls(KIND_NAMES[kind] if kind >= 0 else "", severity, WORDS[Reason(code)], p if p == p else None)


def _picked(truth: Truth, verdict: Verdict, caught: int, wrong: int) -> list[_Pick]:
    """Row, column (the last one: the label) and outcome of the cells to show."""
    there = torch.cat([verdict.reason != Reason.ABSENT, torch.ones(len(verdict), 1, dtype=torch.bool)], 1)
    cells, labels = set_aside(verdict)
    out = torch.cat([cells, labels[:, None]], 1)
    corrupt = torch.cat([truth.sensor, truth.label[:, None]], 1)
    near = torch.cat([truth.touched, truth.label[:, None]], 1)
    kind = torch.cat([truth.kind, truth.label_kind[:, None]], 1)
    p = torch.cat([verdict.p, verdict.label_p[:, None]], 1).double().nan_to_num(-1.0)
    right: list[_Pick] = [(row, column, "caught") for row, column in _turns(there & out & corrupt, kind, p)]
    missed: list[_Pick] = [(row, column, "missed") for row, column in _turns(there & ~out & corrupt, kind, p)]
    alarms: list[_Pick] = [(row, column, "false alarm") for row, column in _turns(there & out & ~near, kind, p)]
    mixed: list[_Pick] = [each for each in chain.from_iterable(zip_longest(missed, alarms)) if each is not None]
    return [*right[:caught], *mixed[:wrong]]


def _turns(
    cells: Bool[Tensor, "sample column"], kind: Tensor, p: Float[Tensor, "sample column"]
) -> Iterator[tuple[int, int]]:
    """One cell per column and kind, columns in turns, each column's most frequent kind first."""
    columns = []
    for column in range(cells.shape[1]):
        rows = cells[:, column].nonzero()[:, 0]
        groups: dict[int, list[int]] = {}
        for row in rows.tolist():
            groups.setdefault(int(kind[row, column]), []).append(row)
        ranked = sorted(groups.values(), key=lambda group: (-len(group), group[0]))
        columns.append([(_middle(group, p[:, column]), column) for group in ranked])
    return (each for turn in zip_longest(*columns) for each in turn if each is not None)


def _middle(rows: list[int], p: Float[Tensor, " sample"]) -> int:
    ranked = sorted(rows, key=lambda row: (float(p[row]), row))
    return ranked[len(ranked) // 2]


def _shown(sensor: str, value: Dense | Cloud | None, i: int) -> Float32[ndarray, "row column"]:
    """The sample's own frame, as few numbers as a small picture needs."""
    kind = MODALITIES[sensor].kind if sensor in MODALITIES else ""
    if isinstance(value, Cloud):
        points = value.points[i][value.mask[i]]
        return points[points[:, -1].abs() < 1e-6, :3].float().cpu().numpy()
    if isinstance(value, Dense) and kind in ("joints2d", "csi"):
        frame = value.values[i, value.values.shape[1] // 2]
        return (frame if kind == "joints2d" else frame[0].mean(-1)).float().cpu().numpy()
    return np.zeros((0, 2), np.float32)
