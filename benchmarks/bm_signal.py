"""Which sensor faults the signal itself shows: area under the ROC curve and recall, without label or network.

python benchmarks/bm_signal.py DATA --out benchmarks/results/signal.json

The signal statistics were developed on room E01; the table is of the others. Trusted is one person of the room who is
not in the stream. A window that only reaches into a fault counts neither as clean nor as corrupt.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from equipose.config import DataSettings
from equipose.data.corrupt import KIND_NAMES, CorruptedDataset, CorruptionPlan
from equipose.data.stream import Experience, StreamSettings, stream
from equipose.separation.signal import SignalReadings, collect_signal, statistics_of
from equipose.separation.signal_fit import SignalFit, fit_signal
from equipose.train.run_dir import environment

ALPHA = 0.02
Cells = dict[tuple[str, str, int], list[Any]]


def false_alarms(experience: Experience, clean: SignalReadings) -> dict[str, dict[str, float]]:
    """Share of clean cells with p < ALPHA: trusted nobody, one person, two people, who are not in the stream."""
    sides = {
        "nobody": None,
        "one person": collect_signal(experience.validation),
        "two others": collect_signal(experience.test),
    }
    out = {}
    for name, trusted in sides.items():
        p = fit_signal(trusted, clean).p
        shares = [float((p[:, m] < ALPHA).double().sum() / (~p[:, m].isnan()).sum()) for m in range(p.shape[1])]
        out[name] = dict(zip(clean.modalities, shares, strict=True))
    return out


def tally(fit: SignalFit, data: CorruptedDataset, severity: int, cells: Cells, alarms: Cells) -> None:
    """Add (area, recall at ALPHA false alarms, recall at p < ALPHA, cells, names) of each fault in one stream."""
    truth = data.truth(np.arange(len(data)))
    for m, name in enumerate(fit.modalities):
        column = data.modalities.index(name)
        score, p = fit.score[:, m], fit.p[:, m]
        clean = ~truth.touched[:, column] & ~score.isnan()
        limit = score[clean].quantile(1 - ALPHA)
        alarms[(name, "clean", severity)].extend((p[clean] < ALPHA).tolist())
        for kind in truth.kind[:, column].unique().tolist():
            bad = (truth.kind[:, column] == kind) & ~score.isnan()
            if kind < 0 or not bad.any():
                continue
            both = torch.cat([score[clean], score[bad]]).numpy()
            area = float(roc_auc_score(np.arange(len(both)) >= int(clean.sum()), both))
            worst = Counter(statistics_of(name)[i].name for i in fit.worst[bad, m].tolist())
            found = (area, float((score[bad] > limit).double().mean()), float((p[bad] < ALPHA).double().mean()))
            cells[(name, KIND_NAMES[kind], severity)].append((*found, int(bad.sum()), worst))


def rows_of(cells: Cells) -> list[dict[str, Any]]:
    """One row per sensor, corruption and severity: means over rooms and seeds, weighted by cells."""
    rows = []
    for (sensor, fault, severity), parts in sorted(cells.items()):
        weights = [part[3] for part in parts]
        area, at_score, at_p = (float(np.average([part[i] for part in parts], weights=weights)) for i in range(3))
        names: Counter[str] = sum((part[4] for part in parts), Counter())
        rows.append(
            {
                "sensor": sensor,
                "corruption": fault,
                "severity": severity,
                "auroc": round(area, 3),
                "recall_at_2_percent": round(at_score, 3),
                "recall_at_p": round(at_p, 3),
                "cells": sum(weights),
                "statistics": [name for name, _ in names.most_common(2)],
            }
        )
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    """The table: three severities side by side."""
    print("sensor  corruption      AUROC 1/2/3         recall at 2 % 1/2/3  recall p < .02 1/2/3  by")
    for key in sorted({(row["sensor"], row["corruption"]) for row in rows}):
        mine = {row["severity"]: row for row in rows if (row["sensor"], row["corruption"]) == key}
        parts = [
            "  ".join(f"{mine[s][field]:.2f}" if s in mine else " -  " for s in (1, 2, 3))
            for field in ("auroc", "recall_at_2_percent", "recall_at_p")
        ]
        print(f"{key[0]:7s} {key[1]:15s} {parts[0]:19s} {parts[1]:20s} {parts[2]:21s} {mine[max(mine)]['statistics']}")


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rooms", nargs="+", default=["E01", "E02", "E03", "E04"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=0.2)
    args = parser.parse_args()
    torch.set_num_threads(1)
    start = time.monotonic()
    cells: dict[str, Cells] = {"development": defaultdict(list), "report": defaultdict(list)}
    alarms: dict[str, Cells] = {"development": defaultdict(list), "report": defaultdict(list)}
    clean_alarms, samples, read = {}, 0, 0.0
    for experience in stream(args.data, DataSettings(frame_stride=3), StreamSettings(kind="rooms")):
        if experience.name not in args.rooms:
            continue
        side = "development" if experience.name == "E01" else "report"
        trusted = collect_signal(experience.validation)
        clean_alarms[experience.name] = false_alarms(experience, collect_signal(experience.train))
        for severity in (1, 2, 3):
            for seed in range(args.seeds):
                plan = CorruptionPlan(sensor_rate=args.rate, severity=severity, seed=seed)
                data = CorruptedDataset(experience.train, plan)
                before = time.monotonic()
                stats = collect_signal(data)
                read, samples = read + time.monotonic() - before, samples + len(data)
                tally(fit_signal(trusted, stats), data, severity, cells[side], alarms[side])
    result: dict[str, Any] = {
        "command": f"python benchmarks/bm_signal.py DATA --rate {args.rate} --seeds {args.seeds}",
        "rooms": {"development": ["E01"], "report": [room for room in args.rooms if room != "E01"]},
        "seconds": round(time.monotonic() - start, 1),
        "milliseconds_per_sample": round(1000 * read / max(samples, 1), 2),
        "false_alarms_of_clean_streams": clean_alarms,
    }
    for side in cells:
        rows = rows_of(cells[side])
        rates = {f"{k[0]} {k[2]}": round(float(np.mean(v)), 4) for k, v in sorted(alarms[side].items())}
        result[side] = {"false_alarms_by_severity": rates, "rows": rows}
        if rows:
            print(f"\n{side}: p < {ALPHA} of clean cells in corrupt streams: {rates}")
            show(rows)
    print(json.dumps(clean_alarms, indent=1))
    found = environment()
    result |= {"versions": found["versions"], "machine": found["machine"]}
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
