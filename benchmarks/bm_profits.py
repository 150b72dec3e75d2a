"""Does the ranking of the sensors depend on the profit, or on what stands in for an absent sensor? On trained runs.

python benchmarks/bm_profits.py DATA RUN [RUN ...] --out benchmarks/results/profits.json

Exact Shapley values on the test split, for every profit, with absent features replaced by zeros and by the mean
training feature; shares of the positive ones in percent.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from equipose.config import ContributionSettings
from equipose.contribution.imbalance import positive_share
from equipose.train.evaluate import measure_contributions
from equipose.train.run_dir import RunDir, environment


def rows_of(run: RunDir, data: Path) -> list[dict[str, Any]]:
    """One row per baseline and profit."""
    rows = []
    for baseline in ("zero", "mean"):
        settings = ContributionSettings.model_validate({"baseline": baseline, "bootstrap": 0})
        found = measure_contributions(run, data, settings)
        for profit, phi in zip(found.profits, found.phi_by_profit, strict=True):
            share = dict(zip(found.modalities, positive_share(phi).tolist(), strict=True))
            order = sorted(share, key=lambda name: -phi[found.modalities.index(name)])
            rows.append(
                {
                    "run": run.path.name,
                    "strategy": run.recipe.balance.name,
                    "fusion": run.recipe.model.fusion,
                    "seed": run.recipe.train.seed,
                    "baseline": baseline,
                    "profit": profit,
                    "phi": {name: round(float(value), 4) for name, value in zip(found.modalities, phi, strict=True)},
                    "share": {name: round(value, 4) for name, value in share.items()},
                    "order": order,
                }
            )
    return rows


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="a packed folder")
    parser.add_argument("runs", type=Path, nargs="+", help="run folders of `equipose train` or `equipose benchmark`")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for path in args.runs for row in rows_of(RunDir.open(path), args.data)]
    for row in rows:
        shares = "  ".join(f"{name} {100 * share:5.1f}" for name, share in row["share"].items())
        print(
            f"{row['strategy']:18s} {row['fusion']:8s} seed {row['seed']}  {row['baseline']:4s}  {row['profit']:16s}"
            f"  {shares}  {' > '.join(row['order'])}"
        )
    found = environment()
    result = {
        "command": "python benchmarks/bm_profits.py DATA RUNS",
        "rows": rows,
        "versions": found["versions"],
        "machine": found["machine"],
    }
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
