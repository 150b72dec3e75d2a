"""``equipose corrupt``: a corrupt copy of a data set, with the truth beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from equipose.data.splits import S2_TEST_SUBJECTS


def corrupt(
    data: Annotated[Path, tyro.conf.Positional],
    out: Path = Path("corrupted"),
    sensor_rate: float = 0.2,
    label_rate: float = 0.0,
    severity: Literal["1", "2", "3", "mixed"] = "2",
    corruptions: tuple[str, ...] = (),
    timing: Literal["burst", "frame"] = "burst",
    burst_seconds: float = 2.0,
    seed: int = 0,
    modalities: tuple[str, ...] = (),
    test_subjects: tuple[int, ...] = S2_TEST_SUBJECTS,
) -> int:
    """Write a corrupt copy of a data set as a packed folder, with what was done in its corruption.npz.

    Interrupted, the same command continues. The same call gives the same folder.

    Args:
        data: packed folder or MM-Fi folder; only read.
        out: folder to make.
        sensor_rate: Share of each sensor's frames that is corrupt, 0 to 1.
        label_rate: Share of the labels that is wrong, 0 to 1.
        severity: 1, 2, 3, or mixed: drawn for each burst.
        corruptions: Such as lidar.points_lost wifi.all label.offset; all if not given. A sensor that is not named
            stays clean. See: equipose list corruptions.
        timing: burst: faults last some seconds, as real ones do; frame: every frame fails for itself.
        burst_seconds: How long a fault lasts.
        seed: Changes every choice.
        modalities: Sensors to write; all if not given, of an MM-Fi folder all except depth.
        test_subjects: No frame or label is exchanged between these subjects and the others; those of split S2 if not
            given.
    """
    from equipose.config import validate
    from equipose.data.corrupt.plan import CorruptionPlan, chosen
    from equipose.data.corrupt.writing import corrupt_folder

    values = {
        "sensor_rate": sensor_rate,
        "label_rate": label_rate,
        "severity": severity if severity == "mixed" else int(severity),
        "timing": timing,
        "burst_seconds": burst_seconds,
        "seed": seed,
        **chosen(corruptions),
    }
    plan = validate(CorruptionPlan, values, "the corruption")
    report = corrupt_folder(data, out, plan, modalities or None, test_subjects)
    truth = report.truth
    print(f"{report.out}: {len(truth.label)} frames, {truth.label.mean():.1%} of the labels wrong")
    for column, name in enumerate(truth.modalities):
        recorded = report.recorded[:, column]
        share = truth.sensor[recorded, column].mean() if recorded.any() else 0.0
        print(f"  {name}: {share:.1%} of {recorded.sum()} frames corrupt")
    print(f"What was done to which frame: {report.out / 'corruption.npz'}")
    print(f"Next: equipose train {report.out}")
    return 0
