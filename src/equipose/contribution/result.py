"""What a measurement of contributions found, as one value, and its file ``contributions.npz``.

Keys of the file, all plain arrays (no pickles); M modalities, J joints, coalition k of 2^M holds the bits of
k with modality 0 the lowest bit:

    format               "equipose-contributions-1"
    modalities           (M,) text
    profit, unit         text: what a coalition is worth, and the unit of that
    baseline             text: "zero" or "mean", what stood in for the feature of an absent sensor
    samples, resamples   integers
    values               (2^M,) worth of every coalition; phi sums to values[-1] - values[0]
    phi, phi_interval    (M,), (M, 2) Shapley values, 95 % intervals over subjects (NaN: fewer than two subjects)
    share, share_interval  (M,), (M, 2) positive-part share phi+ / sum phi+
    per_joint            (M, J) Shapley values of each joint's own profit
    subjects, per_subject            (S,) numbers, (M, S) Shapley values within each subject
    actions, per_action              (A,), (M, A)
    environments, per_environment    (E,), (M, E)
    interaction_index    text, such as "SII"
    interactions         (M, M) symmetric; pairs, with each player's own value on the diagonal
    collapse             (M,) median over coordinates of std(prediction from that sensor alone) / std(truth)
    entropy, effective_number        numbers: normalised entropy of the share, 1 / sum share^2
    alarms               (any,) text
    profits, phi_by_profit           (P,) text, (P, M): the Shapley values under every profit, from the same sums
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from equipose.errors import DataError
from equipose.files import write_npz
from equipose.types import coalition_name

FORMAT = "equipose-contributions-1"
_TUPLES = ("modalities", "subjects", "actions", "environments", "alarms", "profits")


@dataclass(frozen=True)
class Contributions:
    """What every sensor contributes to a model's predictions on a set of samples.

    The module lists all fields with shapes; arrays are float64. ``collapse`` is modality -> ratio.
    """

    modalities: tuple[str, ...]
    profit: str
    unit: str
    baseline: str
    samples: int
    resamples: int
    values: Float[ndarray, " coalition"]
    phi: Float[ndarray, " modality"]
    phi_interval: Float[ndarray, "modality 2"]
    share: Float[ndarray, " modality"]
    share_interval: Float[ndarray, "modality 2"]
    per_joint: Float[ndarray, "modality joint"]
    subjects: tuple[int, ...]
    per_subject: Float[ndarray, "modality subject"]
    actions: tuple[int, ...]
    per_action: Float[ndarray, "modality action"]
    environments: tuple[int, ...]
    per_environment: Float[ndarray, "modality environment"]
    interaction_index: str
    interactions: Float[ndarray, "modality modality"]
    collapse: dict[str, float]
    entropy: float
    effective_number: float
    alarms: tuple[str, ...]
    profits: tuple[str, ...]
    phi_by_profit: Float[ndarray, "profit modality"]

    @property
    def coalition_names(self) -> tuple[str, ...]:
        """Name of every row of ``values``, such as ``rgb+lidar``."""
        return tuple(coalition_name(row, self.modalities) for row in range(len(self.values)))

    def table(self) -> str:
        """The main numbers as a text table."""
        lines = [
            f"contributions on {self.samples} samples; profit {self.profit} ({self.unit}), "
            f"absent features: {self.baseline}",
            f"{'sensor':<12}{'Shapley value':>14}{'95 % interval':>20}{'share':>8}{'collapse':>10}",
        ]
        for i, name in enumerate(self.modalities):
            low, high = self.phi_interval[i]
            interval = f"{low:.3g} to {high:.3g}" if np.isfinite(low) else "-"
            lines.append(
                f"{name:<12}{self.phi[i]:>14.4g}{interval:>20}{self.share[i]:>8.1%}{self.collapse[name]:>10.3f}"
            )
        lines.append(
            f"entropy of the shares {self.entropy:.3f} (1: balanced), "
            f"effective number of sensors {self.effective_number:.2f} of {len(self.modalities)}"
        )
        pairs = [
            f"{a} and {b} {self.interactions[i, j]:+.3g}"
            for i, a in enumerate(self.modalities)
            for j, b in enumerate(self.modalities)
            if i < j
        ]
        if pairs:
            lines.append(f"interactions ({self.interaction_index}; + synergy, - redundancy): {', '.join(pairs)}")
        return "\n".join(lines + [f"alarm: {alarm}" for alarm in self.alarms])


def save_npz(path: Path, contributions: Contributions) -> None:
    """Write ``contributions.npz``; the file is complete or not there at all."""
    arrays: dict[str, Any] = {"format": np.array(FORMAT)}
    for field in fields(contributions):
        value = getattr(contributions, field.name)
        if field.name == "collapse":
            value = [value[name] for name in contributions.modalities]
        empty = isinstance(value, tuple) and not value
        arrays[field.name] = np.array(value, dtype="U1" if empty else None)
    write_npz(path, arrays)


def load_npz(path: Path) -> Contributions:
    """Read what ``save_npz`` wrote.

    Raises:
        DataError: if the file is missing, damaged or of another kind.
    """
    if not path.is_file():
        raise DataError(f"no contributions at {path}: measure them with `equipose contributions {path.parent}`")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read ({error}): run `equipose contributions {path.parent}` again") from None
    names = [field.name for field in fields(Contributions)]
    missing = [name for name in names if name not in arrays]
    if missing or str(arrays.get("format", "")) != FORMAT:
        raise DataError(
            f"{path} is no {FORMAT} file (missing: {', '.join(missing) or 'format'}): "
            f"run `equipose contributions {path.parent}` again"
        )
    values: dict[str, Any] = {name: _plain(name, arrays[name]) for name in names}
    values["collapse"] = dict(zip(values["modalities"], arrays["collapse"].tolist(), strict=True))
    return Contributions(**values)


def _plain(name: str, array: ndarray) -> Any:
    if name in _TUPLES:
        return tuple(array.tolist())
    return array.item() if array.ndim == 0 else array
