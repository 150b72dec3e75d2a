"""What separation finds, and its false alarms where there is no noise: precision, recall and F1 by kind of corruption.

python benchmarks/bm_separation.py DATA --out benchmarks/results/separation.json

A model is trained on each room alone, with separation at work, on samples of which RATE of every sensor's cells and
RATE of the labels are corrupt, all kinds and severities mixed; and on clean ones. The F1 of a kind is that of a stream
in which all corrupt cells are of this kind. Separation was developed on data seed 0, rooms E01 and E02: report another
data seed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from equipose.config import load_settings
from equipose.progress import track
from equipose.train.run_dir import environment
from equipose.train.stream_recipe import StreamRecipe
from equipose.train.stream_run import train_stream
from equipose.train.stream_verdicts import Verdicts, read_verdicts, verdicts_path

LABEL = "label"
OPTIONS = [
    "data.protocol=P1",
    "data.split=S2",
    "data.frame_stride=3",
    "model.fusion=experts",
    "model.pairs=[rgb+lidar]",
    "balance.name=every_subset",
    "train.epochs=8",
    "train.schedule=cosine",
    "train.learning_rate=0.002",
    "train.probe_samples=512",
    "regime=single",
    "separation.mode=find",
    "corruption.severity=mixed",
]
Counts = dict[tuple[str, str], np.ndarray]
"""(sensor or label, kind) -> flagged corrupt, corrupt, flagged clean, clean."""


def found_in(data: Path, rate: float, seed: int, runs: Path) -> list[Verdicts]:
    """What was found in every room."""
    noise = [f"corruption.sensor_rate={rate}", f"corruption.label_rate={rate}", f"corruption.seed={seed}"]
    recipe = load_settings(StreamRecipe, None, [*OPTIONS, *noise, f"train.seed={seed}"])
    run = train_stream(recipe, data, runs, f"rate{rate}_s{seed}", on_step=lambda steps: None)
    found = [read_verdicts(verdicts_path(run.path, index)) for index in range(4)]
    return [each for each in found if each is not None]


def count(found: Verdicts, into: Counts) -> None:
    """Add one room's cells and labels."""
    for column, name in enumerate((*found.modalities, LABEL)):
        if name == LABEL:
            there = np.ones(len(found.label_corrupt), bool)
            flagged, corrupt, kind = found.label_flagged, found.label_corrupt, found.label_kind
        else:
            there = found.present[:, column]
            flagged, corrupt, kind = (each[there, column] for each in (found.flagged, found.corrupt, found.kind))
        clean = np.array([0, 0, (flagged & ~corrupt).sum(), (~corrupt).sum()])
        into[(name, "all")] += clean + np.array([(flagged & corrupt).sum(), corrupt.sum(), 0, 0])
        for code in np.unique(kind[corrupt]).tolist():
            mine = corrupt & (kind == code)
            into[(name, found.kind_names[code])] += np.array([(flagged & mine).sum(), mine.sum(), 0, 0])


def rows_of(cells: Counts) -> list[dict[str, Any]]:
    """Recall of every kind, and the F1 it would have as the only kind."""
    rows = []
    for (name, kind), (hits, corrupt, _, _) in sorted(cells.items()):
        all_corrupt, alarms, clean = cells[(name, "all")][1:]
        row = {"what": name, "corruption": kind, "cells": int(corrupt), "clean": int(clean)}
        row["false_alarms"] = round(float(alarms / max(clean, 1)), 4)
        if corrupt:
            recall = hits / corrupt
            row["recall"] = round(float(recall), 3)
            row["f1"] = round(float(2 * recall * all_corrupt / (recall * all_corrupt + alarms + all_corrupt)), 3)
        rows.append(row)
    return rows


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--rate", type=float, default=0.2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    tables: dict[str, Counts] = {noise: defaultdict(lambda: np.zeros(4, np.int64)) for noise in ("clean", "noisy")}
    events = []
    with tempfile.TemporaryDirectory() as runs:
        for rate, seed in track([(r, s) for s in args.seeds for r in (args.rate, 0.0)], "training", unit="runs"):
            for found in found_in(args.data, rate, seed, Path(runs)):
                count(found, tables["noisy" if rate else "clean"])
                events += [(rate, seed, found.experience, *event) for event in found.events]
    seeds = " ".join(map(str, args.seeds))
    result: dict[str, Any] = {
        "command": f"python benchmarks/bm_separation.py DATA --seeds {seeds} --rate {args.rate}",
        "data": args.data.name,
        "events": events,
    }
    for title, cells in tables.items():
        result[title] = rows_of(cells)
        print(f"\n{title}\n{'':24s}   cells  recall     F1  false alarms")
        for row in result[title]:
            scores = f"{row.get('recall', float('nan')):7.2f}{row.get('f1', float('nan')):7.2f}"
            print(f"{row['what'] + ' ' + row['corruption']:24s}{row['cells']:8d}{scores}{row['false_alarms']:14.4f}")
    print("events:", events)
    about = environment()
    result |= {"versions": about["versions"], "machine": about["machine"]}
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
