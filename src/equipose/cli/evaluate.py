"""``equipose evaluate`` and ``equipose contributions``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import tyro


def evaluate(
    run: Annotated[Path, tyro.conf.Positional],
    data: Path | None = None,
    checkpoint: Literal["best", "last"] = "best",
) -> int:
    """Measure a run on the test split: every subset of its sensors, with intervals over subjects.

    Args:
        run: the run folder.
        data: where its data folder is now, if it was moved.
        checkpoint: best on the validation split, or last.
    """
    from equipose.train.evaluate import evaluate as evaluate_run
    from equipose.train.run_dir import RunDir

    metrics = evaluate_run(RunDir.open(run), data, checkpoint)
    _print_metrics(metrics)
    print(f"next: equipose report {run}")
    return 0


def contributions(
    run: Annotated[Path, tyro.conf.Positional],
    data: Path | None = None,
    checkpoint: Literal["best", "last"] = "best",
    profit: str | None = None,
    baseline: Literal["zero", "mean"] | None = None,
    bootstrap: int | None = None,
) -> int:
    """Measure what each sensor of a run contributes on the test split (exact Shapley values).

    Args:
        run: the run folder.
        data: where its data folder is now, if it was moved.
        checkpoint: best on the validation split, or last.
        profit: what a coalition is worth, see `equipose list profits`; the run's own by default.
        baseline: what stands in for a missing feature; the run's own by default.
        bootstrap: resamples of the subjects.
    """
    from equipose.config import ContributionSettings, validate
    from equipose.train.evaluate import measure_contributions
    from equipose.train.run_dir import RunDir

    opened = RunDir.open(run)
    changes = {"profit": profit, "baseline": baseline, "bootstrap": bootstrap}
    values = opened.recipe.contribution.model_dump() | {k: v for k, v in changes.items() if v is not None}
    settings = validate(ContributionSettings, values, "contribution")
    print(measure_contributions(opened, data, settings, checkpoint).table())
    return 0


def _print_metrics(metrics: dict[str, Any]) -> None:
    print(f"test split: {metrics['samples']} samples of {len(metrics['subjects'])} subjects, errors in mm")
    print(f"{'subset':<28}{'MPJPE':>8}{'95 % interval':>18}{'PA-MPJPE':>10}")
    for row in metrics["coalitions"]:
        ends = "one subject" if row["interval"] is None else "{:.1f} to {:.1f}".format(*row["interval"])
        print(f"{row['name']:<28}{row['mpjpe_mm']:>8.1f} {ends:>17} {row['pa_mpjpe_mm']:>9.1f}")
    print(f"for comparison: the mean pose {metrics['mean_pose_mpjpe_mm']:.1f}", end="")
    if metrics["room_mean_mpjpe_mm"] is not None:
        print(f", each room's mean pose {metrics['room_mean_mpjpe_mm']:.1f}", end="")
    print(f", each subject's own mean pose {metrics['subject_mean_mpjpe_mm']:.1f} (uses the truth)")
    hurts = [pair for pair in metrics["hurts"] if pair["hurts"]]
    if metrics["hurts"]:
        print(f"adding a sensor hurts in {len(hurts)} of {len(metrics['hurts'])} cases beyond the interval")
    for alarm in metrics["alarms"]:
        print(f"alarm: {alarm}")
