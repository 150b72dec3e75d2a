"""Which score finds which corruption: area under the ROC curve of every score, early and late in training.

python benchmarks/bm_scores.py DATA --out benchmarks/results/scores.json

A model is trained on each room alone, noise and all, and its readings are scored after EARLY and after all epochs. A
cell counts against the clean cells of its sensor in the same room; a window that only reaches into a fault counts
neither way. `signal` and `misfit` need no network; `verdict` is what the separator makes of everything.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from equipose.config import Recipe, load_recipe
from equipose.data.corrupt import KIND_NAMES, CorruptedDataset, CorruptionPlan
from equipose.data.corrupt.dataset import Truth
from equipose.data.stream import Experience, StreamSettings, stream
from equipose.progress import track
from equipose.separation.distances import measured
from equipose.separation.quality import suspicion
from equipose.separation.readings import Readings, collect
from equipose.separation.reasons import Reason
from equipose.separation.scores import LABEL_SCORES, SCORES, reference_of
from equipose.separation.separator import spread
from equipose.separation.settings import SeparationSettings
from equipose.separation.signal_verdict import SignalVerdict, judge_signals
from equipose.separation.verdict import judge
from equipose.train.build import build_session
from equipose.train.fit import begin_epoch, end_epoch
from equipose.train.loop import Session, train_epoch
from equipose.train.processes import launch
from equipose.train.run_dir import environment

EARLY, LATE = 2, 8
SIGNALS = ("signal", "misfit", "verdict")
Tally = dict[tuple[str, str, str, str], list[tuple[float, int]]]
"""(early or late, sensor, corruption, score) -> (area, cells)."""


def recipe_of(seed: int) -> Recipe:
    """A model that answers with any subset of the sensors, as separation needs it."""
    return load_recipe(
        None,
        [
            "data.protocol=P1",
            "data.split=S2",
            "data.frame_stride=3",
            "model.fusion=experts",
            "model.pairs=[rgb+lidar]",
            "balance.name=every_subset",
            "train.schedule=cosine",
            "train.learning_rate=0.002",
            "train.probe_samples=512",
            f"train.epochs={LATE}",
            f"train.seed={seed}",
        ],
    )


def looks(experience: Experience, data: CorruptedDataset, seed: int) -> Iterator[tuple[str, Session]]:
    """Trains on the noisy data; yields the session after EARLY epochs and after all."""
    recipe = recipe_of(seed)
    session = build_session(recipe, data, launch(recipe.train))
    splits = {"train": data, "validation": experience.validation}
    while session.progress.epoch < LATE:
        begin_epoch(session, splits)
        train_epoch(session, data, lambda: False, lambda: False, lambda: None, lambda: None)
        end_epoch(session, splits)
        session.progress.epoch, session.progress.batch, session.progress.sums = session.progress.epoch + 1, 0, {}
        if session.progress.epoch in (EARLY, LATE):
            yield "early" if session.progress.epoch == EARLY else "late", session


def scores_of(
    readings: Readings, trusted: Readings, signals: SignalVerdict, settings: SeparationSettings
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Every score of cells and of labels; higher is more suspicious."""
    reference = reference_of(readings, trusted, settings.neighbours)
    cells = {name: score.of(readings, reference) for name, score in SCORES.items()}
    labels = {name: score.of(readings, reference) for name, score in LABEL_SCORES.items()}
    doubt, label_doubt = suspicion(judge(readings, trusted, settings, signals)[0])
    cells |= {"signal": -signals.p_sensor, "misfit": -signals.p_misfit, "verdict": doubt}
    labels |= {"signal": -signals.p_label, "misfit": -signals.p_misfit.nan_to_num(1.0).amin(1), "verdict": label_doubt}
    return cells, labels


def tally(
    when: str, readings: Readings, truth: Truth, found: tuple[dict[str, Tensor], dict[str, Tensor]], into: Tally
) -> None:
    """Add the areas of every corruption and all together."""
    cells, labels = found
    for m, sensor in enumerate(readings.modalities):
        clean = readings.present[:, m] & ~truth.touched[:, m] & (readings.integrity[:, m] == Reason.CLEAN)
        alive = readings.integrity[:, m] == Reason.CLEAN
        _areas(
            when,
            sensor,
            {n: s[:, m] for n, s in cells.items()},
            clean,
            truth.sensor[:, m] & alive,
            truth.kind[:, m],
            into,
        )
    _areas(when, "label", labels, ~truth.label, truth.label, truth.label_kind, into)


