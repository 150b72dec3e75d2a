"""The raw results of a stream: errors on every experience's test samples after every experience.

Sums per person, so that every measure and interval can be computed later from one file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from equipose.data.dataset import PoseDataset
from equipose.errors import DataError
from equipose.files import write_npz
from equipose.nn.model import PoseModel
from equipose.train.evaluate import predict_split


@dataclass(frozen=True, eq=False)
class StreamErrors:
    """Errors on all test samples of a stream.

    Attributes:
        names: experiences in the order of the stream.
        modalities: sensors; coalitions are the rows of ``types.all_coalitions``.
        trained: index of the experience after which each row was measured.
        person: index of the experience and number of the subject of each column.
        samples: test samples of each column.
        error_mm: sum of the MPJPE over a person's samples, mm.
        pa_error_mm: the same after Procrustes alignment.
        mean_pose_mm: the same for always answering the mean training pose of the first experience.
        watched: (look, 4): experience in training, its step, experience looked at, MPJPE in mm of all its sensors on
            validation samples.
    """

    names: tuple[str, ...]
    modalities: tuple[str, ...]
    trained: Int64[ndarray, " row"]
    person: Int64[ndarray, "person 2"]
    samples: Float64[ndarray, " person"]
    error_mm: Float64[ndarray, "row coalition person"]
    pa_error_mm: Float64[ndarray, "row coalition person"]
    mean_pose_mm: Float64[ndarray, " person"]
    watched: Float64[ndarray, "look 4"]

    def matrix(self, coalition: int = -1) -> Float64[ndarray, "row experience"]:
        """MPJPE in mm after each row's experience (rows) on each experience (columns)."""
        inside = self.person[:, :1] == np.arange(len(self.names))
        return (self.error_mm[:, coalition] @ inside) / (self.samples @ inside)


def begin(names: tuple[str, ...], modalities: tuple[str, ...]) -> StreamErrors:
    """No row yet."""
    nobody, nothing = np.zeros((0, 2), np.int64), np.zeros((0, 2 ** len(modalities), 0))
    empty = np.zeros(0)
    return StreamErrors(
        names, modalities, np.zeros(0, np.int64), nobody, empty, nothing, nothing, empty, np.zeros((0, 4))
    )


def measured(errors: StreamErrors, trained: int, model: PoseModel, tests: tuple[PoseDataset, ...]) -> StreamErrors:
    """With a row more: the model as it is now on every experience's test samples.

    Args:
        errors: so far.
        trained: index of the experience that was trained last.
        model: in any mode; left as it is.
        tests: test samples of every experience, in order.
    """
    people, samples, sums, aligned, constant = [], [], [], [], []
    training = model.training
    model.eval()
    mean_pose = model.mean_pose.detach().cpu().numpy()
    for index, test in enumerate(tests):
        found = predict_split(model, test, quiet=True)
        still = 1000.0 * np.linalg.norm(found.target - mean_pose, axis=-1).mean(-1)
        for subject in np.unique(found.meta["subject"]):
            mine = found.meta["subject"] == subject
            people.append((index, int(subject)))
            samples.append(float(mine.sum()))
            sums.append(found.error_mm[:, mine].sum(1))
            aligned.append(found.pa_error_mm[:, mine].sum(1))
            constant.append(float(still[mine].sum()))
    model.train(training)
    first = not len(errors.trained)
    rows = [np.stack(each, 1)[None].astype(np.float64) for each in (sums, aligned)]
    return replace(
        errors,
        trained=np.append(errors.trained, trained),
        person=np.array(people, np.int64),
        samples=np.array(samples),
        error_mm=rows[0] if first else np.concatenate([errors.error_mm, rows[0]]),
        pa_error_mm=rows[1] if first else np.concatenate([errors.pa_error_mm, rows[1]]),
        mean_pose_mm=np.array(constant) if first else errors.mean_pose_mm,
    )


def looked(errors: StreamErrors, training: int, step: int, seen: dict[int, float]) -> StreamErrors:
    """With looks at earlier experiences: index -> MPJPE in mm."""
    rows = np.array([(training, step, index, value) for index, value in seen.items()], float).reshape(-1, 4)
    return replace(errors, watched=np.concatenate([errors.watched, rows]))


def write_errors(path: Path, errors: StreamErrors) -> None:
    """Write ``errors.npz``."""
    arrays = {name: value for name, value in vars(errors).items() if isinstance(value, ndarray)}
    write_npz(path, {**arrays, "names": np.array(errors.names), "modalities": np.array(errors.modalities)})


def read_errors(path: Path) -> StreamErrors:
    """Read what ``write_errors`` wrote.

    Raises:
        DataError: it is not there or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as found:
            values: dict[str, Any] = {name: found[name] for name in found.files}
        for name in ("names", "modalities"):
            values[name] = tuple(str(each) for each in values[name])
        return StreamErrors(**values)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path} cannot be read ({error}); repeat the stream with: equipose continual") from None