def _areas(
    when: str, what: str, scores: dict[str, Tensor], clean: Tensor, corrupt: Tensor, kind: Tensor, into: Tally
) -> None:
    groups = {KIND_NAMES[k]: corrupt & (kind == k) for k in sorted(set(kind[corrupt].tolist()))}
    for name, bad in (*groups.items(), ("all", corrupt)):
        for score, values in scores.items():
            if bool(values.isnan().all()) or not bool(bad.any()):
                continue
            lowest = float(values[~values.isnan()].min())
            both = torch.cat([values[clean], values[bad]]).nan_to_num(lowest, posinf=1e9, neginf=-1e9)
            area = float(roc_auc_score(np.arange(len(both)) >= int(clean.sum()), both.numpy()))
            into[(when, what, name, score)].append((area, int(bad.sum())))


def rows_of(cells: Tally) -> list[dict[str, Any]]:
    """One row per time, sensor and corruption: areas of every score, means weighted by cells."""
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for (when, what, kind, score), parts in cells.items():
        row = rows.setdefault((when, what, kind), {"when": when, "what": what, "corruption": kind})
        row["cells"] = sum(part[1] for part in parts)
        row[score] = round(float(np.average([p[0] for p in parts], weights=[p[1] for p in parts])), 3)
    return sorted(
        rows.values(), key=lambda row: (row["what"], row["corruption"] == "all", row["corruption"], row["when"])
    )


def show(rows: list[dict[str, Any]]) -> None:
    """Early / late of every score."""
    for labels in (False, True):
        names = [*(LABEL_SCORES if labels else SCORES), *SIGNALS]
        print(f"\n{'':24s}" + "".join(f"{name[:13]:>14s}" for name in names))
        chosen = [row for row in rows if (row["what"] == "label") == labels]
        for what, kind in dict.fromkeys((row["what"], row["corruption"]) for row in chosen):
            both = {row["when"]: row for row in chosen if (row["what"], row["corruption"]) == (what, kind)}
            cells = [
                " / ".join(
                    f"{both[when][name]:.2f}" if name in both.get(when, {}) else " -  " for when in ("early", "late")
                )
                for name in names
            ]
            print(f"{what + ' ' + kind:24s}" + "".join(f"{cell:>14s}" for cell in cells))


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--rooms", nargs="+", default=["E02", "E03", "E04"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--rate", type=float, default=0.2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    settings = SeparationSettings()
    found: Tally = defaultdict(list)
    data = recipe_of(0).data
    cases = [
        (experience, seed)
        for experience in stream(args.data, data, StreamSettings(kind="rooms"))
        if experience.name in args.rooms
        for seed in args.seeds
    ]
    for experience, seed in track(cases, "training", unit="models"):
        plan = CorruptionPlan(sensor_rate=args.rate, label_rate=args.rate, severity="mixed", seed=seed)
        noisy = CorruptedDataset(experience.train, plan)
        truth = noisy.truth(np.arange(len(noisy)))
        chosen = spread(len(experience.validation), settings.calibration)
        names = noisy.modalities
        signals = judge_signals(noisy, experience.validation, chosen, names, settings)
        assert signals is not None, "rooms of the preset have enough validation samples"
        for when, session in looks(experience, noisy, seed):
            trusted = collect(session.model, experience.validation, chosen)
            trusted = measured(trusted, trusted, settings.neighbours)
            readings = measured(collect(session.model, noisy), trusted, settings.neighbours)
            tally(when, readings, truth, scores_of(readings, trusted, signals, settings), found)
    rows = rows_of(found)
    show(rows)
    about = environment()
    result = {
        "command": f"python benchmarks/bm_scores.py DATA --rooms {' '.join(args.rooms)} "
        f"--seeds {' '.join(map(str, args.seeds))} --rate {args.rate}",
        "epochs": {"early": EARLY, "late": LATE},
        "rows": rows,
        "versions": about["versions"],
        "machine": about["machine"],
    }
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
